"""A session's data: JSON values under keys, kept byte for byte."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from quire.access.policy import Role
from quire.access.principal import Principal
from quire.activity.names import path_name
from quire.activity.preconditions import ALWAYS, Precondition
from quire.errors import BadRequest, BodyTooLarge, DataNotFound, LimitExceeded
from quire.events.log import EventKind, NewEvent, append_events
from quire.points.visibility import require_writable
from quire.sessions.sessions import Sessions
from quire.settings import ActivitySettings
from quire.store.columns import now
from quire.store.database import Database
from quire.store.tables import session_data

KEY_CHARS = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class DataEntry:
    """What is under a key, without the value itself."""

    key: str
    size: int
    sha256: str
    created_at: datetime
    updated_at: datetime

    @property
    def etag(self) -> str:
        return f'"{self.sha256}"'


@dataclass(frozen=True, slots=True)
class DataPage:
    entries: Sequence[DataEntry]
    next_cursor: str | None


class SessionData:
    """A small key-value space of each session."""

    def __init__(self, database: Database, sessions: Sessions, settings: ActivitySettings) -> None:
        self._database = database
        self._sessions = sessions
        self._settings = settings

    async def get(self, principal: Principal, session_id: str, key: str) -> tuple[DataEntry, bytes]:
        """The entry and its value, as it was put."""
        await self._sessions.get(principal, session_id)
        query = sa.select(session_data).where(*_at(session_id, key))
        async with self._database.read() as connection:
            row = (await connection.execute(query)).one_or_none()
        if row is None:
            raise _not_found(session_id, key)
        entry = DataEntry(
            key=row.key,
            size=len(row.value),
            sha256=row.sha256,
            created_at=row.created_at,
            updated_at=row.updated_at,
        )
        return entry, bytes(row.value)

    async def put(
        self,
        principal: Principal,
        session_id: str,
        key: str,
        value: bytes,
        precondition: Precondition = ALWAYS,
    ) -> tuple[DataEntry, bool]:
        """Keep a JSON value; answers its entry and whether the key is new.

        The same value again changes nothing.
        """
        path_name("key", key, KEY_CHARS)
        self._check(value)
        sha256 = hashlib.sha256(value).hexdigest()
        await self._sessions.get(principal, session_id)  # a use, which keeps the session alive
        async with self._database.write() as connection:
            session = await self._sessions.lock(connection, principal, session_id, Role.WRITE)
            require_writable(session)
            old = await _entry(connection, session_id, key)
            precondition.require(f"Data {key}", None if old is None else old.etag)
            if old is not None and old.sha256 == sha256:
                return old, False
            at = now()
            if old is None:
                await self._require_room(connection, session_id)
                row = {"value": value, "sha256": sha256, "created_at": at, "updated_at": at}
                insert = sa.insert(session_data).values(session_id=session_id, key=key, **row)
                await connection.execute(insert)
            else:
                change = sa.update(session_data).where(*_at(session_id, key))
                # What brought the value that is replaced does not take this one away again.
                await connection.execute(
                    change.values(value=value, sha256=sha256, updated_at=at, job_id=None)
                )
            await _tell(connection, session_id, key, "put")
        entry = DataEntry(
            key=key,
            size=len(value),
            sha256=sha256,
            created_at=at if old is None else old.created_at,
            updated_at=at,
        )
        return entry, old is None

    async def delete(
        self,
        principal: Principal,
        session_id: str,
        key: str,
        precondition: Precondition = ALWAYS,
    ) -> None:
        await self._sessions.get(principal, session_id)
        async with self._database.write() as connection:
            session = await self._sessions.lock(connection, principal, session_id, Role.WRITE)
            require_writable(session)
            old = await _entry(connection, session_id, key)
            if old is None:
                raise _not_found(session_id, key)
            precondition.require(f"Data {key}", old.etag)
            await connection.execute(sa.delete(session_data).where(*_at(session_id, key)))
            await _tell(connection, session_id, key, "deleted")

    async def page(
        self,
        principal: Principal,
        session_id: str,
        *,
        prefix: str = "",
        cursor: str | None = None,
        limit: int = 100,
    ) -> DataPage:
        """Keys in their order, without values; a cursor is the last one."""
        await self._sessions.get(principal, session_id)
        query = _SELECT_ENTRIES.where(session_data.c.session_id == session_id)
        if prefix:
            query = query.where(session_data.c.key.startswith(prefix, autoescape=True))
        if cursor is not None:
            query = query.where(session_data.c.key > cursor)
        async with self._database.read() as connection:
            rows = await connection.execute(query.order_by(session_data.c.key).limit(limit + 1))
            found = [_from_row(row) for row in rows]
        page = found[:limit]
        return DataPage(page, page[-1].key if len(found) > limit else None)

    def _check(self, value: bytes) -> None:
        most = self._settings.data_bytes
        if len(value) > most:
            raise BodyTooLarge(
                f"The value is over the limit of {most} bytes (QUIRE_ACTIVITY_DATA_BYTES)"
            )
        try:
            orjson.loads(value)
        except orjson.JSONDecodeError as error:
            raise BadRequest(
                f"The value is not valid JSON: {error}",
                recovery="Send one JSON value, encoded in UTF-8.",
            ) from None

    async def _require_room(self, connection: AsyncConnection, session_id: str) -> None:
        count = sa.select(sa.func.count()).where(session_data.c.session_id == session_id)
        most = self._settings.data_keys
        if (await connection.execute(count)).scalar_one() >= most:
            raise LimitExceeded(
                f"Session {session_id} has {most} keys, which is the limit "
                "(QUIRE_ACTIVITY_DATA_KEYS)",
                field="key",
                recovery="Delete keys that are no longer needed, or have the limit raised.",
            )


_COLUMNS: list[sa.ColumnElement[Any]] = [
    session_data.c.key,
    sa.func.length(session_data.c.value).label("size"),
    session_data.c.sha256,
    session_data.c.created_at,
    session_data.c.updated_at,
]
_SELECT_ENTRIES = sa.select(*_COLUMNS)


def _at(session_id: str, key: str) -> tuple[sa.ColumnElement[bool], sa.ColumnElement[bool]]:
    return session_data.c.session_id == session_id, session_data.c.key == key


async def _entry(connection: AsyncConnection, session_id: str, key: str) -> DataEntry | None:
    row = (await connection.execute(_SELECT_ENTRIES.where(*_at(session_id, key)))).one_or_none()
    return None if row is None else _from_row(row)


async def _tell(connection: AsyncConnection, session_id: str, key: str, change: str) -> None:
    data = {"key": key, "change": change}
    await append_events(connection, [NewEvent(session_id, EventKind.DATA_CHANGED, data)])


def _from_row(row: sa.Row[Any]) -> DataEntry:
    return DataEntry(
        key=row.key,
        size=row.size,
        sha256=row.sha256,
        created_at=row.created_at,
        updated_at=row.updated_at,
    )


def _not_found(session_id: str, key: str) -> DataNotFound:
    return DataNotFound(f"Session {session_id} has no data under {key[:KEY_CHARS]}")
