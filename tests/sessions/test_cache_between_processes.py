"""A session kept in memory is never older than what another process committed and announced."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import psycopg
import pytest

from quire.sessions.cache import CHANNEL
from quire.sessions.lifecycle import State
from quire.sessions.models import Embedding, Session
from quire.sessions.repository import SessionRepository
from quire.store import Database, migrate
from quire.store.feed import SURE_SECONDS
from tests.backends.postgres import libpq_url

if TYPE_CHECKING:
    from tests.backends.postgres import PostgresProcess

pytestmark = pytest.mark.postgres

AT = datetime(2026, 1, 1, tzinfo=UTC)
SESSION = Session(
    id="kept",
    collection="session_kept",
    state=State.ACTIVE,
    name="first",
    embedding=Embedding("fake", "fake", 4),
    created_at=AT,
    updated_at=AT,
    last_activity_at=AT,
)


async def repository(url: str) -> tuple[Database, SessionRepository]:
    """What one more process would have."""
    database = Database.postgres(url, pool_size=3)
    opened = SessionRepository(database)
    opened.open()
    return database, opened


@pytest.fixture
async def two(postgres_url: str) -> AsyncIterator[tuple[SessionRepository, SessionRepository]]:
    async with both_on(postgres_url) as repositories:
        yield repositories


@asynccontextmanager
async def both_on(url: str) -> AsyncIterator[tuple[SessionRepository, SessionRepository]]:
    database, here = await repository(url)
    await migrate(database)
    other_database, there = await repository(url)
    async with here.transaction() as connection:
        await here.insert(connection, SESSION)
    await until_sure(here)
    await until_sure(there)
    yield here, there
    for each in (here, there):
        await each.close()
    for each in (database, other_database):
        await each.close()


async def until_sure(repository: SessionRepository) -> None:
    deadline = time.monotonic() + 10
    while not repository._cache.is_sure:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


async def rename(repository: SessionRepository, name: str) -> None:
    async with repository.transaction() as connection:
        old = await repository.lock(connection, SESSION.id)
        assert old is not None
        await repository.save(connection, old, replace(old, name=name))


async def name_in(repository: SessionRepository) -> str | None:
    session = await repository.get(SESSION.id)
    return None if session is None else session.name


async def test_a_second_read_is_answered_from_memory(
    two: tuple[SessionRepository, SessionRepository],
) -> None:
    here, _ = two
    first = await here.get(SESSION.id)

    assert await here.get(SESSION.id) is first


async def test_a_change_elsewhere_is_heard_within_moments(
    two: tuple[SessionRepository, SessionRepository],
) -> None:
    here, there = two
    delays = []
    for number in range(20):
        await name_in(here)
        await rename(there, f"name {number}")
        committed = time.monotonic()
        while await name_in(here) != f"name {number}":
            assert time.monotonic() - committed < 2, "the word did not come"
            await asyncio.sleep(0)
        delays.append(time.monotonic() - committed)

    assert sorted(delays)[10] < 0.2


async def test_a_change_of_ones_own_is_seen_at_once(
    two: tuple[SessionRepository, SessionRepository],
) -> None:
    here, _ = two
    for number in range(50):
        await name_in(here)
        await rename(here, f"mine {number}")
        assert await name_in(here) == f"mine {number}"


async def test_reads_during_a_change_are_not_kept(
    two: tuple[SessionRepository, SessionRepository],
) -> None:
    here, _ = two
    async with here.transaction() as connection:
        old = await here.lock(connection, SESSION.id)
        assert old is not None
        await here.save(connection, old, replace(old, name="new"))
        assert await name_in(here) == "first"  # not committed yet

    assert await name_in(here) == "new"


async def test_without_word_nothing_is_answered_from_memory(
    postgres_process: PostgresProcess,
) -> None:
    url = postgres_process.create_database()
    async with both_on(url) as (here, there):
        await name_in(here)
        listeners = await listening_backends(url)
        assert len(listeners) == 2

        for pid in listeners:  # as when the network drops: no word, and no error either
            os.kill(pid, signal.SIGSTOP)
        try:
            await asyncio.sleep(SURE_SECONDS + 0.1)
            assert not here._cache.is_sure
            await rename(there, "unheard of")
            assert await name_in(here) == "unheard of"
        finally:
            for pid in listeners:
                os.kill(pid, signal.SIGCONT)

        await until_sure(here)
        assert await name_in(here) == "unheard of"


async def listening_backends(url: str) -> list[int]:
    """The server's processes at the other end of the change feeds."""
    query = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND "
    of_feeds = "query IN ('SELECT 1', %s)"
    async with await psycopg.AsyncConnection.connect(libpq_url(url)) as connection:
        rows = await connection.execute(query + of_feeds, [f"LISTEN {CHANNEL}"])
        return [pid for (pid,) in await rows.fetchall()]
