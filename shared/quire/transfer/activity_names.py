"""Names that several sessions have given: whose stays, what others are called, what is the same.

The first in order keeps its name. What is the very same thing – as in two forks of one session – is
taken once; what differs gets a name of its own, which follows from where it is from.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

import orjson
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from quire.activity.attachment_models import NAME_CHARS
from quire.store.columns import now
from quire.store.tables import messages
from quire.transfer.activity_plan import Bringing, Kind, renamings
from quire.transfer.feeds import ORIGIN, other_id

PAGE = 200
ENDING_CHARS = 20
SHOWN = 100
"""Names that a report lists at most; it counts them all."""

Row = Mapping[str, Any]

_COMPARED = {
    Kind.ATTACHMENTS: ("name", "sha256", "expires_at"),
    Kind.DATA: ("key", "sha256"),
    Kind.INVOCATIONS: (
        "id",
        "tool",
        "status",
        "input_sha256",
        "output_sha256",
        "attachments",
        "duration_ms",
        "tokens_in",
        "tokens_out",
        "cost",
        "error",
        "metadata",
        "author",
        "started_at",
        "finished_at",
    ),
    Kind.MESSAGES: ("id", "fingerprint", "invocation_id"),
}
"""What is the same in both is one thing, unless what it names is not the same.

A message's fingerprint is of all that was said.
"""


class Naming:
    """Settles the names of what comes to one session, within the transaction that brings it."""

    def __init__(self, connection: AsyncConnection, bringing: Bringing) -> None:
        self._connection = connection
        self._bringing = bringing
        self.attachments: dict[str, dict[str, str]] = {}
        """Of each session: attachments that are called otherwise, and how."""
        self._counts = dict.fromkeys((Kind.ATTACHMENTS, Kind.INVOCATIONS, Kind.MESSAGES), 0)
        self._attachments: list[Row] = []
        self._data: list[str] = []
        self._data_count = 0

    async def settle(self) -> None:
        """Write a renaming for everything that is not simply brought under its name."""
        if self._bringing.is_copy:
            return
        for kind in (Kind.ATTACHMENTS, Kind.INVOCATIONS, Kind.MESSAGES):
            for session_id, earlier in _after(self._bringing.everyone):
                async for page in self._met(kind, session_id, earlier):
                    await self._name(kind, session_id, earlier, page)
        order = self._bringing.everyone
        for session_id, earlier in _after(order[::-1] if self._bringing.last_wins else order):
            async for page in self._met(Kind.DATA, session_id, earlier):
                await self._pass_over(session_id, earlier, page)

    def report(self) -> dict[str, Any]:
        """What was not brought as it was."""
        return {
            "renamed": {kind.value: count for kind, count in self._counts.items()},
            "renamed_attachments": self._attachments,
            "conflicting_data": self._data_count,
            "conflicting_data_keys": self._data,
        }

    async def _met(
        self, kind: Kind, session_id: str, earlier: Sequence[str]
    ) -> AsyncIterator[Sequence[Row]]:
        """What of a session has a name that an earlier one has given too."""
        table, key = kind.table, kind.table.c[kind.key]
        first = table.alias()
        is_met = sa.exists().where(first.c[kind.key] == key, self._occupies(kind, first, earlier))
        is_theirs = table.c.session_id == session_id
        query = self._select(kind).where(is_theirs, is_met, *_live(kind, table))
        query = query.order_by(key).limit(PAGE)
        after = ""
        while page := await self._rows(query.where(key > after)):
            yield page
            after = page[-1][kind.key]

    async def _name(
        self, kind: Kind, session_id: str, earlier: Sequence[str], page: Sequence[Row]
    ) -> None:
        """Find the same among what came earlier, or a name that nothing has."""
        known: dict[str, list[tuple[Row, str]]] = {}
        names = [row[kind.key] for row in page]
        called = await self._called(kind, earlier, names)
        for there in await self._as_called(kind, await self._named(kind, earlier, names)):
            name = str(there[kind.key])
            other = called.get((there["session_id"], name), name)
            known.setdefault(name, []).append((there, other))
        waiting: dict[str, Row] = {}
        settled: list[dict[str, Any]] = []
        for mine in await self._as_called(kind, page):
            name = mine[kind.key]
            same = [other for there, other in known.get(name, []) if _are_same(kind, mine, there)]
            if same:
                settled.append(_said(kind, session_id, name, same[0], is_brought=False))
            else:
                waiting[name] = mine
        others = {name: _next_name(kind, session_id, name, 2) for name in waiting}
        tries = 2
        while others:
            tries += 1
            taken = await self._taken(kind, list(others.values()))
            again: dict[str, str] = {}
            for name, other in others.items():
                if other not in taken:
                    settled.append(_said(kind, session_id, name, other, is_brought=True))
                elif (there := taken[other]) and _are_same(
                    kind, _with_origin(kind, waiting[name]), there
                ):
                    # It came with an earlier merge.
                    settled.append(_said(kind, session_id, name, other, is_brought=False))
                else:
                    start = name if kind is Kind.ATTACHMENTS else other
                    again[name] = _next_name(kind, session_id, start, tries)
            others = again
        await self._write(settled)
        self._note(kind, session_id, settled)

    async def _pass_over(
        self, session_id: str, earlier: Sequence[str], page: Sequence[Row]
    ) -> None:
        keys = [row["key"] for row in page]
        there = await self._named(Kind.DATA, earlier, keys)
        values: dict[str, set[str]] = {}
        for row in there:
            values.setdefault(row["key"], set()).add(row["sha256"])
        differing = [row["key"] for row in page if values[row["key"]] != {row["sha256"]}]
        self._data_count += len(differing)
        self._data += differing[: SHOWN - len(self._data)]
        await self._write(
            [_said(Kind.DATA, session_id, key, key, is_brought=False) for key in keys]
        )

    async def _called(
        self, kind: Kind, sessions: Sequence[str], names: Sequence[str]
    ) -> dict[tuple[str, str], str]:
        query = sa.select(renamings.c.session_id, renamings.c.name, renamings.c.other).where(
            renamings.c.kind == kind.value,
            renamings.c.session_id.in_(sessions),
            renamings.c.name.in_(names),
        )
        rows = await self._connection.execute(query)
        return {(row.session_id, row.name): row.other for row in rows}

    async def _named(
        self, kind: Kind, sessions: Sequence[str], names: Collection[str]
    ) -> Sequence[Row]:
        """Who of these sessions has something of these names that is there."""
        table = kind.table
        is_one = table.c.session_id.in_(sessions) & table.c[kind.key].in_(names)
        return await self._rows(self._select(kind).where(is_one, *_live(kind, table)))

    async def _taken(self, kind: Kind, names: Sequence[str]) -> dict[str, Row]:
        """Which names are given by anybody; and what is there in the target, or nothing."""
        table, bringing = kind.table, self._bringing
        query = self._select(kind).where(
            table.c.session_id.in_([bringing.target, *bringing.sources]),
            table.c[kind.key].in_(names),
        )
        taken: dict[str, Row] = {}
        for row in await self._as_called(kind, await self._rows(query)):
            taken.setdefault(row[kind.key], {})
            if row["session_id"] == bringing.target:
                taken[row[kind.key]] = row
        given = sa.select(renamings.c.other).where(
            renamings.c.kind == kind.value, renamings.c.other.in_(names), renamings.c.is_brought
        )
        for name in (await self._connection.execute(given)).scalars():
            taken.setdefault(name, {})
        return taken

    def _occupies(
        self, kind: Kind, table: sa.FromClause, sessions: Sequence[str]
    ) -> sa.ColumnElement[bool]:
        """In the target even what has expired keeps its name."""
        is_theirs = table.c.session_id.in_(sessions)
        if kind is not Kind.ATTACHMENTS:
            return is_theirs
        return is_theirs & (
            (table.c.session_id == self._bringing.target) | sa.and_(*_live(kind, table))
        )

    async def _as_called(self, kind: Kind, rows: Sequence[Row]) -> list[Row]:
        """What names something else, with the names that this gets."""
        if kind is Kind.INVOCATIONS:
            return [{**row, "attachments": self._renamed(row, row["attachments"])} for row in rows]
        if kind is not Kind.MESSAGES:
            return list(rows)
        used = {row["invocation_id"] for row in rows if row["invocation_id"] is not None}
        sessions = {row["session_id"] for row in rows}
        called = await self._called(Kind.INVOCATIONS, list(sessions), list(used))
        return [
            {
                **row,
                "invocation_id": called.get(
                    (row["session_id"], row["invocation_id"]), row["invocation_id"]
                ),
                "attachments": self._renamed(row, row["attachments"]),
            }
            for row in rows
        ]

    def _renamed(self, row: Row, names: Sequence[str]) -> list[str]:
        others = self.attachments.get(row["session_id"], {})
        return [others.get(name, name) for name in names]

    def _select(self, kind: Kind) -> sa.Select[Any]:
        columns = [kind.table.c[name] for name in ("session_id", *_COMPARED[kind])]
        if kind is Kind.MESSAGES and any(self.attachments.values()):
            columns.append(messages.c.content)  # for the attachments that it names
        return sa.select(*columns)

    async def _write(self, settled: Sequence[Mapping[str, Any]]) -> None:
        if settled:
            await self._connection.execute(sa.insert(renamings), list(settled))

    def _note(self, kind: Kind, session_id: str, settled: Sequence[Row]) -> None:
        self._counts[kind] += sum(said["is_brought"] for said in settled)
        if kind is not Kind.ATTACHMENTS:
            return
        others = {s["name"]: s["other"] for s in settled if s["other"] != s["name"]}
        self.attachments.setdefault(session_id, {}).update(others)
        told = [
            {"session_id": session_id, "name": said["name"], "renamed": said["other"]}
            for said in settled
            if said["is_brought"]
        ]
        self._attachments += told[: SHOWN - len(self._attachments)]

    async def _rows(self, query: sa.Select[Any]) -> Sequence[Row]:
        rows = (dict(row) for row in (await self._connection.execute(query)).mappings())
        return [{**row, "attachments": _attachments_of(row)} for row in rows]


def is_live(table: sa.FromClause) -> sa.ColumnElement[bool]:
    """Whether an attachment is there still."""
    expires_at = table.c.expires_at
    return table.c.sha256.is_not(None) & (expires_at.is_(None) | (expires_at > now()))


def origin_of(metadata: Mapping[str, Any], session_id: str, identity: str) -> dict[str, Any]:
    """Metadata that tell where something comes from whose id was taken."""
    return {**metadata, ORIGIN: {"session_id": session_id, "id": identity}}


def _live(kind: Kind, table: sa.FromClause) -> list[sa.ColumnElement[bool]]:
    return [is_live(table)] if kind is Kind.ATTACHMENTS else []


def _after(order: Sequence[str]) -> list[tuple[str, Sequence[str]]]:
    """Each but the first, with all that come before it."""
    return [(session_id, order[:n]) for n, session_id in enumerate(order) if n]


def _are_same(kind: Kind, one: Row, other: Row) -> bool:
    compared = {*_COMPARED[kind], "attachments"} - {kind.key}
    return all(one[name] == other[name] for name in compared)


def _attachments_of(row: Row) -> list[str]:
    """What an invocation, or a message's parts, name."""
    if "content" not in row:
        return list(row.get("attachments", ()))
    content = orjson.loads(row["content"])
    parts = [] if isinstance(content, str) else content
    return [part["attachment"] for part in parts if part.get("attachment")]


def _with_origin(kind: Kind, row: Row) -> Row:
    if kind is not Kind.INVOCATIONS:
        return row
    return {**row, "metadata": origin_of(row["metadata"], row["session_id"], row["id"])}


def _next_name(kind: Kind, session_id: str, name: str, number: int) -> str:
    """A name for what comes second; the same whenever it is asked for."""
    if kind is not Kind.ATTACHMENTS:
        return other_id(session_id, name)
    ending, mark = PurePosixPath(name).suffix[:ENDING_CHARS], f" ({number})"
    stem = name.removesuffix(ending)[: NAME_CHARS - len(mark) - len(ending)]
    return f"{stem}{mark}{ending}"


def _said(
    kind: Kind, session_id: str, name: str, other: str, *, is_brought: bool
) -> dict[str, Any]:
    return {
        "kind": kind.value,
        "session_id": session_id,
        "name": name,
        "other": other,
        "is_brought": is_brought,
    }
