"""Copying rows of activity within the database, some at a time, under the names that they get."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from quire.transfer.activity_names import is_live, origin_of
from quire.transfer.activity_plan import Bringing, Kind, in_order, placings, renamed, renamings

PAGE = 500
AT_ONCE = 250
"""Rows in one statement: SQLite keeps what a table is given from itself in memory meanwhile."""


async def by_name(
    connection: AsyncConnection, bringing: Bringing, kind: Kind, session_id: str
) -> int:
    """Insert what a session has of a kind that has no order of its own."""
    table, name = kind.table, kind.table.c[kind.key]
    said, is_said = renamed(kind, table.c.session_id, name)
    is_coming = [table.c.session_id == session_id, sa.func.coalesce(said.c.is_brought, sa.true())]
    if kind is Kind.ATTACHMENTS:
        is_coming.append(is_live(table))
    coming = table.outerjoin(said, is_said)
    names = sa.select(name).select_from(coming).where(*is_coming).order_by(name).limit(AT_ONCE)
    values = {
        "session_id": sa.literal(bringing.target),
        kind.key: sa.func.coalesce(said.c.other, name),
        "job_id": sa.literal(bringing.job_id),
    }
    count, after = 0, ""
    while page := (await connection.execute(names.where(name > after))).scalars().all():
        query = sa.select(*(values.get(c.name, c) for c in table.c)).select_from(coming)
        query = query.where(*is_coming, name.in_(page))
        await connection.execute(sa.insert(table).from_select(table.c.keys(), query))
        count, after = count + len(page), page[-1]
    return count


async def placed(
    connection: AsyncConnection,
    kind: Kind,
    source: sa.FromClause,
    values: Mapping[str, sa.ColumnElement[Any]],
    places: int,
) -> int:
    """Insert what has a place, in the order of places; answers how much that is.

    `source` is `in_order`, with whatever `values` need besides.
    """
    table, count = kind.table, 0
    columns = [column for column in table.c if column.name != "seq"]
    query = (
        sa.select(*(values.get(column.name, column) for column in columns))
        .select_from(source)
        .where(placings.c.kind == kind.value)
        .order_by(placings.c.place)
    )
    for start in range(0, places, AT_ONCE):
        some = query.where(placings.c.place.between(start, start + AT_ONCE - 1))
        names = [column.name for column in columns]
        done = await connection.execute(sa.insert(table).from_select(names, some))
        count += done.rowcount
    return count


async def tell_origins(connection: AsyncConnection, kind: Kind, target: str) -> None:
    """What got another id tells in its metadata which it had, and where."""
    table = kind.table
    query = (
        sa.select(renamings.c.session_id, renamings.c.name, renamings.c.other, table.c.metadata)
        .join(
            table,
            (table.c.session_id == renamings.c.session_id) & (table.c.id == renamings.c.name),
        )
        .where(renamings.c.kind == kind.value, renamings.c.is_brought)
        .order_by(renamings.c.other)
        .limit(PAGE)
    )
    change = (
        sa.update(table)
        .where(table.c.session_id == target, table.c.id == sa.bindparam("called"))
        .values(metadata=sa.bindparam("told"))
    )
    after = ""
    while page := (await connection.execute(query.where(renamings.c.other > after))).all():
        told = [
            {"called": row.other, "told": origin_of(row.metadata, row.session_id, row.name)}
            for row in page
        ]
        await connection.execute(change, told)
        after = page[-1].other


async def brought(
    connection: AsyncConnection, kind: Kind, session_id: str, column: sa.ColumnElement[Any]
) -> AsyncIterator[sa.Row[Any, Any, Any]]:
    """This column of what is brought from a session, and what each is `called` in the target."""
    table = kind.table
    said, is_said = renamed(kind, table.c.session_id, table.c.id)
    query = (
        sa.select(table.c.seq, column, sa.func.coalesce(said.c.other, table.c.id).label("called"))
        .select_from(in_order(kind).outerjoin(said, is_said))
        .where(placings.c.kind == kind.value, table.c.session_id == session_id)
        .order_by(table.c.seq)
        .limit(AT_ONCE)
    )
    after = 0
    while page := (await connection.execute(query.where(table.c.seq > after))).all():
        for row in page:
            yield row
        after = page[-1].seq
