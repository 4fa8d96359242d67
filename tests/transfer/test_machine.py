"""Transfers against plain dictionaries: after any of them, in any order, both hold the same points.

Compared is every session's multiset of (id, vector, payload), read from the engine itself.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from quire.app import Quire
from quire.bundle.formats.models import Format
from quire.errors import Conflict
from quire.jobs.port import Job, JobStatus
from quire.sessions.requests import NewSession
from quire.transfer.exporting import ExportRequest
from quire.transfer.feeds import OnConflict
from quire.transfer.import_request import ImportRequest
from quire.transfer.merge_request import MergeRequest
from quire.transfer.split_request import ByField, SplitRequest
from quire.transfer.targets import NewTarget
from quire_api.shapes import session_shape
from tests.sessions.house import finish_purges, person, quire_in
from tests.sessions.servers import quire_on_servers
from tests.transfer.activity import said
from tests.transfer.model import (
    DIMENSION,
    Points,
    as_request,
    by_label,
    conflicting,
    entry_of,
    made_points,
    merged,
)

if TYPE_CHECKING:
    from quire.sessions.models import Session
    from tests.backends.qdrant import QdrantServer

SESSIONS_MAX = 8
Kept = tuple[dict[str, Points], set[str], defaultdict[str, frozenset[str]]]
PLACE = st.integers(0, 2**16)


class TransferMachine(RuleBasedStateMachine):
    """One owner's sessions, taken apart and put together."""

    portal: ClassVar[BlockingPortal]
    quire: ClassVar[Quire]
    numbers: ClassVar[Iterator[int]] = count()

    @initialize(seed=st.integers(0, 2**32 - 1))
    def begin(self, seed: int) -> None:
        self.who = person(f"machine-{next(self.numbers)}")
        self.chance = random.Random(seed)
        self.model: dict[str, Points] = {}
        self.said: defaultdict[str, frozenset[str]] = defaultdict(frozenset)
        self.checkpoints: dict[tuple[str, str], Points] = {}
        self.archived: set[str] = set()
        # What the last merge or split can be undone to: its job, and the model before it.
        self.undoable: tuple[str, Kept] | None = None
        for _ in range(2):
            self.create(self.chance.randrange(1, 12))

    def teardown(self) -> None:
        async def clear() -> None:
            for session_id in self.model:
                await self.quire.sessions.delete_for_good(self.who, session_id)
            await finish_purges(self.quire)

        if hasattr(self, "model"):
            self.portal.call(clear)

    # Rules

    @rule(number=st.integers(0, 15))
    def create(self, number: int) -> None:
        if len(self.model) >= SESSIONS_MAX:
            return
        points = made_points(self.chance, number)

        async def act() -> str:
            new = NewSession(name="machine", dimension=DIMENSION, distance="dot")
            session, _ = await self.quire.creation.create(self.who, new)
            if points:
                await self.quire.points.upsert(self.who, session.id, as_request(points))
            return session.id

        self.model[self.portal.call(act)] = points

    @rule(at=PLACE, number=st.integers(1, 6))
    def write(self, at: int, number: int) -> None:
        session_id = self.one(at)
        points = made_points(self.chance, number)
        self.portal.call(self.quire.points.upsert, self.who, session_id, as_request(points))
        self.model[session_id] |= points
        self.undoable = None

    @rule(at=PLACE)
    def say(self, at: int) -> None:
        session_id, text = self.one(at), f"said {next(self.numbers)}"
        # Numbered in each session anew: so they meet where sessions are merged.
        new = said(text, f"m{len(self.said[session_id])}")
        self.portal.call(self.quire.activity.messages.append, self.who, session_id, [new])
        self.said[session_id] |= {text}
        self.undoable = None

    @rule(
        at=PLACE,
        policy=st.sampled_from(OnConflict),
        joined=st.booleans(),
        archive=st.booleans(),
    )
    def merge(self, at: int, policy: OnConflict, joined: bool, archive: bool) -> None:
        if len(self.model) < (3 if joined else 2):
            return
        ids = list(self.model)
        ids = ids[at % len(ids) :] + ids[: at % len(ids)]
        target, sources = (ids[0], ids[1:3]) if joined else (None, ids[:2])
        request = MergeRequest(
            source_session_ids=sources,
            target_name=None if joined else "merged",
            target_session_id=target,
            on_conflict=policy,
            archive_sources=archive,
        )
        held = [*([self.model[target]] if target else []), *(self.model[s] for s in sources)]
        refused = policy is OnConflict.FAIL and conflicting(held)
        job = self.portal.call(self.job_of, self.quire.transfers.merge.begin, request)
        if refused:
            assert job.status is JobStatus.FAILED
            assert job.error is not None
            assert job.error["code"] == "point_conflict"
            return
        assert job.status is JobStatus.SUCCEEDED, job
        before = self.kept()
        base = self.model[target] if target else None
        result = merged([(s, self.model[s]) for s in sources], policy, base)
        assert job.result is not None
        made = job.result["session_id"]
        self.model[made] = result
        self.said[made] = frozenset().union(*(self.said[s] for s in [*sources, made]))
        if archive:
            self.archived |= set(sources)
        self.undoable = (job.id, before)

    @rule(at=PLACE, move=st.booleans())
    def split(self, at: int, move: bool) -> None:
        session_id = self.one(at)
        parts = by_label(self.model[session_id])
        if not parts or len(self.model) + len(parts) > SESSIONS_MAX:
            return
        job = self.portal.call(self.split_by_label, session_id, move)
        assert job.status is JobStatus.SUCCEEDED, job
        before = self.kept()
        made = self.portal.call(self.sessions_of, job.result["new_session_ids"])
        assert {session.name for session in made} == set(parts)
        for session in made:
            self.model[session.id] = parts[session.name]
        if move:
            self.model[session_id] = {}
        self.undoable = (job.id, before)

    @rule(at=PLACE)
    def fork(self, at: int) -> None:
        session_id = self.one(at)
        if len(self.model) >= SESSIONS_MAX:
            return

        async def act() -> str:
            target = NewTarget(name="fork")
            job_id, made = await self.quire.transfers.fork.begin(self.who, session_id, target)
            await self.succeeded(job_id)
            return made

        made = self.portal.call(act)
        self.model[made], self.said[made] = dict(self.model[session_id]), self.said[session_id]

    @rule(at=PLACE, name=st.sampled_from(["one", "two"]))
    def checkpoint(self, at: int, name: str) -> None:
        session_id = self.one(at)
        if (session_id, name) in self.checkpoints:
            return
        self.portal.call(self.make_checkpoint, session_id, name)
        self.checkpoints[session_id, name] = dict(self.model[session_id])

    @precondition(lambda self: getattr(self, "checkpoints", None))
    @rule(at=PLACE)
    def restore_checkpoint(self, at: int) -> None:
        session_id, name = list(self.checkpoints)[at % len(self.checkpoints)]
        before = self.kept()
        job_id = self.portal.call(self.restore, session_id, name)
        self.model[session_id] = dict(self.checkpoints[session_id, name])
        self.undoable = (job_id, before)

    @precondition(lambda self: getattr(self, "undoable", None))
    @rule()
    def undo(self) -> None:
        assert self.undoable is not None
        job_id, before = self.undoable
        self.portal.call(self.undo_job, job_id)
        gone = set(self.model) - set(before[0])
        self.checkpoints = {k: v for k, v in self.checkpoints.items() if k[0] not in gone}
        self.model, self.archived, self.said = before
        self.undoable = None

    @rule(at=PLACE)
    def carry_away_and_back(self, at: int) -> None:
        session_id = self.one(at)
        if len(self.model) >= SESSIONS_MAX:
            return
        made = self.portal.call(self.export_and_import, session_id)
        self.model[made], self.said[made] = dict(self.model[session_id]), self.said[session_id]

    @rule(at=PLACE)
    def archive(self, at: int) -> None:
        session_id = self.one(at)
        self.portal.call(self.quire.sessions.archive, self.who, session_id)
        self.archived.add(session_id)
        self.undoable = None

    @rule(at=PLACE, pack=st.booleans())
    def sleep(self, at: int, pack: bool) -> None:
        session_id = self.one(at)

        async def act() -> None:
            with suppress(Conflict):  # what was archived is falling asleep by itself
                await self.quire.residency.sleep(session_id, pack=pack)

        self.portal.call(act)

    @rule(at=PLACE)
    def delete(self, at: int) -> None:
        if len(self.model) < 3:
            return
        session_id = self.one(at)
        self.portal.call(self.quire.sessions.delete_for_good, self.who, session_id)
        del self.model[session_id]
        self.checkpoints = {k: v for k, v in self.checkpoints.items() if k[0] != session_id}
        self.archived.discard(session_id)
        self.undoable = None

    # What always holds

    @invariant()
    def every_session_holds_what_the_model_says(self) -> None:
        if not hasattr(self, "model"):
            return
        for session_id, points in self.model.items():
            assert self.portal.call(self.held, session_id) == points
            told = self.portal.call(self.quire.activity.messages.page, self.who, session_id)
            assert sorted(str(m.content) for m in told.messages) == sorted(self.said[session_id])

    # Helping hands

    def one(self, at: int) -> str:
        """One of the sessions, by its place: their ids are others in every run."""
        return list(self.model)[at % len(self.model)]

    def kept(self) -> Kept:
        return {k: dict(v) for k, v in self.model.items()}, set(self.archived), self.said.copy()

    async def held(self, session_id: str) -> Points:
        session = await self.quire.sessions.open(self.who, session_id)
        found: Points = {}
        async for records in self.quire.engine.stream(session.collection):
            found |= {record.id: entry_of(record) for record in records}
        assert session.points_count == len(found)
        return found

    async def job_of(self, begin: Any, request: Any) -> Job:
        job = await self.quire.jobs.wait(await begin(self.who, request), 60)
        assert job.status.is_final
        return job

    async def succeeded(self, job_id: str) -> Job:
        job = await self.quire.jobs.wait(job_id, 60)
        assert job.status is JobStatus.SUCCEEDED, job
        return job

    async def sessions_of(self, session_ids: list[str]) -> list[Session]:
        return [await self.quire.sessions.peek(self.who, one) for one in session_ids]

    async def split_by_label(self, session_id: str, move: bool) -> Job:
        by = ByField(field="label", names="{value}")
        request = SplitRequest(by=by, remove_points=move)
        job_id = await self.quire.transfers.split.begin(self.who, session_id, request)
        return await self.succeeded(job_id)

    async def make_checkpoint(self, session_id: str, name: str) -> None:
        await self.succeeded(await self.quire.history.checkpoints.begin(self.who, session_id, name))

    async def restore(self, session_id: str, name: str) -> str:
        job_id = await self.quire.history.restore.begin(self.who, session_id, name)
        await self.succeeded(job_id)
        return job_id

    async def undo_job(self, job_id: str) -> None:
        await self.succeeded(await self.quire.history.undo.begin(self.who, job_id))

    async def export_and_import(self, session_id: str) -> str:
        export = await self.quire.files.exporting.open(
            self.who, session_id, ExportRequest(format=Format.BUNDLE), session_shape
        )
        begun = await self.quire.files.importing.begin(
            self.who, ImportRequest(name="back"), export.blocks()
        )
        await self.succeeded(begun.job_id)
        return begun.session_id


@pytest.fixture
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[type[TransferMachine]]:
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(quire_in(tmp_path_factory.mktemp("machine"))) as quire,
    ):
        TransferMachine.portal = portal
        TransferMachine.quire = quire
        yield TransferMachine


@pytest.fixture
def machine_on_servers(
    tmp_path: Path, postgres_url: str, qdrant_server: QdrantServer
) -> Iterator[type[TransferMachine]]:
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(
            quire_on_servers(tmp_path, postgres_url, qdrant_server)
        ) as quire,
    ):
        TransferMachine.portal = portal
        TransferMachine.quire = quire
        yield TransferMachine


def run(machine: type[TransferMachine], *, examples: int, steps: int) -> None:
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


@pytest.mark.timeout(300)
def test_transfers_are_as_the_model_says(machine: type[TransferMachine]) -> None:
    run(machine, examples=6, steps=15)


@pytest.mark.server
@pytest.mark.postgres
@pytest.mark.timeout(300)
def test_transfers_on_servers_are_as_the_model_says(
    machine_on_servers: type[TransferMachine],
) -> None:
    run(machine_on_servers, examples=3, steps=12)


@pytest.mark.soak
def test_transfers_are_as_the_model_says_for_long(machine: type[TransferMachine]) -> None:
    run(machine, examples=150, steps=40)


@pytest.mark.soak
@pytest.mark.server
@pytest.mark.postgres
def test_transfers_on_servers_are_as_the_model_says_for_long(
    machine_on_servers: type[TransferMachine],
) -> None:
    run(machine_on_servers, examples=60, steps=30)
