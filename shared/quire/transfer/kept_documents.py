"""A session's documents as a file in the blob store: a line each, in the order of their ids."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass

import orjson

from quire.blobs.ledger import BlobLedger
from quire.blobs.port import BlobStore
from quire.content.models import Document
from quire.content.rows import SELECT_DOCUMENTS, from_row
from quire.errors import BlobNotFound, StorageDamaged
from quire.store.database import Database
from quire.store.tables import documents
from quire.transfer.document_rows import document_from, document_json

PAGE = 500


@dataclass(frozen=True, slots=True)
class KeptRows:
    """A file of documents, and how many are in it."""

    sha256: str
    size: int
    documents: int


class KeptDocuments:
    """Puts documents' rows into the blob store, and reads them from there."""

    def __init__(self, database: Database, blobs: BlobStore, ledger: BlobLedger) -> None:
        self._database = database
        self._blobs = blobs
        self._ledger = ledger
        # As bytes, and so as Python sorts: whoever compares two files reads them side by side.
        self._order = documents.c.id.collate("BINARY" if database.is_sqlite else "C")

    async def keep(self, session_id: str) -> KeptRows:
        """Put down what the session has; nobody refers to the blob yet."""
        count = 0

        async def lines() -> AsyncIterator[bytes]:
            nonlocal count
            async with aclosing(self.present(session_id)) as pages:
                async for page in pages:
                    count += len(page)
                    yield b"".join(orjson.dumps(document_json(d)) + b"\n" for d in page)

        blob = await self._ledger.put(lines())
        return KeptRows(blob.sha256, blob.size, count)

    async def refer(self, session_id: str, holder: str, kept: KeptRows) -> None:
        """Hold the file, and the bytes and texts of the documents in it; again is no error."""
        async with self._database.write() as connection:
            await self._ledger.refer(connection, session_id, holder, kept.sha256)
        async with aclosing(self.read(kept.sha256)) as pages:
            async for page in pages:
                await self._refer(session_id, holder, page)

    async def present(self, session_id: str) -> AsyncGenerator[list[Document], None]:
        """The documents that the session has now, some at a time."""
        after = ""
        while True:
            query = SELECT_DOCUMENTS.where(
                documents.c.session_id == session_id, documents.c.is_current, self._order > after
            )
            async with self._database.read() as connection:
                rows = await connection.execute(query.order_by(self._order).limit(PAGE))
                page = [from_row(row) for row in rows]
            if not page:
                return
            yield page
            after = page[-1].id

    async def read(self, sha256: str) -> AsyncGenerator[list[Document], None]:
        """The documents of a file, some at a time."""
        page: list[Document] = []
        async with aclosing(self._lines(sha256)) as lines:
            async for line in lines:
                page.append(document_from(orjson.loads(line)))
                if len(page) == PAGE:
                    yield page
                    page = []
        if page:
            yield page

    async def _lines(self, sha256: str) -> AsyncGenerator[bytes, None]:
        rest = b""
        try:
            async for block in self._blobs.get(sha256):
                *lines, rest = (rest + block).split(b"\n")
                for line in lines:
                    yield line
        except BlobNotFound as error:
            raise StorageDamaged(
                "The checkpoint's documents are gone from the blob store"
            ) from error

    async def _refer(self, session_id: str, holder: str, page: list[Document]) -> None:
        parts = {part.sha256 for d in page for part in (d.raw, d.text) if part is not None}
        async with self._database.write() as connection:
            for sha256 in sorted(parts):
                await self._ledger.refer(connection, session_id, holder, sha256)
