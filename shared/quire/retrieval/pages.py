"""Paging through what was found: every search's results, and lists that callers post."""

from __future__ import annotations

import asyncio
import json
import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import orjson

from quire.access import policy
from quire.access.policy import Role
from quire.access.principal import Principal
from quire.errors import (
    Expired,
    InvalidInput,
    LimitExceeded,
    QueryExpired,
    QueryNotFound,
    SessionNotFound,
)
from quire.retrieval.query import Query, Results, as_json, cut
from quire.retrieval.query_memory import QueryMemory
from quire.retrieval.query_store import QueryStore
from quire.retrieval.query_writer import QueryWriter
from quire.sessions.sessions import Sessions, require_not_deleted
from quire.settings import QuerySettings
from quire.store.columns import EPOCH, now
from quire.store.database import Database

MEMORY_BYTES = 64 * 2**20
MAX_PAGE_SIZE = 1_000
QUERY_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
CURSOR = re.compile(r"(\d{1,17})\.([0-9a-f-]{36})")
# Decompressing more than this would hold up the event loop.
LARGE_PAGE = 256 * 1024
# A query of another process is written some moments after its answer; so long it is looked for.
PAUSES = (0.05, 0.1, 0.2)


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryPage:
    """One page of a query's results."""

    query_id: str
    items_json: bytes  # a JSON array, ready to be put into an answer
    page_index: int
    num_items_per_page: int
    num_total_pages: int
    num_total_items: int
    has_next: bool
    has_previous: bool
    expires_at: datetime

    @property
    def items(self) -> list[Any]:
        items: list[Any] = orjson.loads(self.items_json)
        return items


@dataclass(frozen=True, slots=True)
class QueryList:
    queries: Sequence[Query]
    next_cursor: str | None


class QueryPages:
    """Keeps result sets and gives them out page by page.

    A page is what was found or posted then, whatever has changed in the session since; but who
    may see it is decided at every read. A query of one session is paged by whoever may read that
    session; one over several sessions by its owner alone, while all of them may still be read.

    Results expire a fixed time after they were made, however often they are read. A session (or,
    for queries over several, an owner) keeps so many; the least recently used expire early.
    """

    def __init__(
        self,
        database: Database,
        sessions: Sessions,
        settings: QuerySettings,
        *,
        memory_bytes: int = MEMORY_BYTES,
    ) -> None:
        self._sessions = sessions
        self._settings = settings
        self._ttl = timedelta(seconds=settings.ttl_seconds)
        # On SQLite there is no other process, and what waits here is found here.
        self._pauses = () if database.is_sqlite else PAUSES
        self._store = QueryStore(database, settings)
        self._memory = QueryMemory(memory_bytes)
        self._writer = QueryWriter(self._store, self._memory)

    def open(self) -> None:
        self._writer.open()

    async def close(self) -> None:
        """Everything kept is written when this returns, if the database takes it."""
        await self._writer.close()

    async def keep(
        self,
        principal: Principal,
        session_id: str | None,
        items: Sequence[Any],
        request: Mapping[str, Any],
        page_size: int | None = None,
        *,
        across: Sequence[str] = (),
        durable: bool = False,
        query_id: str | None = None,
    ) -> QueryPage:
        """Keep what was found and answer its first page; the caller has checked who may find it.

        `across` names the sessions of a query that has none of its own. It is written behind the
        answer, unless it is to be `durable`: then it is when this returns.
        """
        if len(items) > self._settings.results:
            raise LimitExceeded(
                f"{len(items)} items are over the limit of {self._settings.results} "
                "(QUIRE_QUERY_RESULTS)",
                field="items",
            )
        page_size = self._settings.page_size if page_size is None else page_size
        _require_page_size(page_size)
        at = now()
        query = Query(
            id=query_id or str(uuid.uuid4()),
            session_id=session_id,
            owner_id=principal.subject,
            across=tuple(across),
            request=as_json("request", request),
            page_size=page_size,
            total=len(items),
            created_at=at,
            used_at=at,
            expires_at=at + self._ttl,
        )
        results = Results(query, cut(items, page_size))
        if not durable:
            await self._writer.add(results)
        elif not await self._writer.write_now(results):
            raise policy.session_not_found(f"{session_id}")
        return await _page(results, 0)

    async def post(
        self,
        principal: Principal,
        session_id: str,
        items: Sequence[Any],
        request: Mapping[str, Any],
        page_size: int | None = None,
        *,
        query_id: str | None = None,
    ) -> QueryPage:
        """Keep a list of a caller's own in a session that they may write; answer its first page."""
        session = await self._sessions.get(principal, session_id)
        policy.require(principal, session, Role.WRITE)
        require_not_deleted(session)
        _require_json("items", items)
        _require_json("request", request)
        return await self.keep(
            principal, session_id, items, request, page_size, durable=True, query_id=query_id
        )

    async def page(
        self, principal: Principal, query_id: str, page_index: int, session_id: str | None = None
    ) -> QueryPage:
        """A page of a query; with `session_id`, of a query of that session and no other."""
        results = await self._results(principal, query_id, session_id)
        last = results.query.last_page
        if not 0 <= page_index <= last:
            raise InvalidInput(
                f"Invalid page index. Valid range: 0-{last}",
                field="page_index",
                recovery="Ask for a page within the range.",
            )
        self._writer.note_use(replace(results.query, used_at=now()))
        return await _page(results, page_index)

    async def describe(
        self, principal: Principal, query_id: str, session_id: str | None = None
    ) -> Query:
        """What a query is, for whoever may page through it."""
        return (await self._results(principal, query_id, session_id)).query

    async def find(
        self, principal: Principal, session_id: str, *, cursor: str | None = None, limit: int = 100
    ) -> QueryList:
        """A session's queries that have not expired, newest first."""
        before = None if cursor is None else _decode(cursor)
        await self._sessions.get(principal, session_id)
        # Looked at first: what is written in between is then in both, and not in neither.
        waiting = {query.id: query for query in self._writer.waiting_in(session_id)}
        found = await self._store.live(session_id, before=before, limit=limit + 1)
        for query in found:
            waiting.pop(query.id, None)
        newer = [q for q in waiting.values() if before is None or _place(q) < before]
        queries = sorted([*found, *newer], key=_place, reverse=True)
        more = len(queries) > limit
        return QueryList(queries[:limit], _encode(queries[limit - 1]) if more else None)

    async def latest(self, principal: Principal, session_id: str) -> Query | None:
        """The caller's newest query in a session, even if it has expired."""
        await self._sessions.get(principal, session_id)
        mine = [q for q in self._writer.waiting_in(session_id) if q.owner_id == principal.subject]
        if mine:
            return max(mine, key=_place)
        return await self._store.latest(session_id, principal.subject)

    async def delete(
        self, principal: Principal, query_id: str, session_id: str | None = None
    ) -> None:
        """Forget a query; for its owner and for whoever may write its session."""
        query = (await self._results(principal, query_id, session_id)).query
        policy.require_writer(principal)
        if query.session_id is not None and not _owns(principal, query):
            session = await self._sessions.peek(principal, query.session_id)
            policy.require(principal, session, Role.WRITE)
        withdrawn = await self._writer.withdraw(query_id)
        deleted = await self._store.delete(query_id)
        self._memory.drop(query_id)
        if not withdrawn and not deleted:
            raise _not_found(query_id)

    async def forget_expired(self, at: datetime) -> int:
        """Empty what has expired by then, and forget what did a TTL before."""
        return await self._store.forget_expired(at)

    async def _results(
        self, principal: Principal, query_id: str, session_id: str | None
    ) -> Results:
        if session_id is not None:
            await self._sessions.get(principal, session_id)
        results = await self._find(query_id)
        if results is None or not await self._is_for(principal, results.query, session_id):
            raise _not_found(query_id)
        if results.query.has_expired(now()):
            raise _expired()
        for searched in results.query.across:
            try:
                await self._sessions.peek(principal, searched)
            except (SessionNotFound, Expired):
                raise _expired() from None
        return results

    async def _find(self, query_id: str) -> Results | None:
        if not QUERY_ID.fullmatch(query_id):
            return None
        if (waiting := self._writer.waiting(query_id)) is not None:
            return waiting
        kept = self._memory.get(query_id)
        if kept is not None and await self._store.expires_at(query_id) == kept.query.expires_at:
            return kept
        self._memory.drop(query_id)
        found = await self._store.find(query_id)
        for pause in () if kept is not None else self._pauses:
            if found is not None:
                break
            await asyncio.sleep(pause)
            found = await self._store.find(query_id)
        if found is not None and not found.query.has_expired(now()):
            self._memory.keep(found)
        return found

    async def _is_for(self, principal: Principal, query: Query, session_id: str | None) -> bool:
        """Whether the caller may know of the query; if not, for them it does not exist."""
        if session_id is not None:
            return query.session_id == session_id  # which they may read
        if query.session_id is None:
            return principal.is_operator or _owns(principal, query)
        try:
            await self._sessions.get(principal, query.session_id)
        except SessionNotFound:
            return False
        return True


def _require_page_size(page_size: int) -> None:
    if not 1 <= page_size <= MAX_PAGE_SIZE:
        raise InvalidInput(f"page_size is 1 to {MAX_PAGE_SIZE}", field="page_size")


def _require_json(field: str, value: Any) -> None:
    """Refuse what lenient readers of JSON let through, and what would be kept as null."""
    try:
        json.dumps(value, allow_nan=False)
    except RecursionError:
        return  # keeping it is refused: that takes less depth still
    except ValueError:
        raise InvalidInput(f"{field}: NaN and infinity are not JSON", field=field) from None


async def _page(results: Results, index: int) -> QueryPage:
    query = results.query
    if len(results.pages[index]) > LARGE_PAGE:
        items = await asyncio.to_thread(results.page, index)
    else:
        items = results.page(index)
    return QueryPage(
        query_id=query.id,
        items_json=items,
        page_index=index,
        num_items_per_page=query.page_size,
        num_total_pages=query.pages_count,
        num_total_items=query.total,
        has_next=index < query.last_page,
        has_previous=index > 0,
        expires_at=query.expires_at,
    )


def _owns(principal: Principal, query: Query) -> bool:
    return principal.subject is not None and query.owner_id == principal.subject


def _not_found(query_id: str) -> QueryNotFound:
    return QueryNotFound(f"There is no query {query_id[:64]}, or you may not see it")


def _expired() -> QueryExpired:
    return QueryExpired("Query results expired. Please run a new query.")


def _place(query: Query) -> tuple[datetime, str]:
    return query.created_at, query.id


def _encode(query: Query) -> str:
    return f"{(query.created_at - EPOCH) // timedelta(microseconds=1)}.{query.id}"


def _decode(cursor: str) -> tuple[datetime, str]:
    found = CURSOR.fullmatch(cursor)
    if found is None:
        raise InvalidInput(
            "cursor is not one that this list gave out; take it from the Link header",
            field="cursor",
        )
    return EPOCH + timedelta(microseconds=int(found[1])), found[2]
