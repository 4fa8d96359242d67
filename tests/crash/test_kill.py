"""Killed at any moment, Quire loses nothing that it acknowledged and leaves nothing half done."""

from __future__ import annotations

from pathlib import Path

import pytest

from quire.access.principal import Principal, Scope
from quire.app import Quire
from quire.errors import NotFound
from quire.sessions.models import Status
from tests.crash.child import POINTS
from tests.crash.journal import History, read_journal
from tests.crash.killing import check_blobs, kill_again_and_again

OPERATOR = Principal("operator", scope=Scope.ADMIN)
KILLS = 5
SOAK_KILLS = 60


@pytest.mark.timeout(300)
async def test_embedded(embedded: dict[str, str], tmp_path: Path) -> None:
    await _kill_again_and_again(embedded, tmp_path / "journal", KILLS)


@pytest.mark.server
@pytest.mark.postgres
@pytest.mark.timeout(300)
async def test_on_servers(on_servers: dict[str, str], tmp_path: Path) -> None:
    await _kill_again_and_again(on_servers, tmp_path / "journal", KILLS)


@pytest.mark.soak
async def test_embedded_for_long(embedded: dict[str, str], tmp_path: Path) -> None:
    await _kill_again_and_again(embedded, tmp_path / "journal", SOAK_KILLS)


@pytest.mark.soak
@pytest.mark.server
@pytest.mark.postgres
async def test_on_servers_for_long(on_servers: dict[str, str], tmp_path: Path) -> None:
    await _kill_again_and_again(on_servers, tmp_path / "journal", SOAK_KILLS)


async def _kill_again_and_again(environment: dict[str, str], journal: Path, kills: int) -> None:
    async def check(quire: Quire) -> None:
        for session_id, history in read_journal(journal).items():
            await _check_session(quire, session_id, history)
        findings = await quire.reconciliation.run()
        assert findings.is_clean, findings
        await check_blobs(quire)

    await kill_again_and_again("tests.crash.child", environment, journal, kills, check)
    histories = read_journal(journal)
    assert histories, "the children did next to nothing before they were killed"


async def _check_session(quire: Quire, session_id: str, history: History) -> None:
    try:
        session = await quire.sessions.peek(OPERATOR, session_id)
    except NotFound:
        gone_for_a_reason = history.last in (None, "purge") or history.pending == "purge"
        assert gone_for_a_reason, f"{session_id} was acknowledged and is lost: {history}"
        return
    assert history.last != "purge", f"{session_id} was purged and is still there: {history}"
    if history.pending not in ("archive", "purge"):
        assert session.status is Status.ACTIVE, history
    if "change" in history.acknowledged:
        assert session.description == "changed", history
        assert session.tags == ("crash", "changed"), history
    awake = await quire.sessions.awake(session)  # what was archived may have gone cold
    count = await quire.engine.count(awake.collection)
    if "fill" in history.acknowledged:
        assert count == POINTS, f"{session_id} has {count} points: {history}"
    elif history.pending != "fill":
        assert count == 0, history
