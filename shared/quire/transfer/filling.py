"""Filling a collection from others: read ahead, written and read back, in portions.

What was written is read back at once and compared with what was meant, so that what is wrong is
found before anybody relies on it. A portion may be run again: the same points are written again.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

from quire.content.reembedding import embedded_anew
from quire.embedding.embedders import Embedders
from quire.errors import QuireError, VerificationFailed
from quire.points.visibility import visible
from quire.sessions.identity import identity_of
from quire.sessions.models import Session
from quire.store.database import Database
from quire.transfer.arbitration import Arbiter, Verdict
from quire.transfer.feeds import Build, Feed, Flow
from quire.transfer.selection import selected
from quire.vectors.digest import Digest, digest_of
from quire.vectors.port import STAGE, Point, Record, VectorEngine

PATIENCE_SECONDS = 8.0
IN_FLIGHT = 3
TOLERANCE = 1e-5

Carry = Callable[[int, Sequence[Record]], Awaitable[None]]
GoOn = Callable[[Flow], Awaitable[bool]]


class Filling:
    """Writes the points of a build's feeds, one portion at a time."""

    def __init__(
        self,
        engine: VectorEngine,
        database: Database,
        embedders: Embedders,
        build: Build,
        sessions: Sequence[Session],
        target: Session,
        base: Session | None,
        job_id: str,
    ) -> None:
        """`sessions` are the feeds' own, in their order; `target` is what the build is for."""
        self._engine = engine
        self._embedders = embedders
        self._build = build
        self._sessions = sessions
        self._target = target
        self._base = base
        self._arbiter = Arbiter(engine, database, build, job_id)

    async def portion(self, start: Flow, carry: Carry, may_go_on: GoOn) -> Flow:
        """Write points for a while; answers where to go on.

        `carry` is told of the points of a feed before they are written.
        """
        deadline = time.monotonic() + PATIENCE_SECONDS
        flow = start
        while flow.feed < len(self._build.feeds):
            flow, ended = await self._feed(flow, carry, may_go_on, deadline)
            if not ended:
                return flow
            flow = replace(flow, feed=flow.feed + 1, after=None)
        return flow

    async def _feed(
        self, flow: Flow, carry: Carry, may_go_on: GoOn, deadline: float
    ) -> tuple[Flow, bool]:
        feed, session = self._build.feeds[flow.feed], self._sessions[flow.feed]
        batches = selected(
            self._engine,
            session.collection,
            feed.selection,
            shown=visible(session),
            after=flow.after,
        )
        under_way: deque[asyncio.Task[Written]] = deque()
        try:
            async for records in batches:
                under_way.append(asyncio.create_task(self._write(flow.feed, records, carry)))
                if len(under_way) == IN_FLIGHT:
                    flow = _after(flow, await under_way.popleft())
                    if time.monotonic() > deadline or not await may_go_on(flow):
                        return await _all(flow, under_way), False
            return await _all(flow, under_way), True
        finally:
            for task in under_way:
                task.cancel()
            await asyncio.gather(*under_way, return_exceptions=True)
            await batches.aclose()

    async def _write(self, number: int, records: Sequence[Record], carry: Carry) -> Written:
        feed = self._build.feeds[number]
        earlier = [session.collection for session in self._sessions[:number]]
        if self._base is not None:
            earlier.append(self._base.collection)
        everywhere = [*earlier, *(s.collection for s in self._sessions[number:])]
        verdict = await self._arbiter.decide(number, earlier, everywhere, records)
        await carry(number, verdict.records)
        points = await self._points(feed, verdict.records)
        if points:
            await self._engine.upsert(self._build.collection, points, as_read=not feed.reembed)
        digest = await verified(
            self._engine, self._build.collection, points, exact=not feed.reembed
        )
        return Written(records[-1], verdict, digest)

    async def _points(self, feed: Feed, records: Sequence[Record]) -> list[Point]:
        if feed.reembed and records:
            embedder = await self._embedders.of(identity_of(self._target.embedding))
            points = await embedded_anew(records, embedder)
        else:
            points = [Point(r.id, r.dense, r.sparse, r.payload) for r in records]
        if not feed.seq_offset:
            return points
        return [_moved_on(point, feed.seq_offset) for point in points]


class Written:
    """What one batch came to."""

    __slots__ = ("digest", "last", "verdict")

    def __init__(self, last: Record, verdict: Verdict, digest: Digest) -> None:
        self.last = last
        self.verdict = verdict
        self.digest = digest


async def verified(
    engine: VectorEngine, collection: str, points: Sequence[Point], *, exact: bool
) -> Digest:
    """The digest of these points as they arrived; raises if they are not what was sent.

    With `exact` false the engine may have normalised the vectors.
    """
    if not points:
        return Digest()
    ids = [point.id for point in points]
    arrived = await engine.retrieve(collection, ids, with_vectors=True)
    compare = _same if exact else _alike
    if not await asyncio.to_thread(compare, points, arrived):
        raise VerificationFailed(
            f"Of {len(points)} points that were written, {len(arrived)} arrived, not all of "
            "them as they were sent"
        )
    return await asyncio.to_thread(digest_of, arrived)


async def _all(flow: Flow, under_way: deque[asyncio.Task[Written]]) -> Flow:
    while under_way:
        flow = _after(flow, await under_way.popleft())
    return flow


def _after(flow: Flow, batch: Written) -> Flow:
    total = Digest.parsed(flow.written, flow.digest) + batch.digest
    return replace(
        flow,
        after=batch.last.id,
        written=total.count,
        digest=str(total),
        left_out=flow.left_out + batch.verdict.left_out,
        renamed=flow.renamed + batch.verdict.renamed,
    )


def _moved_on(point: Point, offset: int) -> Point:
    """A chunk, so many places further on in its session."""
    if STAGE not in point.payload:
        return point
    return replace(point, payload={**point.payload, "seq": point.payload["seq"] + offset})


def _same(sent: Sequence[Point], arrived: Sequence[Record]) -> bool:
    """Point by point: much quicker than two digests where nothing is amiss."""
    if len(sent) != len(arrived):
        return False
    pairs = zip(sent, arrived, strict=True)
    return all(_equal(point, record) for point, record in pairs) or (
        digest_of(sent) == digest_of(arrived)
    )


def _equal(point: Point, record: Record) -> bool:
    return (
        point.id == record.id
        and point.payload == record.payload
        and point.dense == record.dense
        and point.sparse == record.sparse
    )


def _alike(sent: Sequence[Point], arrived: Sequence[Record]) -> bool:
    """The same but for the length and the last digits of the vectors."""
    if digest_of(replace(p, dense=None) for p in sent) != digest_of(
        replace(r, dense=None) for r in arrived
    ):
        return False
    found = {record.id: record for record in arrived}
    return all(_parallel(point.dense, found[_canonical(point)].dense) for point in sent)


def _canonical(point: Point) -> int | str:
    return point.id if isinstance(point.id, int) else point.id.lower()


def _parallel(one: Sequence[float] | None, other: Sequence[float] | None) -> bool:
    if one is None or other is None:
        return one is other
    length = sum(x * x for x in one) ** 0.5 * sum(y * y for y in other) ** 0.5
    dot = sum(x * y for x, y in zip(one, other, strict=True))
    return bool(length == 0 or abs(dot / length - 1) < TOLERANCE)


def required(session: Session | None, session_id: str) -> Session:
    """The session, which a job still needs."""
    if session is None:
        raise QuireError(f"Session {session_id} is gone")
    return session
