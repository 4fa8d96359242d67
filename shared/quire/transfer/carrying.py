"""Documents on their way from one session to another: their rows, and who holds their blobs.

A document comes along with the first of its chunks, whole: its raw bytes and its text. It keeps
its id, its revision and the places of its chunks, moved on as far as the chunks are.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from quire.content.models import Document, DocumentStatus
from quire.content.repository import DocumentRepository
from quire.store.database import Database
from quire.store.tables import documents
from quire.transfer.arbitration import Arbiter
from quire.transfer.fates import NO_FATES, Fates
from quire.transfer.feeds import ORIGIN, Build, Feed
from quire.vectors.port import STAGE, Record

PAGE = 500


class Carrying:
    """Carries the documents of one build; everything may be repeated."""

    def __init__(
        self,
        database: Database,
        repository: DocumentRepository,
        arbiter: Arbiter,
        build: Build,
        job_id: str,
    ) -> None:
        self._database = database
        self._repository = repository
        self._arbiter = arbiter
        self._build = build
        self._job_id = job_id
        self._carried: set[tuple[int, str]] = set()
        self._lock = asyncio.Lock()

    async def with_chunks(self, number: int, records: Sequence[Record]) -> None:
        """The documents of these chunks, for feeds that take some of a session's points."""
        feed = self._build.feeds[number]
        if feed.takes_everything or feed.session_id == self._build.session_id:
            return  # they are carried all at once, those without chunks too; or are there already
        names = {str(r.payload["document_id"]) for r in records if STAGE in r.payload}
        async with self._lock:  # batches are in flight side by side
            new = sorted(name for name in names if (number, name) not in self._carried)
            for start in range(0, len(new), PAGE):
                batch = new[start : start + PAGE]
                found = await self._repository.current(feed.session_id, batch)
                await self._insert(feed, found, NO_FATES)
            self._carried |= {(number, name) for name in new}

    async def of_session(
        self, feed: Feed, status: DocumentStatus, number: int | None = None
    ) -> Sequence[str]:
        """All documents of a session with that status; answers which are left out.

        Those that nobody has come to yet stay where they are. Failed ones come last, and only
        where there is none of their id.
        """
        after = -1
        left_out: list[str] = []
        while page := await self._repository.page(
            feed.session_id, after=after, limit=PAGE, status=status
        ):
            after = page[-1].ordinal
            fates = NO_FATES
            if number is not None and self._build.arbitrated and status is DocumentStatus.READY:
                fates = await self._arbiter.fates(number, [document.id for document in page])
            left_out += sorted(fates.left_out)
            if feed.session_id != self._build.session_id:
                gone = fates.left_out | fates.homes.keys()
                await self._insert(feed, [d for d in page if d.id not in gone], fates)
        return left_out

    async def _insert(self, feed: Feed, found: Sequence[Document], fates: Fates) -> None:
        if not found:
            return
        moved = [self._moved(feed, document, fates.other) for document in found]
        async with self._database.write() as connection:
            taken = await self._revisions(connection, [document.id for document in moved])
            fresh = [
                replace(document, revision=max(document.revision, revision + 1))
                for document in moved
                if (revision := taken.get(document.id, 0)) >= 0
                and (document.status is DocumentStatus.READY or document.id not in taken)
            ]
            await self._repository.insert(connection, fresh)

    async def _revisions(
        self, connection: AsyncConnection, names: Sequence[str]
    ) -> Mapping[str, int]:
        """The last revision of each document that the target has; -1 where it is ours."""
        latest: dict[str, int] = {}
        query = sa.select(documents.c.id, documents.c.revision, documents.c.job_id).where(
            documents.c.session_id == self._build.session_id, documents.c.id.in_(names)
        )
        for name, revision, job_id in await connection.execute(query):
            if job_id == self._job_id:
                latest[name] = -1
            elif latest.get(name, 0) >= 0:
                latest[name] = max(revision, latest.get(name, 0))
        return latest

    def _moved(self, feed: Feed, document: Document, other: Mapping[str, str]) -> Document:
        first = document.first_seq
        identity, metadata = document.id, document.metadata
        if document.id in other:
            identity = other[document.id]
            metadata = {**metadata, ORIGIN: {"session_id": feed.session_id, "id": document.id}}
        return replace(
            document,
            session_id=self._build.session_id,
            id=identity,
            metadata=metadata,
            ordinal=document.ordinal + feed.ordinal_offset,
            first_seq=None if first is None else first + feed.seq_offset,
            is_current=False,
            job_id=self._job_id,
        )
