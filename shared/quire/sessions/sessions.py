"""The life of a session: read, change, archive, restore, end, delete."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from quire.access import policy
from quire.access.policy import Role
from quire.access.principal import Principal
from quire.errors import Conflict, Expired, PreconditionFailed, QuireError, StorageFull
from quire.sessions.lifecycle import Action, State, after
from quire.sessions.models import Outcome, Residency, Session, Status
from quire.sessions.purge import Purge, Reason
from quire.sessions.repository import SessionRepository
from quire.sessions.requests import SessionChange
from quire.sessions.tombstones import find_tombstone
from quire.sessions.waking import Waker, patience
from quire.settings import LimitSettings
from quire.store.columns import now
from quire.store.database import Database

log = structlog.get_logger(__name__)

Change = Callable[[Session, datetime], Session]

# A use is noted when the last note is older than this, or a twentieth of a sliding expiry.
NOTE_USE_EVERY = timedelta(seconds=60)


class Sessions:
    """Shows and changes sessions; always on behalf of a caller."""

    def __init__(
        self,
        database: Database,
        repository: SessionRepository,
        purge: Purge,
        limits: LimitSettings,
        waker: Waker,
    ) -> None:
        self._database = database
        self._repository = repository
        self._purge = purge
        self._limits = limits
        self._waker = waker

    async def get(self, principal: Principal, session_id: str) -> Session:
        """The session, for someone who may read it; this counts as a use."""
        session = await self._visible(principal, session_id, Role.READ)
        try:
            return await self._note_use(session)
        except StorageFull:  # a full disk is no reason to refuse what can be read
            log.warning("use not noted", session_id=session_id, reason="the disk is full")
            return session

    async def peek(self, principal: Principal, session_id: str, *, at_least: int = 0) -> Session:
        """`get` that does not count as a use; the session as of this version, or later."""
        return await self._visible(principal, session_id, Role.READ, at_least)

    async def open(self, principal: Principal, session_id: str) -> Session:
        """`get` for someone who is going to use its points: if it is cold, it wakes."""
        return await self.awake(await self.get(principal, session_id))

    async def awake(self, session: Session) -> Session:
        """A session that the caller was found to be allowed to use, with its collection there."""
        return await self._waker.awake(session, patience=patience())

    async def current(self, session: Session) -> Session | None:
        """The same as it is now; None when it is gone."""
        return await self._repository.get(session.id)

    async def found_again(self, session: Session) -> Session | None:
        """The same after its collection was not where it had been; awake, None when it is gone."""
        latest = await self._repository.latest(session.id)
        return latest and await self.awake(latest)

    async def wake(self, principal: Principal, session_id: str) -> Session:
        """Wake it now, rather than at its first use."""
        return await self.open(principal, session_id)

    async def sleep(
        self, principal: Principal, session_id: str, *, pack: bool | None = None
    ) -> Session:
        """Let it go cold now; with `pack` out of the engine and into the blob store."""
        await self._visible(principal, session_id, Role.WRITE)
        return await self._waker.sleep(session_id, pack=pack)

    async def change(
        self,
        principal: Principal,
        session_id: str,
        change: Change,
        *,
        needed: Role = Role.WRITE,
        if_match: str | None = None,
    ) -> Session:
        """Apply a change to the session as it is at this moment; nothing is written if it is none.

        `if_match` holds the ETags that the caller knows; another version is refused.
        """
        async with self._repository.transaction() as connection:
            old = await self.lock(connection, principal, session_id, needed, if_match=if_match)
            at = now()
            new = change(old, at)
            if new == old:
                return old
            if new.ttl_seconds is not None:
                new = replace(new, expires_at=at + timedelta(seconds=new.ttl_seconds))
            return await self._repository.save(
                connection, old, replace(new, updated_at=at, last_activity_at=at)
            )

    async def lock(
        self,
        connection: AsyncConnection,
        principal: Principal,
        session_id: str,
        needed: Role,
        *,
        if_match: str | None = None,
    ) -> Session:
        """The session as it is, unchanged by others until the transaction ends."""
        session = await self._repository.lock(connection, session_id)
        if session is None or not session.state.is_visible:
            raise await self._absent(connection, principal, session_id)
        policy.require(principal, session, Role.READ)
        require_present(session)  # to whoever may see it, that comes before what they may do
        policy.require(principal, session, needed)
        if if_match is not None and not _matches(if_match, session):
            raise PreconditionFailed(
                f"Session {session_id} is at version {session.etag}, not {if_match}",
                etag=session.etag,
            )
        return session

    async def update(
        self,
        principal: Principal,
        session_id: str,
        change: SessionChange,
        *,
        status: Status | None = None,
        if_match: str | None = None,
    ) -> Session:
        """Change metadata and, in the same step, the status if one is given."""
        if isinstance(change.group, str):
            policy.require_group(principal, change.group)

        def apply(session: Session, at: datetime) -> Session:
            action = _action_to(status, session)
            if action is not None:
                policy.require(principal, session, Role.ADMIN)
                session = moved(session, action, at)
            if action is not Action.DELETE:
                require_not_deleted(session)
            return change.applied(session, at, self._limits)

        needed = Role.ADMIN if change.is_for_admins else Role.WRITE
        session = await self.change(principal, session_id, apply, needed=needed, if_match=if_match)
        return self._followed(session, status is not None)

    async def archive(
        self, principal: Principal, session_id: str, *, if_match: str | None = None
    ) -> Session:
        return await self._move(principal, session_id, Action.ARCHIVE, if_match)

    async def restore(
        self, principal: Principal, session_id: str, *, if_match: str | None = None
    ) -> Session:
        """Make an archived, deleted or ended session active again."""
        return await self._move(principal, session_id, Action.RESTORE, if_match)

    async def delete(
        self, principal: Principal, session_id: str, *, if_match: str | None = None
    ) -> Session:
        """Delete so that it can be restored until it is purged."""
        return await self._move(principal, session_id, Action.DELETE, if_match)

    async def delete_for_good(
        self, principal: Principal, session_id: str, *, if_match: str | None = None
    ) -> str:
        """Take the session away at once and for ever; answers the job that removes what it held."""
        async with self._repository.transaction() as connection:
            session = await self.lock(
                connection, principal, session_id, Role.ADMIN, if_match=if_match
            )
            job_id = await self._purge.begin(connection, session, Reason.ASKED, principal.subject)
        log.info("session purging", session_id=session_id, reason=Reason.ASKED.value)
        return job_id

    async def end(
        self, principal: Principal, session_id: str, outcome: Outcome = Outcome.COMPLETED
    ) -> Session:
        """Record how the work came out. It stays as it is until archived; `restore` reopens it."""

        def finish(session: Session, at: datetime) -> Session:
            if session.outcome is outcome:
                return session
            if session.outcome is not None:
                raise Conflict(
                    f"Session {session_id} has already ended: {session.outcome}",
                    recovery="Restore the session to reopen it, then end it with another outcome.",
                    outcome=session.outcome.value,
                )
            require_not_deleted(session)
            return replace(session, outcome=outcome, ended_at=at)

        return await self.change(principal, session_id, finish)

    async def _move(
        self, principal: Principal, session_id: str, action: Action, if_match: str | None
    ) -> Session:
        session = await self.change(
            principal,
            session_id,
            lambda session, at: moved(session, action, at),
            needed=Role.ADMIN,
            if_match=if_match,
        )
        return self._followed(session, True)

    def _followed(self, session: Session, was_moved: bool) -> Session:
        """What is put aside goes cold, what is restored or pinned wakes: in the background."""
        is_hot = session.residency is Residency.HOT
        if session.state is State.ACTIVE:
            if not is_hot and (was_moved or session.pinned):
                self._waker.wake_soon(session)
        elif is_hot and was_moved:
            self._waker.sleep_soon(session)
        return session

    async def _visible(
        self, principal: Principal, session_id: str, needed: Role, at_least: int = 0
    ) -> Session:
        session = await self._repository.get(session_id)
        if session is not None and session.version < at_least:
            session = await self._repository.latest(session_id)
        if session is None or not session.state.is_visible:
            async with self._database.read() as connection:
                raise await self._absent(connection, principal, session_id)
        policy.require(principal, session, needed)
        require_present(session)
        return session

    async def _absent(
        self, connection: AsyncConnection, principal: Principal, session_id: str
    ) -> QuireError:
        """What to say of a session that is not there: never was, or expired."""
        tombstone = await find_tombstone(connection, session_id)
        if (
            tombstone is not None
            and not tombstone.has_ended
            and policy.role_of(principal, tombstone) is not None
        ):
            return expired(session_id, tombstone.buried_at)
        return policy.session_not_found(session_id)

    async def _note_use(self, session: Session) -> Session:
        at = now()
        pause = NOTE_USE_EVERY
        if session.ttl_seconds is not None:
            pause = min(pause, timedelta(seconds=session.ttl_seconds / 20))
        if at - session.last_activity_at < pause or session.state is State.DELETED:
            return session
        expires_at = session.expires_at
        if session.ttl_seconds is not None:
            expires_at = at + timedelta(seconds=session.ttl_seconds)
        return await self._repository.touch(session, at, expires_at)


def _action_to(status: Status | None, session: Session) -> Action | None:
    """The transition that setting a status means, for clients that set it; none if it is so."""
    if status is None or status is session.status:
        return None
    match status:
        case Status.ARCHIVED:
            return Action.ARCHIVE
        case Status.DELETED:
            return Action.DELETE
        case Status.ACTIVE | Status.SHARED:
            # Which of the two an active session shows itself as, its collaborators decide.
            return None if session.state is State.ACTIVE else Action.RESTORE


def require_not_deleted(session: Session) -> None:
    """Raise if the session waits to be purged: it may be read and restored, nothing else."""
    if session.state is State.DELETED:
        raise Conflict(
            f"Session {session.id} is deleted", recovery="Restore the session before changing it."
        )


def moved(session: Session, action: Action, at: datetime) -> Session:
    """The session after a transition; `TransitionForbidden` if there is no such one."""
    state = after(session.state, action)
    if action is Action.RESTORE:
        session = replace(session, outcome=None, ended_at=None)
    if state is session.state:
        return session
    return replace(
        session,
        state=state,
        archived_at=at if state is State.ARCHIVED else None,
        deleted_at=at if state is State.DELETED else None,
    )


def require_present(session: Session) -> None:
    """Raise if the session's time is over."""
    if session.has_expired(now()):
        raise expired(session.id, session.expires_at)


def expired(session_id: str, at: datetime | None) -> Expired:
    when = f" at {at.isoformat(timespec='seconds')}" if at else ""
    return Expired(f"Session {session_id} expired{when}")


def _matches(if_match: str, session: Session) -> bool:
    known = [tag.strip() for tag in if_match.split(",")]
    return "*" in known or session.etag in known
