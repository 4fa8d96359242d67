"""Splitting: which points go where, what is left, and that nothing is lost or doubled."""

from __future__ import annotations

import asyncio
import uuid
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio

from quire.access.policy import Role
from quire.errors import Forbidden, InvalidInput, LimitExceeded, QuireError
from quire.sessions.lifecycle import State
from quire.transfer.split_request import (
    ByField,
    Fraction,
    PartRequest,
    SeqRange,
    SplitRequest,
)
from tests.content.house import chunks, text_of
from tests.sessions.house import GRACE
from tests.transfer.house import (
    ADA,
    create,
    current,
    failed,
    filled_quire,
    hashes,
    ingest,
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


UUIDS = [str(uuid.uuid5(uuid.NAMESPACE_URL, str(n))) for n in range(5)]


async def filled(quire: Quire) -> str:
    """Two documents of 12 chunks each, and ten points of a pipeline's in clusters."""
    session = await create(quire)
    sources = [text(paragraphs(12, name), id=name) for name in ("a", "b")]
    await ingest(quire, session.id, *sources, chunk_size=60)
    clusters = ["red", "green", "green", None]
    await write(
        quire, session.id, [*range(1, 6), *UUIDS], cluster=lambda n: clusters[n % 4], number=int
    )
    return session.id


def ids(name: str, *values: Any, **more: Any) -> PartRequest:
    return PartRequest(name=name, point_ids=values, **more)


async def test_points_are_named_by_integers_digits_and_uuids_in_any_form(quire: Quire) -> None:
    session_id = await filled(quire)
    before = await hashes(quire, session_id)
    result = await split(
        quire,
        session_id,
        parts=[
            ids("numbers", 1, "2", 2, tags=("t",), metadata={"k": 1}, description="d"),
            ids("uuids", UUIDS[0].upper(), UUIDS[1].replace("-", ""), f"urn:uuid:{UUIDS[2]}"),
        ],
    )
    one, two = result["new_session_ids"]
    assert set(await points_of(quire, one)) == {1, 2}
    assert set(await points_of(quire, two)) == set(UUIDS[:3])
    assert (result["assigned_points"], result["removed_points"]) == (5, 5)
    assert await hashes(quire, session_id, one, two) == before
    session = await current(quire, one)
    assert (session.name, session.description, session.tags) == ("numbers", "d", ("t",))
    assert session.metadata == {"k": 1, "split_from": session_id}
    assert session.lineage == {"split_from": session_id}
    assert (session.owner_id, session.points_count, session.state) == ("ada", 2, State.ACTIVE)
    left = await current(quire, session_id)
    assert (left.points_count, left.chunks_count, left.busy_job) == (29, 24, None)


async def test_documents_go_with_their_chunks_and_texts(quire: Quire) -> None:
    # given a part with all of one document, and one with some chunks of the other
    session_id = await filled(quire)
    before = await hashes(quire, session_id)
    chunked = await chunks(quire, session_id)
    parts = [
        PartRequest(name="a", document_ids=["a", "unknown"]),
        PartRequest(name="some of b", seq=SeqRange(14, 18)),
    ]
    # when
    result = await split(quire, session_id, parts=parts)
    one, two = result["new_session_ids"]
    assert result["unknown_document_ids"] == ["unknown"]
    # then they are readable wherever they have chunks, under their old numbers
    assert await hashes(quire, session_id, one, two) == before
    assert await chunks(quire, one) == chunked[:12]
    assert await chunks(quire, two) == chunked[14:18]
    assert await chunks(quire, session_id) == chunked[12:14] + chunked[18:]
    for where, name in ((one, "a"), (two, "b"), (session_id, "b")):
        assert await text_of(quire, where, name) == paragraphs(12, name)
        page = await quire.documents.page(ADA, where)
        assert [document.id for document in page.documents] == [name]
    assert (await quire.chunks.by_index(ADA, two, "b", 3)).chunk == chunked[15]
    # what was taken out can be brought in again
    await ingest(quire, session_id, text("anew", id="a"))
    assert await text_of(quire, session_id, "a") == "anew"


async def test_a_copy_leaves_the_session_as_it_is(quire: Quire) -> None:
    session_id = await filled(quire)
    before, session = await hashes(quire, session_id), await current(quire, session_id)
    parts = [PartRequest(name="green", filter={"cluster": "green"})]
    result = await split(quire, session_id, parts=parts, remove_points=False)
    assert (result["assigned_points"], result["removed_points"]) == (5, 0)
    assert await hashes(quire, session_id) == before
    assert (await current(quire, session_id)).collection == session.collection


async def test_one_session_for_each_value_of_a_field(quire: Quire) -> None:
    session_id = await filled(quire)
    before = await hashes(quire, session_id)
    result = await split(quire, session_id, by=ByField(field="cluster", names="<{value}>"))
    sessions = [await current(quire, name) for name in result["new_session_ids"]]
    assert [(s.name, s.points_count) for s in sessions] == [("<green>", 5), ("<red>", 3)]
    assert sessions[0].metadata["split_by"] == {"field": "cluster", "value": "green"}
    assert await hashes(quire, session_id, *result["new_session_ids"]) == before
    assert (await current(quire, session_id)).points_count == 26  # those without a value stay
    other = await filled(quire)
    by = ByField(field="number", max_parts=2)
    assert len((await split(quire, other, by=by))["new_session_ids"]) == 2


async def test_fractions_are_the_same_for_a_seed(quire: Quire) -> None:
    session_id = await filled(quire)
    before = await hashes(quire, session_id)
    fractions = [Fraction("train", 0.8), Fraction("test", 0.2)]

    async def ids_of(seed: int) -> list[set[Any]]:
        done = await split(quire, session_id, fractions=fractions, seed=seed, remove_points=False)
        return [set(await points_of(quire, name)) for name in done["new_session_ids"]]

    first = await ids_of(1)
    assert first == await ids_of(1) != await ids_of(2)
    assert first[0] | first[1] == set(await points_of(quire, session_id))
    assert not first[0] & first[1]
    # and a move of all of them leaves nothing behind
    done = await split(quire, session_id, fractions=fractions, seed=1)
    assert [set(await points_of(quire, name)) for name in done["new_session_ids"]] == first
    left = await current(quire, session_id)
    assert (left.points_count, left.chunks_count) == (0, 0)
    assert (await quire.documents.page(ADA, session_id)).documents == []
    assert await hashes(quire, *done["new_session_ids"]) == before


async def test_a_point_is_in_the_first_part_that_asks_for_it(quire: Quire) -> None:
    session_id = await filled(quire)
    before = await hashes(quire, session_id)
    parts = [
        ids("one", 1, 2, 77),
        PartRequest(name="green", filter={"cluster": "green"}),  # 2, 3, and three more
        ids("two", 1, 3, 5),
        PartRequest(name="a", document_ids=["a"]),
        PartRequest(name="chunks", seq=SeqRange(6, 15)),
        PartRequest(name="none", filter={"cluster": "blue"}),
        ids("gone", 99),
    ]
    report = await quire.transfers.split.report(ADA, session_id, SplitRequest(parts=parts))
    result = await split(quire, session_id, parts=parts)
    points = [part["points"] for part in result["parts"]]
    assert points == list(report.findings.counts) == [2, 4, 1, 12, 3, 0, 0]
    assert result["unknown_ids"] == [77, 99]
    repeated = set(result["repeated_ids"])
    assert repeated >= {1, 2, 3}
    assert result["repeated_ids_count"] == len(result["repeated_ids"]) == 9
    assert result["empty_parts"] == ["none", "gone"]
    assert await hashes(quire, session_id, *result["new_session_ids"]) == before
    # each part is a session, an empty one too, so that answers and parts match
    assert len(result["new_session_ids"]) == len(parts)


@pytest.mark.parametrize(
    ("parts", "told"),
    [
        ([ids("p", 1, 77)], "77"),
        ([ids("p", 1), ids("q", 1, 2)], "1 are in more than one part"),
        ([ids("p", 1), PartRequest(name="q", filter={"cluster": "blue"})], "q would be empty"),
        ([ids("p", 1), PartRequest(name="q", filter={"number": [0, 1]})], "1 are in more"),
    ],
)
async def test_a_strict_split_refuses_what_another_passes_over(
    quire: Quire, parts: list[PartRequest], told: str
) -> None:
    session_id = await filled(quire)
    before = await traces(quire)
    with pytest.raises(InvalidInput, match=told):
        await split(quire, session_id, parts=parts, strict=True)
    assert await traces(quire) == before


async def test_the_session_can_be_archived_with_or_without_its_points(quire: Quire) -> None:
    for remove in (True, False):
        session_id = await filled(quire)
        done = await split(
            quire, session_id, parts=[ids("p", 1)], archive_original=True, remove_points=remove
        )
        session = await current(quire, session_id)
        assert (session.state, session.busy_job) == (State.ARCHIVED, None)
        assert len(await points_of(quire, session_id)) == 34 - remove
        assert len(done["new_session_ids"]) == 1


async def test_most_or_little_of_a_session_may_be_taken(quire: Quire) -> None:
    """What stays is copied or streamed, whichever is less work; the outcome is the same."""
    for taken in (range(10, 40), range(40, 400)):
        session = await create(quire)
        await write(quire, session.id, range(400), cluster=lambda n: n % 3)
        before = await hashes(quire, session.id)
        done = await split(quire, session.id, parts=[ids("p", *taken)])
        assert await hashes(quire, session.id, *done["new_session_ids"]) == before
        assert set(await points_of(quire, session.id)) == set(range(400)) - set(taken)


async def test_more_ids_than_one_condition_takes(quire: Quire) -> None:
    session = await create(quire)
    await write(quire, session.id, range(12_000))
    parts = [PartRequest(name="none", filter={"x": 1}), ids("p", *range(500, 11_500))]
    result = await split(quire, session.id, parts=parts)
    assert [part["points"] for part in result["parts"]] == [0, 11_000]
    assert (await current(quire, session.id)).points_count == 1000


async def test_who_may_read_copies_who_may_write_moves(quire: Quire) -> None:
    session_id = await filled(quire)
    await quire.sharing.share(ADA, session_id, ["grace"], Role.READ)
    with pytest.raises(Forbidden):
        await split(quire, session_id, who=GRACE, parts=[ids("p", 1)])
    copied = await split(quire, session_id, who=GRACE, parts=[ids("p", 1)], remove_points=False)
    mine = await quire.sessions.peek(GRACE, copied["new_session_ids"][0])
    assert (mine.owner_id, mine.points_count, mine.collaborators) == ("grace", 1, ())


async def test_too_many_values_are_refused_with_the_limit(quire: Quire) -> None:
    session = await create(quire)
    await write(quire, session.id, range(300), cluster=int)
    with pytest.raises(LimitExceeded, match="201 parts; the limit is 200"):
        await split(quire, session.id, by=ByField(field="cluster"))


@pytest.mark.parametrize("end", ["cancelled", "failed"])
async def test_a_split_that_breaks_off_leaves_everything_as_it_was(
    quire: Quire, end: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    session_id = await filled(quire)
    await write(quire, session_id, range(1000, 2500), cluster="big")
    before, points = await traces(quire), await hashes(quire, session_id)
    request = SplitRequest(parts=[ids("p", 1), PartRequest(name="q", filter={"cluster": "big"})])
    monkeypatch.setattr("quire.transfer.building.CANCEL_SECONDS", 0.0)

    async def broken(*_: object, **__: object) -> None:
        raise QuireError("it was made to fail")

    async with slow_upserts(quire) as begun:
        if end == "failed":  # at the last moment, when all is built
            monkeypatch.setattr(quire.transfers.split._finale, "conclude", broken)
        job_id = await quire.transfers.split.begin(ADA, session_id, request)
        async with asyncio.timeout(10):
            await begun.wait()
        if end == "cancelled":
            await quire.jobs.cancel(job_id)
        await failed(quire, job_id, end)
    assert await traces(quire) == before
    assert await hashes(quire, session_id) == points
    await write(quire, session_id, [9999])


async def test_a_field_that_no_point_has_makes_no_parts(quire: Quire) -> None:
    session_id = await filled(quire)
    request = SplitRequest(by=ByField(field="nowhere"))
    for ask in (quire.transfers.split.begin, quire.transfers.split.report):
        with pytest.raises(InvalidInput, match="nowhere") as refused:
            await ask(ADA, session_id, request)
        assert refused.value.field == "by.field"
