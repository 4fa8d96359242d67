"""Sessions with content: a Quire whose vectors cost nothing, and short ways to fill it."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from quire.content.sources import IngestOptions, Source
from quire.settings import EmbeddingSettings
from tests.sessions.house import ADA, quire_in

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from quire.access.principal import Principal
    from quire.app import Quire
    from quire.content.admission import Admitted
    from quire.content.models import Chunk
    from quire.jobs.port import Job

FAKE = EmbeddingSettings(provider="fake", dimension=32)


@asynccontextmanager
async def filled_quire(directory: Path, **more: Any) -> AsyncIterator[Quire]:
    """A running Quire over Edge and SQLite that embeds with the fake."""
    async with quire_in(directory, **{"embedding": FAKE, **more}) as quire:
        yield quire


def text(content: str | bytes, **fields: Any) -> Source:
    raw = content.encode() if isinstance(content, str) else content
    return Source(content=raw, **{"content_type": "text/plain", **fields})


async def submit(
    quire: Quire,
    session_id: str,
    *sources: Source,
    who: Principal = ADA,
    **options: Any,
) -> Admitted:
    return await quire.admission.admit(who, session_id, sources, IngestOptions(**options))


async def ingest(
    quire: Quire, session_id: str, *sources: Source, who: Principal = ADA, **options: Any
) -> Admitted:
    """Take documents in, and wait until they are."""
    admitted = await submit(quire, session_id, *sources, who=who, **options)
    if admitted.job_id is not None:
        await finished(quire, admitted.job_id)
    return await quire.admission.current(session_id, admitted)


async def finished(quire: Quire, job_id: str, status: str = "succeeded") -> Job:
    job = await quire.jobs.wait(job_id, 60)
    assert job.status == status, job
    return job


async def remove(quire: Quire, session_id: str, *document_ids: str) -> None:
    await finished(quire, await quire.documents.remove(ADA, session_id, document_ids))


async def chunks(quire: Quire, session_id: str, document_id: str | None = None) -> list[Chunk]:
    """Every chunk that a reader sees."""
    batches = quire.chunks.stream(ADA, session_id, document_id=document_id)
    return [chunk async for batch in batches for chunk in batch]


async def text_of(quire: Quire, session_id: str, document_id: str) -> str:
    document = await quire.documents.get(ADA, session_id, document_id)
    size = quire.documents.text_of(document).size
    return b"".join([b async for b in quire.documents.text(document, 0, size)]).decode()


def paragraphs(count: int, about: str = "quires") -> str:
    return "\n\n".join(f"Paragraph {n} tells of {about} and of leaf {n}." for n in range(count))
