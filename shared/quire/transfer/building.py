"""Building a collection within a job: laid or copied, filled, its documents carried, counted."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from quire.content.models import DocumentStatus
from quire.content.repository import DocumentRepository
from quire.embedding.embedders import Embedders
from quire.errors import VerificationFailed
from quire.jobs.port import JobContext, Jobs
from quire.points.visibility import visible_chunks
from quire.sessions.lifecycle import State
from quire.sessions.models import Session
from quire.sessions.repository import SessionRepository
from quire.sessions.waking import Waker
from quire.store.database import Database
from quire.transfer.arbitration import Arbiter
from quire.transfer.carrying import Carrying
from quire.transfer.feeds import EVERYTHING, Build, Feed, Flow
from quire.transfer.filling import Filling, required
from quire.transfer.finale import Built
from quire.transfer.selection import Except, Selection
from quire.vectors.port import CollectionSpec, CopyPath, Distance, VectorEngine

CANCEL_SECONDS = 0.5
STREAMED = "streamed"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a build came to, as a job tells it."""

    points: int
    chunks: int
    next_seq: int
    path: str
    digest: str
    written: int
    left_out: int
    renamed: int
    lost_documents: Sequence[str] = ()
    """The session's own that lose against another's content."""

    def built(self, build: Build, **more: Any) -> Built:
        return Built(
            build.session_id,
            build.collection,
            self.points,
            self.chunks,
            self.next_seq,
            **{"dropped_documents": self.lost_documents, **more},
        )

    def as_json(self) -> dict[str, Any]:
        """Which way the points took, and what they were verified by."""
        return {
            "points": self.points,
            "chunks": self.chunks,
            "path": self.path,
            "digest": self.digest,
            "written": self.written,
            "left_out": self.left_out,
            "renamed": self.renamed,
        }


@dataclass(frozen=True, slots=True)
class Without:
    """What was moved elsewhere, and does not stay."""

    selections: Sequence[Selection]
    collections: Sequence[str]
    """Where it all is by now, each point in one of them."""


class Building:
    """Runs builds, step by step; every step may be repeated."""

    def __init__(
        self,
        database: Database,
        repository: SessionRepository,
        rows: DocumentRepository,
        engine: VectorEngine,
        embedders: Embedders,
        waker: Waker,
        jobs: Jobs,
    ) -> None:
        self._database = database
        self._repository = repository
        self._rows = rows
        self._engine = engine
        self._embedders = embedders
        self._waker = waker
        self._jobs = jobs

    async def run(
        self,
        context: JobContext,
        build: Build,
        *,
        total: int,
        done: int = 0,
        without: Without | None = None,
    ) -> Outcome:
        """Build the collection; answers what is in it. `without` is left out of the base's copy.

        `done` of the job's `total` points are done already.
        """
        name = build.session_id
        laid = await context.step(f"lay {name}", self._lay, build)
        if build.base is not None and laid["path"] == STREAMED:
            left = EVERYTHING if without is None else Except(EVERYTHING, without.selections)
            first = Feed(build.base, left)
            build = replace(build, base=None, feeds=[first, *build.feeds])
        flow = Flow()
        number = 0
        while flow.feed < len(build.feeds):
            number += 1
            told = await context.step(
                f"portion {number} of {name}", self._portion, context, build, flow, total, done
            )
            flow = Flow(**told)
        removed = 0
        if without is not None and build.base is not None:
            removed = await context.step(f"remove from {name}", self._remove, build, without)
        lost = await context.step(f"documents of {name}", self._documents, build, context.job_id)
        expected = laid["points"] + flow.written - removed
        counted = await context.step(f"count {name}", self._count, build, expected)
        return Outcome(
            **counted,
            path=laid["path"],
            digest=flow.digest,
            written=flow.written,
            left_out=flow.left_out,
            renamed=flow.renamed,
            lost_documents=lost,
        )

    async def _lay(self, build: Build) -> Mapping[str, Any]:
        """An empty collection, or a copy of the base; answers which, and how much is in it."""
        engine, target = self._engine, build.collection
        await self._waker.room()
        await engine.drop(target)
        path: CopyPath | None = None
        if build.base is not None:
            base = await self.session(build.base)
            if not base.hidden_stages:
                path = await engine.copy(base.collection, target)
        if path is None:
            session = await self.session(build.session_id, awake=False)
            embedding = session.embedding
            spec = CollectionSpec(embedding.dimension, Distance(embedding.distance))
            await engine.create(target, spec)
            for key, kind in (await self._indexes(build)).items():
                if key not in spec.indexes:
                    await engine.create_index(target, key, kind)
        if path is None or build.feeds:
            # Not where points are only removed: a server (1.16) that is told to index otherwise
            # while it indexes gives back what was deleted meanwhile.
            await engine.begin_filling(target)
        points = await engine.count(target) if path is not None else 0
        return {"path": STREAMED if path is None else path.value, "points": points}

    async def _indexes(self, build: Build) -> Mapping[str, Any]:
        """The payload indexes of all that flows in; of two kinds the first counts."""
        indexes: dict[str, Any] = {}
        for session_id in dict.fromkeys([build.base, *(f.session_id for f in build.feeds)]):
            if session_id is not None:
                session = await self.session(session_id)
                indexes = {**(await self._engine.info(session.collection)).indexes, **indexes}
        return indexes

    async def _portion(
        self, context: JobContext, build: Build, start: Flow, total: int, done: int
    ) -> Mapping[str, Any]:
        sessions = [await self.session(feed.session_id) for feed in build.feeds]
        target = await self.session(build.session_id, awake=False)
        base = None if build.base is None else await self.session(build.base)
        job_id = context.job_id
        filling = Filling(
            self._engine, self._database, self._embedders, build, sessions, target, base, job_id
        )
        carrying = self._carrying(build, job_id)
        looked_at = time.monotonic()

        async def may_go_on(flow: Flow) -> bool:
            nonlocal looked_at
            await context.progress(min(total, done + flow.written + flow.left_out), total, "points")
            if time.monotonic() - looked_at < CANCEL_SECONDS:
                return True
            looked_at = time.monotonic()
            return not (await self._jobs.get(job_id)).cancel_requested

        return (await filling.portion(start, carrying.with_chunks, may_go_on)).as_json()

    async def _remove(self, build: Build, without: Without) -> int:
        """Remove from the copy what others have of it; answers how much that is."""
        removed = 0
        for name in without.collections:
            stream = self._engine.ids(name)
            try:
                async for ids in stream:
                    await self._engine.delete(build.collection, ids)
                    removed += len(ids)
            finally:
                await stream.aclose()
        return removed

    async def _documents(self, build: Build, job_id: str) -> Sequence[str]:
        """Carry those of all who give everything; answers which of its own the session loses."""
        carrying = self._carrying(build, job_id)
        lost: list[str] = []
        for status in (DocumentStatus.READY, DocumentStatus.FAILED):
            if build.base not in (None, build.session_id):
                await carrying.of_session(Feed(str(build.base)), status)
            for number, feed in enumerate(build.feeds):
                if feed.takes_everything:
                    left_out = await carrying.of_session(feed, status, number)
                    lost += left_out if feed.session_id == build.session_id else []
        return lost

    async def _count(self, build: Build, expected: int) -> Mapping[str, int]:
        engine, collection = self._engine, build.collection
        await engine.end_filling(collection)
        await engine.flush(collection)
        points = await engine.count(collection)
        if points != expected:
            raise VerificationFailed(f"Of {expected} points, {points} are in the new collection")
        whole = replace(await self.session(build.session_id, awake=False), hidden_stages=())
        chunks = await engine.count(collection, visible_chunks(whole))
        next_seq = 0
        for feed in build.feeds:
            session = await self.session(feed.session_id, awake=False)
            next_seq = max(next_seq, session.next_seq + feed.seq_offset)
        if build.base is not None:
            next_seq = max(next_seq, (await self.session(build.base, awake=False)).next_seq)
        return {"points": points, "chunks": chunks, "next_seq": next_seq}

    def _carrying(self, build: Build, job_id: str) -> Carrying:
        arbiter = Arbiter(self._engine, self._database, build, job_id)
        return Carrying(self._database, self._rows, arbiter, build, job_id)

    async def announce(self, made: Sequence[str], archived: Sequence[str] = ()) -> None:
        """Say what a transfer that is concluded made, and what may now go cold."""
        for session_id in (*made, *archived):
            session = await self._repository.get(session_id)
            if session is None:
                continue
            if session.state is State.ARCHIVED:
                self._waker.sleep_soon(session)
            elif session_id in made:
                self._waker.made(session)

    async def session(self, session_id: str, *, awake: bool = True) -> Session:
        """The session as it is; where its points are wanted, with its collection in the engine."""
        session = required(await self._repository.get(session_id), session_id)
        return await self._waker.awake(session) if awake else session
