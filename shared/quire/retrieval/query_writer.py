"""Writing queries behind the answer, so that no search waits for a disk."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import structlog

from quire.errors import Unavailable
from quire.retrieval.query import Query, Results
from quire.retrieval.query_memory import QueryMemory
from quire.retrieval.query_store import QueryStore

log = structlog.get_logger(__name__)

# What may wait to be written. Beyond it a search waits too, as long as writing goes on.
ROOM_BYTES = 16 * 2**20
# In one transaction.
BATCH = 64
# Searches that come within this share a transaction; killed, a process loses no more than this.
LINGER_SECONDS = 0.05
# Uses of queries are noted at least so often.
NOTE_USES_SECONDS = 60.0
RETRY_SECONDS = 1.0
CLOSE_SECONDS = 5.0


class QueryWriter:
    """Holds what waits to be written, and writes it some at a time.

    While the database does not take it, everything that waits can still be paged through in this
    process; the oldest is let go when there is no more room, for a search must not fail over this.
    """

    def __init__(
        self, store: QueryStore, memory: QueryMemory, *, room_bytes: int = ROOM_BYTES
    ) -> None:
        self._store = store
        self._memory = memory
        self._room_bytes = room_bytes
        self._waiting: dict[str, Results] = {}
        self._uses: dict[str, Query] = {}
        self._something = asyncio.Event()
        self._room = asyncio.Event()
        self._writing = asyncio.Lock()
        self._failing = False
        self._closing = False
        self._task: asyncio.Task[None] | None = None
        self.bytes = 0

    def open(self) -> None:
        self._task = asyncio.create_task(self._run(), name="query writer")

    async def close(self) -> None:
        """Write what waits, unless the database refuses."""
        if self._task is None:
            return
        self._closing = True
        self._something.set()
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._task
                while self._waiting or self._uses:
                    if not await self._attempt():
                        break
        except TimeoutError:
            log.warning("the database takes too long to keep query results")
        self._task = None
        if self._waiting:
            log.warning("query results are lost", queries=len(self._waiting))

    async def add(self, results: Results) -> None:
        """Have it written soon; waits only while too much waits already."""
        while self._waiting and self.bytes + results.size > self._room_bytes:
            if self._failing:
                self._take(next(iter(self._waiting)))
                continue
            self._room.clear()
            await self._room.wait()
        self._waiting[results.query.id] = results
        self.bytes += results.size
        self._something.set()

    async def write_now(self, results: Results) -> bool:
        """Write it before returning; False if its session is gone."""
        async with self._writing:
            return not await self._write([results])

    def waiting(self, query_id: str) -> Results | None:
        return self._waiting.get(query_id)

    def waiting_in(self, session_id: str) -> list[Query]:
        return [r.query for r in self._waiting.values() if r.query.session_id == session_id]

    def note_use(self, query: Query) -> None:
        """`query.used_at` is when; written with whatever is written next."""
        self._uses[query.id] = query

    async def withdraw(self, query_id: str) -> bool:
        """Have it not written after all; False if it is by now, or never waited."""
        async with self._writing:
            return self._take(query_id) is not None

    async def _run(self) -> None:
        while not self._closing:
            try:
                async with asyncio.timeout(NOTE_USES_SECONDS):
                    await self._something.wait()
                if len(self._waiting) < BATCH:
                    await asyncio.sleep(LINGER_SECONDS)
            except TimeoutError:
                pass
            if not await self._attempt():
                await asyncio.sleep(RETRY_SECONDS)

    async def _attempt(self) -> bool:
        """Write the next batch; False if the database does not take it now."""
        async with self._writing:
            batch = list(self._waiting.values())[:BATCH]
            try:
                await self._write(batch)
            except Unavailable as error:
                if not self._failing:
                    log.warning("query results cannot be written yet", reason=error.message)
                self._failing = True
            except Exception:  # a boundary: nobody waits for this, and the next may succeed
                log.exception("query results cannot be written", queries=len(batch))
                self._done(batch)
            else:
                self._failing = False
                self._done(batch)
        self._room.set()  # also if it fails: then those who wait need not
        return not self._failing

    async def _write(self, batch: Sequence[Results]) -> set[str]:
        """Write these and all uses; answers those whose session is gone."""
        uses, self._uses = self._uses, {}
        if not batch and not uses:
            return set()
        packed = await asyncio.to_thread(lambda: [results.packed() for results in batch])
        try:
            gone = await self._store.write(packed, uses)
        except BaseException:
            self._uses = {**uses, **self._uses}
            raise
        for results in packed:
            if results.query.id not in gone:
                self._memory.keep(results)
        return gone

    def _done(self, batch: Sequence[Results]) -> None:
        for results in batch:
            self._take(results.query.id)
        if not self._waiting:
            self._something.clear()

    def _take(self, query_id: str) -> Results | None:
        results = self._waiting.pop(query_id, None)
        if results is not None:
            self.bytes -= results.size
        return results
