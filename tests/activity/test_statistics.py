"""Statistics are exact: they agree with what is counted by hand."""

from __future__ import annotations

import math
import random
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa

from quire.access.policy import Role
from quire.activity.invocation_models import InvocationStatus, NewInvocation
from quire.activity.message_models import MessageRole, NewMessage
from quire.activity.statistics import BUCKETS_MAX, TOOLS_MAX, Bucket, Durations, Usage
from quire.errors import SessionNotFound
from quire.sessions.listing import Order, SessionFilter
from quire.sessions.models import Outcome
from quire.sessions.requests import SessionChange
from quire.store.tables import invocations
from tests.sessions.house import ADA, ALAN, GRACE, create, new_id, person

if TYPE_CHECKING:
    from quire.app import Quire

pytestmark = pytest.mark.asyncio(loop_scope="module")

T0 = datetime(2026, 11, 20, 22, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)


def by_nearest_rank(values: list[float], percent: int) -> float:
    return sorted(values)[math.ceil(len(values) * percent / 100) - 1]


async def insert(quire: Quire, session_id: str, rows: list[dict[str, Any]]) -> None:
    """Many invocations at once."""
    template = {
        "session_id": session_id,
        "attachments": [],
        "metadata": {},
        "status": "succeeded",
        "duration_ms": 1.0,
        "started_at": T0,
        "created_at": T0,
    }
    async with quire.database.write() as connection:
        await connection.execute(
            sa.insert(invocations),
            [{**template, "id": f"i{n}", **row} for n, row in enumerate(rows)],
        )


async def test_an_empty_session_has_nothing_to_tell(quire: Quire) -> None:
    session = await create(quire)
    told = await quire.activity.statistics.of(ADA, session.id)
    assert told.invocations == told.messages == told.usage == Usage()
    assert told.durations == Durations()
    assert (told.tools_count, list(told.tools), list(told.timeline)) == (0, [], [])
    assert set(told.statuses.values()) == {0}
    with pytest.raises(SessionNotFound):
        await quire.activity.statistics.of(GRACE, session.id)


async def test_they_agree_with_counting_by_hand(quire: Quire) -> None:
    chance = random.Random(7)
    session = await create(quire)
    rows = [
        {
            "tool": chance.choice(["git_tool", "log_analysis", "knowledge_indexer"]),
            "status": chance.choice(["succeeded", "succeeded", "failed", "cancelled", "running"]),
            "duration_ms": chance.choice([None, chance.random() * 1000, 5.0]),
            "tokens_in": chance.choice([None, chance.randrange(10_000)]),
            "tokens_out": chance.randrange(100),
            "cost": chance.choice([None, 0.25]),
            "started_at": T0 + n * HOUR / 10,
        }
        for n in range(237)
    ]
    await insert(quire, session.id, rows)

    told = await quire.activity.statistics.of(ADA, session.id, bucket=Bucket.HOUR)

    assert told.invocations == Usage(
        count=237,
        tokens_in=sum(row["tokens_in"] or 0 for row in rows),
        tokens_out=sum(row["tokens_out"] for row in rows),
        cost=sum(row["cost"] or 0.0 for row in rows),
    )
    assert told.statuses == Counter(InvocationStatus(row["status"]) for row in rows)
    assert [tool.tool for tool in told.tools] == [
        tool for tool, _ in sorted(Counter(r["tool"] for r in rows).items(), key=lambda t: -t[1])
    ]
    for tool in told.tools:
        mine = [row for row in rows if row["tool"] == tool.tool]
        known = [row["duration_ms"] for row in mine if row["duration_ms"] is not None]
        assert tool.count == len(mine)
        assert tool.failed == sum(row["status"] == "failed" for row in mine)
        assert tool.durations.total_ms == pytest.approx(sum(known))
        assert tool.durations.p50_ms == by_nearest_rank(known, 50)
        assert tool.durations.p95_ms == by_nearest_rank(known, 95)
        assert tool.durations.longest_ms == max(known)
        assert tool.last_at == max(row["started_at"] for row in mine)
    known = [row["duration_ms"] for row in rows if row["duration_ms"] is not None]
    assert told.durations.count == len(known)
    assert told.durations.p50_ms == by_nearest_rank(known, 50)
    assert told.durations.p95_ms == by_nearest_rank(known, 95)
    assert [entry.invocations for entry in told.timeline] == [10] * 23 + [7]
    assert told.timeline[0].at == T0
    assert sum(entry.failed for entry in told.timeline) == told.statuses[InvocationStatus.FAILED]


async def test_messages_count_by_role_and_within_a_time(quire: Quire) -> None:
    session = await create(quire)
    new = [
        NewMessage(role=MessageRole.USER, content="What changed?", tokens_in=4),
        NewMessage(role=MessageRole.ASSISTANT, content="This.", tokens_out=2, cost=0.5),
        NewMessage(role=MessageRole.USER, content="Thanks.", tokens_in=1),
    ]
    await quire.activity.messages.append(ADA, session.id, new)
    await quire.activity.invocations.record(
        ADA, session.id, NewInvocation(tool="t", tokens_in=10, cost=0.25)
    )
    told = await quire.activity.statistics.of(ADA, session.id)
    assert told.roles == {
        "assistant": Usage(count=1, tokens_out=2, cost=0.5),
        "user": Usage(count=2, tokens_in=5),
    }
    assert told.usage == Usage(count=4, tokens_in=15, tokens_out=2, cost=0.75)
    assert [(entry.invocations, entry.messages) for entry in told.timeline] == [(1, 3)]

    long_ago = datetime(2001, 1, 1, tzinfo=UTC)
    earlier = await quire.activity.statistics.of(ADA, session.id, until=long_ago)
    assert earlier.usage == Usage()
    since = await quire.activity.statistics.of(ADA, session.id, since=long_ago)
    assert since.usage == told.usage


async def test_however_many_tools_and_days_the_answer_is_bounded(quire: Quire) -> None:
    session = await create(quire)
    days = BUCKETS_MAX + 20
    rows = [{"tool": f"tool {n:04}", "started_at": T0 + n * timedelta(days=1)} for n in range(days)]
    await insert(quire, session.id, [*rows, {"tool": "most used"}, {"tool": "most used"}])
    told = await quire.activity.statistics.of(ADA, session.id)
    assert told.tools_count == days + 1
    assert [tool.tool for tool in told.tools][:2] == ["most used", "tool 0000"]
    assert len(told.tools) == TOOLS_MAX
    assert len(told.timeline) == BUCKETS_MAX
    assert told.timeline[-1].at.date() == (T0 + (days - 1) * timedelta(days=1)).date()
    assert told.timeline[0].at < told.timeline[1].at


async def test_sessions_are_found_by_what_was_done_in_them(quire: Quire) -> None:
    group = new_id("g")
    tool, long = new_id("tool"), "p" * 256
    who = person("ada", group)
    one = await create(quire, who, group=group, metadata={"purpose": "Debug authentication"})
    two = await create(quire, who, group=group, metadata={"purpose": long + "x"}, tags=("urgent",))
    three = await create(quire, who, group=group, metadata={"purpose": ["no text"]})
    for session in (one, two):
        for _ in range(2):
            await quire.activity.invocations.record(who, session.id, NewInvocation(tool=tool))
    await quire.sharing.share(who, three.id, ["grace"], Role.READ)
    await quire.sessions.end(who, two.id, Outcome.FAILED)

    async def found(order: Order = Order.CREATED, caller: Any = who, **filter: Any) -> list[str]:
        page = await quire.listing.find(caller, SessionFilter(group=group, **filter), order=order)
        return [session.id for session in page.sessions]

    assert await found(tool=tool) == [two.id, one.id]
    assert await found(tool=tool, outcome=Outcome.FAILED) == [two.id]
    assert await found(tool="never used") == []
    assert await found(caller=ALAN, tool=tool) == []
    assert await found(purpose="Debug authentication") == [one.id]
    assert await found(purpose=long + "x", tags=("urgent",)) == [two.id]
    assert await found(purpose=long + "y") == []
    assert await found(user="grace") == [three.id]
    assert await found(user="ada") == [three.id, two.id, one.id]
    assert await found(since=two.created_at) == [three.id, two.id]
    assert await found(since=two.created_at, until=three.created_at) == [two.id]
    assert await found(order=Order.UPDATED, until=one.created_at) == []

    await quire.sessions.update(who, one.id, SessionChange(metadata={"purpose": "Updated purpose"}))
    assert await found(purpose="Debug authentication") == []
    assert await found(purpose="Updated purpose") == [one.id]
