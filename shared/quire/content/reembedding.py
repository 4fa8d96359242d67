"""Moving a session to another model: a new collection is filled beside the old one."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from quire.access.policy import Role
from quire.access.principal import Principal
from quire.embedding.embedders import Embedders
from quire.embedding.port import Identity
from quire.embedding.scheduler import Embedder
from quire.errors import Conflict, InvalidInput, QuireError
from quire.jobs.port import JobContext, JobKind, JobRequest, Jobs
from quire.points.visibility import require_writable
from quire.sessions.identity import identity_of
from quire.sessions.models import Embedding, Session, Successor
from quire.sessions.repository import SessionRepository
from quire.sessions.sessions import Sessions
from quire.store.columns import now
from quire.vectors.port import CollectionSpec, Distance, Point, PointId, Record, VectorEngine

KIND = "reembed"
ATTEMPTS = 5
BATCH = 128
PATIENCE_SECONDS = 8.0
CANCEL_SECONDS = 0.5


class Reembedding:
    """Begins and runs re-embeddings. Readers see the old vectors until the switch."""

    def __init__(
        self,
        sessions: Sessions,
        repository: SessionRepository,
        engine: VectorEngine,
        embedders: Embedders,
        jobs: Jobs,
        prefix: str,
    ) -> None:
        self._sessions = sessions
        self._repository = repository
        self._engine = engine
        self._embedders = embedders
        self._jobs = jobs
        self._prefix = prefix
        jobs.register(JobKind(KIND, self._run, compensate=self._take_back))

    async def begin(
        self, principal: Principal, session_id: str, provider: str | None, model: str | None
    ) -> str:
        """Submit the job; until it is done the session is only read."""
        identity = await self._embedders.resolve(provider, model)
        for _ in range(ATTEMPTS):
            await self._sessions.awake(await self._sessions.peek(principal, session_id))
            if (job_id := await self._submit(principal, session_id, identity)) is not None:
                return job_id
        raise Conflict(f"Session {session_id} goes cold again and again")

    async def _submit(
        self, principal: Principal, session_id: str, identity: Identity
    ) -> str | None:
        """The job; None where the session went cold, for the job must know its collection."""
        job_id = str(uuid.uuid4())
        async with self._repository.transaction() as connection:
            session = await self._sessions.lock(connection, principal, session_id, Role.WRITE)
            require_writable(session)
            if session.pack is not None:
                return None
            if identity_of(session.embedding) == identity:
                raise Conflict(
                    f"Session {session_id} is embedded with {identity} already",
                    recovery="Name another provider or model.",
                )
            new = Embedding(
                provider=identity.provider,
                model=identity.model,
                dimension=identity.dimension,
                revision=identity.revision,
                distance=session.embedding.distance,
                chunker=session.embedding.chunker,
            )
            successor = Successor(job_id, f"{self._prefix}{uuid.uuid4().hex}", new)
            await self._repository.save(connection, session, replace(session, successor=successor))
            request = JobRequest(
                KIND,
                sessions=[session_id],
                # Kept here too: what is left to clean up must be known after the switch.
                parameters={"new": successor.collection, "old": session.collection},
                owner_id=principal.subject,
                id=job_id,
            )
            return await self._jobs.submit(connection, request)

    async def _run(self, context: JobContext) -> Mapping[str, Any]:
        session_id = context.sessions[0]
        total = await context.step("create", self._create, session_id)
        cursor: PointId | None = None
        done = number = 0
        while cursor is not None or not number:
            number += 1
            cursor, done = await context.step(
                f"portion {number}", self._portion, context, cursor, done, total
            )
        await context.progress(done, done, "points")
        context.finishing()
        await context.step("switch", self._switch, session_id, context.job_id, done)
        await context.step("drop old", self._engine.drop, context.parameters["old"])
        session = await self._session(session_id)
        return {"points": done, "embedding": str(identity_of(session.embedding))}

    async def _create(self, session_id: str) -> int:
        session = await self._session(session_id)
        successor = _successor(session)
        spec = CollectionSpec(successor.embedding.dimension, Distance(successor.embedding.distance))
        await self._engine.create(successor.collection, spec)
        info = await self._engine.info(session.collection)
        for key, kind in info.indexes.items():
            if key not in spec.indexes:
                await self._engine.create_index(successor.collection, key, kind)
        return await self._engine.count(session.collection)

    async def _portion(
        self, context: JobContext, cursor: PointId | None, done: int, total: int
    ) -> tuple[PointId | None, int]:
        """Copy points with new vectors for a while; answers where to go on, and how many it is."""
        session = await self._session(context.sessions[0])
        successor = _successor(session)
        embedder = await self._embedders.of(identity_of(successor.embedding))
        deadline = time.monotonic() + PATIENCE_SECONDS
        looked_at = time.monotonic()
        while True:
            page = await self._engine.scroll(
                session.collection, cursor=cursor, limit=BATCH, with_vectors=True
            )
            if page.records:
                points = await embedded_anew(page.records, embedder)
                await self._engine.upsert(successor.collection, points)
            done += len(page.records)
            cursor = page.next_cursor
            await context.progress(done, total, "points")
            if cursor is None or time.monotonic() > deadline:
                return cursor, done
            if time.monotonic() - looked_at > CANCEL_SECONDS:
                looked_at = time.monotonic()
                if (await self._jobs.get(context.job_id)).cancel_requested:
                    return cursor, done

    async def _switch(self, session_id: str, job_id: str, copied: int) -> None:
        session = await self._session(session_id)
        successor = session.successor
        if successor is not None:
            await self._engine.flush(successor.collection)
            there = await self._engine.count(successor.collection)
            if there != copied or there != await self._engine.count(session.collection):
                raise QuireError(f"Of {copied} points, {there} arrived in the new collection")
        async with self._repository.transaction() as connection:
            locked = await self._repository.lock(connection, session_id)
            if locked is None or not locked.state.is_visible:
                raise Conflict(f"Session {session_id} is gone", recovery="Nothing is left to do.")
            successor = locked.successor
            if successor is None or successor.job_id != job_id:
                return  # an earlier run of this step got as far as the commit
            await self._repository.save(connection, locked, _switched(locked, successor, copied))

    async def _take_back(self, context: JobContext) -> None:
        old, new = context.parameters["old"], context.parameters["new"]
        is_switched = await context.step("give up", self._give_up, context.sessions[0], new)
        await context.step("drop", self._engine.drop, old if is_switched else new)

    async def _give_up(self, session_id: str, new: str) -> bool:
        """Let writers in again; True where the switch was made already."""
        async with self._repository.transaction() as connection:
            session = await self._repository.lock(connection, session_id)
            if session is None:
                return False
            if session.successor is not None and session.successor.collection == new:
                await self._repository.save(connection, session, replace(session, successor=None))
            return session.collection == new

    async def _session(self, session_id: str) -> Session:
        session = await self._repository.get(session_id)
        if session is None:
            raise QuireError(f"Session {session_id} is gone")
        return session


def _successor(session: Session) -> Successor:
    if session.successor is None:
        raise QuireError(f"Session {session.id} is not being re-embedded")
    return session.successor


def _switched(session: Session, successor: Successor, embedded: int) -> Session:
    at, usage, stats = now(), session.model_usage, session.processing_stats
    model = successor.embedding.model
    used = usage.embedding_models_used
    return replace(
        session,
        collection=successor.collection,
        embedding=successor.embedding,
        successor=None,
        updated_at=at,
        last_activity_at=at,
        model_usage=replace(
            usage,
            embedding_models_used=used if model in used else (*used, model),
            model_switches=usage.model_switches + 1,
            last_model_switch=at,
        ),
        processing_stats=replace(
            stats,
            embeddings_created=stats.embeddings_created + embedded,
            last_processing_time=at,
        ),
    )


async def embedded_anew(records: Sequence[Record], embedder: Embedder) -> list[Point]:
    """The same points with new vectors; those that had none get none."""
    texts = [_text(record) if record.dense is not None else None for record in records]
    present = [text for text in texts if text is not None]
    counts = await asyncio.to_thread(embedder.count_tokens, present)
    if counts and max(counts) > embedder.window:
        raise InvalidInput(
            f"A text has {max(counts)} tokens, more than the {embedder.window} that "
            f"{embedder.identity} takes in",
            recovery="Ingest the documents anew into a session of that model; they are cut to fit.",
        )
    vectors = iter(await embedder.passages(present))
    return [
        Point(
            record.id,
            None if text is None else next(vectors).tolist(),
            record.sparse,
            record.payload,
        )
        for record, text in zip(records, texts, strict=True)
    ]


def _text(record: Record) -> str:
    text, context = record.payload.get("text"), record.payload.get("context")
    if not isinstance(text, str):
        raise InvalidInput(
            f"Point {record.id} has a vector but no text to embed anew",
            recovery="Delete such points, or write them again with `text`.",
        )
    return text if context is None else f"{context}\n{text}"
