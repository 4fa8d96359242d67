"""Invocations: which tools were used in a session, how long they took, and what came of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from quire.access.policy import Role, visible_to
from quire.access.principal import Principal
from quire.activity.invocation_models import (
    Invocation,
    InvocationFilter,
    InvocationPage,
    InvocationStatus,
    NewInvocation,
)
from quire.activity.invocation_telling import begun, checked, continued
from quire.errors import InvalidInput, InvocationNotFound
from quire.events.log import EventKind, NewEvent, append_events
from quire.points.visibility import require_writable
from quire.sessions.lifecycle import State
from quire.sessions.sessions import Sessions
from quire.settings import LimitSettings
from quire.store.columns import EPOCH, now
from quire.store.database import Database
from quire.store.tables import attachments, invocations, sessions

COLUMNS = (
    "session_id",
    "id",
    "tool",
    "status",
    "started_at",
    "finished_at",
    "duration_ms",
    "input_sha256",
    "output_sha256",
    "attachments",
    "tokens_in",
    "tokens_out",
    "cost",
    "error",
    "metadata",
    "author",
    "created_at",
    "seq",
)
SELECT_INVOCATIONS = sa.select(*(invocations.c[name] for name in COLUMNS))


class Invocations:
    """Records and shows invocations on behalf of a caller."""

    def __init__(self, database: Database, sessions: Sessions, limits: LimitSettings) -> None:
        self._database = database
        self._sessions = sessions
        self._limits = limits

    async def record(
        self, principal: Principal, session_id: str, new: NewInvocation
    ) -> tuple[Invocation, bool]:
        """Record an invocation, or what became of one; answers it and whether it is a new one.

        Under the same id it goes from running to an end; after that it takes nothing but its
        repetition, which is harmless.
        """
        new = checked(new, self._limits)
        await self._sessions.get(principal, session_id)  # a use, which keeps the session alive
        async with self._database.write() as connection:
            session = await self._sessions.lock(connection, principal, session_id, Role.WRITE)
            known = None if new.id is None else await _find(connection, session_id, new.id)
            if known is None:
                recorded = begun(new, session_id, principal.subject, now())
            else:
                recorded = continued(new, known, now())
                if recorded == known:
                    return known, False
            require_writable(session)
            if new.attachments:
                await _require_attachments(connection, session_id, new.attachments)
            row = {name: getattr(recorded, name) for name in COLUMNS if name != "seq"}
            row |= {"status": recorded.status.value, "attachments": list(recorded.attachments)}
            if known is None:
                insert = sa.insert(invocations).values(row).returning(invocations.c.seq)
                seq = (await connection.execute(insert)).scalar_one()
                recorded = replace(recorded, seq=seq)
            else:
                change = sa.update(invocations).where(invocations.c.seq == known.seq)
                await connection.execute(change.values(row))
            told = {
                "invocation_id": recorded.id,
                "tool": recorded.tool,
                "status": recorded.status.value,
            }
            event = NewEvent(session_id, EventKind.INVOCATION_RECORDED, told)
            await append_events(connection, [event])
        return recorded, known is None

    async def get(self, principal: Principal, session_id: str, invocation_id: str) -> Invocation:
        await self._sessions.get(principal, session_id)
        async with self._database.read() as connection:
            found = await _find(connection, session_id, invocation_id)
        if found is None:
            raise InvocationNotFound(f"Session {session_id} has no invocation {invocation_id}")
        return found

    async def page(
        self,
        principal: Principal,
        session_id: str,
        filter: InvocationFilter | None = None,
        *,
        cursor: int | None = None,
        limit: int = 100,
        newest_first: bool = False,
    ) -> InvocationPage:
        """The session's invocations in the order in which they were recorded, or against it.

        A cursor is the last one's `seq`.
        """
        await self._sessions.get(principal, session_id)
        seq = invocations.c.seq
        query = SELECT_INVOCATIONS.where(
            invocations.c.session_id == session_id, *_conditions(filter or InvocationFilter())
        )
        if cursor is not None:
            query = query.where(seq < cursor if newest_first else seq > cursor)
        query = query.order_by(seq.desc() if newest_first else seq)
        found = await self._select(query.limit(limit + 1))
        page = found[:limit]
        return InvocationPage(page, str(page[-1].seq) if len(found) > limit else None)

    async def by_tool(
        self,
        principal: Principal,
        filter: InvocationFilter,
        *,
        session_id: str | None = None,
        cursor: str | None = None,
        limit: int = 100,
    ) -> InvocationPage:
        """Invocations in all sessions that the caller may read, those that started last first."""
        if session_id is not None:
            await self._sessions.get(principal, session_id)
        started = sa.type_coerce(invocations.c.started_at, sa.BigInteger)
        place = sa.tuple_(started, invocations.c.seq)
        readable = [
            visible_to(principal),
            sessions.c.state.in_([state.value for state in State if state.is_visible]),
            sessions.c.hold | sessions.c.expires_at.is_(None) | (sessions.c.expires_at > now()),
        ]
        query = SELECT_INVOCATIONS.join(sessions, sessions.c.id == invocations.c.session_id)
        query = query.where(*readable, *_conditions(filter))
        if session_id is not None:
            query = query.where(invocations.c.session_id == session_id)
        if cursor is not None:
            query = query.where(place < _decode(cursor))
        query = query.order_by(invocations.c.started_at.desc(), invocations.c.seq.desc())
        found = await self._select(query.limit(limit + 1))
        page = found[:limit]
        return InvocationPage(page, _encode(page[-1]) if len(found) > limit else None)

    async def _select(self, query: sa.Select[Any]) -> list[Invocation]:
        async with self._database.read() as connection:
            return [_from_row(row) for row in await connection.execute(query)]


async def _find(
    connection: AsyncConnection, session_id: str, invocation_id: str
) -> Invocation | None:
    query = SELECT_INVOCATIONS.where(
        invocations.c.session_id == session_id, invocations.c.id == invocation_id
    )
    row = (await connection.execute(query)).one_or_none()
    return None if row is None else _from_row(row)


async def _require_attachments(
    connection: AsyncConnection, session_id: str, names: Sequence[str]
) -> None:
    query = sa.select(attachments.c.name).where(
        attachments.c.session_id == session_id,
        attachments.c.name.in_(names),
        attachments.c.sha256.is_not(None),
        attachments.c.expires_at.is_(None) | (attachments.c.expires_at > now()),
    )
    present = set((await connection.execute(query)).scalars())
    for position, name in enumerate(names):
        if name not in present:
            raise InvalidInput(
                f"attachments[{position}]: session {session_id} has no attachment {name}",
                field=f"attachments[{position}]",
                recovery="Put the attachment first, then record the invocation.",
            )


def _conditions(filter: InvocationFilter) -> list[sa.ColumnElement[bool]]:
    conditions: list[sa.ColumnElement[bool]] = []
    if filter.tool is not None:
        conditions.append(invocations.c.tool == filter.tool)
    if filter.status is not None:
        conditions.append(invocations.c.status == filter.status.value)
    if filter.since is not None:
        conditions.append(invocations.c.started_at >= filter.since)
    if filter.until is not None:
        conditions.append(invocations.c.started_at < filter.until)
    return conditions


def _from_row(row: sa.Row[Any]) -> Invocation:
    values = dict(zip(COLUMNS, row, strict=True))
    values["status"] = InvocationStatus(values["status"])
    values["attachments"] = tuple(values["attachments"])
    return Invocation(**values)


def _encode(last: Invocation) -> str:
    return f"{(last.started_at - EPOCH) // last.started_at.resolution}.{last.seq}"


def _decode(cursor: str) -> tuple[int, int]:
    started, _, seq = cursor.partition(".")
    try:
        place = int(started), int(seq)
        if all(abs(number) < 2**63 for number in place):
            return place
    except ValueError:
        pass
    raise InvalidInput(
        "cursor is not one that this list gave out; take it from the Link header", field="cursor"
    )
