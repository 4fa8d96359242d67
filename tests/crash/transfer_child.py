"""A process that merges, splits and forks its sessions until somebody kills it.

Run as `python -m tests.crash.transfer_child JOURNAL SEED`, with the settings in the environment.
Each worker is an owner of its own: what it has afterwards is all of its sessions.
"""

from __future__ import annotations

import json
import random
from typing import Any

from quire.access.principal import Principal, Scope
from quire.activity.invocation_models import NewInvocation
from quire.activity.message_models import MessageRole, NewMessage
from quire.app import Quire
from quire.jobs.port import JobStatus
from quire.sessions.requests import NewSession
from quire.transfer import filling
from quire.transfer.feeds import OnConflict
from quire.transfer.merge_request import MergeRequest
from quire.transfer.split_request import ByField, SplitRequest
from quire.transfer.targets import NewTarget
from tests.crash.doomed import work_until_killed
from tests.crash.journal import Journal
from tests.transfer.files import in_blocks
from tests.transfer.model import DIMENSION, as_request, numbered_points

WIDTH = 2
LARGE = 1_500
SESSIONS_MAX = 6


def owner(name: str) -> Principal:
    return Principal(name, scope=Scope.WRITE)


class Worker:
    """Works on the sessions of one owner; an operation is in the journal before it is begun."""

    def __init__(self, quire: Quire, journal: Journal, chance: random.Random, name: str) -> None:
        self._quire = quire
        self._journal = journal
        self._chance = chance
        self._name = name
        self._who = owner(name)
        self._sessions: list[str] = []
        self._next = 0

    async def work(self) -> None:
        while True:
            if len(self._sessions) < 2:
                await self._create()
                continue
            doing = [self._merge, self._join, self._split, self._fork]
            if len(self._sessions) >= SESSIONS_MAX:
                doing = [self._delete]
            await self._chance.choice(doing)()

    def _begin(self, *operation: object) -> str:
        told = json.dumps(operation)
        self._journal.write(self._name, told, "begin")
        return told

    def _done(self, told: str, *made: str) -> None:
        """What the operation made is known only now."""
        self._journal.write(self._name, json.dumps([told, *made]), "done")

    async def _create(self) -> None:
        """Ids are counted on, so that no two sessions of an owner have one in common."""
        number = self._chance.choice([1, 40, LARGE])
        session_id = f"{self._name}-{self._next}"
        told = self._begin("create", session_id, self._next, number)
        new = NewSession(id=session_id, name=session_id, dimension=DIMENSION, distance="dot")
        await self._quire.creation.create(self._who, new)
        self._done(told)
        requested = as_request(numbered_points(self._next, number))
        told = self._begin("fill", session_id, self._next, number)
        for start in range(0, number, 1_000):
            batch = requested[start : start + 1_000]
            await self._quire.points.upsert(self._who, session_id, batch)
        self._done(told)
        await self._work(session_id)
        self._next += LARGE
        self._sessions.append(session_id)

    async def _work(self, session_id: str) -> None:
        """Names that every session gives, to other things: they are told apart where they meet."""
        activity, text = self._quire.activity, f"about {session_id}"
        await activity.attachments.put(self._who, session_id, "notes.txt", in_blocks(text.encode()))
        use = NewInvocation(tool="write", id="first", attachments=["notes.txt"])
        await activity.invocations.record(self._who, session_id, use)
        said = [NewMessage(role=MessageRole.USER, content=text, id=f"m{n}") for n in range(3)]
        await activity.messages.append(self._who, session_id, said)

    async def _merge(self) -> None:
        sources = self._chance.sample(self._sessions, 2)
        request = MergeRequest(
            source_session_ids=sources,
            target_name="merged",
            archive_sources=self._chance.random() < 0.5,
            on_conflict=OnConflict.SKIP,
        )
        told = self._begin("merge", *sources)
        made = await self._finished(await self._quire.transfers.merge.begin(self._who, request))
        self._done(told, made["session_id"])
        self._sessions.append(made["session_id"])

    async def _join(self) -> None:
        source, target = self._chance.sample(self._sessions, 2)
        request = MergeRequest(
            source_session_ids=[source],
            target_session_id=target,
            archive_sources=False,
            on_conflict=OnConflict.SKIP,
        )
        told = self._begin("join", source, target)
        await self._finished(await self._quire.transfers.merge.begin(self._who, request))
        self._done(told)

    async def _split(self) -> None:
        session_id = self._chance.choice(self._sessions)
        move = self._chance.random() < 0.5
        told = self._begin("split", session_id, move)
        request = SplitRequest(by=ByField(field="label", names="{value}"), remove_points=move)
        made = await self._finished(
            await self._quire.transfers.split.begin(self._who, session_id, request)
        )
        parts = [await self._quire.sessions.peek(self._who, it) for it in made["new_session_ids"]]
        self._done(told, *(f"{part.name}={part.id}" for part in parts))
        if move:
            self._sessions.remove(session_id)  # it is empty, and cannot be split again
        self._sessions += [part.id for part in parts]

    async def _fork(self) -> None:
        session_id = self._chance.choice(self._sessions)
        told = self._begin("fork", session_id)
        target = NewTarget(name="fork")
        job_id, made = await self._quire.transfers.fork.begin(self._who, session_id, target)
        await self._finished(job_id)
        self._done(told, made)
        self._sessions.append(made)

    async def _delete(self) -> None:
        session_id = self._chance.choice(self._sessions)
        told = self._begin("delete", session_id)
        await self._quire.sessions.delete_for_good(self._who, session_id)
        self._done(told)
        self._sessions.remove(session_id)

    async def _finished(self, job_id: str) -> dict[str, Any]:
        job = await self._quire.jobs.wait(job_id, 60)
        assert job.status is JobStatus.SUCCEEDED, job
        return dict(job.result or {})


if __name__ == "__main__":
    filling.PATIENCE_SECONDS = 0.02  # many steps, so that kills fall between and within them
    work_until_killed(Worker, width=WIDTH, letter="t")
