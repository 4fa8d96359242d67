"""An import is all of the file, or nothing; whatever happens to the process meanwhile."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from quire.bundle.contents import Body, BundleContents, DocumentEntry
from quire.bundle.writing import write_bundle
from quire.sessions.models import Embedding
from quire.transfer import import_job
from quire.transfer.document_rows import document_json
from quire.transfer.export_contents import NOT_CARRIED
from quire.transfer.import_request import ImportRequest
from quire.vectors.port import Record
from tests.sessions.house import ADA, collections, finish_purges, quire_in
from tests.transfer.files import FAKE, digest, exported, garden, imported, in_blocks

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from quire.app import Quire

EMBEDDING = Embedding("external", "external", 2)
CHUNK = {
    "document_id": "d", "text": "a", "index": 0, "seq": 0, "start": 0, "end": 1, "tokens": 1,
    "metadata": {}, "_stage": "kept",
}  # fmt: skip
ROW = {
    "id": "d", "revision": 1, "ordinal": 0, "title": None, "media_type": "text/plain",
    "source_url": None, "metadata": {}, "content_sha256": "0" * 64, "characters": 1,
    "chunks_count": 1, "first_seq": 0, "error": None, "status": "ready", "kind": "plain",
    "chunking": {"size": 1000, "overlap": 0, "unit": "characters"},
    "created_at": "2026-01-01T00:00:00+00:00", "updated_at": "2026-01-01T00:00:00+00:00",
}  # fmt: skip


async def crafted(
    folder: Path,
    *,
    session: dict[str, Any] | None = None,
    points: list[Record] | None = None,
    documents: list[dict[str, Any]] | None = None,
    embedding: Embedding = EMBEDDING,
) -> bytes:
    """A bundle with every checksum right, and whatever else in it."""

    async def batches() -> AsyncIterator[list[Record]]:
        yield [Record(1, CHUNK, [1.0, 0.0])] if points is None else points

    async def entries() -> AsyncIterator[DocumentEntry]:
        for number, row in enumerate([ROW] if documents is None else documents):
            body = Body(1, str(number), lambda: in_blocks(b"a"))
            yield DocumentEntry(row, body, body)

    fields = {name: getattr(embedding, name) for name in Embedding.__dataclass_fields__}
    told = {"name": "s", "next_seq": 1, **(session or {})}
    contents = BundleContents(told, fields, batches(), entries())
    return b"".join([block async for block in write_bundle(contents, folder)])


def chunk(**changed: Any) -> list[Record]:
    return [Record(1, {**CHUNK, **changed}, [1.0, 0.0])]


BAD: dict[str, dict[str, Any]] = {
    "a number that the session has not given": {"points": chunk(seq=1)},
    "a chunk without its text": {"points": chunk(text=None)},
    "a vector that is not normalised": {"points": [Record(1, {}, [3.0, 4.0])]},
    "a name that is none": {"session": {"name": "\x01"}},
    "a count that is none": {"session": {"next_seq": "1"}},
    "an index of no kind": {"session": {"indexes": {"a": "geo"}}},
    "documents twice": {"documents": [ROW, ROW]},
    "a document without a name": {"documents": [{**ROW, "id": ""}]},
    "a document of no status": {"documents": [{**ROW, "status": "good"}]},
    "text that no database takes": {"documents": [{**ROW, "metadata": {"a": "\0"}}]},
    "a distance that there is not": {"embedding": replace(EMBEDDING, distance="hamming")},
}


async def test_a_bundle_that_lies_is_refused_and_nothing_is_left(tmp_path: Path) -> None:
    async with quire_in(tmp_path / "q", **FAKE) as quire:
        good = await imported(quire, await crafted(tmp_path))
        assert good.status == "succeeded", good.error
        there = await collections(quire)
        for kind, parts in BAD.items():
            job = await imported(quire, await crafted(tmp_path, **parts))
            assert job.status == "failed", kind
            assert job.error is not None
            assert job.error["code"] in ("file_refused", "verification_failed")
        await finish_purges(quire)
        assert [session.id async for session in quire.repository.walk()] == [good.session_id]
        assert await collections(quire) == there


async def test_all_of_a_document_comes_along(tmp_path: Path) -> None:
    async with quire_in(tmp_path, **FAKE) as quire:
        session = await garden(quire)
        job = await imported(quire, await exported(quire, session.id))
        assert job.session_id is not None
        theirs = (await quire.documents.page(ADA, session.id)).documents
        ours = (await quire.documents.page(ADA, job.session_id)).documents
        for one, other in zip(theirs, ours, strict=True):
            before, after = document_json(one), document_json(other)
            kept = before.keys() - NOT_CARRIED
            assert {n: before[n] for n in kept} == {n: after[n] for n in kept}
            raw = [block async for block in quire.documents.raw(other, 0, other.raw.size)]
            assert hashlib.sha256(b"".join(raw)).hexdigest() == other.content_sha256


async def _started(quire: Quire, file: bytes, monkeypatch: pytest.MonkeyPatch) -> str:
    """An import that has written some points and not all; every portion is a few batches."""
    monkeypatch.setattr(import_job, "PATIENCE_SECONDS", 0.0)
    monkeypatch.setattr(import_job, "CANCEL_SECONDS", 0.0)
    begun = await quire.files.importing.begin(ADA, ImportRequest(), in_blocks(file))
    while not 0 < (await quire.jobs.get(begun.job_id)).progress.done < 3_000:
        await asyncio.sleep(0.001)
    return begun.job_id


async def test_it_goes_on_after_a_stop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with quire_in(tmp_path, **FAKE) as quire:
        session = await garden(quire, points=3_000)
        expected = await digest(quire, session.id)
        job_id = await _started(quire, await exported(quire, session.id), monkeypatch)
    async with quire_in(tmp_path, **FAKE) as quire:
        job = await quire.jobs.wait(job_id, 60)
        assert job.status == "succeeded", job.error
        assert job.session_id is not None
        assert await digest(quire, job.session_id) == expected
        assert not list((tmp_path / "scratch").iterdir())


async def test_cancelled_it_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with quire_in(tmp_path, **FAKE) as quire:
        session = await garden(quire, points=3_000)
        job_id = await _started(quire, await exported(quire, session.id), monkeypatch)
        await quire.jobs.cancel(job_id)
        assert (await quire.jobs.wait(job_id, 30)).status == "cancelled"
        await finish_purges(quire)
        assert [kept.id async for kept in quire.repository.walk()] == [session.id]
        assert await collections(quire) == {session.collection}
        assert not list((tmp_path / "scratch").iterdir())
