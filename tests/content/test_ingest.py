"""From raw bytes to chunks, all at one moment; replaced, removed, called off, recovered from."""

from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa

from quire.access.policy import Role
from quire.content import portion
from quire.content.chunk_points import Draft
from quire.content.models import DocumentStatus, SizeUnit
from quire.content.portion import ChunkWriter
from quire.content.switching import Switching
from quire.errors import Conflict, DocumentNotFound, Forbidden, InvalidInput, SessionNotFound
from quire.jobs.port import JobStatus
from quire.sessions.requests import SessionChange
from quire.store.tables import blob_references, documents
from quire.vectors.port import STAGE, Match
from tests.content.house import (
    chunks,
    filled_quire,
    finished,
    ingest,
    paragraphs,
    remove,
    submit,
    text,
    text_of,
)
from tests.sessions.house import ADA, GRACE, create, purged, row_count

if TYPE_CHECKING:
    from pathlib import Path


async def test_a_document_becomes_chunks_that_are_its_text(tmp_path: Path) -> None:
    async with filled_quire(tmp_path) as quire:
        session = await create(quire)
        body = paragraphs(60)
        admitted = await ingest(
            quire, session.id, text(body, id="a", metadata={"topic": "binding"}), chunk_size=200
        )
        (document,) = admitted.documents
        assert document.status is DocumentStatus.READY
        found = await chunks(quire, session.id)
        assert len(found) == document.chunks_count > 5
        assert (
            "".join(chunk.text for chunk in found) == body == await text_of(quire, session.id, "a")
        )
        assert all(body[chunk.start : chunk.end] == chunk.text for chunk in found)
        assert [chunk.index for chunk in found] == [chunk.seq for chunk in found]
        assert [chunk.seq for chunk in found] == list(range(len(found)))
        assert all(chunk.metadata == {"topic": "binding"} for chunk in found)
        assert max(len(chunk.text) for chunk in found) <= 200
        counted = await quire.sessions.get(ADA, session.id)
        assert counted.chunks_count == counted.points_count == len(found)
        assert counted.processing_stats.embeddings_created == len(found)


async def test_documents_of_one_request_are_numbered_in_their_order(tmp_path: Path) -> None:
    async with filled_quire(tmp_path) as quire:
        session = await create(quire)
        await ingest(quire, session.id, text("first"), text("second", id="b"), text("third"))
        await ingest(quire, session.id, text("fourth"))
        found = await chunks(quire, session.id)
        assert [chunk.text for chunk in found] == ["first", "second", "third", "fourth"]
        assert [chunk.seq for chunk in found] == [0, 1, 2, 3]
        assert [chunk.index for chunk in found] == [0, 0, 0, 0]


async def test_the_same_content_is_not_taken_in_twice(tmp_path: Path) -> None:
    async with filled_quire(tmp_path) as quire:
        session = await create(quire)
        first = await ingest(quire, session.id, text("the same"), text("the same"))
        assert first.duplicates == {1}
        again = await ingest(quire, session.id, text("the same"))
        assert again.job_id is None
        assert again.duplicates == {0}
        assert again.documents[0].id == first.documents[0].id
        # under an id of its own it is a document of its own, once
        own = await ingest(quire, session.id, text("the same", id="mine"))
        assert not own.duplicates
        assert (await ingest(quire, session.id, text("the same", id="mine"))).duplicates == {0}
        assert len(await chunks(quire, session.id)) == 2


async def test_a_changed_document_replaces_its_chunks(tmp_path: Path) -> None:
    async with filled_quire(tmp_path) as quire:
        session = await create(quire)
        await ingest(quire, session.id, text(paragraphs(9), id="a"), text("b", id="b"))
        before = await chunks(quire, session.id, "a")
        changed = await ingest(quire, session.id, text("all new", id="a"))
        assert changed.documents[0].revision == 2
        (new,) = await chunks(quire, session.id, "a")
        assert new.text == "all new"
        assert new.id not in {chunk.id for chunk in before}
        assert new.seq > max(chunk.seq for chunk in before)
        # the other one keeps its numbers, and nothing of the old is left in the engine
        (other,) = await chunks(quire, session.id, "b")
        assert other.seq == len(before)
        session = await quire.sessions.get(ADA, session.id)
        assert session.hidden_stages == ()
        assert await quire.engine.count(session.collection) == 2 == session.chunks_count
        page = await quire.documents.page(ADA, session.id)
        assert [document.id for document in page.documents] == ["a", "b"]


async def test_readers_see_the_old_or_the_new_and_never_both(tmp_path: Path) -> None:
    async with filled_quire(tmp_path) as quire:
        session = await create(quire)
        versions = [
            "\n\n".join(f"Version {n} of paragraph {p}." for p in range(40)) for n in range(6)
        ]
        await ingest(quire, session.id, text(versions[0], id="a"), chunk_size=30)
        seen: set[str] = set()
        stop = asyncio.Event()

        async def read() -> None:
            while not stop.is_set():
                page = await quire.chunks.page(ADA, session.id, limit=1000, document_id="a")
                joined = "".join(chunk.text for chunk in page.chunks)
                assert joined in versions, joined[:100]
                seen.add(joined)
                await asyncio.sleep(0)

        readers = [asyncio.create_task(read()) for _ in range(3)]
        for version in versions[1:]:
            await ingest(quire, session.id, text(version, id="a"), chunk_size=30)
        stop.set()
        await asyncio.gather(*readers)
        assert len(seen) > 1


async def test_a_removed_document_is_gone_and_the_others_keep_their_numbers(tmp_path: Path) -> None:
    async with filled_quire(tmp_path) as quire:
        session = await create(quire)
        await ingest(quire, session.id, *(text(f"document {n}", id=f"d{n}") for n in range(3)))
        await remove(quire, session.id, "d1")
        assert [chunk.seq for chunk in await chunks(quire, session.id)] == [0, 2]
        with pytest.raises(DocumentNotFound):
            await quire.documents.get(ADA, session.id, "d1")
        with pytest.raises(DocumentNotFound):
            await quire.documents.remove(ADA, session.id, ["d1"])
        session = await quire.sessions.get(ADA, session.id)
        assert await quire.engine.count(session.collection) == 2 == session.chunks_count
        # what comes next gets a number that was never given before
        await ingest(quire, session.id, text("another"))
        assert [chunk.seq for chunk in await chunks(quire, session.id)] == [0, 2, 3]


async def test_one_document_that_fails_does_not_fail_the_others(tmp_path: Path) -> None:
    async with filled_quire(tmp_path) as quire:
        session = await create(quire)
        broken = text(b"%PDF-1.7 and nothing that follows is right", content_type="application/pdf")
        admitted = await ingest(quire, session.id, text("good"), broken, text("good too"))
        assert [d.status for d in admitted.documents] == ["ready", "failed", "ready"]
        error = admitted.documents[1].error
        assert error is not None
        assert error["code"] == "extraction_failed"
        assert [chunk.text for chunk in await chunks(quire, session.id)] == ["good", "good too"]
        assert admitted.job_id is not None
        result = (await quire.jobs.get(admitted.job_id)).result
        assert result is not None
        assert (result["ready"], result["failed"], result["chunks"]) == (2, 1, 2)


async def test_an_update_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    async with filled_quire(tmp_path) as quire:
        session = await create(quire)
        await ingest(quire, session.id, text("as it was", id="a"))
        broken = text(b"%PDF-1.7 broken", id="a", content_type="application/pdf")
        (document,) = (await ingest(quire, session.id, broken)).documents
        assert document.revision == 1
        assert document.status is DocumentStatus.READY
        assert document.error is not None
        assert [chunk.text for chunk in await chunks(quire, session.id)] == ["as it was"]
        assert await row_count(quire, documents, session.id) == 1


async def test_a_cancelled_ingest_leaves_nothing_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given an ingest that stands still in its midst, some of its chunks written
    monkeypatch.setattr(portion, "PATIENCE_SECONDS", 0.0)  # a step for every group
    written, reached, go_on = [0], asyncio.Event(), asyncio.Event()
    write = ChunkWriter.write

    async def pausing(writer: ChunkWriter, group: list[Draft]) -> dict[int, InvalidInput]:
        failed = await write(writer, group)
        written[0] += 1
        if written[0] == 4:  # the first was the document before
            reached.set()
            await go_on.wait()
        return failed

    monkeypatch.setattr(ChunkWriter, "write", pausing)
    async with filled_quire(tmp_path) as quire:
        session = await create(quire)
        await ingest(quire, session.id, text("as it was", id="kept"))
        admitted = await submit(
            quire, session.id, text(paragraphs(2000), id="new"), text("x", id="kept"), chunk_size=50
        )
        assert admitted.job_id is not None
        await reached.wait()
        assert await quire.engine.count(session.collection) > 200
        # nothing is half visible while it runs
        assert [chunk.text for chunk in await chunks(quire, session.id)] == ["as it was"]
        # when it is cancelled
        await quire.jobs.cancel(admitted.job_id)
        go_on.set()
        await finished(quire, admitted.job_id, "cancelled")
        # then it never was
        session = await quire.sessions.get(ADA, session.id)
        assert session.hidden_stages == ()
        assert await quire.engine.count(session.collection) == 1 == session.chunks_count
        assert [chunk.text for chunk in await chunks(quire, session.id)] == ["as it was"]
        assert await row_count(quire, documents, session.id) == 1
        assert await row_count(quire, blob_references, session.id) == 1


async def test_an_ingest_that_is_shown_already_is_not_called_cancelled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown, go_on = asyncio.Event(), asyncio.Event()
    show = Switching.show

    async def pausing(switching: Switching, *names: str, **numbers: int) -> None:
        await show(switching, *names, **numbers)
        shown.set()
        await go_on.wait()

    monkeypatch.setattr(Switching, "show", pausing)
    async with filled_quire(tmp_path) as quire:
        session = await create(quire)
        admitted = await submit(quire, session.id, text("there", id="a"))
        assert admitted.job_id is not None
        await shown.wait()
        await quire.jobs.cancel(admitted.job_id)
        go_on.set()
        await finished(quire, admitted.job_id)
        assert [chunk.text for chunk in await chunks(quire, session.id)] == ["there"]


async def test_an_ingest_goes_on_where_the_last_process_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(portion, "PATIENCE_SECONDS", 0.0)
    body = paragraphs(6000)
    async with filled_quire(tmp_path) as quire:
        session = await create(quire)
        admitted = await submit(
            quire, session.id, text(body, id="a"), text("the end", id="b"), chunk_size=60
        )
        assert admitted.job_id is not None
        while (await quire.jobs.get(admitted.job_id)).progress.details.get("chunks", 0) < 400:
            await asyncio.sleep(0.02)
    async with filled_quire(tmp_path) as quire:
        await finished(quire, admitted.job_id)
        found = await chunks(quire, session.id, "a")
        assert "".join(chunk.text for chunk in found) == body
        assert [chunk.index for chunk in found] == list(range(len(found)))
        assert len({chunk.id for chunk in found}) == len(found)
        document = await quire.documents.get(ADA, session.id, "a")
        assert document.characters == len(body)
        assert document.chunks_count == len(found)
        (last,) = await chunks(quire, session.id, "b")
        assert last.seq == len(found)


async def test_many_small_documents_share_a_blob(tmp_path: Path) -> None:
    async with filled_quire(tmp_path) as quire:
        session = await create(quire)
        sources = [text(f"record {n} of many", id=f"r{n}") for n in range(1500)]
        admitted = await ingest(quire, session.id, *sources)
        assert {document.status for document in admitted.documents} == {DocumentStatus.READY}
        assert await row_count(quire, blob_references, session.id) == 1
        found = await chunks(quire, session.id)
        assert [chunk.text for chunk in found] == [f"record {n} of many" for n in range(1500)]
        assert await text_of(quire, session.id, "r777") == "record 777 of many"
        # the blob stays for as long as one of them is there
        await remove(quire, session.id, *(f"r{n}" for n in range(1499)))
        assert await text_of(quire, session.id, "r1499") == "record 1499 of many"
        await remove(quire, session.id, "r1499")
        assert await row_count(quire, blob_references, session.id) == 0


async def test_a_purged_session_leaves_no_documents(tmp_path: Path) -> None:
    async with filled_quire(tmp_path) as quire:
        session = await create(quire)
        await ingest(quire, session.id, text("something"))
        await purged(quire, ADA, session.id)
        for table in (documents, blob_references):
            assert await row_count(quire, table, session.id) == 0


async def test_a_purge_waits_for_the_ingest_under_way(tmp_path: Path) -> None:
    async with filled_quire(tmp_path) as quire:
        session = await create(quire)
        admitted = await submit(quire, session.id, text(paragraphs(3000)), chunk_size=50)
        await purged(quire, ADA, session.id)
        assert admitted.job_id is not None
        assert (await quire.jobs.get(admitted.job_id)).status.is_final
        async with quire.database.read() as connection:
            assert (await connection.execute(sa.select(documents.c.id))).all() == []
        assert [name async for name in quire.engine.collections()] == []


async def test_ingests_of_one_session_go_one_after_the_other(tmp_path: Path) -> None:
    async with filled_quire(tmp_path) as quire:
        session = await create(quire)
        admitted = await asyncio.gather(
            *(submit(quire, session.id, text(paragraphs(50, f"topic {n}"))) for n in range(8))
        )
        for each in admitted:
            assert each.job_id is not None
            await finished(quire, each.job_id)
        seqs = [chunk.seq for chunk in await chunks(quire, session.id)]
        assert seqs == list(range(len(seqs)))


async def test_chunking_is_the_requests_own_or_the_sessions(tmp_path: Path) -> None:
    async with filled_quire(tmp_path) as quire:
        session = await create(quire)
        options = {"processing_options": {"chunk_size": 50, "chunk_overlap": 10}}
        await quire.sessions.update(ADA, session.id, SessionChange(configuration=options))
        body = paragraphs(12)
        await ingest(quire, session.id, text(body, id="session"))
        found = await chunks(quire, session.id, "session")
        assert max(len(chunk.text) for chunk in found) <= 50
        assert any(a.end > b.start for a, b in itertools.pairwise(found))
        await ingest(
            quire, session.id, text(body, id="request"), chunk_size=20, chunk_overlap=0,
            chunk_unit=SizeUnit.TOKENS,
        )  # fmt: skip
        found = await chunks(quire, session.id, "request")
        assert max(chunk.tokens for chunk in found) <= 20
        assert "".join(chunk.text for chunk in found) == body


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"chunk_size": 0}, "chunk_size"),
        ({"chunk_size": -5}, "chunk_size"),
        ({"chunk_size": 10_000, "chunk_unit": SizeUnit.TOKENS}, "chunk_size"),
        ({"chunk_size": 100, "chunk_overlap": 100}, "chunk_overlap"),
        ({"chunk_overlap": -1}, "chunk_overlap"),
    ],
)
async def test_impossible_chunking_is_refused(
    tmp_path: Path, options: dict[str, object], told: str
) -> None:
    async with filled_quire(tmp_path) as quire:
        session = await create(quire)
        with pytest.raises(InvalidInput) as refusal:
            await submit(quire, session.id, text("x"), **options)
        assert told in refusal.value.message


async def test_what_cannot_be_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    async with filled_quire(tmp_path) as quire:
        session = await create(quire)
        for bad in (
            text(""),
            text("x", id="a/b"),
            text("x", id=".."),
            text("x", id=""),
            text("x", metadata={"n": float("nan")}),
            text("x", title="t" * 2000),
        ):
            with pytest.raises(InvalidInput) as refusal:
                await submit(quire, session.id, text("good"), bad)
            assert "documents[1]" in refusal.value.message
        with pytest.raises(InvalidInput, match="twice"):
            await submit(quire, session.id, text("x", id="a"), text("y", id="a"))
        with pytest.raises(InvalidInput, match="no documents"):
            await submit(quire, session.id)
        assert await row_count(quire, documents, session.id) == 0
        assert await quire.jobs.counts() == {}


async def test_only_writers_bring_and_remove_documents(tmp_path: Path) -> None:
    async with filled_quire(tmp_path) as quire:
        session = await create(quire)
        await ingest(quire, session.id, text("mine", id="a"))
        with pytest.raises(SessionNotFound):
            await submit(quire, session.id, text("x"), who=GRACE)
        await quire.sharing.share(ADA, session.id, ["grace"], Role.READ)
        assert (await quire.documents.get(GRACE, session.id, "a")).id == "a"
        with pytest.raises(Forbidden):
            await submit(quire, session.id, text("x"), who=GRACE)
        with pytest.raises(Forbidden):
            await quire.documents.remove(GRACE, session.id, ["a"])
        await quire.sessions.delete(ADA, session.id)
        with pytest.raises(Conflict):
            await submit(quire, session.id, text("x"))


async def test_a_session_of_foreign_vectors_takes_no_documents(tmp_path: Path) -> None:
    async with filled_quire(tmp_path) as quire:
        session = await create(quire, dimension=7)
        assert session.embedding.provider == "external"
        with pytest.raises(Conflict):
            await submit(quire, session.id, text("x"))


async def test_what_is_being_written_has_a_stage_of_its_own(tmp_path: Path) -> None:
    async with filled_quire(tmp_path) as quire:
        session = await create(quire)
        admitted = await ingest(quire, session.id, text("x"))
        stage = Match(STAGE, [f"in:{admitted.job_id}"])
        assert await quire.engine.count(session.collection, stage) == 1
        assert (await quire.jobs.get(str(admitted.job_id))).status is JobStatus.SUCCEEDED


async def test_a_document_of_nothing_but_space_is_kept_as_it_is(tmp_path: Path) -> None:
    async with filled_quire(tmp_path) as quire:
        session = await create(quire)
        (document,) = (await ingest(quire, session.id, text(" \n\n\t ", id="blank"))).documents
        assert document.status is DocumentStatus.READY, document.error
        assert await text_of(quire, session.id, "blank") == " \n\n\t "


async def test_what_a_killed_extraction_left_on_disk_goes_with_the_next_start(
    tmp_path: Path,
) -> None:
    left = tmp_path / "scratch" / "left"
    left.mkdir(parents=True)
    (left / "source").write_text("half a document")
    async with filled_quire(tmp_path):
        assert list((tmp_path / "scratch").iterdir()) == []


async def test_points_of_a_pipeline_stay_whatever_they_call_their_fields(tmp_path: Path) -> None:
    async with filled_quire(tmp_path) as quire:
        session = await create(quire)
        await ingest(quire, session.id, text("as it was", id="a"))
        own = {"id": 7, "vector": [1.0] * 32, "payload": {"document_id": "a", "label": "mine"}}
        await quire.points.upsert(ADA, session.id, [own])
        await ingest(quire, session.id, text("all new", id="a"))
        await remove(quire, session.id, "a")
        point = await quire.points.get(ADA, session.id, 7)
        assert point.payload == own["payload"]
        assert (await quire.sessions.get(ADA, session.id)).points_count == 1
