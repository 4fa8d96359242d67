"""Bringing a cold session back: one waking at a time, however many wait for it.

What was packed is unpacked into a new collection, verified, and only then does the session's row
name it. The row's lock decides between processes that wake the same session: the second finds it
hot, and drops what it made. A waking that fails leaves the session as it was.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import TypeGuard

import structlog

from quire.access.policy import session_not_found
from quire.blobs.ledger import BlobLedger
from quire.errors import QuireError, StorageFull, Unavailable
from quire.residency.packing import Packing
from quire.residency.sleeping import HOLDER
from quire.sessions.models import Pack, Residency, Session
from quire.sessions.repository import SessionRepository
from quire.sessions.spares import SpareCollections
from quire.store.columns import now
from quire.telemetry.metrics import Metrics, ResidencyChange

log = structlog.get_logger(__name__)

PATIENCE = timedelta(hours=1)
"""After so long what a waking was filling is taken for abandoned."""

AT_ONCE = 8


class Waking:
    """Wakes sessions, each once."""

    def __init__(
        self,
        repository: SessionRepository,
        ledger: BlobLedger,
        packing: Packing,
        spares: SpareCollections,
        metrics: Metrics,
        prefix: str,
        woken: Callable[[Session], None],
    ) -> None:
        self._repository = repository
        self._ledger = ledger
        self._packing = packing
        self._spares = spares
        self._metrics = metrics
        self._prefix = prefix
        self._woken = woken
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._under_way: dict[str, asyncio.Task[Session]] = {}
        self.failed: set[str] = set()
        """Sessions whose last waking failed: who asks again is to hear why."""

    def begin(self, session_id: str) -> asyncio.Task[Session]:
        """The waking of the session, begun now or already under way."""
        task = self._under_way.get(session_id)
        if task is None:
            task = asyncio.create_task(self._wake(session_id), name=f"wake {session_id}")
            self._under_way[session_id] = task
            task.add_done_callback(lambda done: self._ended(session_id, done))
        return task

    async def close(self) -> None:
        """Let what is under way finish."""
        await asyncio.gather(*self._under_way.values(), return_exceptions=True)

    def _ended(self, session_id: str, task: asyncio.Task[Session]) -> None:
        del self._under_way[session_id]
        if task.cancelled():
            return
        error = task.exception()
        if error is None:
            self.failed.discard(session_id)
        else:  # nobody may be waiting any more: it is told here at least
            self.failed.add(session_id)
            log.warning("session not woken", session_id=session_id, error=str(error))

    async def _wake(self, session_id: str) -> Session:
        started = time.perf_counter()
        async with self._slots:
            while True:
                session = await self._repository.latest(session_id)
                if session is None or not session.state.is_visible:
                    raise session_not_found(session_id)
                if session.residency is Residency.HOT:
                    return session
                pack = session.pack
                if pack is None:
                    woken, change = await self._open(session), ResidencyChange.OPENED
                else:
                    woken, change = await self._unpack(session, pack), ResidencyChange.UNPACKED
                if woken is not None:
                    break
        self._woken(woken)
        self._metrics.count_residency(change)
        self._metrics.observe_wake(change, time.perf_counter() - started)
        return woken

    async def _open(self, session: Session) -> Session | None:
        """The engine has it, and opens it at the first call; None where that changed meanwhile."""
        try:
            async with self._repository.transaction() as connection:
                locked = await self._repository.lock(connection, session.id)
                if not _is_cold(locked, None):
                    return None
                woken = replace(locked, residency=Residency.HOT, woke_at=now())
                await self._repository.relocate(connection, woken)
                return woken
        except StorageFull:  # a full disk is no reason to refuse what can be read
            log.warning("waking not noted", session_id=session.id, reason="the disk is full")
            return session

    async def _unpack(self, session: Session, pack: Pack) -> Session | None:
        """Fill a collection out of the pack; None where another process was first."""
        name = f"{self._prefix}{uuid.uuid4().hex}"
        async with self._repository.transaction() as connection:
            await self._spares.reserve(
                connection, name, session_id=session.id, until=now() + PATIENCE
            )
        woken = hot = None
        try:
            await self._packing.unpack(session, pack, name)
            async with self._repository.transaction() as connection:
                locked = await self._repository.lock(connection, session.id)
                if _is_cold(locked, pack):
                    if not await self._spares.adopt(connection, name):
                        raise Unavailable(f"Waking session {session.id} took over {PATIENCE}")
                    hot = replace(
                        locked,
                        residency=Residency.HOT,
                        collection=name,
                        pack=None,
                        woke_at=now(),
                    )
                    await self._repository.relocate(connection, hot)
                    await self._ledger.release(connection, session.id, HOLDER)
            woken = hot
        finally:
            if woken is None:
                await self._give_up(session.id, name)
        return woken

    async def _give_up(self, session_id: str, name: str) -> None:
        try:
            await self._spares.drop(name)
        except QuireError as error:  # its row is there: the sweep drops it
            log.warning("collection not dropped yet", session_id=session_id, error=error.message)


def _is_cold(session: Session | None, pack: Pack | None) -> TypeGuard[Session]:
    """It is as cold as it was, and still there."""
    return (
        session is not None
        and session.state.is_visible
        and session.residency is Residency.COLD
        and session.pack == pack
    )
