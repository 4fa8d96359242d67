"""Points as pipelines bring and take them: their own ids, vectors and payloads."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from quire.access import policy
from quire.access.policy import Role
from quire.access.principal import Principal
from quire.embedding.embedders import Embedders
from quire.errors import CollectionNotFound, Conflict, InvalidInput, PointNotFound
from quire.points.counters import Counters, Done, Moved, moved
from quire.points.facets import counted_values
from quire.points.preparation import Preparation, laid
from quire.points.requests import (
    OF_CHUNKS,
    PointQuery,
    Selection,
    new_assignments,
    new_points,
    placed,
    written_fields,
)
from quire.points.visibility import consistent, require_writable, visible, visible_chunks
from quire.sessions.models import Session
from quire.sessions.repository import SessionRepository
from quire.sessions.sessions import Sessions
from quire.settings import LimitSettings
from quire.vectors.port import (
    MAX_PAGE,
    STAGE,
    AllOf,
    Condition,
    FacetCount,
    HasId,
    Missing,
    NoneOf,
    Payload,
    PointId,
    Query,
    Record,
    RecordPage,
    ScoredRecord,
    VectorEngine,
)
from quire.vectors.validation import dense_vector, point_id, sparse_vector

T = TypeVar("T")
R = TypeVar("R", bound=Record)

EVERYTHING = AllOf(())
ATTEMPTS = 5


@dataclass(frozen=True, slots=True)
class Upserted:
    """What came of an upsert: the ids, in the order of the request, and what there is now."""

    ids: Sequence[PointId]
    points_count: int


class Points:
    """Writes and reads points on behalf of a caller. What readers may not see yet is not there.

    Chunks are points too: they are read, queried, labelled and deleted like any other. But it is
    their document that writes them, so no upsert replaces one.
    """

    def __init__(
        self,
        sessions: Sessions,
        repository: SessionRepository,
        engine: VectorEngine,
        embedders: Embedders,
        limits: LimitSettings,
    ) -> None:
        self._sessions = sessions
        self._engine = engine
        self._limits = limits
        self._preparation = Preparation(embedders)
        self._counters = Counters(sessions, repository, engine)

    async def upsert(
        self, principal: Principal, session_id: str, points: Sequence[Any]
    ) -> Upserted:
        """Write points, `{id?, vector | text, payload?, sparse?}`, replacing those of their ids.

        All of them are checked before the first is written. Repeating it is harmless.
        """
        session = await self._writable(principal, session_id)
        new = new_points(points, self._limits)
        prepared = await self._preparation.prepare(session, new)
        ids = [point.id for point in new]

        async def write(session: Session) -> Session:
            await self._require_no_chunk(session, ids)
            with placed():
                await self._engine.upsert(session.collection, prepared.points)
            return await self._counters.settle(
                principal, session, self._counters.points, Done(embedded=prepared.embedded)
            )

        settled = await self._write(principal, session, write)
        return Upserted(ids, settled.points_count)

    async def set_payload(
        self, principal: Principal, session_id: str, payload: Any, selection: Selection
    ) -> int:
        """Merge fields into the selected points' payload (null removes one); answers how many."""
        session = await self._writable(principal, session_id)
        fields = written_fields(payload)
        chosen = selection.condition()

        async def write(session: Session) -> int:
            shown = visible(session, chosen) or EVERYTHING
            await self._require_not_of_chunks(session, fields, "payload", chosen)
            matched = await self._engine.count(session.collection, shown)
            await self._engine.set_payload(session.collection, fields, shown)
            await self._counters.settle(principal, session, self._counters.nothing)
            return matched

        return await self._write(principal, session, write)

    async def assign(
        self, principal: Principal, session_id: str, assignments: Sequence[Any]
    ) -> int:
        """`set_payload` with several payloads at once, `[{ids, payload}]`: labels of clusters.

        No id may be in two of them. Answers how many points there were of these ids.
        """
        session = await self._writable(principal, session_id)
        merged = new_assignments(assignments, self._limits)
        every = HasId([identity for assignment in merged for identity in assignment.ids])
        fields = {name for assignment in merged for name in assignment.payload}

        async def write(session: Session) -> int:
            await self._require_not_of_chunks(session, fields, "assignments", every)
            matched = await self._engine.count(session.collection, visible(session, every))
            for assignment in merged:
                shown = visible(session, HasId(assignment.ids)) or EVERYTHING
                await self._engine.set_payload(session.collection, assignment.payload, shown)
            await self._counters.settle(principal, session, self._counters.nothing)
            return matched

        return await self._write(principal, session, write)

    async def delete(self, principal: Principal, session_id: str, selection: Selection) -> int:
        """Remove the selected points; answers how many there were."""
        session = await self._writable(principal, session_id)
        chosen = selection.condition()
        own = [Missing(STAGE)] if chosen is None else [chosen, Missing(STAGE)]

        async def write(session: Session) -> int:
            matched = await self._engine.count(session.collection, visible(session, chosen))
            await self._engine.delete(session.collection, AllOf(own))
            took_chunks = await self._delete_chunks(session, chosen)
            await self._counters.settle(
                principal, session, self._counters.points_and_chunks, Done(took_chunks=took_chunks)
            )
            return matched

        return await self._write(principal, session, write)

    async def get(
        self,
        principal: Principal,
        session_id: str,
        identity: PointId,
        *,
        with_vectors: bool = False,
    ) -> Record:
        """One point."""

        async def read(session: Session) -> Record:
            return await self._find(session, identity, "id", with_vectors=with_vectors)

        return _shown(await self._read(principal, session_id, read))

    async def scroll(
        self,
        principal: Principal,
        session_id: str,
        filter: Condition | None = None,
        *,
        cursor: PointId | None = None,
        limit: int = 100,
        with_vectors: bool = False,
    ) -> RecordPage:
        """A page of points in the order of their ids."""

        async def read(session: Session) -> RecordPage:
            return await self._engine.scroll(
                session.collection,
                filter=visible(session, filter),
                cursor=cursor,
                limit=limit,
                with_vectors=with_vectors,
            )

        page = await self._read(principal, session_id, read)
        return RecordPage([_shown(record) for record in page.records], page.next_cursor)

    async def query(
        self, principal: Principal, session_id: str, query: PointQuery
    ) -> Sequence[ScoredRecord]:
        """The points nearest to a vector, a text or another point, or of certain words."""
        query.checked(self._limits)

        async def read(session: Session) -> Sequence[ScoredRecord]:
            return await self._engine.query(
                session.collection, await self._engine_query(session, query)
            )

        return [_shown(record) for record in await self._read(principal, session_id, read)]

    async def count(
        self, principal: Principal, session_id: str, filter: Condition | None = None
    ) -> int:
        """How many points there are, or match."""

        async def read(session: Session) -> int:
            return await self._engine.count(session.collection, visible(session, filter))

        return await self._read(principal, session_id, read)

    async def facets(
        self,
        principal: Principal,
        session_id: str,
        key: str,
        filter: Condition | None = None,
        *,
        limit: int = 100,
    ) -> Sequence[FacetCount]:
        """How many points have each value of a payload field, most frequent first."""

        async def read(session: Session) -> Sequence[FacetCount]:
            return await counted_values(self._engine, session, key, filter, limit)

        return await self._read(principal, session_id, read)

    async def _writable(self, principal: Principal, session_id: str) -> Session:
        """The session, for someone who may write its points now; nothing is written before."""
        session = await self._sessions.peek(principal, session_id)
        policy.require(principal, session, Role.WRITE)
        require_writable(session)
        return await self._sessions.awake(session)

    async def _write(
        self, principal: Principal, session: Session, write: Callable[[Session], Awaitable[T]]
    ) -> T:
        """What `write` does, again if the session fell asleep or woke meanwhile.

        It is harmless to repeat. Under another model it is not: what is written was made for this.
        """
        for _ in range(ATTEMPTS):
            try:
                return await write(session)
            except (CollectionNotFound, Moved):
                await self._sessions.peek(principal, session.id)  # it may have gone altogether
                latest = await self._sessions.found_again(session)
                if latest is None or latest.collection == session.collection:
                    raise
                if latest.embedding != session.embedding:
                    raise moved(latest) from None
                require_writable(latest)
                session = latest
        raise moved(session)

    async def _read(
        self, principal: Principal, session_id: str, read: Callable[[Session], Awaitable[T]]
    ) -> T:
        session = await self._sessions.open(principal, session_id)
        try:
            return await consistent(self._sessions, session, read)
        except CollectionNotFound:
            await self._sessions.peek(principal, session_id)  # it may have gone with its session
            raise

    async def _require_no_chunk(self, session: Session, ids: Sequence[PointId]) -> None:
        chunks = AllOf([HasId(ids), NoneOf([Missing(STAGE)])])  # those not shown yet as well
        page = await self._engine.scroll(session.collection, filter=chunks, limit=1)
        for record in page.records:
            place = f"points[{ids.index(record.id)}].id"
            raise Conflict(
                f"{place}: {record.id} is a chunk of document {record.payload.get('document_id')}, "
                "and documents write their chunks themselves",
                recovery="Use another id. To label a chunk, write payload fields: "
                "POST /sessions/{id}/points/payload.",
                field=place,
            )

    async def _require_not_of_chunks(
        self, session: Session, fields: Iterable[str], place: str, chosen: Condition | None
    ) -> None:
        reserved = sorted(OF_CHUNKS.intersection(fields))
        if reserved and await self._engine.count(
            session.collection, visible_chunks(session, chosen)
        ):
            raise InvalidInput(
                f"{place}: a chunk has its {', '.join(reserved)} from its document, and there are "
                "chunks among these points",
                field=place,
                recovery="Use other names, or select points that are no chunks.",
            )

    async def _delete_chunks(self, session: Session, chosen: Condition | None) -> bool:
        """By their ids, as seen: a filter could take chunks that an ingest is just bringing."""
        cursor: PointId | None = None
        some = False
        while True:

            async def read(seen: Session, start: PointId | None = cursor) -> RecordPage:
                condition = visible_chunks(seen, chosen)
                return await self._engine.scroll(
                    seen.collection, filter=condition, cursor=start, limit=MAX_PAGE
                )

            page = await consistent(self._sessions, session, read)
            if page.records:
                some = True
                ids = [record.id for record in page.records]
                await self._engine.delete(session.collection, ids)
            cursor = page.next_cursor
            if cursor is None:
                return some

    async def _find(
        self, session: Session, identity: PointId, place: str, *, with_vectors: bool
    ) -> Record:
        with placed():
            wanted = point_id(identity, place)
        found = await self._engine.retrieve(session.collection, [wanted], with_vectors=with_vectors)
        for record in found:
            if record.payload.get(STAGE) not in session.hidden_stages:
                return record
        raise PointNotFound(f"Session {session.id} has no point {wanted}")

    async def _engine_query(self, session: Session, query: PointQuery) -> Query:
        """The query for the engine; its vector is of the model whose vectors are there to see."""
        asked = Query(
            filter=visible(session, query.filter),
            limit=query.limit,
            offset=query.offset,
            score_threshold=query.score_threshold,
            exact=query.exact,
            with_payload=query.with_payload,
            with_vectors=query.with_vectors,
        )
        if query.sparse is not None:
            with placed():
                return replace(asked, sparse=sparse_vector(query.sparse, "sparse"))
        if query.text is not None:
            embedder = await self._preparation.embedder(session, "text")
            return replace(asked, dense=await embedder.query(query.text))
        if query.like is None:
            with placed():
                return replace(
                    asked, dense=dense_vector(query.vector or (), laid(session), "vector")
                )
        like = await self._find(session, query.like, "id", with_vectors=True)
        if like.dense is None:
            raise InvalidInput(f"id: point {like.id} has no vector to compare with", field="id")
        others: Condition = NoneOf([HasId([like.id])])
        return replace(
            asked,
            dense=like.dense,
            filter=others if asked.filter is None else AllOf([asked.filter, others]),
        )


def _shown(record: R) -> R:
    """The record without what is Quire's own."""
    if STAGE not in record.payload:
        return record
    payload: Payload = {name: v for name, v in record.payload.items() if name != STAGE}
    return replace(record, payload=payload)
