"""Who is to go cold: the idle, the put aside, and the least recently used of too many."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa
import structlog

from quire.errors import Conflict, QuireError, SessionNotFound
from quire.residency.recency import Recency
from quire.residency.sleeping import Sleeping
from quire.sessions.lifecycle import State
from quire.sessions.models import Residency, Session
from quire.sessions.repository import SessionRepository
from quire.sessions.rows import SELECT_SESSIONS
from quire.sessions.spares import SpareCollections
from quire.settings import ResidencySettings
from quire.store.columns import now
from quire.store.database import Database
from quire.store.tables import job_sessions, sessions

log = structlog.get_logger(__name__)

BATCH = 200
"""Sessions that one look finds; there are as many looks as are needed."""
LOOKS = 10
PACKED_AT_ONCE = 50
TRY_AGAIN_SECONDS = 300.0
"""A session that could not be packed is left alone for so long."""

_VISIBLE = sessions.c.state.in_([state.value for state in State if state.is_visible])
_AT_REST = ~sa.exists().where(job_sessions.c.session_id == sessions.c.id)
_HOT = sa.and_(sessions.c.residency == Residency.HOT.value, _VISIBLE)
_PUT_ASIDE = sessions.c.state.in_([State.ARCHIVED.value, State.DELETED.value])
# None is a null of JSON or of SQL, as the driver likes.
_UNPACKED = sa.func.coalesce(sa.cast(sessions.c.pack, sa.Text), "null") == "null"


@dataclass(frozen=True, slots=True)
class Swept:
    """What a sweep did."""

    slept: int = 0
    packed: int = 0
    dropped: int = 0


class Sweeping:
    """Looks for sessions that are to go cold; one that fails is logged, and the next is tried."""

    def __init__(
        self,
        database: Database,
        repository: SessionRepository,
        sleeping: Sleeping,
        spares: SpareCollections,
        recency: Recency,
        settings: ResidencySettings,
        *,
        hot_max: int,
        packs_at_once: bool,
    ) -> None:
        self._database = database
        self._repository = repository
        self._sleeping = sleeping
        self._spares = spares
        self._recency = recency
        self._idle = timedelta(seconds=settings.idle_seconds)
        self._long_idle = timedelta(seconds=settings.pack_seconds)
        self._hot_max = hot_max
        self._packs_at_once = packs_at_once
        self._failed: dict[str, float] = {}
        self.hot = 0
        """How many were hot when last counted, and came to be since, here."""

    async def sweep(self) -> Swept:
        """One pass, of bounded work."""
        slept = await self._repeat(self._sleep_idle) + await self._repeat(self._sleep_surplus)
        packed = 0 if self._packs_at_once else await self._pack_long_idle()
        dropped = await self._spares.drop_overdue()
        return Swept(slept, packed, len(dropped))

    async def sleep_surplus(self) -> int:
        """Only bring the number of hot sessions down; answers by how many."""
        return await self._repeat(self._sleep_surplus)

    async def _repeat(self, look: Callable[[], Awaitable[int]]) -> int:
        total = 0
        for _ in range(LOOKS):
            slept = await look()
            total += slept
            if slept < BATCH // 2:
                break
        return total

    async def _sleep_idle(self) -> int:
        at = now()
        unused = sa.and_(
            sessions.c.last_activity_at <= at - self._idle,
            sa.or_(sessions.c.woke_at.is_(None), sessions.c.woke_at <= at - self._idle),
            sa.or_(sessions.c.pinned.is_(False), _PUT_ASIDE),
        )
        aside_at = sa.func.coalesce(sessions.c.deleted_at, sessions.c.archived_at)
        put_aside = sa.and_(
            _PUT_ASIDE,
            sessions.c.last_activity_at <= aside_at,
            sa.or_(sessions.c.woke_at.is_(None), sessions.c.woke_at <= aside_at),
        )
        found = await self._find(_HOT, sa.or_(unused, put_aside))
        resting = [session for session in found if self._is_idle(session, at)]
        return await self._sleep(resting, pack=self._packs_at_once)

    def _is_idle(self, session: Session, at: datetime) -> bool:
        aside_at = session.deleted_at or session.archived_at
        last = self._recency.last_use(session)
        return last <= at - self._idle or (aside_at is not None and last <= aside_at)

    async def _sleep_surplus(self) -> int:
        query = sa.select(sa.func.count()).select_from(sessions).where(_HOT)
        async with self._database.read() as connection:
            self.hot = (await connection.execute(query)).scalar_one()
        surplus = min(self.hot - self._hot_max, BATCH)
        if surplus <= 0:
            return 0
        found = await self._find(_HOT, sa.or_(sessions.c.pinned.is_(False), _PUT_ASIDE))
        found.sort(key=self._recency.last_use)
        slept = await self._sleep(found[:surplus], pack=self._packs_at_once)
        self.hot -= slept
        return slept

    async def _pack_long_idle(self) -> int:
        closed = sa.and_(sessions.c.residency == Residency.COLD.value, _VISIBLE, _UNPACKED)
        long_idle = sessions.c.last_activity_at <= now() - self._long_idle
        found = await self._find(closed, long_idle)
        return await self._sleep(found[:PACKED_AT_ONCE], pack=True)

    async def _find(self, *conditions: sa.ColumnElement[bool]) -> list[Session]:
        """Sessions at rest, the longest unused first."""
        self._failed = {id: at for id, at in self._failed.items() if at > time.monotonic()}
        query = SELECT_SESSIONS.where(*conditions, _AT_REST).order_by(sessions.c.last_activity_at)
        # Twice as many: the store's last uses are a minute behind.
        found = await self._repository.select(query.limit(2 * BATCH + len(self._failed)))
        return [session for session in found if session.id not in self._failed][: 2 * BATCH]

    async def _sleep(self, found: Sequence[Session], *, pack: bool) -> int:
        outcomes = await asyncio.gather(*(self._sleep_one(session, pack) for session in found))
        return sum(outcomes)

    async def _sleep_one(self, session: Session, pack: bool) -> bool:
        try:
            await self._sleeping.sleep(
                session.id, pack=pack, unless_used_since=self._recency.last_use(session)
            )
        except (Conflict, SessionNotFound):  # it came to be in use, or went
            return False
        except QuireError as error:
            log.warning("session does not go cold", session_id=session.id, error=error.message)
        except Exception:  # a boundary: one broken session must not keep the others hot
            log.exception("session does not go cold", session_id=session.id)
        else:
            return True
        self._failed[session.id] = time.monotonic() + TRY_AGAIN_SECONDS
        return False
