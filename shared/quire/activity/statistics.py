"""What was said and done in a session, in numbers: counted by the database, never row by row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from quire.access.principal import Principal
from quire.activity.invocation_models import InvocationStatus
from quire.sessions.sessions import Sessions
from quire.store.columns import EPOCH
from quire.store.database import Database
from quire.store.tables import invocations, messages

TOOLS_MAX = 200
"""The most used so many are told of one by one; the totals count all."""
BUCKETS_MAX = 366
"""Of a timeline: the latest so many in which anything happened."""
PERCENTILES = (50, 95)


class Bucket(StrEnum):
    """How finely a timeline is divided, in UTC."""

    HOUR = "hour"
    DAY = "day"

    @property
    def length(self) -> timedelta:
        return timedelta(hours=1) if self is Bucket.HOUR else timedelta(days=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Durations:
    """Of invocations whose duration is known; percentiles are durations that occurred."""

    count: int = 0
    total_ms: float = 0.0
    p50_ms: float | None = None
    p95_ms: float | None = None
    longest_ms: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What invocations or messages came to."""

    count: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    cost: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolStatistics(Usage):
    tool: str
    running: int
    succeeded: int
    failed: int
    cancelled: int
    durations: Durations
    first_at: datetime
    last_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class TimelineEntry:
    """What began within a bucket."""

    at: datetime
    invocations: int = 0
    failed: int = 0
    messages: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistics:
    session_id: str
    invocations: Usage
    statuses: dict[InvocationStatus, int]
    durations: Durations
    messages: Usage
    roles: dict[str, Usage]
    tools_count: int
    tools: Sequence[ToolStatistics]
    bucket: Bucket
    timeline: Sequence[TimelineEntry] = field(default_factory=list)

    @property
    def usage(self) -> Usage:
        """Of invocations and messages together; a cost is to be told with one of them."""
        parts = (self.invocations, self.messages)
        return Usage(
            count=sum(part.count for part in parts),
            tokens_in=sum(part.tokens_in for part in parts),
            tokens_out=sum(part.tokens_out for part in parts),
            cost=sum(part.cost for part in parts),
        )


class ActivityStatistics:
    """Statistics of a session's invocations and messages, for a caller."""

    def __init__(self, database: Database, sessions: Sessions) -> None:
        self._database = database
        self._sessions = sessions

    async def of(
        self,
        principal: Principal,
        session_id: str,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        bucket: Bucket = Bucket.DAY,
    ) -> Statistics:
        """Of what began within that time; by default of everything."""
        await self._sessions.get(principal, session_id)
        done = _within(invocations, invocations.c.started_at, session_id, since, until)
        said = _within(messages, messages.c.created_at, session_id, since, until)
        async with self._database.read() as connection:
            tools = sa.func.count(sa.distinct(invocations.c.tool)).label("tools")
            totals = (await connection.execute(_totals(done, tools))).one()
            roles = await _roles(connection, said)
            return Statistics(
                session_id=session_id,
                invocations=_usage(totals),
                statuses=_statuses(totals),
                durations=await _durations(connection, done, totals),
                messages=Usage(
                    count=sum(role.count for role in roles.values()),
                    tokens_in=sum(role.tokens_in for role in roles.values()),
                    tokens_out=sum(role.tokens_out for role in roles.values()),
                    cost=sum(role.cost for role in roles.values()),
                ),
                roles=roles,
                tools_count=totals.tools,
                tools=await _tools(connection, done),
                bucket=bucket,
                timeline=await _timeline(connection, done, said, bucket),
            )


Conditions = Sequence[sa.ColumnElement[bool]]


def _within(
    table: sa.Table,
    moment: sa.Column[datetime],
    session_id: str,
    since: datetime | None,
    until: datetime | None,
) -> Conditions:
    conditions: list[sa.ColumnElement[bool]] = [table.c.session_id == session_id]
    if since is not None:
        conditions.append(moment >= since)
    if until is not None:
        conditions.append(moment < until)
    return conditions


def _sums(table: sa.Table) -> list[sa.ColumnElement[Any]]:
    # PostgreSQL adds bigints up to a numeric.
    whole = [
        sa.cast(sa.func.coalesce(sa.func.sum(table.c[name]), 0), sa.BigInteger).label(name)
        for name in ("tokens_in", "tokens_out")
    ]
    return [
        sa.func.count().label("entries"),
        *whole,
        sa.func.coalesce(sa.func.sum(table.c.cost), 0.0).label("cost"),
    ]


def _totals(done: Conditions, *more: sa.ColumnElement[Any]) -> sa.Select[Any]:
    status, duration = invocations.c.status, invocations.c.duration_ms
    return sa.select(
        *_sums(invocations),
        *(sa.func.count().filter(status == one.value).label(one.value) for one in InvocationStatus),
        sa.func.count(duration).label("timed"),
        sa.func.coalesce(sa.func.sum(duration), 0.0).label("total_ms"),
        sa.func.max(duration).label("longest_ms"),
        *more,
    ).where(*done)


async def _durations(
    connection: AsyncConnection, done: Conditions, totals: sa.Row[Any]
) -> Durations:
    duration = invocations.c.duration_ms
    ordered = sa.select(duration).where(*done, duration.is_not(None)).order_by(duration).limit(1)
    found: list[float | None] = []
    for percent in PERCENTILES:
        at = ordered.offset(max(0, _rank(totals.timed, percent) - 1))
        found.append((await connection.execute(at)).scalar_one_or_none())
    return Durations(
        count=totals.timed,
        total_ms=totals.total_ms,
        p50_ms=found[0],
        p95_ms=found[1],
        longest_ms=totals.longest_ms,
    )


async def _roles(connection: AsyncConnection, said: Conditions) -> dict[str, Usage]:
    role = messages.c.role
    query = sa.select(role, *_sums(messages)).where(*said).group_by(role).order_by(role)
    return {row.role: _usage(row) for row in await connection.execute(query)}


async def _tools(connection: AsyncConnection, done: Conditions) -> list[ToolStatistics]:
    tool, started = invocations.c.tool, invocations.c.started_at
    first, last = sa.func.min(started).label("first_at"), sa.func.max(started).label("last_at")
    query = _totals(done, tool, first, last)
    query = query.group_by(tool).order_by(sa.func.count().desc(), tool).limit(TOOLS_MAX)
    rows = (await connection.execute(query)).all()
    percentiles = await _percentiles(connection, done, {row.tool: row.timed for row in rows})
    return [
        ToolStatistics(
            tool=row.tool,
            count=row.entries,
            tokens_in=row.tokens_in,
            tokens_out=row.tokens_out,
            cost=row.cost,
            **{status.value: count for status, count in _statuses(row).items()},
            durations=Durations(
                count=row.timed,
                total_ms=row.total_ms,
                p50_ms=percentiles.get((row.tool, _rank(row.timed, 50))),
                p95_ms=percentiles.get((row.tool, _rank(row.timed, 95))),
                longest_ms=row.longest_ms,
            ),
            first_at=row.first_at,
            last_at=row.last_at,
        )
        for row in rows
    ]


async def _percentiles(
    connection: AsyncConnection, done: Conditions, timed: dict[str, int]
) -> dict[tuple[str, int], float]:
    """For each tool, its durations at the ranks of the percentiles."""
    tool, duration = invocations.c.tool, invocations.c.duration_ms
    rank = sa.func.row_number().over(partition_by=tool, order_by=duration)
    ranked = (
        sa.select(tool, duration, rank.label("rank"))
        .where(*done, duration.is_not(None))
        .subquery("ranked")
    )
    wanted = sa.or_(
        sa.false(),
        *(
            (ranked.c.tool == name)
            & ranked.c.rank.in_(sorted({_rank(count, percent) for percent in PERCENTILES}))
            for name, count in timed.items()
            if count
        ),
    )
    rows = await connection.execute(sa.select(ranked).where(wanted))
    return {(row.tool, row.rank): row.duration_ms for row in rows}


async def _timeline(
    connection: AsyncConnection, done: Conditions, said: Conditions, bucket: Bucket
) -> list[TimelineEntry]:
    failed = invocations.c.status == InvocationStatus.FAILED.value
    begun = _buckets(bucket, invocations.c.started_at, done, sa.func.count().filter(failed))
    spoken = _buckets(bucket, messages.c.created_at, said, sa.literal(0))
    entries: dict[int, list[int]] = {}
    for number, count, failures in await connection.execute(begun):
        entries[number] = [count, failures, 0]
    for number, count, _ in await connection.execute(spoken):
        entries.setdefault(number, [0, 0, 0])[2] = count
    return [
        TimelineEntry(
            at=(EPOCH + number * bucket.length).astimezone(UTC),
            invocations=entry[0],
            failed=entry[1],
            messages=entry[2],
        )
        for number, entry in sorted(entries.items())[-BUCKETS_MAX:]
    ]


def _buckets(
    bucket: Bucket, moment: sa.Column[datetime], within: Conditions, *more: Any
) -> sa.Select[Any]:
    """How much began in each bucket, the latest ones."""
    length = bucket.length // timedelta(microseconds=1)
    number = (sa.type_coerce(moment, sa.BigInteger) // sa.literal(length, sa.BigInteger)).label(
        "number"
    )
    query = sa.select(number, sa.func.count(), *more).where(*within)
    return query.group_by(sa.text("number")).order_by(sa.text("number DESC")).limit(BUCKETS_MAX)


def _usage(row: sa.Row[Any]) -> Usage:
    return Usage(
        count=row.entries,
        tokens_in=row.tokens_in,
        tokens_out=row.tokens_out,
        cost=row.cost,
    )


def _statuses(row: sa.Row[Any]) -> dict[InvocationStatus, int]:
    return {status: getattr(row, status.value) for status in InvocationStatus}


def _rank(count: int, percent: int) -> int:
    """Of the least value that so many per cent of all do not exceed, counted from 1."""
    return (count * percent + 99) // 100
