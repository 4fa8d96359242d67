"""Points that pipelines write, label, read and remove; the same on Edge and on a server."""

from __future__ import annotations

import asyncio
import uuid
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio

from quire.access.policy import Role
from quire.errors import (
    Conflict,
    Forbidden,
    InvalidInput,
    PointNotFound,
    SessionNotFound,
)
from quire.points.counters import ATTEMPTS, Counts
from quire.points.requests import PointQuery, Selection
from quire.sessions.models import Embedding, Successor
from quire.vectors.port import FacetCount, Match, Range, SparseVector
from tests.points.workspace import (
    changed,
    ids_in,
    of,
    on_edge,
    on_server,
    payload_of,
    vector,
    where,
    with_chunks,
    with_points,
)
from tests.sessions.house import ADA, GRACE, person, purged

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from quire.app import Quire
    from quire.sessions.models import Session

pytestmark = pytest.mark.asyncio(loop_scope="module")

EVERYTHING = Selection(everything=True)


@pytest_asyncio.fixture(
    scope="module",
    loop_scope="module",
    params=["edge", pytest.param("server", marks=pytest.mark.server)],
)
async def quire(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Quire]:
    directory = tmp_path_factory.mktemp(request.param)
    async with AsyncExitStack() as stack:
        if request.param == "edge":
            yield await stack.enter_async_context(on_edge(directory))
        else:
            server = request.getfixturevalue("qdrant_server")
            yield await stack.enter_async_context(on_server(directory, server))


# Writing


async def test_points_come_back_as_they_were_written(quire: Quire) -> None:
    session = await with_points(quire)
    identity = str(uuid.uuid4())
    largest = 2**64 - 1
    points = [
        {"id": largest, "vector": [0, 3, 0, 4], "payload": {"deep": {"list": [1, None, "ü"]}}},
        {
            "id": identity.upper(),
            "vector": vector(1),
            "sparse": {"indices": [7, 3], "values": [0.5, 2]},
        },
    ]
    done = await quire.points.upsert(ADA, session.id, points)
    assert done.ids == [largest, identity]
    assert done.points_count == 2
    first = await quire.points.get(ADA, session.id, largest, with_vectors=True)
    assert first.payload == {"deep": {"list": [1, None, "ü"]}}
    assert first.dense == pytest.approx([0, 0.6, 0, 0.8])  # under cosine it is normalised
    second = await quire.points.get(ADA, session.id, identity, with_vectors=True)
    assert second.payload == {}
    assert second.sparse is not None
    assert dict(zip(second.sparse.indices, second.sparse.values, strict=True)) == {7: 0.5, 3: 2}


async def test_a_point_without_an_id_is_given_one(quire: Quire) -> None:
    session = await with_points(quire)
    done = await quire.points.upsert(ADA, session.id, [{"vector": vector(n)} for n in range(3)])
    assert len({uuid.UUID(str(identity)) for identity in done.ids}) == 3
    assert await ids_in(quire, session) == sorted(map(str, done.ids))


async def test_writing_an_id_again_replaces_its_point(quire: Quire) -> None:
    session = await with_points(quire, 2)
    done = await quire.points.upsert(ADA, session.id, [{"id": 1, "vector": vector(9)}])
    assert done.points_count == 2
    assert await payload_of(quire, session, 1) == {}


async def test_a_text_is_embedded_kept_and_found_by_its_words(quire: Quire) -> None:
    session = await with_points(quire, dimension=None)
    texts = ["Quires are bound into books.", "The harbour freezes in January."]
    points = [{"id": n, "text": text, "payload": {"n": n}} for n, text in enumerate(texts)]
    await quire.points.upsert(ADA, session.id, points)
    # by meaning
    (best, *_) = await quire.points.query(ADA, session.id, PointQuery(text=texts[1]))
    assert best.payload == {"n": 1, "text": texts[1]}
    # by its words
    words = (await quire.points.get(ADA, session.id, 0, with_vectors=True)).sparse
    assert words is not None
    found = await quire.points.query(ADA, session.id, PointQuery(sparse=words))
    assert [record.id for record in found] == [0]
    stats = (await quire.sessions.peek(ADA, session.id)).processing_stats
    assert stats.embeddings_created == 2


async def test_a_vector_with_a_text_beside_it_is_found_by_its_words(quire: Quire) -> None:
    session = await with_points(quire)
    point = {"id": 1, "vector": vector(1), "payload": {"text": "bound in calf"}}
    await quire.points.upsert(ADA, session.id, [point])
    written = await quire.points.get(ADA, session.id, 1, with_vectors=True)
    assert written.sparse is not None
    assert len(written.sparse.indices) == 2  # "in" is no word to look for


async def test_the_session_counts_its_points(quire: Quire) -> None:
    session = await with_points(quire, 5)
    after_writing = await quire.sessions.peek(ADA, session.id)
    await quire.points.delete(ADA, session.id, of(0, 1, 77))
    after_deleting = await quire.sessions.peek(ADA, session.id)
    assert (after_writing.points_count, after_deleting.points_count) == (5, 3)
    assert after_deleting.processing_stats.embeddings_created == 0
    assert after_deleting.last_activity_at > session.last_activity_at


async def test_writers_side_by_side_are_all_counted(quire: Quire) -> None:
    session = await with_points(quire)

    async def write(start: int) -> None:
        points = [{"id": start + n, "vector": vector(n)} for n in range(3)]
        await quire.points.upsert(ADA, session.id, points)

    async def remove(identity: int) -> None:
        await quire.points.delete(ADA, session.id, of(identity))

    await write(0)
    await asyncio.gather(*(write(start) for start in range(10, 90, 10)), remove(0), remove(1))
    assert (await quire.sessions.peek(ADA, session.id)).points_count == 25


@pytest.mark.parametrize("times", [1, ATTEMPTS])
async def test_a_writer_that_is_overtaken_counts_again(quire: Quire, times: int) -> None:
    session = await with_points(quire, 1)
    counters = quire.points._counters
    others = iter(range(100, 100 + times))

    async def count(seen: Session) -> Counts:
        counted = await counters.points(seen)
        if (other := next(others, None)) is not None:
            await quire.points.upsert(ADA, session.id, [{"id": other, "vector": vector(1)}])
        return counted

    await counters.settle(ADA, session, count)
    assert (await quire.sessions.peek(ADA, session.id)).points_count == 1 + times


# Chunks among the points


async def test_no_upsert_replaces_a_chunk(quire: Quire) -> None:
    session = await with_points(quire, 1)
    chunk = str(uuid.uuid4())
    await with_chunks(quire, session, [chunk])
    points = [{"id": 0, "vector": vector(5)}, {"id": chunk, "vector": vector(5)}]
    with pytest.raises(Conflict, match=rf"points\[1\].id: {chunk} is a chunk of document d"):
        await quire.points.upsert(ADA, session.id, points)
    assert await payload_of(quire, session, 0) == {"n": 0, "kind": "a"}  # nothing was written


async def test_a_chunk_that_is_not_shown_yet_is_not_replaced_either(quire: Quire) -> None:
    session = await with_points(quire)
    await changed(quire, session, hidden_stages=("in:j",))
    await with_chunks(quire, session, [5])
    with pytest.raises(Conflict, match="is a chunk"):
        await quire.points.upsert(ADA, session.id, [{"id": 5, "vector": vector(5)}])


async def test_chunks_are_labelled_but_keep_what_their_document_gave_them(quire: Quire) -> None:
    session = await with_points(quire, 1)
    await with_chunks(quire, session, [7])
    assert await quire.points.set_payload(ADA, session.id, {"cluster": 3}, of(0, 7)) == 2
    assert await payload_of(quire, session, 7) == {"document_id": "d", "seq": 0, "cluster": 3}
    with pytest.raises(InvalidInput, match="a chunk has its seq from its document"):
        await quire.points.set_payload(ADA, session.id, {"seq": 1}, of(0, 7))
    assert await quire.points.set_payload(ADA, session.id, {"seq": 1}, of(0)) == 1


async def test_what_is_hidden_is_neither_read_nor_written(quire: Quire) -> None:
    session = await with_points(quire, 1)
    await changed(quire, session, hidden_stages=("in:hidden",))
    await with_chunks(quire, session, [7], "hidden", kind="a")
    await with_chunks(quire, session, [8], "shown", kind="a")
    kind = Match("kind", ["a"])
    points = quire.points
    assert await ids_in(quire, session) == [0, 8]
    assert await points.count(ADA, session.id, kind) == 2
    assert await points.facets(ADA, session.id, "kind") == [FacetCount("a", 2)]
    found = await points.query(ADA, session.id, PointQuery(vector=vector(0), with_vectors=True))
    assert {record.id for record in found} == {0, 8}
    with pytest.raises(PointNotFound):
        await points.get(ADA, session.id, 7)
    with pytest.raises(PointNotFound):
        await points.query(ADA, session.id, PointQuery(like=7))
    assert await points.set_payload(ADA, session.id, {"label": 1}, where(kind)) == 2
    assert await points.assign(ADA, session.id, [{"ids": [7], "payload": {"label": 1}}]) == 0
    assert await points.delete(ADA, session.id, EVERYTHING) == 2
    # then it is shown, as its ingest wrote it
    await changed(quire, session, hidden_stages=())
    assert await ids_in(quire, session) == [7]
    assert "label" not in await payload_of(quire, session, 7)


async def test_chunks_that_are_deleted_are_noted_as_gone(quire: Quire) -> None:
    session = await with_points(quire, 2)
    await with_chunks(quire, session, range(10, 14))
    await quire.points.delete(ADA, session.id, of(1, 11))
    after = await quire.sessions.peek(ADA, session.id)
    assert (after.points_count, after.chunks_count) == (4, 3)
    assert after.removals == session.removals + 1
    await quire.points.delete(ADA, session.id, of(0))
    assert (await quire.sessions.peek(ADA, session.id)).removals == after.removals


async def test_what_an_ingest_is_just_bringing_is_not_deleted(
    quire: Quire, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = await with_points(quire, 1)
    await with_chunks(quire, session, [10])
    delete = quire.engine.delete

    async def delayed(*arguments: Any) -> None:
        monkeypatch.undo()
        await changed(quire, session, hidden_stages=("in:new",))
        await with_chunks(quire, session, [20], "new")
        await delete(*arguments)

    monkeypatch.setattr(quire.engine, "delete", delayed)
    await quire.points.delete(ADA, session.id, EVERYTHING)
    assert await ids_in(quire, session) == []
    await changed(quire, session, hidden_stages=())
    assert await ids_in(quire, session) == [20]


# Labels


async def test_labels_are_written_by_ids_or_by_a_filter(quire: Quire) -> None:
    session = await with_points(quire, 6)
    label = {"cluster": {"id": 3}, "n": None}
    assert await quire.points.set_payload(ADA, session.id, label, of(1, 2, 99)) == 2
    assert await payload_of(quire, session, 2) == {"kind": "a", "cluster": {"id": 3}}
    above = where(Range("n", gte=4))
    assert await quire.points.set_payload(ADA, session.id, {"far": True}, above) == 2
    assert await quire.points.set_payload(ADA, session.id, {"seen": 1}, EVERYTHING) == 6
    assert await payload_of(quire, session, 5) == {"n": 5, "kind": "b", "far": True, "seen": 1}


async def test_a_clustering_is_written_in_one_request(quire: Quire) -> None:
    session = await with_points(quire, 9)
    assignments = [
        {"ids": [0, 3, 6], "payload": {"cluster": 0}},
        {"ids": [1], "payload": {"cluster": 1, "x": 0.5}},
        {"ids": [4, 7, 4], "payload": {"cluster": 1}},
        {"ids": [8], "payload": {"cluster": 0}},
    ]
    assert await quire.points.assign(ADA, session.id, assignments) == 7
    counts = await quire.points.facets(ADA, session.id, "cluster")
    assert counts == [FacetCount(0, 4), FacetCount(1, 3)]
    assert (await payload_of(quire, session, 1))["x"] == 0.5


# Reading


async def test_a_scroll_reads_every_point_once_in_the_order_of_ids(quire: Quire) -> None:
    session = await with_points(quire, 7)
    seen, cursor = [], None
    while True:
        page = await quire.points.scroll(ADA, session.id, cursor=cursor, limit=3)
        seen += [record.id for record in page.records]
        cursor = page.next_cursor
        if cursor is None:
            break
    assert seen == list(range(7))
    page = await quire.points.scroll(ADA, session.id, Match("kind", ["b"]), limit=2)
    assert [record.id for record in page.records] == [1, 3]


async def test_the_nearest_come_first(quire: Quire) -> None:
    session = await with_points(quire, 6)

    async def ids(query: PointQuery) -> list[int | str]:
        return [record.id for record in await quire.points.query(ADA, session.id, query)]

    assert await ids(PointQuery(vector=vector(0), limit=3)) == [0, 1, 2]
    assert await ids(PointQuery(vector=vector(0), limit=2, offset=3)) == [3, 4]
    assert await ids(PointQuery(vector=vector(0), filter=Match("kind", ["b"]))) == [1, 3, 5]
    assert await ids(PointQuery(vector=vector(0), score_threshold=0.99)) == [0, 1]
    assert await ids(PointQuery(like=5, limit=2, exact=True)) == [4, 3]  # itself is left out
    only_b = PointQuery(like=5, filter=Match("kind", ["b"]), with_payload=False)
    assert await ids(only_b) == [3, 1]
    assert await ids(PointQuery(sparse=SparseVector([1], [1.0]))) == []


async def test_the_values_of_a_field_are_counted(quire: Quire) -> None:
    session = await with_points(quire)
    payloads = [
        {"lang": "en", "tags": ["x", "y"], "ok": True, "at": {"year": 2024}},
        {"lang": "en", "tags": ["x"], "ok": False, "at": {"year": 2025}},
        {"lang": "de", "tags": None, "ok": True, "at": {"year": 2024}},
    ]
    await quire.points.upsert(
        ADA, session.id, [{"vector": vector(n), "payload": p} for n, p in enumerate(payloads)]
    )

    async def counts(key: str, condition: Match | None = None) -> dict[object, int]:
        found = await quire.points.facets(ADA, session.id, key, condition)
        return {count.value: count.count for count in found}

    assert await counts("lang") == {"en": 2, "de": 1}
    assert await counts("tags") == {"x": 2, "y": 1}
    assert await counts("ok") == {True: 2, False: 1}
    assert await counts("at.year") == {2024: 2, 2025: 1}
    assert await counts("tags", Match("lang", ["en"])) == {"x": 2, "y": 1}
    assert await counts("nowhere") == {}
    await quire.points.upsert(
        ADA, session.id, [{"vector": vector(4), "payload": {"lang": "fr", "price": 1.5}}]
    )
    assert (await counts("lang"))["fr"] == 1
    with pytest.raises(InvalidInput, match=r"price holds float; what can be counted"):
        await counts("price")
    with pytest.raises(InvalidInput, match="names no payload field"):
        await counts("a..b")
    with pytest.raises(InvalidInput, match="Quire's own"):
        await counts("_stage")


# Who may, and when


@pytest.mark.parametrize("role", [Role.READ, None])
async def test_points_are_written_by_those_who_may(quire: Quire, role: Role | None) -> None:
    session = await with_points(quire, 1)
    if role is not None:
        await quire.sharing.share(ADA, session.id, ["grace"], role)
        assert (await quire.points.get(GRACE, session.id, 0)).id == 0
    refused = SessionNotFound if role is None else Forbidden
    with pytest.raises(refused):
        await quire.points.upsert(GRACE, session.id, [{"vector": "even before it is looked at"}])
    with pytest.raises(refused):
        await quire.points.set_payload(GRACE, session.id, {"a": 1}, EVERYTHING)
    with pytest.raises(refused):
        await quire.points.assign(GRACE, session.id, [{"ids": [0], "payload": {"a": 1}}])
    with pytest.raises(refused):
        await quire.points.delete(GRACE, session.id, EVERYTHING)
    assert await payload_of(quire, session, 0) == {"n": 0, "kind": "a"}


async def test_nobody_else_sees_the_points(quire: Quire) -> None:
    session = await with_points(quire, 1)
    stranger = person("mallory")
    with pytest.raises(SessionNotFound):
        await quire.points.get(stranger, session.id, 0)
    with pytest.raises(SessionNotFound):
        await quire.points.scroll(stranger, session.id)
    with pytest.raises(SessionNotFound):
        await quire.points.query(stranger, session.id, PointQuery(vector=vector(0)))
    with pytest.raises(SessionNotFound):
        await quire.points.facets(stranger, session.id, "kind")
    with pytest.raises(SessionNotFound):
        await quire.points.count(stranger, session.id)


async def test_a_deleted_session_is_read_and_not_written(quire: Quire) -> None:
    session = await with_points(quire, 1)
    await quire.sessions.delete(ADA, session.id)
    with pytest.raises(Conflict, match="is deleted"):
        await quire.points.upsert(ADA, session.id, [{"vector": vector(1)}])
    assert await ids_in(quire, session) == [0]


async def test_while_it_is_re_embedded_a_session_is_read_and_not_written(quire: Quire) -> None:
    session = await with_points(quire, 1)
    embedding = Embedding("fake", "other", 8)
    await changed(quire, session, successor=Successor("job-7", "elsewhere", embedding))
    with pytest.raises(Conflict, match=r"re-embedded \(job job-7\)"):
        await quire.points.upsert(ADA, session.id, [{"vector": vector(1)}])
    assert await ids_in(quire, session) == [0]


async def test_a_session_that_is_purged_under_a_writer_is_told_so(
    quire: Quire, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = await with_points(quire)
    known = await quire.sessions.peek(ADA, session.id)
    await purged(quire, ADA, session.id)
    # The writer had passed the checks before the purge.
    monkeypatch.setattr(quire.points, "_writable", lambda *_: _already(known))
    with pytest.raises(SessionNotFound):
        await quire.points.upsert(ADA, session.id, [{"vector": vector(1)}])
    with pytest.raises(SessionNotFound):
        await quire.points.delete(ADA, session.id, EVERYTHING)


async def test_a_write_that_a_deletion_overtakes_is_no_success(
    quire: Quire, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = await with_points(quire)
    known = await quire.sessions.peek(ADA, session.id)
    await quire.sessions.delete(ADA, session.id)
    monkeypatch.setattr(quire.points, "_writable", lambda *_: _already(known))
    with pytest.raises(Conflict, match="is deleted"):
        await quire.points.upsert(ADA, session.id, [{"vector": vector(1)}])


async def _already(session: object) -> object:
    return session
