"""Enforcing expiry and the retention policy.

Everything here is decided from what the store says now and done one session at a time, each in a
transaction of its own that looks again: a kill in the middle leaves the rest for the next sweep,
and a session that was used in the meantime is spared.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import sqlalchemy as sa
import structlog

from quire.jobs.port import JobStatus
from quire.sessions.lifecycle import Action, State
from quire.sessions.models import Session
from quire.sessions.purge import Purge, Reason
from quire.sessions.repository import SessionRepository
from quire.sessions.retention_policy import RetentionPolicy
from quire.sessions.sessions import moved
from quire.sessions.tombstones import forget_tombstones
from quire.settings import RetentionSettings
from quire.store.columns import now
from quire.store.tables import jobs, sessions

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is to happen to a session, and why."""

    session_id: str
    name: str
    action: Action
    reason: str
    purge_reason: Reason | None = None


@dataclass(frozen=True, slots=True)
class Sweep:
    """What a sweep did, or with `dry_run` would do."""

    processed: int
    verdicts: Sequence[Verdict] = field(default_factory=list)

    def count(self, *actions: Action) -> int:
        return sum(verdict.action in actions for verdict in self.verdicts)


class Retention:
    """Archives, deletes and purges sessions whose time has come. A held session is exempt."""

    def __init__(
        self, repository: SessionRepository, purge: Purge, settings: RetentionSettings
    ) -> None:
        self._repository = repository
        self._purge = purge
        self._deleted_kept = timedelta(days=settings.deleted_days)
        self._patience = timedelta(seconds=settings.unfinished_seconds)

    async def sweep(self, policy: RetentionPolicy, *, dry_run: bool = False) -> Sweep:
        """Judge every session by the policy, and act on it."""
        at = now()
        verdicts: list[Verdict] = []
        async for session in self._candidates(policy, at):
            verdict = self.judge(session, policy, at)
            if verdict is not None and (dry_run or await self._carry_out(verdict, policy)):
                verdicts.append(verdict)
        if not dry_run:
            await self._forget_tombstones(at)
        return Sweep(await self._repository.count(), verdicts)

    async def purge_cut_off(self) -> int:
        """At the start of the only process there is: nobody is creating what is unfinished."""
        purged = 0
        async for session in self._repository.walk(_unfinished()):
            async with self._repository.transaction() as connection:
                locked = await self._repository.lock(connection, session.id)
                if locked is not None and locked.state is State.PROVISIONING:
                    await self._purge.begin(connection, locked, Reason.UNFINISHED)
                    purged += 1
        return purged

    def judge(self, session: Session, policy: RetentionPolicy, at: datetime) -> Verdict | None:
        """The one thing that is due for a session now, if any."""

        def verdict(action: Action, reason: str, purge: Reason | None = None) -> Verdict:
            return Verdict(session.id, session.name, action, reason, purge)

        if session.state is State.PROVISIONING:
            if at - session.created_at >= self._patience:
                return verdict(Action.PURGE, "its creation never finished", Reason.UNFINISHED)
            return None
        if session.hold or not session.state.is_visible:
            return None
        if session.has_expired(at):
            return verdict(Action.PURGE, f"it expired at {session.expires_at}", Reason.EXPIRED)
        if session.state is State.DELETED:
            kept = self._deleted_kept
            if session.deleted_at is not None and at - session.deleted_at >= kept:
                reason = f"it was deleted {kept.days} days ago (QUIRE_RETENTION_DELETED_DAYS)"
                return verdict(Action.PURGE, reason, Reason.RETENTION)
            return None
        if _older(session.created_at, policy.max_age_days, at):
            return verdict(Action.DELETE, f"it is older than max_age_days={policy.max_age_days}")
        idle, gone = policy.auto_archive_inactive_days, policy.auto_delete_archived_days
        if session.state is State.ARCHIVED and _older(session.archived_at, gone, at):
            return verdict(
                Action.DELETE, f"it was archived auto_delete_archived_days={gone} days ago"
            )
        if session.state is State.ACTIVE and _older(session.last_activity_at, idle, at):
            return verdict(
                Action.ARCHIVE, f"nobody used it for auto_archive_inactive_days={idle} days"
            )
        return None

    async def _carry_out(self, verdict: Verdict, policy: RetentionPolicy) -> bool:
        async with self._repository.transaction() as connection:
            session = await self._repository.lock(connection, verdict.session_id)
            at = now()
            again = None if session is None else self.judge(session, policy, at)
            if session is None or again is None or again.action is not verdict.action:
                return False
            if again.purge_reason is not None:
                await self._purge.begin(connection, session, again.purge_reason)
            else:
                await self._repository.save(connection, session, moved(session, again.action, at))
        log.info(
            "retention", session_id=verdict.session_id, action=verdict.action, why=verdict.reason
        )
        return True

    async def _candidates(self, policy: RetentionPolicy, at: datetime) -> AsyncIterator[Session]:
        """All sessions that `judge` might speak of, found by index; usually none."""
        table = sessions.c
        due = [
            table.expires_at <= at,
            (table.state == State.DELETED.value) & (table.deleted_at <= at - self._deleted_kept),
        ]
        if policy.max_age_days is not None:
            due.append(table.created_at <= at - timedelta(days=policy.max_age_days))
        if (idle := policy.auto_archive_inactive_days) is not None:
            still = table.last_activity_at <= at - timedelta(days=idle)
            due.append((table.state == State.ACTIVE.value) & still)
        if (gone := policy.auto_delete_archived_days) is not None:
            still = table.archived_at <= at - timedelta(days=gone)
            due.append((table.state == State.ARCHIVED.value) & still)
        free = sa.and_(sa.or_(*due), table.hold.is_(False))
        overdue = _unfinished() & (table.created_at <= at - self._patience)  # held or not
        async for session in self._repository.walk(sa.or_(free, overdue)):
            yield session

    async def _forget_tombstones(self, at: datetime) -> None:
        async with self._repository.transaction() as connection:
            await forget_tombstones(connection, at - self._deleted_kept)


def _unfinished() -> sa.ColumnElement[bool]:
    """What nobody is making: a job that is not final takes its time, and goes on after a crash."""
    working = [JobStatus.QUEUED.value, JobStatus.RUNNING.value]
    at_work = sa.exists().where(jobs.c.id == sessions.c.made_by, jobs.c.status.in_(working))
    return (sessions.c.state == State.PROVISIONING.value) & ~at_work


def _older(moment: datetime | None, days: int | None, at: datetime) -> bool:
    return moment is not None and days is not None and at - moment >= timedelta(days=days)
