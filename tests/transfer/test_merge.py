"""Merging: what is in the new session, what wins where ids meet, and what is left of a failure."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio

from quire.access.policy import Role
from quire.errors import Conflict, EmbeddingMismatch, Forbidden, QuireError, SessionNotFound
from quire.points.visibility import outgoing
from quire.sessions.lifecycle import State
from quire.transfer.feeds import ORIGIN, Dedupe, OnConflict
from quire.transfer.merge_request import MergeRequest
from quire.transfer.split_request import Fraction
from quire.vectors.port import STAGE
from tests.content.house import chunks, remove, submit, text_of
from tests.sessions.house import GRACE
from tests.transfer.house import (
    ADA,
    create,
    current,
    failed,
    filled_quire,
    hashes,
    ingest,
    merged,
    paragraphs,
    points_of,
    slow_upserts,
    split,
    text,
    traces,
    write,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from quire.app import Quire

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def quire(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Quire]:
    async with filled_quire(tmp_path_factory.mktemp("quire")) as opened:
        yield opened


async def with_documents(quire: Quire, **documents: str) -> str:
    """A session with these texts, cut small."""
    session = await create(quire)
    if documents:
        sources = [text(content, id=name) for name, content in documents.items()]
        await ingest(quire, session.id, *sources, chunk_size=60)
    return session.id


async def with_points(quire: Quire, ids: list[Any], **payload: Any) -> str:
    session = await create(quire)
    await write(quire, session.id, ids, **payload)
    return session.id


async def test_all_that_the_sources_have_is_in_the_new_session(quire: Quire) -> None:
    # given chunks and points of their own, one document removed in between
    one = await with_documents(quire, a=paragraphs(8, "a"), b=paragraphs(5, "b"))
    two = await with_documents(quire, c=paragraphs(6, "c"))
    await write(quire, one, [1, 2, 3])
    await write(quire, two, [4, "5c56c793-69f3-4fbf-87e6-c4bf54c28c26"])
    await remove(quire, one, "a")
    # when
    result = await merged(quire, one, two, tags=("t",), metadata={"m": 1})
    # then
    session = await current(quire, result["session_id"])
    assert (session.tags, session.owner_id, session.state) == (("t",), "ada", State.ACTIVE)
    assert session.metadata == {"m": 1, "merged_from": [one, two], "merged_point_count": 16}
    assert session.lineage == {"merged_from": [one, two]}
    assert (session.points_count, session.chunks_count) == (16, 11)
    # ids are kept, and of chunks nothing but the seq has changed
    before = {**await points_of(quire, one), **await points_of(quire, two)}
    after = await points_of(quire, session.id)
    assert after.keys() == before.keys()
    offset = (await current(quire, one)).next_seq
    for identity, record in after.items():
        expected = before[identity]
        if expected.payload.get("document_id") == "c":
            seq = expected.payload["seq"] + offset
            expected = replace(expected, payload={**expected.payload, "seq": seq})
        assert record == expected
    # seq continues, and chunks are found by it and by document and index
    found = await chunks(quire, session.id)
    assert [chunk.document_id for chunk in found] == ["b"] * 5 + ["c"] * 6
    assert [chunk.seq for chunk in found] == [*range(8, 13), *range(13, 19)]
    by_index = await quire.chunks.by_index(ADA, session.id, "c", 2)
    assert by_index.chunk == (await quire.chunks.get(ADA, session.id, 15)).chunk
    assert await text_of(quire, session.id, "c") == paragraphs(6, "c")
    page = await quire.documents.page(ADA, session.id, cursor=-1, limit=10, status=None)
    assert [document.id for document in page.documents] == ["b", "c"]
    # the sources are what they were, and the new session can be added to
    assert {**await points_of(quire, one), **await points_of(quire, two)} == before
    await ingest(quire, session.id, text(paragraphs(3, "d"), id="d"), chunk_size=60)
    assert [chunk.seq for chunk in await chunks(quire, session.id)][-3:] == [19, 20, 21]


async def test_sessions_are_merged_into_one_that_is_there(quire: Quire) -> None:
    target = await with_documents(quire, a=paragraphs(4, "a"))
    source = await with_documents(quire, b=paragraphs(3, "b"))
    await write(quire, target, [1])
    expected = await hashes(quire, target)
    result = await merged(quire, source, target_session_id=target, archive_sources=True)
    session = await current(quire, target)
    assert result["session_id"] == target
    assert (session.points_count, session.chunks_count, session.next_seq) == (8, 7, 7)
    assert [chunk.document_id for chunk in await chunks(quire, target)] == ["a"] * 4 + ["b"] * 3
    assert set(expected) <= set(await hashes(quire, target))
    assert (await current(quire, source)).state is State.ARCHIVED
    assert session.busy_job is None


@pytest.mark.parametrize("joined", [False, True], ids=["new", "existing"])
@pytest.mark.parametrize(
    ("on_conflict", "winner"), [("skip", "first"), ("replace", "second"), ("keep_both", "first")]
)
async def test_points_with_equal_ids_are_settled_by_the_policy(
    quire: Quire, on_conflict: str, winner: str, joined: bool
) -> None:
    one = await with_points(quire, [1, 2], of="first")
    two = await with_points(quire, [2, 3], of="second")
    policy = OnConflict(on_conflict)
    if joined:
        result = await merged(quire, two, target_session_id=one, on_conflict=policy)
    else:
        result = await merged(quire, one, two, on_conflict=policy)
    found = await points_of(quire, result["session_id"])
    assert found[2].payload["of"] == winner
    assert result["conflicts"] == 1
    others = [record for record in found.values() if ORIGIN in record.payload]
    if policy is OnConflict.KEEP_BOTH:
        (other,) = others
        assert other.payload == {"of": "second", ORIGIN: {"session_id": two, "id": 2}}
        assert result["renamed"] == 1
    else:
        assert not others
        assert result["left_out"] == 1
    assert found.keys() >= {1, 2, 3}


async def test_the_same_source_can_be_kept_beside_itself_again_and_again(quire: Quire) -> None:
    target = await with_points(quire, [1], of="target")
    source = await with_points(quire, [1], of="source")
    for _ in range(3):
        await merged(quire, source, target_session_id=target, on_conflict=OnConflict.KEEP_BOTH)
    found = await points_of(quire, target)
    assert sorted(record.payload["of"] for record in found.values()) == ["source"] * 3 + ["target"]


@pytest.mark.parametrize("on_conflict", ["skip", "replace", "keep_both"])
async def test_chunks_share_the_fate_of_their_document(quire: Quire, on_conflict: str) -> None:
    one = await with_documents(quire, same=paragraphs(5, "one"), a=paragraphs(2, "a"))
    two = await with_documents(quire, same=paragraphs(7, "two"), b=paragraphs(2, "b"))
    result = await merged(quire, one, two, on_conflict=OnConflict(on_conflict))
    merged_id = result["session_id"]
    expected = paragraphs(7, "two") if on_conflict == "replace" else paragraphs(5, "one")
    assert await text_of(quire, merged_id, "same") == expected
    page = await quire.documents.page(ADA, merged_id, cursor=-1, limit=10, status=None)
    for document in page.documents:
        pieces = await chunks(quire, merged_id, document.id)
        assert "".join(chunk.text for chunk in pieces) == await text_of(
            quire, merged_id, document.id
        )
        assert [chunk.index for chunk in pieces] == list(range(document.chunks_count))
    others = [d for d in page.documents if d.id not in ("same", "a", "b")]
    if on_conflict == "keep_both":
        (other,) = others
        assert other.metadata[ORIGIN] == {"session_id": two, "id": "same"}
        assert await text_of(quire, merged_id, other.id) == paragraphs(7, "two")
    else:
        assert not others


async def test_a_document_of_an_existing_session_is_replaced(quire: Quire) -> None:
    target = await with_documents(quire, same=paragraphs(5, "one"), a=paragraphs(2, "a"))
    source = await with_documents(quire, same=paragraphs(7, "two"))
    await merged(quire, source, target_session_id=target, on_conflict=OnConflict.REPLACE)
    assert await text_of(quire, target, "same") == paragraphs(7, "two")
    found = await chunks(quire, target, "same")
    assert "".join(chunk.text for chunk in found) == paragraphs(7, "two")
    assert (await current(quire, target)).chunks_count == 9


async def test_conflicts_fail_unless_a_policy_says_otherwise(quire: Quire) -> None:
    one = await with_points(quire, [1, 2])
    two = await with_points(quire, [2, 3])
    before = await traces(quire)
    request = MergeRequest(source_session_ids=[one, two], target_name="m")
    error = await failed(quire, await quire.transfers.merge.begin(ADA, request))
    assert (error["code"], error["details"]["conflicts"]) == ("point_conflict", 1)
    assert await traces(quire) == before


@pytest.mark.parametrize("on_conflict", ["fail", "replace"])
async def test_what_says_the_same_is_left_out(quire: Quire, on_conflict: str) -> None:
    one = await with_documents(quire, a=paragraphs(3, "a"))
    two = await with_documents(quire, copy_of_a=paragraphs(3, "a"), b=paragraphs(2, "b"))
    await write(quire, one, [1, 2], text=lambda n: f"text {n}")
    await write(quire, two, [3, 4, 5], text=lambda n: f"text {n}")
    result = await merged(
        quire, one, two, dedupe=Dedupe.CONTENT, on_conflict=OnConflict(on_conflict)
    )
    assert result["left_out"] == 5
    page = await quire.documents.page(ADA, result["session_id"], cursor=-1, limit=9, status=None)
    kept = "copy_of_a" if on_conflict == "replace" else "a"
    assert {document.id for document in page.documents} == {kept, "b"}
    assert len(await chunks(quire, result["session_id"])) == 5
    found = await points_of(quire, result["session_id"])
    raw = sorted(r.payload["text"] for r in found.values() if STAGE not in r.payload)
    assert raw == ["text 0", "text 1", "text 2"]
    if on_conflict == "replace":  # into one that is there: its own document loses its chunks too
        await merged(
            quire,
            two,
            target_session_id=one,
            dedupe=Dedupe.CONTENT,
            on_conflict=OnConflict.REPLACE,
        )
        page = await quire.documents.page(ADA, one, cursor=-1, limit=9, status=None)
        assert {document.id for document in page.documents} == {"copy_of_a", "b"}


async def test_other_embeddings_are_refused_or_embedded_anew(quire: Quire) -> None:
    one = await with_documents(quire, a=paragraphs(3, "a"))
    session = await create(quire)
    two = session.id
    other = replace(session.embedding, revision="another")
    async with quire.repository.transaction() as connection:
        locked = await quire.repository.lock(connection, two)
        assert locked is not None
        await quire.repository.save(connection, locked, replace(locked, embedding=other))
    points = [{"id": 1, "vector": [0.5] * 32, "payload": {"text": "a text"}}]
    await quire.points.upsert(ADA, two, points)
    with pytest.raises(EmbeddingMismatch) as caught:
        await merged(quire, one, two)
    assert one in caught.value.message or two in caught.value.message
    assert "revision another" in caught.value.message
    report = await quire.transfers.merge.report(
        ADA, MergeRequest(source_session_ids=[one, two], target_name="m")
    )
    assert not report.would_succeed
    assert report.sources[1].incompatibility == "revision another, not 1"
    result = await merged(quire, one, two, reembed=True)
    found = await points_of(quire, result["session_id"])
    embedder = await quire.embedders.of(await quire.embedders.default())
    (expected,) = await embedder.passages(["a text"])
    assert found[1].dense == pytest.approx(expected.tolist(), abs=1e-6)

    # what has no text cannot be embedded anew, and the dry run says so
    await quire.points.upsert(ADA, two, [{"id": 2, "vector": [0.5] * 32}])
    report = await quire.transfers.merge.report(
        ADA, MergeRequest(source_session_ids=[one, two], target_name="m", reembed=True)
    )
    assert report.reason == f"{two}: 1 points have no text to embed anew"
    assert not report.would_succeed


async def test_the_parts_of_a_split_are_put_together_as_they_were(quire: Quire) -> None:
    # given documents that are torn apart
    one = await with_documents(quire, a=paragraphs(9, "a"), b=paragraphs(9, "b"))
    await write(quire, one, range(1, 20))
    before = await hashes(quire, one)
    parts = await split(quire, one, fractions=[Fraction(str(n), 1 / 3) for n in range(3)], seed=7)
    assert all(part["points"] for part in parts["parts"])
    # when
    for order in (parts["new_session_ids"], parts["new_session_ids"][::-1]):
        result = await merged(quire, *order)
        # then every chunk is in its place again
        found = await points_of(quire, result["session_id"])
        assert len(found) == len(before)
        for name in ("a", "b"):
            pieces = await chunks(quire, result["session_id"], name)
            assert "".join(chunk.text for chunk in pieces) == paragraphs(9, name)
            third = await quire.chunks.by_index(ADA, result["session_id"], name, 3)
            assert third.chunk == pieces[3]
        if order == parts["new_session_ids"]:
            assert await hashes(quire, result["session_id"]) == before


async def test_a_dry_run_tells_what_then_happens(quire: Quire) -> None:
    one = await with_documents(quire, same=paragraphs(5, "one"))
    two = await with_documents(quire, same=paragraphs(7, "two"), b=paragraphs(2, "b"))
    await write(quire, one, [1, 2])
    await write(quire, two, [2, 3])
    before = await traces(quire)
    request = MergeRequest(source_session_ids=[one, two], target_name="m")
    report = await quire.transfers.merge.report(ADA, request)
    assert await traces(quire) == before
    # chunks of equal documents have equal ids too
    told = [(s.points, s.documents, s.conflicts, s.document_conflicts) for s in report.sources]
    assert told == [(7, 1, 0, 0), (11, 2, 6, 1)]
    assert report.sources[1].bytes == len(paragraphs(7, "two") + paragraphs(2, "b"))
    assert not report.would_succeed
    done = await merged(quire, one, two, on_conflict=OnConflict.SKIP)
    assert done["points"] == 7 + 11 - 1 - 7
    assert done["conflicts"] == report.conflicts


async def test_what_is_hidden_stays_behind(quire: Quire) -> None:
    one = await with_documents(quire, a=paragraphs(4, "a"))
    two = await with_points(quire, [1])
    session = await quire.sessions.open(ADA, one)
    (gone, *_) = await chunks(quire, one)
    await quire.engine.set_payload(session.collection, {STAGE: outgoing("job")}, [gone.id])
    async with quire.repository.transaction() as connection:
        locked = await quire.repository.lock(connection, one)
        assert locked is not None
        hiding = replace(locked, hidden_stages=(outgoing("job"),))
        await quire.repository.save(connection, locked, hiding)
    result = await merged(quire, one, two)
    assert (result["points"], result["chunks"]) == (4, 3)
    assert gone.id not in await points_of(quire, result["session_id"])


async def test_who_may_read_may_merge_and_needs_more_to_archive(quire: Quire) -> None:
    one, two = await with_points(quire, [1]), await with_points(quire, [2])
    with pytest.raises(SessionNotFound):
        await merged(quire, one, two, who=GRACE)
    await quire.sharing.share(ADA, one, ["grace"], Role.READ)
    await quire.sharing.share(ADA, two, ["grace"], Role.READ)
    with pytest.raises(Forbidden):
        await merged(quire, one, two, who=GRACE, archive_sources=True)
    with pytest.raises(Forbidden):
        await merged(quire, two, target_session_id=one, who=GRACE)
    result = await merged(quire, one, two, who=GRACE)
    session = await quire.sessions.peek(GRACE, result["session_id"])
    assert (session.owner_id, session.points_count) == ("grace", 2)
    assert session.collaborators == ()


@pytest.mark.parametrize("joined", [False, True], ids=["new", "existing"])
@pytest.mark.parametrize("end", ["cancelled", "failed"])
async def test_a_merge_that_breaks_off_leaves_nothing(
    quire: Quire, end: str, joined: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = await with_documents(quire, a=paragraphs(5, "a"))
    two = await with_documents(quire, b=paragraphs(5, "b"))
    await write(quire, two, range(1, 1500), text=str)
    before = await traces(quire)
    points = await hashes(quire, one), await hashes(quire, two)
    request = MergeRequest(
        source_session_ids=[two] if joined else [one, two],
        target_session_id=one if joined else None,
        target_name=None if joined else "m",
        dedupe=Dedupe.CONTENT,
    )
    monkeypatch.setattr("quire.transfer.building.CANCEL_SECONDS", 0.0)
    async with slow_upserts(quire) as begun:
        if end == "failed":
            monkeypatch.setattr("quire.transfer.filling.verified", _broken)
        job_id = await quire.transfers.merge.begin(ADA, request)
        async with asyncio.timeout(10):
            await begun.wait()
        # meanwhile nobody writes to what is going to be changed
        with pytest.raises(Conflict):
            await write(quire, two, [5000])
        if end == "cancelled":
            await quire.jobs.cancel(job_id)
        await failed(quire, job_id, end)
    assert await traces(quire) == before
    assert (await hashes(quire, one), await hashes(quire, two)) == points
    await write(quire, two, [5000])


async def _broken(*_: object, **__: object) -> None:
    raise QuireError("it was made to fail")


async def test_what_a_merge_waits_for_is_merged_too(quire: Quire) -> None:
    """Seqs are planned when the jobs before it are done, not when it is asked for."""
    one = await with_documents(quire, a=paragraphs(3, "a"))
    two = await with_documents(quire, b=paragraphs(3, "b"))
    source = text(paragraphs(40, "late"), id="late")
    await submit(quire, one, source, chunk_size=60)
    result = await merged(quire, one, two)
    found = await chunks(quire, result["session_id"])
    assert [chunk.seq for chunk in found] == list(range(46))
    assert {chunk.document_id for chunk in found} == {"a", "b", "late"}


@pytest.mark.parametrize("last_wins", [False, True])
async def test_no_content_is_left_out_for_what_is_left_out_itself(
    quire: Quire, last_wins: bool
) -> None:
    first, second, third = "the first text", "the second text", "the third text"
    # In the order in which the earlier wins: x loses by its id, so its twin z must stay; y is
    # left out for its content, so its id is free for another y.
    winners = [
        await with_documents(quire, x=first, a=second),
        await with_documents(quire, x=third, y=second),
        await with_documents(quire, z=third, y="yet another text"),
    ]
    points = [{1: "one", 2: "two"}, {1: "three", 3: "two"}, {4: "three", 3: "four"}]
    for session_id, texts in zip(winners, points, strict=True):
        await quire.points.upsert(
            ADA, session_id, [{"id": n, "text": content} for n, content in texts.items()]
        )
    result = await merged(
        quire,
        *(reversed(winners) if last_wins else winners),
        dedupe=Dedupe.CONTENT,
        on_conflict=OnConflict.REPLACE if last_wins else OnConflict.SKIP,
    )
    target = result["session_id"]
    documents = (await quire.documents.page(ADA, target)).documents
    texts_of = {document.id: await text_of(quire, target, document.id) for document in documents}
    assert texts_of == {"x": first, "a": second, "z": third, "y": "yet another text"}
    found = await points_of(quire, target)
    said = {n: r.payload["text"] for n, r in found.items() if isinstance(n, int)}
    assert said == {1: "one", 2: "two", 3: "four", 4: "three"}
    assert {r.payload["text"] for n, r in found.items() if isinstance(n, str)} == {
        *texts_of.values()
    }
