"""Checkpoints: what a session holds at one moment, kept under a name to come back to."""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from quire.access.policy import Role
from quire.access.principal import Principal
from quire.blobs.ledger import BlobLedger
from quire.errors import CheckpointNotFound, Conflict, InvalidInput, LimitExceeded
from quire.jobs.port import JobContext, JobKind, JobRequest, Jobs
from quire.sessions.models import Session
from quire.sessions.repository import SessionRepository
from quire.sessions.sessions import Sessions, require_not_deleted
from quire.sessions.waking import Waker
from quire.settings import TransferSettings
from quire.store.columns import now
from quire.transfer.building import CANCEL_SECONDS
from quire.transfer.checkpoint_rows import Checkpoint
from quire.transfer.checkpoint_stores import Stores
from quire.transfer.filling import required
from quire.transfer.finale import Finale
from quire.transfer.kept_documents import KeptRows
from quire.vectors.port import STANDARD_INDEXES, VectorEngine

KIND = "checkpoint"
NAME = re.compile(r"[^\x00-\x20\x7f/\\][^\x00-\x1f\x7f/\\]{0,199}")
NOW = "now"
"""What a difference calls the session as it is."""
NO_NAMES = frozenset({NOW, ".", ".."})


class Checkpoints:
    """Makes checkpoints and shows them. While one is made the session takes no writes."""

    def __init__(
        self,
        sessions: Sessions,
        repository: SessionRepository,
        stores: Stores,
        ledger: BlobLedger,
        engine: VectorEngine,
        finale: Finale,
        waker: Waker,
        jobs: Jobs,
        limits: TransferSettings,
    ) -> None:
        self._sessions = sessions
        self._repository = repository
        self._records = stores.records
        self._points = stores.points
        self._documents = stores.documents
        self._ledger = ledger
        self._engine = engine
        self._finale = finale
        self._waker = waker
        self._jobs = jobs
        self._limits = limits
        jobs.register(JobKind(KIND, self._run, compensate=self._take_back))

    async def begin(self, principal: Principal, session_id: str, name: str) -> str:
        """Submit the job that makes it; the name is taken from now on."""
        if not NAME.fullmatch(name) or name in NO_NAMES or not name.isprintable():
            raise InvalidInput(
                "A checkpoint's name is 1 to 200 printable characters without slashes, does not "
                "begin with a space, and is neither . nor .. nor now",
                field="name",
            )
        job_id = str(uuid.uuid4())
        async with self._repository.transaction() as connection:
            session = await self._sessions.lock(connection, principal, session_id, Role.WRITE)
            require_not_deleted(session)
            await self._require_free(connection, session_id, name)
            checkpoint = Checkpoint(
                id=str(uuid.uuid4()),
                session_id=session_id,
                name=name,
                job_id=job_id,
                created_at=now(),
                state={},
            )
            await self._records.insert(connection, checkpoint)
            request = JobRequest(
                KIND,
                sessions=[session_id],
                parameters={"checkpoint": checkpoint.id, "name": name},
                owner_id=principal.subject,
                id=job_id,
            )
            return await self._jobs.submit(connection, request)

    async def get(self, principal: Principal, session_id: str, name: str) -> Checkpoint:
        await self._sessions.peek(principal, session_id)
        return await self._records.required(session_id, name)

    async def page(
        self, principal: Principal, session_id: str, *, before: str | None, limit: int
    ) -> Sequence[Checkpoint]:
        """Newest first; `before` is the name of the last one on the page before."""
        await self._sessions.peek(principal, session_id)
        return await self._records.page(session_id, before=before, limit=limit)

    async def delete(self, principal: Principal, session_id: str, name: str) -> None:
        """Let it go; the session itself stays as it is."""
        async with self._repository.transaction() as connection:
            await self._sessions.lock(connection, principal, session_id, Role.WRITE)
            checkpoint = await self._records.required(session_id, name, connection)
            await self._remove(connection, checkpoint)

    async def _require_free(self, connection: AsyncConnection, session_id: str, name: str) -> None:
        if (found := await self._records.named(session_id, name, connection)) is not None:
            being = "" if found.is_complete else f", which job {found.job_id} is making"
            raise Conflict(
                f"Session {session_id} has a checkpoint {name} already{being}",
                recovery="Choose another name, or delete that checkpoint first.",
            )
        if await self._records.count(connection, session_id) >= self._limits.checkpoints:
            raise LimitExceeded(
                f"Session {session_id} has {self._limits.checkpoints} checkpoints, as many as are "
                "allowed (QUIRE_TRANSFER_CHECKPOINTS)",
                recovery="Delete checkpoints that are no longer needed, or have the limit raised.",
            )

    async def _run(self, context: JobContext) -> Mapping[str, Any]:
        session_id, identity = context.sessions[0], context.parameters["checkpoint"]
        await context.step("begin", self._finale.begin, context.job_id, [session_id], [])
        kept = await context.step("points", self._keep_points, context)
        documents = await context.step("documents", self._keep_documents, session_id, identity)
        context.finishing()
        await context.step("conclude", self._conclude, context, kept, documents)
        return {
            "session_id": session_id,
            "checkpoint": context.parameters["name"],
            "points": kept["points"],
            "documents": documents["documents"],
        }

    async def _keep_points(self, context: JobContext) -> Mapping[str, Any]:
        """Put the points down; nothing when the job was called off, as its next step finds."""
        session = await self._awake(context.sessions[0])
        total, looked_at = session.points_count, time.monotonic()

        async def may_go_on(done: int) -> bool:
            nonlocal looked_at
            await context.progress(done, max(done, total), "points")
            if time.monotonic() - looked_at < CANCEL_SECONDS:
                return True
            looked_at = time.monotonic()
            return not (await self._jobs.get(context.job_id)).cancel_requested

        kept = await self._points.keep(session, may_go_on)
        if kept is None:
            return {}
        checkpoint = await self._checkpoint(context.parameters["checkpoint"])
        async with self._repository.transaction() as connection:
            await self._ledger.refer(connection, session.id, checkpoint.holder, kept.sha256)
        return kept.as_json()

    async def _keep_documents(self, session_id: str, identity: str) -> Mapping[str, Any]:
        checkpoint = await self._checkpoint(identity)
        kept = await self._documents.keep(session_id)
        await self._documents.refer(session_id, checkpoint.holder, kept)
        return asdict(kept)

    async def _conclude(
        self, context: JobContext, kept: Mapping[str, Any], rows: Mapping[str, Any]
    ) -> None:
        session = await self._awake(context.sessions[0])
        info = await self._engine.info(session.collection)
        documents = KeptRows(**rows)
        async with self._repository.transaction() as connection:
            locked = required(await self._repository.lock(connection, session.id), session.id)
            identity = context.parameters["checkpoint"]
            checkpoint = await self._checkpoint(identity, connection)
            if checkpoint.is_complete:
                return  # an earlier run of this step got as far as the commit
            complete = replace(
                checkpoint,
                created_at=now(),
                points_sha256=kept["sha256"],
                documents_sha256=documents.sha256,
                size_bytes=kept["size"] + documents.size,
                points_count=kept["points"],
                documents_count=documents.documents,
                digest=kept["digest"],
                state={
                    "embedding": asdict(locked.embedding),
                    "chunks": kept["chunks"],
                    "next_seq": locked.next_seq,
                    "indexes": {
                        key: kind.value
                        for key, kind in info.indexes.items()
                        if key not in STANDARD_INDEXES
                    },
                },
            )
            await self._records.save(connection, complete)
            await self._repository.save(connection, locked, replace(locked, busy_job=None))

    async def _take_back(self, context: JobContext) -> None:
        session_id, identity = context.sessions[0], context.parameters["checkpoint"]
        await context.step("forget", self._forget, session_id, identity)
        await context.step("free", self._finale.take_back, context.job_id, {}, [session_id])

    async def _forget(self, session_id: str, identity: str) -> None:
        async with self._repository.transaction() as connection:
            await self._repository.lock(connection, session_id)
            checkpoint = await self._records.get(identity, connection)
            if checkpoint is not None and not checkpoint.is_complete:
                await self._remove(connection, checkpoint)

    async def _remove(self, connection: AsyncConnection, checkpoint: Checkpoint) -> None:
        await self._records.remove(connection, checkpoint.id)
        await self._ledger.release(connection, checkpoint.session_id, checkpoint.holder)

    async def _checkpoint(
        self, identity: str, connection: AsyncConnection | None = None
    ) -> Checkpoint:
        checkpoint = await self._records.get(identity, connection)
        if checkpoint is None:
            raise CheckpointNotFound("The checkpoint was deleted while it was being made")
        return checkpoint

    async def _awake(self, session_id: str) -> Session:
        return await self._waker.awake(required(await self._repository.get(session_id), session_id))
