"""Documents that a transfer takes from a session, kept so that they can be given back.

Their rows go into a blob, and what they refer to stays referred to, until it is too late to undo.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace

import orjson
from sqlalchemy.ext.asyncio import AsyncConnection

from quire.blobs.ledger import BlobLedger
from quire.blobs.port import BlobStore
from quire.content.models import Document
from quire.content.repository import DocumentRepository
from quire.sessions.models import Session
from quire.store.database import Database
from quire.transfer.document_rows import document_from, document_json

PAGE = 500


class ReplacedDocuments:
    """Takes documents out of sessions, and puts them back."""

    def __init__(
        self,
        database: Database,
        rows: DocumentRepository,
        ledger: BlobLedger,
        blobs: BlobStore,
    ) -> None:
        self._database = database
        self._rows = rows
        self._ledger = ledger
        self._blobs = blobs

    async def keep(self, session_id: str, job_id: str, dropped: Sequence[str]) -> str | None:
        """Put down what `take` is going to remove; answers the blob, None where it is nothing."""
        async with self._database.read() as connection:
            going = await self._going(connection, session_id, job_id, dropped)
        if not going:
            return None

        async def lines() -> AsyncIterator[bytes]:
            for document in going:
                yield orjson.dumps(document_json(document)) + b"\n"

        return (await self._ledger.put(lines())).sha256

    async def take(
        self,
        connection: AsyncConnection,
        session: Session,
        job_id: str,
        dropped: Sequence[str],
        kept: str | None,
    ) -> None:
        """Remove the documents that the job's take the place of, and those that are dropped."""
        going = await self._going(connection, session.id, job_id, dropped)
        if kept is not None:
            holder = holder_of(job_id)
            parts = [part for d in going for part in (d.raw, d.text) if part is not None]
            for sha256 in sorted({kept, *(part.sha256 for part in parts)}):
                await self._ledger.refer(connection, session.id, holder, sha256)
        await self._rows.remove(connection, going)

    async def give_back(
        self, connection: AsyncConnection, session: Session, job_id: str, documents: list[Document]
    ) -> None:
        """Put back what was taken; what the job brought must be gone already."""
        for start in range(0, len(documents), PAGE):
            await self._rows.insert(connection, documents[start : start + PAGE])
        await self.let_go(connection, session.id, job_id)

    async def read(self, kept: str) -> list[Document]:
        """What `keep` put down."""
        content = b"".join([block async for block in self._blobs.get(kept)])
        found = [document_from(orjson.loads(line)) for line in content.splitlines()]
        return [replace(document, is_current=True) for document in found]

    async def let_go(self, connection: AsyncConnection, session_id: str, job_id: str) -> None:
        """It is too late to undo, or done."""
        await self._ledger.release(connection, session_id, holder_of(job_id))

    async def _going(
        self, connection: AsyncConnection, session_id: str, job_id: str, dropped: Sequence[str]
    ) -> list[Document]:
        replaced = await self._rows.replaced_by(connection, session_id, job_id)
        known = await self._rows.known(connection, session_id, "id", dropped)
        ids = {document.id for document in replaced}
        return [*replaced, *(d for d in known if d.is_current and d.id not in ids)]


def holder_of(job_id: str) -> str:
    return f"undo/{job_id}"
