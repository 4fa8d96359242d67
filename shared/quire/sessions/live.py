"""What happens to a session, as it happens, for whoever may read it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from quire.access import policy
from quire.access.principal import Principal
from quire.errors import QuireError
from quire.events.following import Following
from quire.events.hub import Hub
from quire.events.log import Event, EventKind
from quire.sessions.sessions import Sessions, expired
from quire.settings import EventSettings
from quire.store.database import Database


class LiveEvents:
    """Opens streams of events. Following counts as no use, and wakes nothing."""

    def __init__(
        self, database: Database, sessions: Sessions, hub: Hub, settings: EventSettings
    ) -> None:
        self._database = database
        self._sessions = sessions
        self._hub = hub
        self._settings = settings

    async def follow(
        self,
        principal: Principal,
        session_id: str,
        *,
        after: int | None = None,
        kinds: Collection[EventKind] | None = None,
    ) -> Following:
        """The events after one (0: all that are kept), or from now on; the caller closes it."""
        reader = _Reader(self._sessions, principal, session_id)
        await reader.require()
        following = Following(
            self._hub,
            self._database,
            reader,
            session_id,
            kinds=kinds,
            heartbeat_seconds=self._settings.heartbeat_seconds,
        )
        try:
            await following.begin(after)
        except BaseException:
            following.close()
            raise
        return following


@dataclass(frozen=True, slots=True)
class _Reader:
    sessions: Sessions
    principal: Principal
    session_id: str

    async def require(self, version: int = 0) -> None:
        await self.sessions.peek(self.principal, self.session_id, at_least=version)

    def gone(self, event: Event) -> QuireError:
        if event.kind == EventKind.SESSION_EXPIRED:
            return expired(self.session_id, event.at)
        return policy.session_not_found(self.session_id)
