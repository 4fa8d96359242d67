"""The job that imports a file: it looks at all of it, takes it over, and shows the session.

Documents first, then activity, then points, portion by portion; what arrived is counted and held
against what the file says before anybody sees it. Whatever goes wrong, nothing stays.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import sqlalchemy as sa

from quire.blobs.ledger import BlobLedger
from quire.blobs.port import BlobStore
from quire.bundle.reading import BundleReader
from quire.content.scratch import Scratch
from quire.embedding.embedders import Embedders
from quire.errors import Conflict, FileRefused, InvalidInput, VerificationFailed
from quire.jobs.port import JobContext, JobKind, Jobs
from quire.points.visibility import visible_chunks
from quire.sessions.identity import identity_of
from quire.sessions.lifecycle import State
from quire.sessions.models import Session
from quire.sessions.repository import SessionRepository
from quire.sessions.requests import NewSession
from quire.settings import LimitSettings
from quire.store.database import Database
from quire.store.tables import documents
from quire.transfer.activity_plan import Kind
from quire.transfer.filling import required
from quire.transfer.finale import Built, Finale
from quire.transfer.import_activity import ImportActivity
from quire.transfer.import_documents import ImportDocuments, documents_twice
from quire.transfer.import_inspection import Inspection, Look
from quire.transfer.import_points import Incoming, twice
from quire.transfer.import_request import ImportRequest, Inspected, Restored
from quire.transfer.import_sources import ImportFile, PointsOfFile
from quire.transfer.lineage import Descent, Line
from quire.transfer.pouring import pour
from quire.uploads.uploads import Uploads
from quire.vectors.digest import Digest
from quire.vectors.port import CollectionSpec, Distance, IndexKind, VectorEngine

KIND = "import"
TAG = "imported"
FROM_A_FILE = "file"
FROM_A_BACKUP = "backup"
PATIENCE_SECONDS = 8.0
CANCEL_SECONDS = 0.5


class ImportJob:
    """Runs imports, step by step; every step may be repeated."""

    def __init__(
        self,
        database: Database,
        repository: SessionRepository,
        engine: VectorEngine,
        blobs: BlobStore,
        ledger: BlobLedger,
        uploads: Uploads,
        embedders: Embedders,
        inspection: Inspection,
        taking: ImportDocuments,
        activity: ImportActivity,
        finale: Finale,
        scratch: Scratch,
        jobs: Jobs,
        limits: LimitSettings,
    ) -> None:
        self._database = database
        self._repository = repository
        self._engine = engine
        self._blobs = blobs
        self._ledger = ledger
        self._uploads = uploads
        self._embedders = embedders
        self._inspection = inspection
        self._documents = taking
        self._activity = activity
        self._finale = finale
        self._scratch = scratch
        self._jobs = jobs
        self._limits = limits
        jobs.register(JobKind(KIND, self._run, compensate=self._take_back))

    async def _run(self, context: JobContext) -> Mapping[str, Any]:
        told, job_id = context.parameters, context.job_id
        session_id, collection = context.sessions[0], told["collection"]
        request = ImportRequest.from_json(told["request"])
        await context.step("begin", self._finale.begin, job_id, [], [collection])
        async with self._scratch.folder() as folder:
            file = ImportFile(folder, told["source"], self._blobs, self._uploads)
            answer = await context.step("inspect", self._inspect, context, file, request)
            inspected = Inspected.from_json(answer)
            await context.step("lay", self._lay, session_id, collection, inspected)
            await self._take_documents(context, file, inspected)
            await self._take_activity(context, file, inspected)
            poured = await self._pour(context, file, inspected, request)
        counted = await context.step("count", self._count, context, inspected, poured.count)
        if inspected.digest not in (None, str(poured)):
            raise FileRefused("The points of the bundle are not those that its manifest tells of")
        await context.progress(poured.count, poured.count, "points")
        context.finishing()
        await context.step("conclude", self._conclude, context, inspected, counted)
        await context.step("release", self._release, session_id, job_id, told["source"])
        return {
            "session_id": session_id,
            "format": inspected.format.value,
            "documents": inspected.documents,
            "digest": str(poured),
            **counted,
            "activity": dict(inspected.activity),
        }

    async def _inspect(
        self, context: JobContext, file: ImportFile, request: ImportRequest
    ) -> Mapping[str, Any]:
        """Look at all of the file, and have the session be what it says."""
        session_id, restored = context.sessions[0], _restored(context)
        look = await self._inspection.look(file, request)
        async with self._repository.transaction() as connection:
            session = required(await self._repository.lock(connection, session_id), session_id)
            if session.state is not State.PROVISIONING:
                raise Conflict(f"Session {session_id} is gone", recovery="Nothing is left to do.")
            described = self._described(session, look, request)
            if restored is not None:
                described = _as_it_was(described, look, restored)
            await self._repository.save(connection, session, described)
        return look.inspected.as_json()

    def _described(self, session: Session, look: Look, request: ImportRequest) -> Session:
        told = look.told
        try:
            new = NewSession(
                name=request.name or told.name or FROM_A_FILE,
                description=told.description,
                tags=tuple(dict.fromkeys([*told.tags, TAG])),
                metadata=told.metadata,
                configuration=told.configuration,
            ).checked(self._limits)
        except InvalidInput as error:
            raise FileRefused(f"The file's session cannot be taken in: {error.message}") from None
        return replace(
            session,
            name=new.name,
            description=new.description,
            tags=new.tags,
            metadata=new.metadata,
            configuration=new.configuration,
            processing_stats=told.processing_stats,
            model_usage=told.model_usage,
            embedding=look.embedding,
        )

    async def _lay(self, session_id: str, collection: str, inspected: Inspected) -> None:
        spec = _spec(await self._session(session_id))
        await self._engine.drop(collection)
        await self._engine.create(collection, spec)
        for key, kind in inspected.indexes.items():
            await self._engine.create_index(collection, key, IndexKind(kind))
        await self._engine.begin_filling(collection)

    async def _take_documents(
        self, context: JobContext, file: ImportFile, inspected: Inspected
    ) -> None:
        taken = number = 0
        while taken < inspected.documents:
            number += 1
            taken = await context.step(
                f"documents {number}", self._some_documents, context, file, inspected, taken
            )

    async def _some_documents(
        self, context: JobContext, file: ImportFile, inspected: Inspected, start: int
    ) -> int:
        path, _ = await file.fetch(inspected.sha256)
        deadline = time.monotonic() + PATIENCE_SECONDS
        session_id, job_id = context.sessions[0], context.job_id
        with BundleReader.open(path, unpacked_max=0, checked=True) as reader:
            taken = start
            async for taken in self._documents.take(reader, session_id, job_id, start):
                await context.progress(taken, inspected.documents, "documents")
                if time.monotonic() > deadline:
                    break
        return taken

    async def _take_activity(
        self, context: JobContext, file: ImportFile, inspected: Inspected
    ) -> None:
        if not inspected.is_bundle:
            return
        for kind in Kind:
            taken = number = 0
            while taken < inspected.activity.get(kind, 0):
                number += 1
                taken = await context.step(
                    f"{kind} {number}", self._some_activity, context, file, inspected, kind, taken
                )
        await context.step("conversation", self._begin_conversation, context, file, inspected)

    async def _some_activity(
        self, context: JobContext, file: ImportFile, inspected: Inspected, kind: Kind, start: int
    ) -> int:
        path, _ = await file.fetch(inspected.sha256)
        deadline = time.monotonic() + PATIENCE_SECONDS
        session_id, job_id = context.sessions[0], context.job_id
        believed = _restored(context) is not None
        with BundleReader.open(path, unpacked_max=0, checked=True) as reader:
            taken = start
            async for taken in self._activity.take(
                kind, reader, session_id, job_id, start, with_author=believed
            ):
                await context.progress(taken, inspected.activity[kind], kind.value)
                if time.monotonic() > deadline:
                    break
        return taken

    async def _begin_conversation(
        self, context: JobContext, file: ImportFile, inspected: Inspected
    ) -> None:
        path, _ = await file.fetch(inspected.sha256)
        session = await self._session(context.sessions[0])
        with BundleReader.open(path, unpacked_max=0, checked=True) as reader:
            messages = inspected.activity.get(Kind.MESSAGES, 0)
            await self._activity.begin_conversation(reader, session, messages)

    async def _pour(
        self, context: JobContext, file: ImportFile, inspected: Inspected, request: ImportRequest
    ) -> Digest:
        """Write all points, portion by portion; the file stays open in between."""
        points = PointsOfFile(file, inspected, request)
        poured, ended, number = Digest(), False, 0
        while not ended:
            number += 1
            count, digest, ended = await context.step(
                f"portion {number}", self._portion, context, points, inspected, request, poured
            )
            poured = Digest.parsed(count, digest)
        return poured

    async def _portion(
        self,
        context: JobContext,
        points: PointsOfFile,
        inspected: Inspected,
        request: ImportRequest,
        before: Digest,
    ) -> tuple[int, str, bool]:
        session_id = context.sessions[0]
        session = await self._session(session_id)
        embedder = partial(self._embedders.of, identity_of(session.embedding))
        incoming = Incoming(
            inspected, session_id, _spec(session), embedder, new_ids=request.new_ids
        )
        deadline = looked_at = time.monotonic()
        deadline += PATIENCE_SECONDS

        async def may_go_on(poured: Digest) -> bool:
            nonlocal looked_at
            await context.progress(before.count + poured.count, inspected.points, "points")
            if time.monotonic() > deadline:
                return False
            if time.monotonic() - looked_at < CANCEL_SECONDS:
                return True
            looked_at = time.monotonic()
            return not (await self._jobs.get(context.job_id)).cancel_requested

        batches = incoming.points(points.batches(before.count))
        collection = context.parameters["collection"]
        try:
            poured, ended = await pour(self._engine, collection, batches, may_go_on, exact=True)
        except FileRefused:
            raise
        except InvalidInput as error:  # the engine's, which knows points, and not files
            raise FileRefused(f"The points cannot be taken in: {error.message}") from None
        total = before + poured
        return total.count, str(total), ended

    async def _count(
        self, context: JobContext, inspected: Inspected, expected: int
    ) -> Mapping[str, int]:
        engine, collection = self._engine, context.parameters["collection"]
        await engine.end_filling(collection)
        await engine.flush(collection)
        points = await engine.count(collection)
        if points < expected:
            raise twice()
        if points > expected or inspected.points not in (None, expected):
            raise VerificationFailed(f"Of {inspected.points} points, {points} arrived")
        await self._require_documents(context, inspected.documents)
        await self._activity.require_all(context.sessions[0], inspected.activity)
        session = await self._session(context.sessions[0])
        filled = replace(session, collection=collection, hidden_stages=())
        chunks = await engine.count(collection, visible_chunks(filled))
        return {"points": points, "chunks": chunks}

    async def _require_documents(self, context: JobContext, expected: int) -> None:
        query = sa.select(sa.func.count()).where(documents.c.job_id == context.job_id)
        async with self._database.read() as connection:
            found = await connection.scalar(query)
        if found != expected:
            raise documents_twice()

    async def _conclude(
        self, context: JobContext, inspected: Inspected, counted: Mapping[str, int]
    ) -> None:
        session = await self._session(context.sessions[0])
        origin = inspected.origin or FROM_A_FILE
        told = {} if _restored(context) is not None else {Descent.IMPORTED_FROM.value: origin}
        if origin == session.id:
            origin = FROM_A_BACKUP
        built = Built(
            session.id,
            context.parameters["collection"],
            counted["points"],
            counted["chunks"],
            inspected.next_seq,
            metadata=told,
            lineage=told,
        )
        line = Line(
            child_id=session.id,
            child_name=session.name,
            parent_id=origin,
            parent_name=context.parameters["request"]["file_name"] or origin,
            kind=Descent.IMPORTED_FROM,
            job_id=context.job_id,
            points=counted["points"],
            documents=inspected.documents,
            details={"format": inspected.format.value, "sha256": inspected.sha256},
        )
        await self._finale.conclude(context.job_id, [built], [], [line], archive=False)

    async def _release(self, session_id: str, job_id: str, source: Mapping[str, str]) -> None:
        """The file is not needed any more."""
        async with self._database.write() as connection:
            await self._ledger.release(connection, session_id, holder_of(job_id))
            if "upload" in source:
                await self._uploads.consume(connection, source["upload"])

    async def _take_back(self, context: JobContext) -> None:
        builds = {context.sessions[0]: context.parameters["collection"]}
        await context.step("take back", self._finale.take_back, context.job_id, builds, [])

    async def _session(self, session_id: str) -> Session:
        return required(await self._repository.get(session_id), session_id)


def _restored(context: JobContext) -> Restored | None:
    told = context.parameters["restored"]
    return None if told is None else Restored.of(told)


def _as_it_was(session: Session, look: Look, restored: Restored) -> Session:
    return replace(
        session,
        tags=look.told.tags,
        lineage=look.told.lineage,
        collaborators=restored.sharers,
        hold=restored.hold,
    )


def _spec(session: Session) -> CollectionSpec:
    embedding = session.embedding
    return CollectionSpec(embedding.dimension, Distance(embedding.distance))


def holder_of(job_id: str) -> str:
    """What refers to the blob of the file."""
    return f"import/{job_id}"
