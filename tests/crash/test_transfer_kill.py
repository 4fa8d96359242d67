"""Killed in mid-transfer, Quire goes on: every point is where it was, or where it was to go."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import pytest
import sqlalchemy as sa

from quire.activity.attachment_models import holder_of
from quire.app import Quire
from quire.sessions.listing import Order, SessionFilter
from quire.sessions.models import Session
from quire.store.tables import attachments, blob_references, conversations, messages
from quire.transfer.feeds import OnConflict
from tests.crash.journal import History, read_journal
from tests.crash.killing import check_blobs, kill_again_and_again
from tests.crash.transfer_child import owner
from tests.transfer.model import LABELS, Points, by_label, entry_of, merged, numbered_points

KILLS = 4
SOAK_KILLS = 120

EMBEDDING = {"QUIRE_EMBEDDING_PROVIDER": "fake", "QUIRE_EMBEDDING_DIMENSION": "16"}

Contents = Counter[frozenset[tuple[int, float]]]


@pytest.mark.timeout(300)
async def test_embedded(embedded: dict[str, str], tmp_path: Path) -> None:
    await _kill_transfers(embedded, tmp_path / "journal", KILLS)


@pytest.mark.server
@pytest.mark.postgres
@pytest.mark.timeout(300)
async def test_on_servers(on_servers: dict[str, str], tmp_path: Path) -> None:
    await _kill_transfers(on_servers, tmp_path / "journal", KILLS)


@pytest.mark.soak
async def test_embedded_for_long(embedded: dict[str, str], tmp_path: Path) -> None:
    await _kill_transfers(embedded, tmp_path / "journal", SOAK_KILLS)


@pytest.mark.soak
@pytest.mark.server
@pytest.mark.postgres
async def test_on_servers_for_long(on_servers: dict[str, str], tmp_path: Path) -> None:
    await _kill_transfers(on_servers, tmp_path / "journal", SOAK_KILLS)


async def _kill_transfers(environment: dict[str, str], journal: Path, kills: int) -> None:
    async def check(quire: Quire) -> None:
        for name, history in read_journal(journal).items():
            await _check_owner(quire, name, history)
        findings = await quire.reconciliation.run()
        assert findings.is_clean, findings
        await check_blobs(quire)
        await _check_activity(quire)

    settings = {**environment, **EMBEDDING, "QUIRE_TRANSFER_UNDO_HOURS": "0"}
    await kill_again_and_again(
        "tests.crash.transfer_child", settings, journal, kills, check, longest=4.0
    )
    done = [
        operation
        for history in read_journal(journal).values()
        for operation in history.acknowledged
    ]
    assert len(done) >= 4, "the children did next to nothing before they were killed"


async def _check_activity(quire: Quire) -> None:
    """What holds a blob for an attachment is one, and conversations count all their messages."""
    is_held = blob_references.c.holder.startswith(holder_of(""))
    holding = sa.select(blob_references).where(is_held)
    there = sa.select(attachments.c.session_id, attachments.c.name, attachments.c.sha256)
    uncounted = sa.select(sa.func.count()).where(
        messages.c.session_id == conversations.c.session_id,
        messages.c.ordinal >= conversations.c.next_ordinal,
    )
    async with quire.database.read() as connection:
        held = {tuple(row) for row in await connection.execute(holding)}
        rows = (await connection.execute(there)).all()
        assert await connection.scalar(uncounted) == 0
    assert held == {(row.session_id, holder_of(row.name), row.sha256) for row in rows}


async def _check_owner(quire: Quire, name: str, history: History) -> None:
    """All that an owner has is what was acknowledged, with or without what was under way."""
    before: dict[str, Points] = {}
    for entry in history.acknowledged:
        told, *made = json.loads(entry)
        _apply(before, json.loads(told), made)
    pending = json.loads(history.pending or "null")
    is_filling = pending is not None and pending[0] == "fill"
    possible = [_contents(before)]
    if pending is not None and not is_filling:
        possible.append(_contents(_after(before, pending)))
    found: dict[str, Points] = {}
    for session in await _sessions(quire, name):
        assert session.busy_job is None
        found[session.id] = await _held(quire, session)
        if is_filling and session.id == pending[1]:
            # Of a write of points some may be there, and they are counted with the next one.
            assert found[session.id].keys() <= numbered_points(*pending[2:]).keys()
            found[session.id] = before[session.id]
        else:
            assert session.points_count == len(found[session.id])
    assert _contents(found) in possible, f"{name}: {history.pending}"


def _apply(sessions: dict[str, Points], operation: list[object], made: list[str]) -> None:
    """What an operation does to an owner's sessions; what it made has these ids."""
    match operation:
        case ["create", str(session_id), *_]:
            sessions[session_id] = {}
        case ["fill", str(session_id), int(first), int(number)]:
            sessions[session_id] = numbered_points(first, number)
        case ["merge", *sources]:
            parts = [(str(source), sessions[str(source)]) for source in sources]
            sessions[made[0]] = merged(parts, OnConflict.SKIP)
        case ["join", str(source), str(target)]:
            parts = [(source, sessions[source])]
            sessions[target] = merged(parts, OnConflict.SKIP, sessions[target])
        case ["split", str(session_id), bool(move)]:
            ids = dict(part.split("=") for part in made)
            parts_by_label = by_label(sessions[session_id])
            sessions |= {ids[label]: points for label, points in parts_by_label.items()}
            if move:
                sessions[session_id] = {}
        case ["fork", str(session_id)]:
            sessions[made[0]] = dict(sessions[session_id])
        case ["delete", str(session_id)]:
            del sessions[session_id]
        case _:
            raise AssertionError(operation)


def _after(before: Mapping[str, Points], operation: list[object]) -> dict[str, Points]:
    """What there is if an operation was done of which nobody heard the end."""
    after = dict(before)
    made = ["new"]
    if operation[0] == "split":
        made = [f"{label}=new-{label}" for label in LABELS]
    _apply(after, operation, made)
    return after


def _contents(sessions: Mapping[str, Points]) -> Contents:
    return Counter(
        frozenset((int(identity), vector[2]) for identity, (vector, _) in points.items())
        for points in sessions.values()
    )


async def _sessions(quire: Quire, name: str) -> list[Session]:
    page = await quire.listing.find(owner(name), SessionFilter(), order=Order.CREATED, limit=1_000)
    return list(page.sessions)


async def _held(quire: Quire, session: Session) -> Points:
    awake = await quire.sessions.awake(session)
    found: Points = {}
    async for records in quire.engine.stream(awake.collection):
        found |= {record.id: entry_of(record) for record in records}
    for identity, entry in found.items():
        assert entry == numbered_points(int(identity), 1)[int(identity)]
    return found
