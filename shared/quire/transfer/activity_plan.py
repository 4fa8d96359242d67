"""What is called what, and what stands where, when the activity of several sessions comes to one.

Both are worked out within the transaction that brings it, in temporary tables: it may be as much as
the sessions hold, and nothing of it outlives the transaction.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from quire.store.tables import attachments, invocations, messages, session_data


class Kind(StrEnum):
    """What is named within a session, in the words of bundles and reports."""

    ATTACHMENTS = "attachments"
    DATA = "data"
    INVOCATIONS = "invocations"
    MESSAGES = "messages"

    @property
    def table(self) -> sa.Table:
        return _TABLES[self]

    @property
    def key(self) -> str:
        """The column that names it within its session."""
        return {Kind.ATTACHMENTS: "name", Kind.DATA: "key"}.get(self, "id")


_TABLES = {
    Kind.ATTACHMENTS: attachments,
    Kind.DATA: session_data,
    Kind.INVOCATIONS: invocations,
    Kind.MESSAGES: messages,
}


@dataclass(frozen=True, slots=True)
class Bringing:
    """Whose activity comes to a session, and with which job."""

    job_id: str
    target: str
    sources: Sequence[str]
    """In their order: where two have the same name, it stays with the earlier one."""
    joined: bool = False
    """Whether the target has activity of its own, which comes before all others'."""
    last_wins: bool = False
    """Of data under the same key the last one stays."""

    @property
    def is_copy(self) -> bool:
        """Nothing can meet: everything is as it was, down to the ordinals."""
        return len(self.sources) == 1 and not self.joined

    @property
    def everyone(self) -> list[str]:
        return [*([self.target] if self.joined else []), *self.sources]


_plan = sa.MetaData()

renamings = sa.Table(
    "renamings",
    _plan,
    sa.Column("kind", sa.String(16), primary_key=True),
    sa.Column("session_id", sa.String(128), primary_key=True),
    sa.Column("name", sa.String(256), primary_key=True),
    # What it is called where it comes to: maybe the name of one that is the same.
    sa.Column("other", sa.String(256), nullable=False),
    sa.Column("is_brought", sa.Boolean, nullable=False),
    prefixes=["TEMPORARY"],
)

placings = sa.Table(
    "placings",
    _plan,
    sa.Column("kind", sa.String(16), primary_key=True),
    sa.Column("place", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("seq", sa.BigInteger, nullable=False),
    prefixes=["TEMPORARY"],
)


@asynccontextmanager
async def plan(connection: AsyncConnection) -> AsyncIterator[None]:
    """The two tables, empty; a transaction that is rolled back takes them with it."""
    await connection.run_sync(lambda sync: _plan.create_all(sync, checkfirst=False))
    yield
    await connection.run_sync(lambda sync: _plan.drop_all(sync, checkfirst=False))


def renamed(
    kind: Kind, session_id: sa.ColumnElement[str], name: sa.ColumnElement[str | None]
) -> tuple[sa.FromClause, sa.ColumnElement[bool]]:
    """What is said of a name of a session, to be joined from outside."""
    said = renamings.alias()
    return said, sa.and_(
        said.c.kind == kind.value, said.c.session_id == session_id, said.c.name == name
    )


def in_order(kind: Kind) -> sa.Join:
    """What is brought and its place: the first of all joins, or SQLite looks through the table."""
    return placings.join(kind.table, kind.table.c.seq == placings.c.seq)


async def place(connection: AsyncConnection, kind: Kind, bringing: Bringing) -> int:
    """Put what is brought in its order; answers how many places that takes.

    Messages of different sessions stand by their time, and those of one session in the order that
    they have, even where clocks disagreed with it.
    """
    table = kind.table
    order = table.c.ordinal if kind is Kind.MESSAGES else table.c.seq
    said, is_said = renamed(kind, table.c.session_id, table.c.id)
    position = sa.case(
        {session_id: n for n, session_id in enumerate(bringing.sources)}, value=table.c.session_id
    )
    since = sa.func.max(sa.type_coerce(table.c.created_at, sa.BigInteger))
    coming = (
        sa.select(
            table.c.seq,
            order.label("own"),
            position.label("position"),
            since.over(partition_by=table.c.session_id, order_by=order).label("since"),
        )
        .select_from(table.outerjoin(said, is_said))
        .where(
            table.c.session_id.in_(bringing.sources), sa.func.coalesce(said.c.is_brought, sa.true())
        )
        .subquery()
    )
    number: sa.ColumnElement[int] = (
        sa.func.row_number().over(order_by=(coming.c.since, coming.c.position, coming.c.own)) - 1
    )
    if bringing.is_copy and kind is Kind.MESSAGES:
        number = coming.c.own
    await connection.execute(
        sa.insert(placings).from_select(
            ["kind", "place", "seq"], sa.select(sa.literal(kind.value), number, coming.c.seq)
        )
    )
    last = sa.select(sa.func.max(placings.c.place)).where(placings.c.kind == kind.value)
    found = await connection.scalar(last)
    return 0 if found is None else int(found) + 1
