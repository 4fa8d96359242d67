"""Sessions that were read and are surely still so."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterable

from quire.sessions.models import Session
from quire.store.database import Database

CHANNEL = "quire_changes"
SIZE = 4096


class SessionCache:
    """What is kept is dropped when it changes, in this process or, on PostgreSQL, in any other.

    On SQLite this process is the only writer, for it owns the data directory. On PostgreSQL the
    change feed tells; while it may miss something, nothing is answered from here. So a reader is
    behind another process's commit by the millisecond that the word takes, and by at most
    `feed.SURE_SECONDS` when the network drops.
    """

    def __init__(self, database: Database) -> None:
        # What this process changes the repository tells by itself.
        self._feed = None if database.is_sqlite else database.feed(CHANNEL, self._heard)
        self._kept: OrderedDict[str, Session] = OrderedDict()
        self._changing: Counter[str] = Counter()
        self.generation = 0

    def open(self) -> None:
        if self._feed is not None:
            self._feed.open()

    async def close(self) -> None:
        if self._feed is not None:
            await self._feed.close()

    @property
    def is_sure(self) -> bool:
        return self._feed is None or self._feed.is_sure

    def get(self, session_id: str) -> Session | None:
        # A transaction is committed a moment before this process knows.
        if session_id in self._changing or not self.is_sure:
            return None
        return self._kept.get(session_id)

    def keep(self, session: Session, generation: int) -> None:
        """Keep what was read, unless something changed since `generation` or is about to."""
        if generation != self.generation or self._changing[session.id] or not self.is_sure:
            return
        self._kept[session.id] = session
        if len(self._kept) > SIZE:
            self._kept.popitem(last=False)

    def changing(self, session_id: str) -> None:
        """A transaction changes it; until that ends, it is read from the store, and not kept."""
        self._changing[session_id] += 1

    def changed(self, session_ids: Iterable[str]) -> None:
        """The transaction that was changing them has ended."""
        for session_id in session_ids:
            self._changing[session_id] -= 1
            if not self._changing[session_id]:
                del self._changing[session_id]
            self._heard(session_id)

    def _heard(self, session_id: str | None) -> None:
        self.generation += 1
        if session_id is None:
            self._kept.clear()
        else:
            self._kept.pop(session_id, None)
