"""Who else is in a session."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from quire.access import policy
from quire.access.policy import Role
from quire.access.principal import Principal
from quire.errors import InvalidInput, LimitExceeded
from quire.sessions import validation
from quire.sessions.models import Collaborator, Session
from quire.sessions.sessions import Sessions, require_not_deleted
from quire.settings import LimitSettings


class Sharing:
    """Gives and takes roles in a session. Status never changes: `shared` is only shown."""

    def __init__(self, sessions: Sessions, limits: LimitSettings) -> None:
        self._sessions = sessions
        self._limits = limits

    async def share(
        self, principal: Principal, session_id: str, user_ids: Sequence[str], role: Role
    ) -> Session:
        """Give these users the role, in place of any that they had. The owner stays the owner."""
        if not user_ids:
            raise InvalidInput("Name at least one user", field="user_ids")
        for position, user_id in enumerate(user_ids):
            validation.someone(f"user_ids[{position}]", user_id)

        def apply(session: Session, at: datetime) -> Session:
            require_not_deleted(session)
            roles = {c.user_id: c.role for c in session.collaborators}
            roles |= {user_id: role for user_id in user_ids if user_id != session.owner_id}
            if len(roles) > self._limits.collaborators:
                raise LimitExceeded(
                    f"A session has at most {self._limits.collaborators} collaborators "
                    "(QUIRE_LIMITS_COLLABORATORS)",
                    field="user_ids",
                )
            collaborators = tuple(Collaborator(user, role) for user, role in roles.items())
            return replace(session, collaborators=collaborators)

        return await self._sessions.change(principal, session_id, apply, needed=Role.ADMIN)

    async def unshare(self, principal: Principal, session_id: str, user_id: str) -> Session:
        """Take a user's role away; everyone may take away their own."""

        def apply(session: Session, at: datetime) -> Session:
            policy.require_writer(principal)  # a role of read suffices here, a scope of read not
            kept = tuple(c for c in session.collaborators if c.user_id != user_id)
            return replace(session, collaborators=kept)

        needed = Role.READ if user_id == principal.subject else Role.ADMIN
        return await self._sessions.change(principal, session_id, apply, needed=needed)
