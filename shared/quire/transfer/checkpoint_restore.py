"""Going back to a checkpoint: its points are poured into a new collection, then all switches."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any

from quire.access.policy import Role
from quire.access.principal import Principal
from quire.content.models import Document
from quire.content.repository import DocumentRepository
from quire.errors import CheckpointNotFound, VerificationFailed
from quire.jobs.port import JobContext, JobKind, JobRequest, Jobs
from quire.points.visibility import require_writable
from quire.sessions.repository import SessionRepository
from quire.sessions.sessions import Sessions
from quire.sessions.waking import Waker
from quire.store.database import Database
from quire.transfer.building import CANCEL_SECONDS
from quire.transfer.checkpoint_rows import Checkpoint
from quire.transfer.checkpoint_stores import Stores
from quire.transfer.filling import PATIENCE_SECONDS, required
from quire.transfer.finale import Built, Finale
from quire.transfer.kept_points import Reading
from quire.transfer.lineage import Descent, Line
from quire.transfer.pouring import pour
from quire.transfer.replaced import ReplacedDocuments
from quire.transfer.targets import Targets
from quire.vectors.digest import Digest
from quire.vectors.port import CollectionSpec, Distance, IndexKind, VectorEngine

KIND = "restore checkpoint"


class CheckpointRestore:
    """Begins and runs restorations. Until the switch the session is read as it is."""

    def __init__(
        self,
        sessions: Sessions,
        database: Database,
        repository: SessionRepository,
        rows: DocumentRepository,
        stores: Stores,
        engine: VectorEngine,
        targets: Targets,
        finale: Finale,
        replaced: ReplacedDocuments,
        waker: Waker,
        jobs: Jobs,
    ) -> None:
        self._sessions = sessions
        self._database = database
        self._repository = repository
        self._rows = rows
        self._stores = stores
        self._engine = engine
        self._targets = targets
        self._finale = finale
        self._replaced = replaced
        self._waker = waker
        self._jobs = jobs
        jobs.register(JobKind(KIND, self._run, compensate=self._take_back))

    async def begin(self, principal: Principal, session_id: str, name: str) -> str:
        """Submit the job; what the session holds by then can be had back by undoing it."""
        async with self._repository.transaction() as connection:
            session = await self._sessions.lock(connection, principal, session_id, Role.WRITE)
            require_writable(session)
            checkpoint = await self._stores.records.required(session_id, name, connection)
            request = JobRequest(
                KIND,
                sessions=[session_id],
                parameters={
                    "checkpoint": checkpoint.id,
                    "name": name,
                    "collection": self._targets.collection(),
                },
                owner_id=principal.subject,
                id=str(uuid.uuid4()),
            )
            return await self._jobs.submit(connection, request)

    async def _run(self, context: JobContext) -> Mapping[str, Any]:
        session_id, job_id = context.sessions[0], context.job_id
        identity, collection = context.parameters["checkpoint"], context.parameters["collection"]
        await context.step("begin", self._finale.begin, job_id, [session_id], [collection])
        await context.step("lay", self._lay, session_id, identity, collection)
        arrived = await self._pour(context, identity)
        await context.step("documents", self._insert_documents, session_id, identity, job_id)
        await context.step("verify", self._verify, identity, collection, arrived)
        kept = await context.step("keep", self._keep, session_id, job_id)
        context.finishing()
        await context.step("conclude", self._conclude, context, kept)
        return {
            "session_id": session_id,
            "checkpoint": context.parameters["name"],
            "points": arrived["count"],
            "digest": arrived["digest"],
        }

    async def _lay(self, session_id: str, identity: str, collection: str) -> None:
        # Its present collection is going to be kept for undoing: it has to be in the engine.
        await self._waker.awake(required(await self._repository.get(session_id), session_id))
        checkpoint = await self._checkpoint(identity)
        embedding = checkpoint.embedding
        await self._engine.drop(collection)
        spec = CollectionSpec(embedding.dimension, Distance(embedding.distance))
        await self._engine.create(collection, spec)
        for key, kind in checkpoint.state["indexes"].items():
            await self._engine.create_index(collection, key, IndexKind(kind))
        await self._engine.begin_filling(collection)

    async def _pour(self, context: JobContext, identity: str) -> Mapping[str, Any]:
        """All points, portion by portion; answers how many arrived, and their digest."""
        arrived: Mapping[str, Any] = {"count": 0, "digest": str(Digest()), "ended": False}
        number = 0
        # The file and the place in it only save time: whatever is missing is fetched anew.
        async with self._stores.points.folder() as folder:
            reading = Reading(folder / "points")
            while not arrived["ended"]:
                number += 1
                arrived = await context.step(
                    f"portion {number}", self._portion, context, identity, reading, arrived
                )
        return arrived

    async def _portion(
        self, context: JobContext, identity: str, reading: Reading, before: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        checkpoint = await self._checkpoint(identity)
        await self._fetch(checkpoint, reading.path)
        start = Digest.parsed(before["count"], before["digest"])
        await reading.go_to(start.count)
        deadline = time.monotonic() + PATIENCE_SECONDS
        looked_at = time.monotonic()

        async def may_go_on(poured: Digest) -> bool:
            nonlocal looked_at
            done = start.count + poured.count
            await context.progress(done, checkpoint.points_count, "points")
            if time.monotonic() > deadline:
                return False
            if time.monotonic() - looked_at < CANCEL_SECONDS:
                return True
            looked_at = time.monotonic()
            return not (await self._jobs.get(context.job_id)).cancel_requested

        collection = context.parameters["collection"]
        poured, ended = await pour(
            self._engine, collection, reading, may_go_on, exact=True, as_read=True
        )
        total = start + poured
        return {"count": total.count, "digest": str(total), "ended": ended}

    async def _fetch(self, checkpoint: Checkpoint, path: Path) -> None:
        if not await asyncio.to_thread(path.exists):
            arriving = path.with_suffix(".arriving")
            await self._stores.points.fetch(str(checkpoint.points_sha256), arriving)
            await asyncio.to_thread(arriving.rename, path)

    async def _insert_documents(self, session_id: str, identity: str, job_id: str) -> None:
        checkpoint = await self._checkpoint(identity)
        sha256 = str(checkpoint.documents_sha256)
        async with aclosing(self._stores.documents.read(sha256)) as pages:
            async for page in pages:
                await self._insert(session_id, page, job_id)

    async def _insert(self, session_id: str, page: list[Document], job_id: str) -> None:
        """Beside the present revisions, unless an earlier run of this step did it."""
        async with self._database.write() as connection:
            known = await self._rows.known(connection, session_id, "id", [d.id for d in page])
            latest = {document.id: document.revision for document in known}
            brought = {document.id for document in known if document.job_id == job_id}
            fresh = [
                replace(
                    document,
                    revision=max(document.revision, latest.get(document.id, 0) + 1),
                    is_current=False,
                    job_id=job_id,
                )
                for document in page
                if document.id not in brought
            ]
            await self._rows.insert(connection, fresh)

    async def _verify(self, identity: str, collection: str, arrived: Mapping[str, Any]) -> None:
        checkpoint = await self._checkpoint(identity)
        await self._engine.end_filling(collection)
        await self._engine.flush(collection)
        there = await self._engine.count(collection)
        if (there, arrived["digest"]) != (checkpoint.points_count, checkpoint.digest):
            raise VerificationFailed(
                f"Of {checkpoint.points_count} points, {there} are in the new collection, or they "
                "are not the same"
            )

    async def _keep(self, session_id: str, job_id: str) -> str | None:
        present = await self._present(session_id)
        return await self._replaced.keep(session_id, job_id, present)

    async def _conclude(self, context: JobContext, kept: str | None) -> None:
        checkpoint = await self._checkpoint(context.parameters["checkpoint"])
        session_id = checkpoint.session_id
        session = required(await self._repository.get(session_id), session_id)
        built = Built(
            session_id,
            context.parameters["collection"],
            checkpoint.points_count,
            checkpoint.state["chunks"],
            checkpoint.state["next_seq"],
            embedding=checkpoint.embedding,
            lineage={Descent.RESTORED_FROM.value: checkpoint.name},
            dropped_documents=await self._present(session_id),
            kept=kept,
        )
        line = Line(
            child_id=session.id,
            child_name=session.name,
            parent_id=session.id,
            parent_name=session.name,
            kind=Descent.RESTORED_FROM,
            job_id=context.job_id,
            points=checkpoint.points_count,
            documents=checkpoint.documents_count,
            details={"checkpoint": checkpoint.name},
        )
        await self._finale.conclude(context.job_id, [built], [], [line], archive=False)

    async def _present(self, session_id: str) -> list[str]:
        """The documents that are going to be replaced: all."""
        async with aclosing(self._stores.documents.present(session_id)) as pages:
            return [document.id async for page in pages for document in page]

    async def _take_back(self, context: JobContext) -> None:
        session_id = context.sessions[0]
        builds = {session_id: context.parameters["collection"]}
        await context.step(
            "take back", self._finale.take_back, context.job_id, builds, [session_id]
        )

    async def _checkpoint(self, identity: str) -> Checkpoint:
        checkpoint = await self._stores.records.get(identity)
        if checkpoint is None:
            raise CheckpointNotFound("The checkpoint was deleted before it was restored")
        return checkpoint
