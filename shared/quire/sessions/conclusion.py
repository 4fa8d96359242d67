"""The end of a session: how the work came out, or its removal with everything that it holds."""

from __future__ import annotations

from dataclasses import dataclass

from quire.access import policy
from quire.access.policy import Role
from quire.access.principal import Principal
from quire.sessions.models import Outcome, Session
from quire.sessions.purge import Purge, Reason
from quire.sessions.repository import SessionRepository
from quire.sessions.sessions import Sessions
from quire.sessions.tombstones import bury, find_tombstone


@dataclass(frozen=True, slots=True)
class Ended:
    """The session with its outcome; or none, and the job that takes away what it held."""

    session: Session | None
    job_id: str | None = None
    """None where nothing is left to be taken away."""


class Conclusion:
    """Ends sessions. Either way may be repeated, and answers as it did the first time."""

    def __init__(self, sessions: Sessions, repository: SessionRepository, purge: Purge) -> None:
        self._sessions = sessions
        self._repository = repository
        self._purge = purge

    async def end(
        self,
        principal: Principal,
        session_id: str,
        outcome: Outcome = Outcome.COMPLETED,
        *,
        remove: bool | None = None,
    ) -> Ended:
        """Record the outcome, or remove the session: by default only an ephemeral one.

        To remove an ephemeral session writing is enough, for that is what it was made for; any
        other takes an admin, as deleting it does.
        """
        if remove is not False:
            async with self._repository.transaction() as connection:
                # Held first: of two who end it at once, one finds what the other left.
                await self._repository.lock(connection, session_id)
                buried = await find_tombstone(connection, session_id)
                if (
                    buried is not None
                    and buried.has_ended
                    and policy.role_of(principal, buried) is not None
                ):
                    policy.require_writer(principal)
                    return Ended(None)
                session = await self._sessions.lock(connection, principal, session_id, Role.WRITE)
                if session.ephemeral or remove:
                    needed = Role.WRITE if session.ephemeral else Role.ADMIN
                    policy.require(principal, session, needed)
                    job_id = await self._purge.begin(
                        connection, session, Reason.ASKED, principal.subject
                    )
                    await bury(connection, session, has_ended=True)
                    return Ended(None, job_id)
        return Ended(await self._sessions.end(principal, session_id, outcome))
