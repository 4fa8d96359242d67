"""Admitting documents: everything is checked and kept before the first row is written."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncConnection

from quire.access import policy
from quire.access.policy import Role
from quire.access.principal import Principal
from quire.content import ingest
from quire.content.arrival import Arrival, Arrivals, named
from quire.content.chunking import check_chunk_settings
from quire.content.models import ChunkSettings, Document, DocumentStatus, TextKind
from quire.content.repository import DocumentRepository
from quire.content.sources import IngestOptions, Source
from quire.content.web_pages import WebPages
from quire.embedding.embedders import Embedders
from quire.errors import InvalidInput, LimitExceeded
from quire.jobs.port import JobRequest, Jobs
from quire.points.visibility import require_writable
from quire.sessions.identity import identity_of
from quire.sessions.repository import SessionRepository
from quire.sessions.sessions import Sessions
from quire.settings import LimitSettings
from quire.store.columns import now

FETCHED_AT_ONCE = 20
"""Documents of one request that are fetched: its caller waits, however slow they are."""


@dataclass(frozen=True, slots=True)
class Admitted:
    """The documents in the order in which they came, and the job that takes in the new ones."""

    job_id: str | None
    documents: Sequence[Document]
    duplicates: frozenset[int]
    """Positions of what the session had already: the document that it has stands there."""


class Admission:
    """Takes documents from callers."""

    def __init__(
        self,
        sessions: Sessions,
        repository: SessionRepository,
        documents: DocumentRepository,
        arrivals: Arrivals,
        embedders: Embedders,
        pages: WebPages,
        jobs: Jobs,
        limits: LimitSettings,
    ) -> None:
        self._sessions = sessions
        self._repository = repository
        self._documents = documents
        self._arrivals = arrivals
        self._embedders = embedders
        self._pages = pages
        self._jobs = jobs
        self._limits = limits

    async def admit(
        self,
        principal: Principal,
        session_id: str,
        sources: Sequence[Source],
        options: IngestOptions,
    ) -> Admitted:
        """Keep the documents' bytes, and submit the job that makes chunks of them.

        Content that the session has already is not taken in again: without an id the document that
        has it answers, and with an id only what is new about that document.
        """
        chunking = await self._check(principal, session_id, options)
        checked = self._checked(sources)
        arrivals: list[Arrival] = []
        if all(isinstance(source.content, bytes) for source in checked):
            arrivals = await self._arrivals.take_together(checked)
        else:
            for position, source in enumerate(checked):
                at = source.at or f"documents[{position}]"
                arrivals.append(await self._take(source, at, options))
        async with self._repository.transaction() as connection:
            session = await self._sessions.lock(connection, principal, session_id, Role.WRITE)
            require_writable(session)
            return await self._enter(connection, principal, session_id, arrivals, chunking)

    async def _take(self, source: Source, at: str, options: IngestOptions) -> Arrival:
        if source.content is None:
            with named(at):
                found = await self._pages.document(source)
                source = found.checked(at, self._limits)
        return await self._arrivals.take(source, at, options.errors)

    async def current(self, session_id: str, admitted: Admitted) -> Admitted:
        """The same, as the documents stand now."""
        ids = [document.id for document in admitted.documents]
        now_there = {d.id: d for d in await self._documents.current(session_id, ids)}
        documents = [now_there.get(document.id, document) for document in admitted.documents]
        return Admitted(admitted.job_id, documents, admitted.duplicates)

    async def _check(
        self, principal: Principal, session_id: str, options: IngestOptions
    ) -> ChunkSettings:
        """Before anything is read: whether the caller may, and whether it can be cut like that."""
        session = await self._sessions.get(principal, session_id)
        policy.require(principal, session, Role.WRITE)
        require_writable(session)
        embedder = await self._embedders.of(identity_of(session.embedding))
        chunking = options.chunking(session)
        check_chunk_settings(chunking, embedder.window)
        return chunking

    def _checked(self, sources: Sequence[Source]) -> list[Source]:
        if not sources:
            raise InvalidInput("There are no documents in the request", field="documents")
        if len(sources) > self._limits.documents:
            raise LimitExceeded(
                f"{len(sources)} documents are over the limit of {self._limits.documents} in one "
                "request (QUIRE_LIMITS_DOCUMENTS)",
                field="documents",
            )
        if sum(source.content is None for source in sources) > FETCHED_AT_ONCE:
            raise LimitExceeded(
                f"At most {FETCHED_AT_ONCE} documents of one request are fetched from their url",
                field="documents",
                recovery="Send several requests, or crawl: POST /crawls.",
            )
        checked = [
            source.checked(source.at or f"documents[{position}]", self._limits)
            for position, source in enumerate(sources)
        ]
        seen: set[str] = set()
        for position, source in enumerate(checked):
            if source.id in seen:
                raise InvalidInput(
                    f"documents[{position}].id: {source.id} is there twice",
                    field=f"documents[{position}].id",
                )
            if source.id is not None:
                seen.add(source.id)
        return checked

    async def _enter(
        self,
        connection: AsyncConnection,
        principal: Principal,
        session_id: str,
        arrivals: Sequence[Arrival],
        chunking: ChunkSettings,
    ) -> Admitted:
        by_id, by_content = await self._known(connection, session_id, arrivals)
        ordinal = await self._documents.last_ordinal(connection, session_id)
        job_id = str(uuid.uuid4())
        documents: list[Document] = []
        new: list[Document] = []
        duplicates: set[int] = set()
        for position, arrival in enumerate(arrivals):
            document_id = arrival.source.id
            latest = by_id.get(document_id) if document_id is not None else None
            same = by_content.get(arrival.content_sha256) if document_id is None else None
            if latest is not None and _is_unchanged(latest, arrival, chunking):
                same = latest
            if same is not None:
                documents.append(same)
                duplicates.add(position)
                continue
            if latest is None:
                ordinal += 1
            document = _drafted(session_id, job_id, ordinal, arrival, chunking, latest)
            by_content[document.content_sha256] = document
            new.append(document)
            documents.append(document)
        if not new:
            waiting = {d.job_id for d in documents if d.status is DocumentStatus.PENDING}
            return Admitted(next(iter(waiting), None), documents, frozenset(duplicates))
        await self._documents.insert(connection, new)
        request = JobRequest(
            ingest.KIND,
            sessions=[session_id],
            parameters={
                "documents": len(new),
                "bytes": sum(document.raw.size for document in new),
            },
            owner_id=principal.subject,
            id=job_id,
        )
        await self._jobs.submit(connection, request)
        return Admitted(job_id, documents, frozenset(duplicates))

    async def _known(
        self, connection: AsyncConnection, session_id: str, arrivals: Sequence[Arrival]
    ) -> tuple[dict[str, Document], dict[str, Document]]:
        """The latest revisions by the ids, and good ones by the contents, that arrivals have."""
        ids = [a.source.id for a in arrivals if a.source.id is not None]
        contents = [a.content_sha256 for a in arrivals if a.source.id is None]
        # Later revisions come later, so they stay.
        by_id = {d.id: d for d in await self._documents.known(connection, session_id, "id", ids)}
        same = await self._documents.known(connection, session_id, "content_sha256", contents)
        good = [d for d in same if d.is_current and d.status is not DocumentStatus.FAILED]
        return by_id, {d.content_sha256: d for d in good}


def _is_unchanged(latest: Document, arrival: Arrival, chunking: ChunkSettings) -> bool:
    source = arrival.source
    lasting = {n: value for n, value in source.metadata.items() if n not in source.fleeting}
    return (
        latest.status is not DocumentStatus.FAILED
        and latest.content_sha256 == arrival.content_sha256
        and latest.media_type == str(arrival.media_type)
        and latest.chunking == chunking
        and (source.title is None or latest.title == source.title)
        and (source.source_url is None or latest.source_url == source.source_url)
        and lasting.items() <= latest.metadata.items()
    )


def _drafted(
    session_id: str,
    job_id: str,
    ordinal: int,
    arrival: Arrival,
    chunking: ChunkSettings,
    latest: Document | None,
) -> Document:
    source, at = arrival.source, now()
    return Document(
        session_id=session_id,
        id=source.id or str(uuid.uuid4()),
        revision=1 if latest is None else latest.revision + 1,
        ordinal=ordinal if latest is None else latest.ordinal,
        is_current=latest is None,
        status=DocumentStatus.PENDING,
        job_id=job_id,
        title=source.title or source.name,
        media_type=str(arrival.media_type),
        source_url=source.source_url,
        metadata=source.metadata,
        raw=arrival.raw,
        content_sha256=arrival.content_sha256,
        text=arrival.text,
        kind=arrival.media_type.kind or (TextKind.MARKDOWN if arrival.text else None),
        chunking=chunking,
        created_at=at if latest is None else latest.created_at,
        updated_at=at,
    )
