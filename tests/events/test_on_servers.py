"""Between processes on one PostgreSQL: one order for all of them, and no event lost."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio
import sqlalchemy as sa

from quire.access.policy import Role
from quire.errors import Forbidden, SessionNotFound
from quire.events.log import EventKind, NewEvent, append_events
from quire.settings import EventSettings
from quire.store.feed import ServerFeed
from tests.events.following import listening, tell
from tests.sessions.house import ADA, GRACE, create
from tests.sessions.servers import quires_on_servers

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from quire.app import Quire
    from tests.backends.postgres import PostgresServer
    from tests.backends.qdrant import QdrantServer

pytestmark = [pytest.mark.postgres, pytest.mark.server, pytest.mark.asyncio(loop_scope="module")]

# Every connection on which word of changes comes.
CUT = """SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = current_database() AND (query LIKE 'LISTEN quire_%' OR query = 'SELECT 1')"""
ONLY_TOLD = [EventKind.DATA_CHANGED]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def two(
    tmp_path_factory: pytest.TempPathFactory,
    postgres_server: PostgresServer,
    qdrant_server: QdrantServer,
) -> AsyncIterator[Sequence[Quire]]:
    url = postgres_server.create_database()
    live = EventSettings(queue=4096, heartbeat_seconds=60)
    directory = tmp_path_factory.mktemp("two")
    try:
        async with quires_on_servers(directory, url, qdrant_server, events=live) as opened:
            yield opened
    finally:
        postgres_server.drop_database(url)


async def test_whatever_the_processes_do_at_once_is_heard_everywhere_once_and_in_order(
    two: Sequence[Quire],
) -> None:
    here, there = two
    session, other = await create(here), await create(here)
    # given transactions of both processes that begin and end in any order, some over two sessions
    async with (
        listening(here, ADA, session.id, kinds=ONLY_TOLD) as at_here,
        listening(there, ADA, session.id, kinds=ONLY_TOLD) as at_there,
    ):
        await asyncio.gather(
            *(
                tell((here, there)[n % 2].database, session.id, n, pause=(n * 7 % 5) / 500)
                for n in range(60)
            ),
            *(_tell_both(there, (session.id, other.id)[:: 1 if n % 2 else -1]) for n in range(10)),
        )
        for listener in (at_here, at_there):
            await listener.until(lambda it: len(it.heard) == 70)
        # then both heard all of it in the order of its ids, the same for both
        seqs = [event.seq for event in at_here.heard]
        assert seqs == sorted(set(seqs))
        assert [event.seq for event in at_there.heard] == seqs
        # and so does who was not there, from any place
        async with listening(there, ADA, session.id, after=seqs[20], kinds=ONLY_TOLD) as late:
            await late.until(lambda it: len(it.heard) == 49)
            assert [event.seq for event in late.heard] == seqs[21:]


async def _tell_both(quire: Quire, session_ids: Sequence[str]) -> None:
    async with quire.database.write() as connection:
        for session_id in session_ids:
            await append_events(connection, [NewEvent(session_id, EventKind.DATA_CHANGED)])


async def test_who_begins_first_and_commits_last_is_not_missed(two: Sequence[Quire]) -> None:
    here, there = two
    session = await create(here)
    begun, may_commit = asyncio.Event(), asyncio.Event()
    first = NewEvent(session.id, EventKind.DATA_CHANGED, {"n": 1})
    async with listening(there, ADA, session.id) as listener:

        async def commit_late() -> None:
            async with here.database.write() as connection:
                await append_events(connection, [first])
                begun.set()
                await may_commit.wait()

        late = asyncio.create_task(commit_late())
        await begun.wait()
        # when another is quicker
        await tell(there.database, session.id, 2)
        await listener.until(lambda it: it.numbers == [2])
        may_commit.set()
        await late
        # then it comes after, and has the higher id
        await listener.until(lambda it: it.numbers == [2, 1])
        assert listener.heard[0].seq < listener.heard[1].seq


async def test_rights_taken_away_in_one_process_end_the_stream_in_another(
    two: Sequence[Quire],
) -> None:
    here, there = two
    session = await create(here)
    await here.sharing.share(ADA, session.id, ["grace"], Role.READ)
    async with listening(there, GRACE, session.id) as listener:
        await here.sharing.unshare(ADA, session.id, "grace")
        await tell(here.database, session.id, 1)
        await listener.until(lambda it: it.is_over)
        assert isinstance(listener.error, SessionNotFound | Forbidden)
        assert listener.numbers == []


async def test_without_word_it_looks_by_itself(
    two: Sequence[Quire], monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = two
    session = await create(here)
    monkeypatch.setattr("quire.events.hub.LOOK_SECONDS", 0.05)
    # given a process whose connection for hearing is cut, and does not come again
    monkeypatch.setattr("quire.store.feed.RECONNECT_SECONDS", 60)
    async with listening(there, ADA, session.id) as listener:
        feed = there.hub._feed
        assert isinstance(feed, ServerFeed)
        await listener.until(lambda it: feed.is_sure)
        async with here.database.write() as connection:
            await connection.execute(sa.text(CUT))
        await listener.until(lambda it: not feed.is_sure)
        # when something happens elsewhere, then it is heard of nevertheless
        await tell(here.database, session.id, 1)
        await listener.until(lambda it: it.numbers == [1])
