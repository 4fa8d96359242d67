"""Backups: a session's bundle in the blob store, again and again, the newest few kept.

What is due is decided from the store's state alone, so a run that was cut off is simply due again.
Backups outlive the sessions that they are of, for as long as more would have been made.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
import structlog

from quire.blobs.ledger import BlobLedger
from quire.errors import NotFound, QuireError
from quire.sessions.lifecycle import State
from quire.sessions.models import Residency, Session
from quire.sessions.repository import SessionRepository
from quire.sessions.rows import SELECT_SESSIONS
from quire.sessions.sessions import NOTE_USE_EVERY
from quire.sessions.waking import Waker
from quire.settings import BackupSettings
from quire.store.columns import now
from quire.store.database import Database
from quire.store.tables import (
    attachments,
    backups,
    invocations,
    messages,
    session_data,
    sessions,
)
from quire.transfer.exporting import Exporting

log = structlog.get_logger(__name__)

HOLDER = "backup"
AT_ONCE = 50
"""Sessions that one look finds; there are as many looks as the time allows."""

RUN_SECONDS = 240.0
TRY_AGAIN_SECONDS = 3600.0
"""A session that could not be backed up is left alone for so long."""

MICROSECOND = timedelta(microseconds=1)
KEPT_STATES = (State.ACTIVE.value, State.ARCHIVED.value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Backup:
    """A bundle of a session, as it was at one of its versions."""

    id: str
    session_id: str
    session_name: str
    owner_id: str | None
    group_name: str | None
    version: int
    bundle_sha256: str
    size_bytes: int
    points_count: int
    created_at: datetime


class Backups:
    """Makes backups, keeps the newest, and finds them again."""

    def __init__(
        self,
        database: Database,
        repository: SessionRepository,
        ledger: BlobLedger,
        exporting: Exporting,
        waker: Waker,
        settings: BackupSettings,
    ) -> None:
        self._database = database
        self._repository = repository
        self._ledger = ledger
        self._exporting = exporting
        self._waker = waker
        self._every = timedelta(hours=settings.every_hours)
        self._keep = settings.keep
        self._failed: dict[str, float] = {}

    async def run(self) -> int:
        """Back up what is due, for some minutes at most; answers how many sessions that was."""
        deadline = time.monotonic() + RUN_SECONDS
        self._failed = {s: at for s, at in self._failed.items() if at > time.monotonic()}
        made = 0
        while found := await self._due(self._failed):
            for session in found:
                if time.monotonic() > deadline:
                    return made
                made += await self._try(session)
        await self._forget_gone()
        return made

    async def back_up(self, session: Session) -> Backup:
        """Make a backup of the session now; of an unchanged one the newest is answered."""
        latest = await self.newest(session.id)
        if latest is not None and _is_of(latest, session) and not await self._has_worked(latest):
            return latest
        was_cold = session.residency is Residency.COLD
        at = now()  # what is written from here on may not be in it
        bundle = await self._exporting.bundle(session)
        blob = await self._ledger.put(bundle.blocks())
        if was_cold:
            self._waker.sleep_soon(bundle.session)
        backup = Backup(
            id=str(uuid.uuid4()),
            session_id=session.id,
            session_name=session.name,
            owner_id=session.owner_id,
            group_name=session.group,
            version=bundle.session.version,
            bundle_sha256=blob.sha256,
            size_bytes=blob.size,
            points_count=session.points_count,
            created_at=at,
        )
        async with self._database.write() as connection:
            await self._ledger.refer(connection, _place(backup.id), HOLDER, blob.sha256)
            await connection.execute(sa.insert(backups).values(_row(backup)))
        await self._forget(await self._surplus(session.id))
        return backup

    async def newest(self, session_id: str) -> Backup | None:
        """The session's last backup; whether the session is still there does not matter."""
        found = await self._select(
            sa.select(backups)
            .where(backups.c.session_id == session_id)
            .order_by(backups.c.created_at.desc(), backups.c.id)
            .limit(1)
        )
        return found[0] if found else None

    async def required(self, session_id: str) -> Backup:
        """The same; raises where there is none."""
        if (backup := await self.newest(session_id)) is None:
            raise NotFound(
                f"There is no backup of session {session_id}",
                recovery="`quire backup` makes one; or restore from a folder that it wrote.",
            )
        return backup

    async def _try(self, session: Session) -> bool:
        try:
            backup = await self.back_up(session)
        except QuireError as error:
            self._failed[session.id] = time.monotonic() + TRY_AGAIN_SECONDS
            log.warning("session not backed up", session_id=session.id, reason=error.message)
            return False
        log.info("session backed up", session_id=session.id, bytes=backup.size_bytes)
        return True

    async def _due(self, failed: Collection[str]) -> Sequence[Session]:
        """Sessions that changed since they were last backed up, which is long enough ago."""
        is_unchanged = sa.and_(backups.c.version == sessions.c.version, ~HAS_WORKED)
        recent = sa.or_(is_unchanged, backups.c.created_at > now() - self._every)
        is_kept = sa.exists().where(
            backups.c.session_id == sessions.c.id,
            backups.c.created_at >= sessions.c.created_at,
            recent,
        )
        query = (
            SELECT_SESSIONS.where(sessions.c.state.in_(KEPT_STATES), ~is_kept)
            .where(sessions.c.id.not_in(list(failed)))
            .order_by(sessions.c.id)
            .limit(AT_ONCE)
        )
        return await self._repository.select(query)

    async def _has_worked(self, backup: Backup) -> bool:
        query = (
            sa.select(HAS_WORKED)
            .select_from(backups.join(sessions, sessions.c.id == backups.c.session_id))
            .where(backups.c.id == backup.id)
        )
        async with self._database.read() as connection:
            return bool(await connection.scalar(query))

    async def _surplus(self, session_id: str) -> Sequence[Backup]:
        return await self._select(
            sa.select(backups)
            .where(backups.c.session_id == session_id)
            .order_by(backups.c.created_at.desc(), backups.c.id)
            .offset(self._keep)
        )

    async def _forget_gone(self) -> None:
        """Those of sessions that are gone, when all of them would have been replaced by now."""
        gone = ~sa.exists().where(sessions.c.id == backups.c.session_id)
        before = now() - self._keep * self._every
        while found := await self._select(
            sa.select(backups).where(gone, backups.c.created_at < before).limit(AT_ONCE)
        ):
            await self._forget(found)

    async def _forget(self, old: Sequence[Backup]) -> None:
        for backup in old:
            async with self._database.write() as connection:
                await self._ledger.release(connection, _place(backup.id))
                await connection.execute(sa.delete(backups).where(backups.c.id == backup.id))

    async def _select(self, query: sa.Select[Any]) -> list[Backup]:
        async with self._database.read() as connection:
            rows = await connection.execute(query)
            return [Backup(**row._mapping) for row in rows]  # noqa: SLF001 - a public name


def _since(*moments: sa.Column[Any]) -> sa.ColumnElement[bool]:
    """Whether one of these moments, in the rows of a session, is later than its backup."""
    return sa.exists().where(
        moments[0].table.c.session_id == backups.c.session_id,
        sa.or_(*(moment > backups.c.created_at for moment in moments)),
    )


HAS_WORKED = sa.and_(
    # Every use is noted, though not at once; without one there is nothing to look for.
    sa.type_coerce(sessions.c.last_activity_at, sa.BigInteger)
    > sa.type_coerce(backups.c.created_at, sa.BigInteger) - NOTE_USE_EVERY // MICROSECOND,
    sa.or_(
        _since(messages.c.created_at),
        _since(invocations.c.created_at, invocations.c.finished_at),
        _since(session_data.c.updated_at),
        _since(attachments.c.updated_at),
    ),
)
"""Whether something was said or done in a session since its backup; its version does not tell."""


def _is_of(backup: Backup, session: Session) -> bool:
    return backup.version == session.version and backup.created_at >= session.created_at


def _place(backup_id: str) -> str:
    """Whose the blob is, in the ledger; no session's id has a slash."""
    return f"backup/{backup_id}"


def _row(backup: Backup) -> dict[str, Any]:
    return {name: getattr(backup, name) for name in backups.c.keys()}  # noqa: SIM118 - of columns
