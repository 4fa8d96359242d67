"""Searching a session, or several at once, and keeping what was found for its later pages."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from quire.access.principal import Principal
from quire.content.repository import DocumentRepository
from quire.embedding.embedders import Embedders
from quire.errors import InvalidInput, LimitExceeded
from quire.retrieval.diversity import diversify
from quire.retrieval.finding import Finder
from quire.retrieval.hits import Hit
from quire.retrieval.items import hit_item
from quire.retrieval.neighbours import with_neighbours
from quire.retrieval.pages import QueryPage, QueryPages
from quire.retrieval.requests import SearchRequest
from quire.sessions.models import Session
from quire.sessions.sessions import Sessions
from quire.settings import LimitSettings, QuerySettings
from quire.vectors.port import MAX_PAGE, VectorEngine

# How many times more candidates are looked at where some of them will be passed over.
BREADTH = 5
LEAST_CANDIDATES = 50


class Search:
    """Answers searches on behalf of a caller."""

    def __init__(
        self,
        sessions: Sessions,
        documents: DocumentRepository,
        engine: VectorEngine,
        embedders: Embedders,
        pages: QueryPages,
        limits: LimitSettings,
        queries: QuerySettings,
    ) -> None:
        self._sessions = sessions
        self._documents = documents
        self._engine = engine
        self._finder = Finder(sessions, engine, embedders)
        self._pages = pages
        self._limits = limits
        self._queries = queries

    async def search(
        self,
        principal: Principal,
        session_ids: Sequence[str],
        request: SearchRequest,
        asked: Mapping[str, Any],
    ) -> QueryPage:
        """The first page of what is found; `asked` is the request as it is kept with the query."""
        sessions = await self._open(principal, session_ids)
        request = request.checked(self._limits, self._queries)
        hits = await self._find(sessions, request)
        items = await self._items(hits, request)
        return await self._pages.keep(
            principal,
            sessions[0].id if len(sessions) == 1 else None,
            items,
            asked,
            request.page_size,
            across=[session.id for session in sessions] if len(sessions) > 1 else (),
        )

    async def _open(self, principal: Principal, session_ids: Sequence[str]) -> list[Session]:
        unique = list(dict.fromkeys(session_ids))
        if not unique:
            raise InvalidInput("Name the sessions to search", field="session_ids")
        if len(unique) > self._limits.search_sessions:
            raise LimitExceeded(
                f"{len(unique)} sessions are over the limit of {self._limits.search_sessions} "
                "(QUIRE_LIMITS_SEARCH_SESSIONS)",
                field="session_ids",
            )
        sessions = [await self._sessions.get(principal, session_id) for session_id in unique]
        return list(await asyncio.gather(*map(self._sessions.awake, sessions)))

    async def _find(self, sessions: Sequence[Session], request: SearchRequest) -> list[Hit]:
        """The hits that are asked for, with their neighbours."""
        hits = await self._finder.find(
            sessions,
            request,
            depth=_depth(request),
            vectors=request.with_vectors or request.diversity is not None,
        )
        if request.kql is not None and request.kql.test is not None:
            accepts = request.kql.accepts
            hits = await asyncio.to_thread(lambda: [hit for hit in hits if accepts(hit.embedded)])
        if request.diversity is not None:
            hits = _diversified(hits, request)
        if request.group_by_document:
            hits = _grouped(hits, request.group_size)
        hits = hits[: request.limit]
        if request.before or request.after:
            return await with_neighbours(
                self._sessions, self._engine, hits, before=request.before, after=request.after
            )
        return hits

    async def _items(self, hits: Sequence[Hit], request: SearchRequest) -> list[dict[str, Any]]:
        wanted: dict[str, set[str]] = defaultdict(set)
        for hit in hits:
            if hit.chunk is not None:
                wanted[hit.session.id].add(hit.chunk.document_id)
        headings = {
            session_id: await self._documents.headings(session_id, ids)
            for session_id, ids in wanted.items()
        }
        return [hit_item(hit, headings, vectors=request.with_vectors) for hit in hits]


def _depth(request: SearchRequest) -> int:
    """How many candidates to look at, to have enough left of them."""
    if request.kql is not None and request.kql.test is not None:
        return MAX_PAGE
    if request.diversity is not None or request.group_by_document:
        wide = request.limit * request.group_size * BREADTH
        return min(MAX_PAGE, max(wide, LEAST_CANDIDATES))
    return request.limit


def _diversified(hits: Sequence[Hit], request: SearchRequest) -> list[Hit]:
    if not hits:
        return []
    dimension = max(len(hit.record.dense or ()) for hit in hits)
    vectors = np.zeros((len(hits), dimension), np.float32)  # of those that have none
    for row, hit in enumerate(hits):
        if hit.record.dense is not None and len(hit.record.dense) == dimension:
            vectors[row] = hit.record.dense
    order = diversify([hit.score for hit in hits], vectors, len(hits), request.diversity or 0.0)
    return [
        hits[at] if request.with_vectors else replace(hits[at], record=_bare(hits[at]))
        for at in order
    ]


def _bare(hit: Hit) -> Any:
    return replace(hit.record, dense=None, sparse=None)


def _grouped(hits: Sequence[Hit], size: int) -> list[Hit]:
    """At most so many hits of each document: documents by their best hit, hits by score within."""
    groups: dict[tuple[str, object], list[Hit]] = {}
    for hit in hits:
        chunk = hit.chunk
        key = hit.session.id, hit.record.id if chunk is None else chunk.document_id
        group = groups.setdefault(key, [])
        if len(group) < size:
            group.append(hit)
    return [hit for group in groups.values() for hit in group]
