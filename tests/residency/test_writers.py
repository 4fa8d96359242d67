"""Writers and readers while sessions go cold and wake: what was acknowledged is there."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest

from quire.app import Quire
from quire.errors import Conflict
from quire.points.requests import Selection
from quire.sessions.models import Residency
from quire.vectors.port import Point
from tests.backends.qdrant import QdrantServer
from tests.residency.workspace import asleep, content, embedded, filled, on_servers, points
from tests.sessions.house import ADA


async def test_a_write_that_came_too_late_for_the_pack_is_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It went into the old collection after that was read, and is told to nobody as done."""
    async with embedded(tmp_path) as quire:
        session = await filled(quire, 10)
        upsert = quire.engine.upsert
        slept: list[None] = []

        async def upsert_and_sleep(collection: str, batch: list[Point]) -> None:
            await upsert(collection, batch)
            if not slept:
                slept.append(None)
                monkeypatch.setattr(quire.engine, "upsert", upsert)
                await _sleep_as_if_it_had_been_read_before(quire, session.id, batch)

        monkeypatch.setattr(quire.engine, "upsert", upsert_and_sleep)
        written = await quire.points.upsert(ADA, session.id, points(3, 100))
        assert slept
        assert written.points_count == 13
        assert [r.id for r in await content(quire, session.id)] == [*range(10), 100, 101, 102]


async def _sleep_as_if_it_had_been_read_before(
    quire: Quire, session_id: str, batch: list[Point]
) -> None:
    """The same as if the pack had been read before the batch was written."""
    session = await quire.sessions.peek(ADA, session_id)
    await quire.engine.delete(session.collection, [point.id for point in batch])
    await asleep(quire, session)


async def test_a_write_that_is_acknowledged_meanwhile_calls_sleep_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with embedded(tmp_path) as quire:
        session = await filled(quire, 10)
        put = quire.ledger.put

        async def put_while_others_write(stream: object) -> object:
            await quire.points.upsert(ADA, session.id, points(1, 100))
            return await put(stream)  # type: ignore[arg-type]

        with monkeypatch.context() as patch:
            patch.setattr(quire.ledger, "put", put_while_others_write)
            with pytest.raises(Conflict, match="changed while"):
                await asleep(quire, session)
        assert (await quire.sessions.peek(ADA, session.id)).residency is Residency.HOT
        assert len(await content(quire, session.id)) == 11


async def test_what_the_sweep_chose_stays_hot_if_it_is_used_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with embedded(tmp_path) as quire:
        session = await filled(quire, 10)
        put = quire.ledger.put

        async def put_while_others_read(stream: object) -> object:
            await quire.points.count(ADA, session.id)
            return await put(stream)  # type: ignore[arg-type]

        monkeypatch.setattr(quire.ledger, "put", put_while_others_read)
        chosen = await quire.sessions.peek(ADA, session.id)
        with pytest.raises(Conflict, match="used meanwhile"):
            await quire.residency._sleeping.sleep(
                session.id,
                pack=True,
                unless_used_since=quire.residency._recency.last_use(chosen),
            )


async def trample(processes: list[Quire], session_id: str, seconds: float, *, pause: float) -> None:
    """Writers, readers and sleepers on one session; every reader sees all that was acknowledged."""
    chance = random.Random(11)
    acknowledged: set[int] = set(range(20))
    leaving: set[int] = set()
    removed: set[int] = set()
    slept = 0
    deadline = asyncio.get_running_loop().time() + seconds

    def going() -> bool:
        return slept < 3 or asyncio.get_running_loop().time() < deadline

    async def write(number: int) -> None:
        made = 1_000 * number
        while going():
            quire = chance.choice(processes)
            ids = list(range(made, made + 3))
            made += 3
            await quire.points.upsert(ADA, session_id, points(3, ids[0]))
            acknowledged.update(ids)
            await quire.points.set_payload(ADA, session_id, {"seen": True}, Selection(ids=[ids[0]]))
            if chance.random() < 0.3:
                leaving.add(ids[2])
                acknowledged.discard(ids[2])
                await quire.points.delete(ADA, session_id, Selection(ids=[ids[2]]))
                removed.add(ids[2])
            await asyncio.sleep(chance.uniform(0, pause))

    async def read() -> None:
        """What was acknowledged before it looked is there, unless it is being taken away."""
        while going():
            quire = chance.choice(processes)
            expected, gone = set(acknowledged), set(removed)
            found = {record.id for record in await content(quire, session_id)}
            assert expected - leaving <= found
            assert not gone & found
            await asyncio.sleep(chance.uniform(0, pause))

    async def sleep() -> None:
        nonlocal slept, pause
        while going():
            quire = chance.choice(processes)
            try:
                await quire.sessions.sleep(ADA, session_id, pack=chance.random() < 0.8)
                slept += 1
            except Conflict:
                pause *= 1.1  # on a slow machine writers must leave more time to pack
            await asyncio.sleep(chance.uniform(0, pause))

    async with asyncio.timeout(100), asyncio.TaskGroup() as tasks:
        for number in (1, 2):
            tasks.create_task(write(number))
        tasks.create_task(read())
        tasks.create_task(sleep())
        tasks.create_task(sleep())
    assert len(acknowledged) > 20
    for quire in processes:
        found_now = await content(quire, session_id)
        assert {record.id for record in found_now} == acknowledged
        assert (await quire.sessions.peek(ADA, session_id)).points_count == len(acknowledged)


async def test_no_acknowledged_write_is_lost_on_edge(tmp_path: Path) -> None:
    async with embedded(tmp_path) as quire:
        session = await filled(quire, 20)
        await trample([quire], session.id, 3, pause=0.1)
        assert (await quire.reconciliation.run()).is_clean


@pytest.mark.server
@pytest.mark.postgres
async def test_no_acknowledged_write_is_lost_on_servers(
    tmp_path: Path, postgres_url: str, qdrant_server: QdrantServer
) -> None:
    async with on_servers(tmp_path, postgres_url, qdrant_server) as pair:
        session = await filled(pair[0], 20)
        await trample(list(pair), session.id, 4, pause=0.5)
        assert (await pair[0].reconciliation.run()).is_clean
