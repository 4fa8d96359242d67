"""Finding hits in one session or several: by vector, by words, or by filter alone."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace

from quire.embedding.embedders import Embedders
from quire.embedding.port import Identity
from quire.errors import InvalidInput
from quire.points.visibility import consistent, visible
from quire.retrieval.hits import Hit
from quire.retrieval.requests import Mode, SearchRequest
from quire.sessions.identity import identity_of
from quire.sessions.models import Session
from quire.sessions.sessions import Sessions
from quire.vectors.bm25 import Bm25
from quire.vectors.fusion import MIN_CANDIDATES, rank_fused
from quire.vectors.port import (
    MAX_PAGE,
    AllOf,
    Condition,
    Missing,
    PointId,
    Query,
    Range,
    Record,
    RecordPage,
    SparseVector,
    VectorEngine,
)

SESSIONS_AT_ONCE = 8
FIRST_WINDOW = 1_000


@dataclass(frozen=True, slots=True)
class Asked:
    """What the question is to an engine: its vectors, for one model."""

    dense: Sequence[float] | None
    sparse: SparseVector | None


class Finder:
    """Asks engines, and puts what they answer into one order."""

    def __init__(self, sessions: Sessions, engine: VectorEngine, embedders: Embedders) -> None:
        self._sessions = sessions
        self._engine = engine
        self._embedders = embedders
        self._bm25 = Bm25()

    async def find(
        self, sessions: Sequence[Session], request: SearchRequest, *, depth: int, vectors: bool
    ) -> list[Hit]:
        """The best hits, so many at most, best first."""
        if request.text is None and request.vector is None:
            return await self._listed(sessions, request, depth)
        asked = await self._ask(sessions, request)
        query = Query(
            limit=min(depth, MAX_PAGE),
            filter=request.condition,
            score_threshold=request.score_threshold,
            exact=request.exact,
            with_vectors=vectors,
            dense_weight=request.dense_weight,
            sparse_weight=request.keyword_weight,
        )
        if len(sessions) == 1:
            (session,) = sessions
            question = asked[identity_of(session.embedding)]
            return await self._query(session, _asking(query, question))
        return await self._across(sessions, asked, query)

    async def _ask(
        self, sessions: Sequence[Session], request: SearchRequest
    ) -> dict[Identity, Asked]:
        """The question's vectors, made once for every model that the sessions have."""
        sparse = None
        if request.mode is not Mode.DENSE and request.text is not None:
            words = self._bm25.query(request.text)
            sparse = words if words.indices else None  # nothing but stop words
        asked: dict[Identity, Asked] = {}
        for session in sessions:
            identity = identity_of(session.embedding)
            if identity in asked:
                continue
            dense = request.vector
            if dense is not None:
                _check_dimension(dense, session)
            elif request.mode is not Mode.KEYWORD and request.text is not None:
                dense = await (await self._embedders.of(identity)).query(request.text)
            asked[identity] = Asked(dense, sparse)
        return asked

    async def _query(self, session: Session, query: Query) -> list[Hit]:
        if query.dense is None and query.sparse is None:
            return []

        async def read(session: Session) -> list[Hit]:
            shown = replace(query, filter=visible(session, query.filter))
            found = await self._engine.query(session.collection, shown)
            return [Hit(session, record, record.score) for record in found]

        return await consistent(self._sessions, session, read)

    async def _listed(
        self, sessions: Sequence[Session], request: SearchRequest, depth: int
    ) -> list[Hit]:
        """Without a question: what the filter lets through, chunks in their order."""
        hits: list[Hit] = []
        for session in sessions:

            async def read(session: Session) -> list[Record]:
                return await self._in_order(session, request, depth)

            records = await consistent(self._sessions, session, read)
            hits += [Hit(session, record, 1.0) for record in records]
        return hits[:depth]

    async def _in_order(self, session: Session, request: SearchRequest, depth: int) -> list[Record]:
        """The first that the filter lets through: chunks by their seq, then other points by id.

        Engines give points out by id, so many matches are read a window of seqs at a time.
        """
        wanted = visible(session, request.condition)

        async def page(*conditions: Condition, cursor: PointId | None = None) -> RecordPage:
            return await self._engine.scroll(
                session.collection,
                filter=AllOf([c for c in (wanted, *conditions) if c is not None]),
                cursor=cursor,
                limit=MAX_PAGE,
                with_vectors=request.with_vectors,
            )

        whole = await page()
        if whole.next_cursor is None:
            return sorted(whole.records, key=_place)[:depth]
        found: list[Record] = []
        start, width = 0, FIRST_WINDOW
        while len(found) < depth and start < session.next_seq:
            part = await page(Range("seq", gte=start, lt=start + width))
            if part.next_cursor is not None:
                width //= 2
                continue
            found += sorted(part.records, key=_place)
            start, width = start + width, width * 2
        cursor: PointId | None = None
        while len(found) < depth:
            others = await page(Missing("seq"), cursor=cursor)
            found += others.records
            if (cursor := others.next_cursor) is None:
                break
        return found[:depth]

    async def _across(
        self, sessions: Sequence[Session], asked: dict[Identity, Asked], query: Query
    ) -> list[Hit]:
        """Several sessions as if they were one.

        Ranks of different sessions say nothing of each other, scores of one model do: so the hits
        of each kind are put in the order of their scores first, and what cannot be compared
        (meaning and words, two models) is fused by rank after that.
        """
        deep = replace(query, limit=min(MAX_PAGE, max(query.limit, MIN_CANDIDATES)))
        slots = asyncio.Semaphore(SESSIONS_AT_ONCE)

        async def ask(session: Session, question: Asked) -> list[Hit]:
            async with slots:
                return await self._query(session, _asking(deep, question))

        kinds: dict[object, tuple[float, list[Session], list[Asked]]] = {}
        for session in sessions:
            identity = identity_of(session.embedding)
            question = asked[identity]
            for kind, weight, alone in (
                (identity, query.dense_weight, Asked(question.dense, None)),
                ("words", query.sparse_weight, Asked(None, question.sparse)),
            ):
                _, members, questions = kinds.setdefault(kind, (weight, [], []))
                members.append(session)
                questions.append(alone)
        is_fused = sum(any(a.dense or a.sparse for a in asks) for _, _, asks in kinds.values()) > 1
        if is_fused:
            deep = replace(deep, score_threshold=None)  # it is meant for the fused scores
        found: dict[str, Hit] = {}
        rankings = []
        for weight, members, questions in kinds.values():
            lists = await asyncio.gather(*map(ask, members, questions))
            ranking = sorted((hit for hits in lists for hit in hits), key=lambda hit: -hit.score)
            for hit in ranking:
                found.setdefault(_key(hit), hit)
            rankings.append((weight, [(_key(hit), hit.score) for hit in ranking]))
        if not is_fused:
            merged = sorted(found.values(), key=lambda hit: (-hit.score, _key(hit)))
            return merged[: query.limit]
        fused = rank_fused(rankings)
        threshold = query.score_threshold
        return [
            replace(found[str(key)], score=score)
            for key, score in fused[: query.limit]
            if threshold is None or score >= threshold
        ]


def _asking(query: Query, asked: Asked) -> Query:
    return replace(query, dense=asked.dense, sparse=asked.sparse)


def _key(hit: Hit) -> str:
    return f"{hit.session.id}\n{hit.record.id}"


def _place(record: Record) -> tuple[float, str]:
    seq = record.payload.get("seq")
    return (seq if isinstance(seq, int | float) else float("inf")), str(record.id)


def _check_dimension(vector: Sequence[float], session: Session) -> None:
    if len(vector) != session.embedding.dimension:
        raise InvalidInput(
            f"vector has {len(vector)} dimensions, those of session {session.id} have "
            f"{session.embedding.dimension}",
            field="vector",
        )
