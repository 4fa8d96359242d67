"""Queries in SQL: what other processes page through, and what a restart finds again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import accumulate, pairwise
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from quire.retrieval.query import Query, Results
from quire.settings import QuerySettings
from quire.store.columns import Moment, now
from quire.store.database import Database
from quire.store.tables import queries, sessions

FACTS = [column for column in queries.c if column.name not in {"results", "pages"}]
# Rows in one transaction of the chore, so that no writer waits long for it.
CHORE_BATCH = 200

NOTE_USE = (
    sa.update(queries)
    .where(
        queries.c.id == sa.bindparam("query_id"),
        queries.c.used_at < sa.bindparam("at", type_=Moment()),
    )
    .values(used_at=sa.bindparam("at", type_=Moment()))
)


class QueryStore:
    """Rows of queries. One whose time is over, or that others displaced, stays for another TTL.

    Displaced means: over so many in the session and least recently used. Its items go at once;
    its row stays, so that it answers "expired" and not "no such query".
    """

    def __init__(self, database: Database, settings: QuerySettings) -> None:
        self._database = database
        self._per_session = settings.per_session
        self._ttl = timedelta(seconds=settings.ttl_seconds)

    async def write(self, batch: Sequence[Results], uses: Mapping[str, Query]) -> set[str]:
        """Keep these, note those uses, displace what is too much: one transaction.

        Answers the queries among them whose session is gone.
        """
        written = [results.query for results in batch]
        touched = [*written, *uses.values()]
        async with self._database.write() as connection:
            # Whoever counts a session's queries counts alone; and a purge waits, or has been.
            await self._database.lock_sessions(connection, list({_place(q) for q in touched}))
            gone = await self._gone(connection, {q.session_id for q in touched if q.session_id})
            if uses:
                await connection.execute(
                    NOTE_USE, [{"query_id": q.id, "at": q.used_at} for q in uses.values()]
                )
            rows = [_row(results) for results in batch if results.query.session_id not in gone]
            if rows:
                # An attempt that seemed to fail may have been committed.
                ids = [row["id"] for row in rows]
                await connection.execute(sa.delete(queries).where(queries.c.id.in_(ids)))
                await connection.execute(sa.insert(queries), rows)
            for one in {_place(query): query for query in written}.values():
                await self._displace(connection, one)
        return {query.id for query in written if query.session_id in gone}

    async def find(self, query_id: str) -> Results | None:
        """The query with its items; without them once it has expired."""
        async with self._database.read() as connection:
            found = await connection.execute(sa.select(queries).where(queries.c.id == query_id))
            row = found.one_or_none()
        if row is None:
            return None
        ends = accumulate(row.pages, initial=0)
        pages = tuple(row.results[start:end] for start, end in pairwise(ends))
        return Results(_query(row), pages)

    async def expires_at(self, query_id: str) -> datetime | None:
        """When it expires or did, now that others may have displaced it; None if there is none."""
        look = sa.select(queries.c.expires_at).where(queries.c.id == query_id)
        async with self._database.read() as connection:
            moment: datetime | None = (await connection.execute(look)).scalar_one_or_none()
        return moment

    async def live(
        self, session_id: str, *, before: tuple[datetime, str] | None, limit: int
    ) -> list[Query]:
        """A session's queries that have not expired, newest first."""
        query = sa.select(*FACTS).where(
            queries.c.session_id == session_id, queries.c.expires_at > now()
        )
        if before is not None:
            key = sa.tuple_(queries.c.created_at, queries.c.id, types=[Moment(), sa.String()])
            query = query.where(key < before)
        newest = query.order_by(queries.c.created_at.desc(), queries.c.id.desc()).limit(limit)
        async with self._database.read() as connection:
            return [_query(row) for row in await connection.execute(newest)]

    async def latest(self, session_id: str, owner_id: str | None) -> Query | None:
        """The newest query of someone in a session, even if it has expired."""
        query = sa.select(*FACTS).where(
            queries.c.session_id == session_id, queries.c.owner_id == owner_id
        )
        # All live equally long, so what expires last is the newest.
        newest = query.order_by(queries.c.expires_at.desc(), queries.c.created_at.desc()).limit(1)
        async with self._database.read() as connection:
            row = (await connection.execute(newest)).one_or_none()
        return None if row is None else _query(row)

    async def delete(self, query_id: str) -> bool:
        async with self._database.write() as connection:
            result = await connection.execute(sa.delete(queries).where(queries.c.id == query_id))
        return result.rowcount > 0

    async def forget_expired(self, at: datetime) -> int:
        """Empty what has expired, and remove what expired a TTL ago; answers how many of both."""
        done = 0
        since = at - self._ttl
        old = sa.select(queries.c.id).where(queries.c.expires_at <= since).limit(CHORE_BATCH)
        while ids := await self._ids(old):
            async with self._database.write() as connection:
                await connection.execute(sa.delete(queries).where(queries.c.id.in_(ids)))
            done += len(ids)
        full = (
            sa.select(queries.c.id)
            .where(queries.c.expires_at <= at, sa.func.length(queries.c.results) > 0)
            .limit(CHORE_BATCH)
        )
        while ids := await self._ids(full):
            async with self._database.write() as connection:
                emptied = sa.update(queries).where(queries.c.id.in_(ids))
                await connection.execute(emptied.values(results=b"", pages=[]))
            done += len(ids)
        return done

    async def _ids(self, query: sa.Select[Any]) -> list[str]:
        async with self._database.read() as connection:
            return [row.id for row in await connection.execute(query)]

    async def _gone(self, connection: AsyncConnection, session_ids: Iterable[str]) -> set[str]:
        wanted = sorted(set(session_ids))
        if not wanted:
            return set()
        there = (
            sa.select(sessions.c.id)
            .where(sessions.c.id.in_(wanted))
            .order_by(sessions.c.id)
            .with_for_update(read=True, key_share=True)
        )
        return set(wanted) - set((await connection.execute(there)).scalars())

    async def _displace(self, connection: AsyncConnection, query: Query) -> None:
        """Let the least recently used go where `query` is one too many."""
        at = now()
        place = queries.c.session_id == query.session_id
        if query.session_id is None:
            place &= queries.c.owner_id == query.owner_id
        surplus = (
            sa.select(queries.c.id)
            .where(place, queries.c.expires_at > at)
            .order_by(queries.c.used_at.desc(), queries.c.created_at.desc(), queries.c.id.desc())
            .offset(self._per_session)
        )
        await connection.execute(
            sa.update(queries)
            .where(queries.c.id.in_(surplus))
            .values(expires_at=at, results=b"", pages=[])
        )


def _place(query: Query) -> str:
    """Where a query is counted: in its session or, if it has none, with its owner's others."""
    if query.session_id is not None:
        return f"queries in {query.session_id}"
    return f"queries of {query.owner_id or ''}"


def _row(results: Results) -> dict[str, Any]:
    query = results.query
    return {
        "id": query.id,
        "session_id": query.session_id,
        "owner_id": query.owner_id,
        "across": list(query.across),
        "request": query.request,
        "pages": [len(page) for page in results.pages],
        "results": b"".join(results.pages),
        "total": query.total,
        "page_size": query.page_size,
        "created_at": query.created_at,
        "used_at": query.used_at,
        "expires_at": query.expires_at,
    }


def _query(row: sa.Row[Any]) -> Query:
    return Query(
        id=row.id,
        session_id=row.session_id,
        owner_id=row.owner_id,
        across=tuple(row.across),
        request=row.request,
        page_size=row.page_size,
        total=row.total,
        created_at=row.created_at,
        used_at=row.used_at,
        expires_at=row.expires_at,
    )
