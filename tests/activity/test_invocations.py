"""Invocations are recorded once, go from running to an end, and then stay what they are."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa

from quire.access.principal import LOCAL, Scope
from quire.activity.invocation_models import (
    InvocationFilter,
    InvocationStatus,
    NewInvocation,
    digest,
)
from quire.errors import (
    Conflict,
    Forbidden,
    InvalidInput,
    InvocationNotFound,
    SessionNotFound,
)
from quire.store.tables import events, invocations
from tests.sessions.house import ADA, ALAN, GRACE, create, new_id, person, purged, row_count

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from quire.app import Quire

pytestmark = pytest.mark.asyncio(loop_scope="module")

T0 = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)
SECOND = timedelta(seconds=1)


async def content(*blocks: bytes) -> AsyncIterator[bytes]:
    for block in blocks:
        yield block


async def told_of(quire: Quire, session_id: str) -> list[dict[str, Any]]:
    query = sa.select(events.c.data).where(
        events.c.session_id == session_id, events.c.kind == "invocation.recorded"
    )
    async with quire.database.read() as connection:
        return list((await connection.execute(query.order_by(events.c.seq))).scalars())


async def test_recording_twice_records_once(quire: Quire) -> None:
    session = await create(quire)
    new = NewInvocation(id="inv_001", tool="git_tool", duration_ms=150.5, metadata={"a": [1]})

    recorded, was_new = await quire.activity.invocations.record(ADA, session.id, new)
    again, was_new_again = await quire.activity.invocations.record(ADA, session.id, new)

    assert (was_new, was_new_again) == (True, False)
    assert again == recorded
    assert recorded.status is InvocationStatus.SUCCEEDED
    assert recorded.author == "ada"
    assert recorded.finished_at is not None
    assert recorded.finished_at - recorded.started_at == timedelta(milliseconds=150.5)
    assert await quire.activity.invocations.get(ADA, session.id, "inv_001") == recorded
    assert await told_of(quire, session.id) == [
        {"invocation_id": "inv_001", "tool": "git_tool", "status": "succeeded"}
    ]


async def test_it_goes_from_running_to_an_end_and_no_further(quire: Quire) -> None:
    session = await create(quire)
    record = quire.activity.invocations.record

    started, _ = await record(
        ADA,
        session.id,
        NewInvocation(id="i", tool="t", status=InvocationStatus.RUNNING, started_at=T0),
    )
    assert (started.finished_at, started.duration_ms) == (None, None)
    ended, was_new = await record(
        ADA,
        session.id,
        NewInvocation(id="i", tool="t", error="timed out", finished_at=T0 + 3 * SECOND),
    )

    assert not was_new
    assert (ended.status, ended.duration_ms) == (InvocationStatus.FAILED, 3000.0)
    with pytest.raises(Conflict, match="is over") as refused:
        await record(ADA, session.id, NewInvocation(id="i", tool="t", cost=1.0))
    assert refused.value.details["fields"] == ["cost"]
    running = NewInvocation(id="i", tool="t", status=InvocationStatus.RUNNING)
    with pytest.raises(Conflict, match="is over"):
        await record(ADA, session.id, running)
    with pytest.raises(Conflict, match="one of t, not of u"):
        await record(ADA, session.id, NewInvocation(id="i", tool="u"))
    assert await quire.activity.invocations.get(ADA, session.id, "i") == ended
    assert [event["status"] for event in await told_of(quire, session.id)] == ["running", "failed"]


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ({"started_at": T0, "duration_ms": 1500.0}, (T0, T0 + 1.5 * SECOND, 1500.0)),
        ({"started_at": T0, "finished_at": T0 + SECOND}, (T0, T0 + SECOND, 1000.0)),
        ({"finished_at": T0, "duration_ms": 500.0}, (T0 - 0.5 * SECOND, T0, 500.0)),
        ({"finished_at": T0}, (T0, T0, None)),
        # measured with another clock
        (
            {"started_at": T0, "finished_at": T0 + SECOND, "duration_ms": 900.0},
            (T0, T0 + SECOND, 900.0),
        ),
    ],
)
async def test_of_start_end_and_duration_the_third_follows(
    quire: Quire, told: dict[str, Any], expected: tuple[Any, ...]
) -> None:
    session = await create(quire)
    new = NewInvocation(tool="t", **told)
    recorded, _ = await quire.activity.invocations.record(ADA, session.id, new)
    assert (recorded.started_at, recorded.finished_at, recorded.duration_ms) == expected


@pytest.mark.parametrize(
    ("told", "field"),
    [
        ({"started_at": T0, "finished_at": T0 - SECOND}, "finished_at"),
        ({"started_at": datetime(2999, 1, 1, tzinfo=UTC)}, "started_at"),
        (
            {"started_at": T0, "finished_at": T0 + SECOND, "duration_ms": 9_000.0},
            "duration_ms",
        ),
        ({"status": InvocationStatus.RUNNING, "duration_ms": 1.0}, "duration_ms"),
        ({"status": InvocationStatus.RUNNING, "finished_at": T0}, "finished_at"),
        (
            {"started_at": datetime(9999, 12, 31, tzinfo=UTC), "duration_ms": 1e11},
            "duration_ms",
        ),
        ({"duration_ms": float("nan")}, "duration_ms"),
        ({"tokens_in": -1}, "tokens_in"),
        ({"cost": float("inf")}, "cost"),
        ({"tool": ""}, "tool"),
        ({"id": "a/b"}, "id"),
        ({"input_sha256": "ABC"}, "input_sha256"),
        ({"attachments": ["not/../there"]}, "attachments[0]"),
        ({"attachments": ["missing.png"]}, "attachments[0]"),
        ({"error": "\x00"}, "error"),
        ({"metadata": {"a": float("nan")}}, "metadata.a"),
    ],
)
async def test_what_cannot_be_is_refused_by_name(
    quire: Quire, told: dict[str, Any], field: str
) -> None:
    session = await create(quire)
    new = NewInvocation(**{"tool": "t", **told})
    with pytest.raises(InvalidInput) as refused:
        await quire.activity.invocations.record(ADA, session.id, new)
    assert refused.value.field == field
    page = await quire.activity.invocations.page(ADA, session.id)
    assert page.invocations == []


async def test_attachments_must_be_there_when_they_are_named(quire: Quire) -> None:
    session = await create(quire)
    await quire.activity.attachments.put(ADA, session.id, "shot.png", content(b"x"))
    new = NewInvocation(id="i", tool="t", attachments=["shot.png", "shot.png"])
    recorded, _ = await quire.activity.invocations.record(ADA, session.id, new)
    assert recorded.attachments == ("shot.png",)

    # A repetition is harmless even when the attachment has gone.
    await quire.activity.attachments.remove(ADA, session.id, "shot.png")
    assert await quire.activity.invocations.record(ADA, session.id, new) == (recorded, False)


async def test_digests_are_of_canonical_json() -> None:
    expected = hashlib.sha256('{"a":"ä","b":[1,2.5,null]}'.encode()).hexdigest()
    assert digest("input", {"b": [1, 2.5, None], "a": "ä"}) == expected
    assert digest("input", "text") == hashlib.sha256(b'"text"').hexdigest()
    for impossible in (float("nan"), "\ud800"):
        with pytest.raises(InvalidInput):
            digest("input", impossible)


async def test_many_at_once_for_one_id_are_one(quire: Quire) -> None:
    session = await create(quire)
    new = NewInvocation(id="i", tool="t", started_at=T0, duration_ms=1.0)
    done = await asyncio.gather(
        *(quire.activity.invocations.record(ADA, session.id, new) for _ in range(10))
    )
    assert sum(was_new for _, was_new in done) == 1
    assert len({recorded.seq for recorded, _ in done}) == 1


async def test_they_are_paged_either_way_and_filtered(quire: Quire) -> None:
    session = await create(quire)
    for n in range(7):
        new = NewInvocation(
            id=f"i{n}",
            tool="ab"[n % 2],
            status=InvocationStatus.CANCELLED if n == 3 else None,
            started_at=T0 + n * SECOND,
            duration_ms=1.0,
        )
        await quire.activity.invocations.record(ADA, session.id, new)

    async def ids(newest_first: bool = False, **filter: Any) -> list[str]:
        found: list[str] = []
        cursor = None
        while True:
            page = await quire.activity.invocations.page(
                ADA,
                session.id,
                InvocationFilter(**filter),
                cursor=cursor,
                limit=2,
                newest_first=newest_first,
            )
            found += [invocation.id for invocation in page.invocations]
            if page.next_cursor is None:
                return found
            cursor = int(page.next_cursor)

    assert await ids() == [f"i{n}" for n in range(7)]
    assert await ids(newest_first=True) == [f"i{n}" for n in range(6, -1, -1)]
    assert await ids(tool="b") == ["i1", "i3", "i5"]
    assert await ids(status=InvocationStatus.CANCELLED) == ["i3"]
    assert await ids(since=T0 + 2 * SECOND, until=T0 + 4 * SECOND) == ["i2", "i3"]
    with pytest.raises(InvocationNotFound):
        await quire.activity.invocations.get(ADA, session.id, "i7")


async def test_across_sessions_everyone_sees_what_they_may_read(quire: Quire) -> None:
    tool = new_id("tool")
    mine = await create(quire, ADA)
    shared = await create(quire, GRACE, metadata={})
    grouped = await create(quire, ADA, group="garden")
    other = await create(quire, ALAN)
    gone = await create(quire, ADA)
    for n, (who, session) in enumerate(
        [(ADA, mine), (GRACE, shared), (ADA, grouped), (ALAN, other), (ADA, gone), (ADA, mine)]
    ):
        new = NewInvocation(id=f"i{n}", tool=tool, started_at=T0 + n * SECOND, duration_ms=1.0)
        await quire.activity.invocations.record(who, session.id, new)
    await purged(quire, ADA, gone.id)

    async def seen(who: Any, **more: Any) -> list[str]:
        found: list[str] = []
        cursor = None
        while True:
            page = await quire.activity.invocations.by_tool(
                who, InvocationFilter(tool=tool), cursor=cursor, limit=1, **more
            )
            found += [invocation.id for invocation in page.invocations]
            if (cursor := page.next_cursor) is None:
                return found

    assert await seen(ADA) == ["i5", "i2", "i0"]
    assert await seen(ADA, session_id=grouped.id) == ["i2"]
    assert await seen(person("bob", "garden")) == ["i2"]
    assert await seen(GRACE) == ["i1"]
    assert await seen(LOCAL) == ["i5", "i3", "i2", "i1", "i0"]
    assert await seen(person("nobody")) == []
    with pytest.raises(SessionNotFound):
        await seen(GRACE, session_id=mine.id)
    for cursor in ("", "1", "x.y", f"{2**70}.1"):
        with pytest.raises(InvalidInput, match="cursor"):
            await quire.activity.invocations.by_tool(ADA, InvocationFilter(), cursor=cursor)


async def test_roles_and_states_are_heeded(quire: Quire) -> None:
    session = await create(quire)
    new = NewInvocation(id="i", tool="t")
    await quire.activity.invocations.record(ADA, session.id, new)
    with pytest.raises(SessionNotFound):
        await quire.activity.invocations.get(GRACE, session.id, "i")
    reader = replace(ADA, scope=Scope.READ)
    assert await quire.activity.invocations.get(reader, session.id, "i")
    with pytest.raises(Forbidden):
        await quire.activity.invocations.record(reader, session.id, NewInvocation(tool="t"))

    await quire.sessions.delete(ADA, session.id)
    with pytest.raises(Conflict, match="is deleted"):
        await quire.activity.invocations.record(ADA, session.id, NewInvocation(tool="t"))
    await purged(quire, ADA, session.id)
    assert await row_count(quire, invocations, session.id) == 0
