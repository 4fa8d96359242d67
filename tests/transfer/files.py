"""Sessions with content, as bytes and back: what the tests of files have in common."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, Any

from quire.bundle.formats.models import Format
from quire.content.sources import IngestOptions, Source
from quire.settings import EmbeddingSettings
from quire.transfer.exporting import ExportRequest
from quire.transfer.import_request import ImportRequest
from quire.vectors.digest import Digest, digest_of
from tests.sessions.house import ADA, create

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from quire.app import Quire
    from quire.jobs.port import Job
    from quire.sessions.models import Session

FAKE = {"embedding": EmbeddingSettings(provider="fake", dimension=32)}


async def put(quire: Quire, session: Session, name: str, text: str) -> None:
    """Take a document in, or replace it."""
    source = Source(content=text.encode(), at=name, content_type="text/plain", id=name)
    admitted = await quire.admission.admit(ADA, session.id, [source], IngestOptions())
    assert admitted.job_id is not None
    job = await quire.jobs.wait(admitted.job_id, 30)
    assert job.status == "succeeded", job


async def garden(quire: Quire, *, points: int = 40, chars: int = 20) -> Session:
    """A session with two documents and points of its own."""
    session = await create(quire, name="garden", tags=("spring",))
    await put(quire, session, "leaves", "Leaves are sewn. " * 200)
    await put(quire, session, "rags", "Rags are beaten to a pulp.")
    for start in range(0, points, 200):
        new = [
            {"id": n, "text": f"tab {n}", "payload": {"third": n / 3, "fill": noise(n, chars)}}
            for n in range(start, min(start + 200, points))
        ]
        await quire.points.upsert(ADA, session.id, new)
    return await quire.sessions.get(ADA, session.id)


def noise(seed: int, chars: int) -> str:
    """Text that does not get much smaller when it is packed."""
    return Random(seed).randbytes(chars // 2).hex()


async def exported(quire: Quire, session_id: str, format: Format = Format.BUNDLE) -> bytes:
    export = await quire.files.exporting.open(
        ADA, session_id, ExportRequest(format=format), lambda session: {"name": session.name}
    )
    return b"".join([block async for block in export.blocks()])


async def imported(quire: Quire, file: bytes, **request: Any) -> Job:
    """The job, when it is at its end."""
    begun = await quire.files.importing.begin(ADA, ImportRequest(**request), in_blocks(file))
    return await quire.jobs.wait(begun.job_id, 60)


async def in_blocks(file: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(file), 100_000):
        yield file[start : start + 100_000]


async def digest(quire: Quire, session_id: str) -> Digest:
    session = await quire.repository.latest(session_id)
    assert session is not None
    total = Digest()
    async for batch in quire.engine.stream(session.collection):
        total += digest_of(batch)
    return total
