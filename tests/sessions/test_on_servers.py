"""The same promises where several processes share PostgreSQL and Qdrant."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from quire.errors import Conflict, PreconditionFailed, SessionLimitReached, SessionNotFound
from quire.sessions.models import Session
from quire.sessions.requests import NewSession, SessionChange
from quire.sessions.retention_policy import RetentionPolicy
from tests.sessions.house import (
    ADA,
    collections,
    create,
    finish_purges,
    let_pass,
    new_id,
    person,
    purged,
)
from tests.sessions.servers import quires_on_servers

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from quire.app import Quire
    from tests.backends.qdrant import QdrantServer

pytestmark = [pytest.mark.server, pytest.mark.postgres]


@pytest.fixture
async def pair(
    tmp_path: Path, postgres_url: str, qdrant_server: QdrantServer
) -> AsyncIterator[tuple[Quire, Quire]]:
    async with quires_on_servers(tmp_path, postgres_url, qdrant_server) as [one, other]:
        yield one, other


async def test_two_processes_that_race_for_one_id_make_one_session(
    pair: tuple[Quire, Quire],
) -> None:
    session_id = new_id()
    made = await asyncio.gather(
        *(
            pair[n % 2].creation.create(ADA, NewSession(name="s", id=session_id, dimension=4))
            for n in range(8)
        )
    )
    assert sum(was_made for _, was_made in made) == 1
    assert len({session.collection for session, _ in made}) == 1
    assert len(await collections(pair[0])) == 1


async def test_two_owners_that_race_for_one_id_have_one_winner(pair: tuple[Quire, Quire]) -> None:
    session_id = new_id()
    results = await asyncio.gather(
        *(create(pair[n % 2], person(f"racer-{n}"), id=session_id) for n in range(6)),
        return_exceptions=True,
    )
    assert sum(isinstance(result, Session) for result in results) == 1
    assert sum(isinstance(result, Conflict) for result in results) == 5


async def test_the_last_place_is_given_once(pair: tuple[Quire, Quire]) -> None:
    await pair[0].policies.put(RetentionPolicy(max_sessions_per_user=2))
    results = await asyncio.gather(*(create(pair[n % 2]) for n in range(8)), return_exceptions=True)
    assert sum(isinstance(result, Session) for result in results) == 2
    assert sum(isinstance(result, SessionLimitReached) for result in results) == 6


async def test_writers_in_two_processes_lose_nothing(pair: tuple[Quire, Quire]) -> None:
    session = await create(pair[0])
    await asyncio.gather(
        *(
            pair[n % 2].statistics.add(ADA, session.id, {"urls_processed": 1}, None)
            for n in range(30)
        )
    )
    for quire in pair:
        after = await settled(quire, session.id, 31)
        assert after.processing_stats.urls_processed == 30
    results = await asyncio.gather(
        *(
            pair[n % 2].sessions.update(
                ADA, session.id, SessionChange(name=f"writer {n}"), if_match=after.etag
            )
            for n in range(8)
        ),
        return_exceptions=True,
    )
    assert sum(isinstance(result, Session) for result in results) == 1
    assert sum(isinstance(result, PreconditionFailed) for result in results) == 7


async def settled(quire: Quire, session_id: str, version: int) -> Session:
    """The session as this process sees it, within the moment that word of a change takes."""
    deadline = time.monotonic() + 2
    while True:
        found = await quire.sessions.peek(ADA, session_id)
        if found.version >= version or time.monotonic() > deadline:
            assert found.version == version
            return found
        await asyncio.sleep(0.001)


async def test_a_process_hears_of_every_change_of_another(pair: tuple[Quire, Quire]) -> None:
    one, other = pair
    session = await create(one)
    slowest = 0.0
    for _ in range(150):
        await other.sessions.peek(ADA, session.id)  # so that it is kept there
        session = await one.statistics.add(ADA, session.id, {"urls_processed": 1}, None)
        # in its own process, what was acknowledged is what is read
        assert await one.sessions.peek(ADA, session.id) == session
        started = time.monotonic()
        assert await settled(other, session.id, session.version) == session
        slowest = max(slowest, time.monotonic() - started)
    assert slowest < 1


async def test_a_session_that_another_process_removed_is_gone_here(
    pair: tuple[Quire, Quire],
) -> None:
    one, other = pair
    session = await create(other)
    await other.sessions.get(ADA, session.id)
    await purged(one, ADA, session.id)
    deadline = time.monotonic() + 2
    while await other.repository.get(session.id) is not None:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.001)
    with pytest.raises(SessionNotFound):
        await other.sessions.get(ADA, session.id)
    assert session.collection not in await collections(one)


async def test_expiry_and_its_tombstone(pair: tuple[Quire, Quire]) -> None:
    one, other = pair
    session = await create(one, ttl_seconds=100)
    await let_pass(one, timedelta(seconds=101), session.id)
    other.repository._cache._heard(None)  # time moved without anybody saying so
    sweeps = await asyncio.gather(*(quire.retention.sweep(RetentionPolicy()) for quire in pair))
    assert sum(len(sweep.verdicts) for sweep in sweeps) == 1
    await finish_purges(one)
    for quire in pair:
        with pytest.raises(Exception, match="expired"):
            await quire.sessions.get(ADA, session.id)
    assert (await one.reconciliation.run()).is_clean
