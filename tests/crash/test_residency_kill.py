"""Killed while sessions sleep or wake, Quire has every acknowledged point, and nothing besides."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from quire.access.principal import Principal, Scope
from quire.app import Quire
from quire.errors import NotFound
from quire.store.columns import now
from quire.store.tables import spare_collections
from quire.vectors.port import Record
from tests.crash.journal import History, read_journal
from tests.crash.killing import check_blobs, kill_again_and_again
from tests.crash.residency_child import BATCH, batch

OPERATOR = Principal("operator", scope=Scope.ADMIN)
KILLS = 7
KILLS_ON_SERVERS = 3
SOAK_KILLS = 100


@pytest.mark.timeout(300)
async def test_embedded(embedded: dict[str, str], tmp_path: Path) -> None:
    await _kill_sleepers(embedded, tmp_path / "journal", KILLS)


@pytest.mark.server
@pytest.mark.postgres
@pytest.mark.timeout(300)
async def test_on_servers(on_servers: dict[str, str], tmp_path: Path) -> None:
    await _kill_sleepers(on_servers, tmp_path / "journal", KILLS_ON_SERVERS, longest=4.0)


@pytest.mark.soak
async def test_embedded_for_long(embedded: dict[str, str], tmp_path: Path) -> None:
    await _kill_sleepers(embedded, tmp_path / "journal", SOAK_KILLS)


@pytest.mark.soak
@pytest.mark.server
@pytest.mark.postgres
async def test_on_servers_for_long(on_servers: dict[str, str], tmp_path: Path) -> None:
    await _kill_sleepers(on_servers, tmp_path / "journal", SOAK_KILLS, longest=4.0)


async def _kill_sleepers(
    environment: dict[str, str], journal: Path, kills: int, *, longest: float = 1.2
) -> None:
    async def check(quire: Quire) -> None:
        for session_id, history in read_journal(journal).items():
            await _check_session(quire, session_id, history)
        # What a killed waking was filling is known, and goes in its time.
        await quire.residency._spares.drop_overdue(now() + timedelta(days=1))
        async with quire.database.read() as connection:
            assert not (await connection.execute(sa.select(spare_collections))).all()
        findings = await quire.reconciliation.run()
        assert findings.is_clean, findings
        await check_blobs(quire)

    await kill_again_and_again(
        "tests.crash.residency_child", environment, journal, kills, check, longest=longest
    )
    written = [
        operation
        for history in read_journal(journal).values()
        for operation in history.acknowledged
        if operation.startswith("write")
    ]
    assert written, "the children did next to nothing before they were killed"


async def _check_session(quire: Quire, session_id: str, history: History) -> None:
    try:
        await quire.sessions.peek(OPERATOR, session_id)
    except NotFound:
        assert history.last is None, f"{session_id} was acknowledged and is lost"
        return
    page = await quire.points.scroll(OPERATOR, session_id, limit=1000)
    found = {record.id: record for record in page.records}
    acknowledged = {int(it.split()[1]) for it in history.acknowledged if it.startswith("write")}
    pending = history.pending or ""
    possible = acknowledged | ({int(pending.split()[1])} if pending.startswith("write") else set())
    for number in acknowledged:
        for point in batch(number):
            assert _same(found.get(point["id"]), point["payload"]), (session_id, point, history)
    assert {int(id) // BATCH for id in found} <= possible, (session_id, history)


def _same(record: Record | None, payload: object) -> bool:
    return record is not None and record.payload == payload
