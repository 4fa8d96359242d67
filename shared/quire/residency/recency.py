"""When sessions were last used: exactly here, to the minute in the store."""

from __future__ import annotations

from collections import OrderedDict
from datetime import datetime

from quire.sessions.models import Session
from quire.store.columns import now

SIZE = 100_000


class Recency:
    """Remembers the last use of sessions in this process; the longest unused are forgotten."""

    def __init__(self) -> None:
        self._uses: OrderedDict[str, datetime] = OrderedDict()

    def used(self, session_id: str) -> None:
        """It is in use now."""
        self._uses[session_id] = now()
        self._uses.move_to_end(session_id)
        if len(self._uses) > SIZE:
            self._uses.popitem(last=False)

    def forget(self, session_id: str) -> None:
        """It is cold: its next use is another life."""
        self._uses.pop(session_id, None)

    def last_use(self, session: Session) -> datetime:
        """The latest that is known of it."""
        known = (session.last_activity_at, session.woke_at, self._uses.get(session.id))
        return max(moment for moment in known if moment is not None)
