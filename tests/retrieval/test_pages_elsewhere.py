"""Results outlive the process that found them, and are paged in others."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import orjson
import pytest

from quire.app import Quire
from quire.errors import QueryExpired, QueryNotFound, SessionNotFound
from quire.retrieval.pages import QueryPages
from quire.settings import DatabaseSettings, QuerySettings
from quire.store import Database
from quire.store.columns import now
from quire.store.tables import queries
from tests.retrieval.results import REQUEST, TTL, VECTORS, found, let_pass, written
from tests.sessions.house import ADA, create, purged, quire_in, row_count, settings_for
from tests.sessions.servers import started
from tests.store.template import prepare_postgres

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from quire.retrieval.pages import QueryPage


async def test_a_database_that_refuses_stops_no_search(tmp_path: Path) -> None:
    async with quire_in(tmp_path, embedding=VECTORS) as quire:
        session = await create(quire)
        database = Database.sqlite(tmp_path / "quire.db", timeout_seconds=0.05)
        locked = sqlite3.connect(tmp_path / "quire.db", isolation_level=None)
        pages = QueryPages(database, quire.sessions, QuerySettings())
        pages.open()
        try:
            locked.execute("BEGIN IMMEDIATE")
            pages._writer._room_bytes = 60_000
            kept = []
            async with asyncio.timeout(10):
                for _ in range(6):
                    kept.append(await pages.keep(ADA, session.id, found(20, size=1000), REQUEST))
            assert pages._writer.bytes < 60_000
            for page in kept[-2:]:
                assert (await pages.page(ADA, page.query_id, 1)).has_previous
            with pytest.raises(QueryNotFound):  # the oldest made room
                await pages.page(ADA, kept[0].query_id, 0)
            locked.execute("ROLLBACK")
            await written(quire, kept[-1].query_id)
        finally:
            locked.close()
            await pages.close()
            await database.close()


async def test_a_restart_loses_nothing(tmp_path: Path) -> None:
    async with quire_in(tmp_path, embedding=VECTORS) as quire:
        session = await create(quire)
        kept = [await quire.pages.keep(ADA, session.id, found(n), REQUEST) for n in range(10)]
    async with quire_in(tmp_path, embedding=VECTORS) as quire:
        for n, page in enumerate(kept):
            assert (await quire.pages.page(ADA, page.query_id, 0, session.id)).items == found(n)


@pytest.fixture
async def pair(tmp_path: Path, postgres_url: str) -> AsyncIterator[tuple[Quire, Quire]]:
    """Two processes' worth of Quire over one PostgreSQL; the first runs jobs."""
    await prepare_postgres(postgres_url)
    async with AsyncExitStack() as stack:
        opened = []
        for number in range(2):
            settings = settings_for(
                tmp_path / str(number),
                runs_jobs=number == 0,
                embedding=VECTORS,
                database=DatabaseSettings(url=postgres_url),
                query=QuerySettings(per_session=5),
            )
            opened.append(await stack.enter_async_context(started(settings)))
        yield opened[0], opened[1]


@pytest.mark.postgres
async def test_processes_page_through_each_others_queries(pair: tuple[Quire, Quire]) -> None:
    here, there = pair
    session = await create(here)
    kept = await here.pages.keep(ADA, session.id, found(25), {"query": "NUL \x00"})
    # At once: it may not be written yet.
    page = await there.pages.page(ADA, kept.query_id, 2, session.id)
    assert page.items == found(25)[20:]
    assert (await here.pages.page(ADA, kept.query_id, 2)) == page
    (listed,) = (await there.pages.find(ADA, session.id)).queries
    assert orjson.loads(listed.request) == {"query": "NUL \x00"}
    # What one deletes or lets expire, the other does not show, though it holds it in memory.
    second = await here.pages.keep(ADA, session.id, found(1), REQUEST)
    await there.pages.page(ADA, second.query_id, 0)
    await there.pages.delete(ADA, kept.query_id)
    await let_pass(there, TTL, second.query_id)
    for quire in pair:
        with pytest.raises(QueryNotFound):
            await quire.pages.page(ADA, kept.query_id, 0)
        with pytest.raises(QueryExpired):
            await quire.pages.page(ADA, second.query_id, 0)
    assert await here.pages.forget_expired(now() + TTL) == 1
    with pytest.raises(QueryNotFound):
        await there.pages.page(ADA, second.query_id, 0)


@pytest.mark.postgres
async def test_processes_that_fill_one_session_keep_its_limit(pair: tuple[Quire, Quire]) -> None:
    here, there = pair
    session = await create(here)
    other = await create(here)

    async def search(quire: Quire, n: int) -> QueryPage:
        place = (session.id, other.id, None)[n % 3]
        kept = await quire.pages.keep(ADA, place, found(n), REQUEST)
        await asyncio.sleep(0.01 * (n % 7))
        await quire.pages.page(ADA, kept.query_id, 0)
        return kept

    kept = await asyncio.gather(*(search(quire, n) for n in range(30) for quire in pair))
    for page in kept:
        await written(there, page.query_id)
    for place in (session, other):
        assert len((await here.pages.find(ADA, place.id)).queries) == 5
    await purged(here, ADA, session.id)
    assert await row_count(there, queries, session.id) == 0
    with pytest.raises(SessionNotFound):
        await there.pages.find(ADA, session.id)
