"""Documents out of a bundle: their bytes into blobs, their rows beside the session's."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

from quire.blobs.ledger import BlobLedger
from quire.bundle.reading import BundleReader
from quire.content.models import Document, Slice
from quire.content.repository import DocumentRepository
from quire.errors import FileRefused, InvalidInput
from quire.sessions.validation import json_object
from quire.settings import LimitSettings
from quire.store.database import Database
from quire.transfer.document_rows import document_from

BATCH = 200
NO_PACK = -1
ID_CHARS = 256
SHA256_CHARS = 64
NUMBER_MAX = 2**53
NOWHERE = {"sha256": "", "start": 0, "end": 0}


class ImportDocuments:
    """Takes documents over, some at a time; again is no error."""

    def __init__(
        self,
        database: Database,
        rows: DocumentRepository,
        ledger: BlobLedger,
        limits: LimitSettings,
    ) -> None:
        self._database = database
        self._rows = rows
        self._ledger = ledger
        self._limits = limits

    async def take(
        self, reader: BundleReader, session_id: str, job_id: str, skip: int
    ) -> AsyncIterator[int]:
        """From the document with this number on; tells after each few how many are there."""
        blobs = _Packs(reader, self._ledger)
        told = reader.documents(skip)
        done = skip
        while page := await asyncio.to_thread(_page, told):
            documents = [await self._document(row, session_id, job_id, blobs) for row in page]
            await self._insert(documents, session_id)
            done += len(page)
            yield done

    async def _document(
        self, row: Mapping[str, Any], session_id: str, job_id: str, blobs: _Packs
    ) -> Document:
        told = {**row, "session_id": session_id, "job_id": job_id, "is_current": False}
        try:
            text = None if row["text"] is None else NOWHERE
            document = document_from({**told, "raw": NOWHERE, "text": text})
            _require_sound(document)
            json_object("metadata", document.metadata, self._limits)
            json_object("error", document.error or {}, self._limits)
        except (KeyError, TypeError, ValueError, AttributeError, InvalidInput):
            raise _refused(row) from None
        return replace(
            document,
            raw=await blobs.slice(row["raw"]),
            text=None if row["text"] is None else await blobs.slice(row["text"]),
        )

    async def _insert(self, documents: Sequence[Document], session_id: str) -> None:
        async with self._database.write() as connection:
            ids = [document.id for document in documents]
            if len(set(ids)) != len(ids):
                raise documents_twice()
            there = {d.id for d in await self._rows.known(connection, session_id, "id", ids)}
            await self._rows.insert(connection, [d for d in documents if d.id not in there])


class _Packs:
    """The packs of the bundle as blobs, each put when its first document comes."""

    def __init__(self, reader: BundleReader, ledger: BlobLedger) -> None:
        self._reader = reader
        self._ledger = ledger
        self._put: dict[int, str] = {}
        self._sizes = [
            part.unpacked for part in reader.manifest.parts if part.name.startswith("content/")
        ]

    async def slice(self, place: Mapping[str, int]) -> Slice:
        # An empty document may name a pack that never came to be, or has no other document.
        pack = place["pack"] if place["end"] else NO_PACK
        if pack not in self._put:
            size = 0 if pack == NO_PACK else self._sizes[pack]
            self._put[pack] = (await self._ledger.put(self._blocks(pack, size))).sha256
        return Slice(self._put[pack], place["start"], place["end"])

    async def _blocks(self, pack: int, size: int) -> AsyncIterator[bytes]:
        blocks = self._reader.content(pack, 0, size)
        while (block := await asyncio.to_thread(next, blocks, None)) is not None:
            yield block


def _require_sound(document: Document) -> None:
    """Raise `ValueError` for what no database would take, or what nobody could read later."""
    texts = (document.id, document.media_type, document.content_sha256)
    maybe_texts = (document.title, document.source_url)
    chunking = document.chunking
    numbers = (
        document.revision,
        document.ordinal,
        document.characters,
        document.chunks_count,
        chunking.size,
        chunking.overlap,
        document.first_seq or 0,
    )
    sound = (
        all(isinstance(text, str) and "\0" not in text for text in texts)
        and all(
            text is None or (isinstance(text, str) and "\0" not in text) for text in maybe_texts
        )
        and all(type(number) is int and 0 <= number < NUMBER_MAX for number in numbers)
        and 0 < len(document.id) <= ID_CHARS
        and len(document.media_type) <= ID_CHARS
        and len(document.content_sha256) <= SHA256_CHARS
        and isinstance(document.metadata, dict)
        and document.created_at.tzinfo is not None
        and document.updated_at.tzinfo is not None
    )
    if not sound:
        raise ValueError(document.id)


def documents_twice() -> FileRefused:
    return FileRefused("The bundle has documents with the same id")


def _refused(row: Mapping[str, Any]) -> FileRefused:
    name = str(row.get("id"))[:80]
    return FileRefused(f"The document {name!a} of the bundle is not described as one must be")


def _page(told: Iterator[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return list(islice(told, BATCH))
