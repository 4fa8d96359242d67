"""The ingest job: from raw bytes to chunks that can be found, all of them at one moment."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from quire.blobs.ledger import BlobLedger
from quire.blobs.port import BlobStore
from quire.content.cursor import Cursor
from quire.content.drafting import Drafting
from quire.content.extraction.port import Extractor
from quire.content.models import Document, DocumentStatus, Slice
from quire.content.portion import ChunkWriter, work_through
from quire.content.reading import SliceReader
from quire.content.repository import DocumentRepository, Outcome
from quire.content.rows import text_columns
from quire.content.scratch import Scratch
from quire.content.switching import Switching
from quire.embedding.embedders import Embedders
from quire.errors import QuireError
from quire.jobs.failures import describe
from quire.jobs.port import JobContext, JobKind, Jobs
from quire.points.visibility import incoming
from quire.sessions.identity import identity_of
from quire.sessions.models import Session
from quire.sessions.repository import SessionRepository
from quire.sessions.waking import Waker
from quire.store.database import Database
from quire.vectors.port import STAGE, AllOf, Match, VectorEngine

KIND = "ingest"
CANCEL_SECONDS = 0.5
COPY_BYTES = 1 << 20
FAILURES_TOLD = 100


class Ingest:
    """Runs ingest jobs. Each of its steps may be repeated; a crash costs a portion at most."""

    def __init__(
        self,
        database: Database,
        repository: SessionRepository,
        documents: DocumentRepository,
        engine: VectorEngine,
        blobs: BlobStore,
        ledger: BlobLedger,
        embedders: Embedders,
        extractor: Extractor,
        switching: Switching,
        jobs: Jobs,
        scratch: Scratch,
        waker: Waker,
    ) -> None:
        self._database = database
        self._repository = repository
        self._documents = documents
        self._engine = engine
        self._blobs = blobs
        self._ledger = ledger
        self._embedders = embedders
        self._extractor = extractor
        self._jobs = jobs
        self._scratch = scratch
        self._switching = switching
        self._waker = waker
        jobs.register(JobKind(KIND, self._run, compensate=self._take_back))

    async def _run(self, context: JobContext) -> Mapping[str, Any]:
        session_id = context.sessions[0]
        job_id, switching = context.job_id, self._switching
        first_seq = await context.step("begin", self._begin, session_id, job_id)
        cursor: Mapping[str, Any] = Cursor(seq=first_seq).as_json()
        documents, total = context.parameters["documents"], context.parameters["bytes"]
        number = 0
        while cursor["position"] < documents:
            number += 1
            cursor = await context.step(f"portion {number}", self._portion, context, cursor)
        chunks = cursor["chunks"]
        await context.progress(total, total, "bytes", chunks=chunks, documents=documents)
        replaced = await context.step("mark", switching.mark, session_id, job_id)
        result = await context.step("count", self._result, job_id, replaced)
        next_seq = cursor["seq"]
        context.finishing()
        await context.step("switch", self._show, session_id, job_id, next_seq, chunks)
        await context.step("remove", switching.remove_hidden, session_id, job_id)
        return result

    async def _begin(self, session_id: str, job_id: str) -> int:
        # As long as the job is not done, it stays awake.
        await self._waker.awake(await self._session(session_id))
        return await self._switching.begin(session_id, job_id)

    async def _portion(self, context: JobContext, start: Mapping[str, Any]) -> Mapping[str, Any]:
        session = await self._session(context.sessions[0])
        embedder = await self._embedders.of(identity_of(session.embedding))
        job_id, total = context.job_id, context.parameters["bytes"]

        async def documents(position: int, limit: int) -> list[Document]:
            return list(await self._documents.of_job(job_id, start=position, limit=limit))

        drafting = Drafting(
            Cursor.from_json(start),
            documents=documents,
            with_text=self._with_text,
            slices=SliceReader(self._blobs),
            embedder=embedder,
        )
        looked_at = time.monotonic()

        async def may_go_on(cursor: Cursor) -> bool:
            nonlocal looked_at
            done = min(total, cursor.size + cursor.byte)
            await context.progress(
                done, total, "bytes", chunks=cursor.chunks, documents=cursor.position
            )
            if time.monotonic() - looked_at < CANCEL_SECONDS:
                return True
            looked_at = time.monotonic()
            return not (await self._jobs.get(job_id)).cancel_requested

        writer = ChunkWriter(self._engine, session.collection, embedder, job_id)
        cursor = await work_through(drafting, writer, may_go_on)
        await self._settle(session, job_id, drafting)
        return cursor.as_json()

    async def _settle(self, session: Session, job_id: str, drafting: Drafting) -> None:
        """Note what became of the documents; of one that failed half way nothing stays."""
        outcomes = dict(drafting.outcomes)
        for position, error in drafting.failed.items():
            (document,) = await self._documents.of_job(job_id, start=position, limit=1)
            mine = [Match("document_id", [document.id]), Match(STAGE, [incoming(job_id)])]
            await self._engine.delete(session.collection, AllOf(mine))
            outcomes[position] = Outcome(position, DocumentStatus.FAILED, error=describe(error))
        async with self._database.write() as connection:
            await self._documents.settle(connection, job_id, list(outcomes.values()))

    async def _with_text(self, document: Document) -> Document:
        if document.text is not None:
            return document
        async with self._scratch.folder() as folder:
            source, target = folder / "source", folder / "text"
            await self._spool(document.raw, source)
            found = await self._extractor.extract(document.media_type, source, target)
            blob = await self._ledger.put(_file(target))
        text = Slice(blob.sha256, 0, blob.size)
        title = document.title or found.title
        metadata = {**found.metadata, **document.metadata}
        async with self._database.write() as connection:
            await self._documents.refer(connection, document.session_id, blob.sha256)
            values = {**text_columns(text, found.kind), "title": title, "metadata": metadata}
            await self._documents.note_text(connection, document, values)
        return replace(document, text=text, kind=found.kind, title=title, metadata=metadata)

    async def _spool(self, raw: Slice, target: Path) -> None:
        with target.open("wb") as file:
            async for content in self._blobs.get(raw.sha256, start=raw.start, end=raw.end):
                await asyncio.to_thread(file.write, content)

    async def _show(self, session_id: str, job_id: str, next_seq: int, chunks: int) -> None:
        session = await self._session(session_id)
        # What is shown must not be lost again in a power cut.
        await self._engine.flush(session.collection)
        await self._switching.show(session_id, job_id, next_seq=next_seq, embedded=chunks)

    async def _take_back(self, context: JobContext) -> None:
        """Nothing of a job that failed or was cancelled stays, unless it was shown already."""
        session_id, job_id = context.sessions[0], context.job_id
        if not await context.step("take back", self._switching.take_back, session_id, job_id):
            await context.step("remove", self._switching.remove_hidden, session_id, job_id)

    async def _result(self, job_id: str, replaced: int) -> Mapping[str, Any]:
        ready = failed = chunks = position = 0
        failures: list[Mapping[str, Any]] = []
        while page := await self._documents.of_job(job_id, start=position, limit=1_000):
            position += len(page)
            for document in page:
                if document.status is DocumentStatus.READY:
                    ready += 1
                    chunks += document.chunks_count
                else:
                    failed += 1
                    if len(failures) < FAILURES_TOLD:
                        failures.append({"id": document.id, "error": document.error})
        return {
            "documents": ready + failed,
            "ready": ready,
            "failed": failed,
            "replaced": replaced,
            "chunks": chunks,
            "failures": failures,
        }

    async def _session(self, session_id: str) -> Session:
        session = await self._repository.get(session_id)
        if session is None:
            raise QuireError(f"Session {session_id} is gone")
        return session


async def _file(path: Path) -> AsyncIterator[bytes]:
    with path.open("rb") as file:
        while content := await asyncio.to_thread(file.read, COPY_BYTES):
            yield content
