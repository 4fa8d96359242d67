"""Frontiers between portions: in a blob, which the session holds for as long as the crawl lasts."""

from __future__ import annotations

from collections.abc import AsyncIterator

from quire.access.policy import Role
from quire.access.principal import Principal
from quire.blobs.ledger import BlobLedger
from quire.blobs.port import BlobStore
from quire.crawling.frontier import Frontier
from quire.sessions.repository import SessionRepository
from quire.sessions.sessions import Sessions


class KeptFrontiers:
    """Keeps two of each crawl: the one that a portion began with, and the one that it ended with.

    A portion that is run again, after a crash, begins with the same.
    """

    def __init__(
        self,
        repository: SessionRepository,
        sessions: Sessions,
        ledger: BlobLedger,
        blobs: BlobStore,
    ) -> None:
        self._repository = repository
        self._sessions = sessions
        self._ledger = ledger
        self._blobs = blobs

    async def keep(
        self, principal: Principal, session_id: str, job_id: str, number: int, frontier: Frontier
    ) -> str:
        """Keep it as the end of a portion; answers where it is."""
        blob = await self._ledger.put(_once(frontier.dumped()))
        async with self._repository.transaction() as connection:
            # Of a session that is gone nothing may be held: nobody would ever let go of it.
            await self._sessions.lock(connection, principal, session_id, Role.WRITE)
            await self._ledger.release(connection, session_id, _holder(job_id, number))
            await self._ledger.refer(connection, session_id, _holder(job_id, number), blob.sha256)
        return blob.sha256

    async def load(self, sha256: str) -> Frontier:
        blocks = [block async for block in self._blobs.get(sha256)]
        return Frontier.loaded(b"".join(blocks))

    async def release(self, session_id: str, job_id: str) -> None:
        """Let go of what the last portions kept."""
        async with self._repository.transaction() as connection:
            for number in (0, 1):
                await self._ledger.release(connection, session_id, _holder(job_id, number))


def _holder(job_id: str, number: int) -> str:
    return f"crawl/{job_id}/{number % 2}"


async def _once(content: bytes) -> AsyncIterator[bytes]:
    yield content
