"""Searching: by meaning, by words, by both; filtered, grouped, widened; in one session or many."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from quire.errors import Conflict, InvalidInput, LimitExceeded, QueryExpired, SessionNotFound
from quire.points.filters import parse_filter
from quire.retrieval.kql import parse_kql
from quire.retrieval.requests import Mode, SearchRequest
from quire.settings import LimitSettings, QuerySettings
from tests.content.house import filled_quire, ingest, paragraphs, remove, text
from tests.sessions.house import ADA, GRACE, create

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from quire.app import Quire

TEXTS = {
    "binding": "A binder sews the folded leaves of a quire through the fold with linen thread.",
    "paper": "Paper is made of linen rags, beaten to a pulp and dried as sheets.",
    "ink": "Iron gall ink is brewed from oak galls and iron salts.",
    "garden": "In the garden the oak trees stand beside the pond.",
    "error": "The service api reports an error: connection timed out after thirty seconds.",
}


@pytest.fixture
async def library(tmp_path: Path) -> AsyncIterator[tuple[Quire, str]]:
    async with filled_quire(tmp_path) as quire:
        session = await create(quire)
        sources = [
            text(body, id=name, title=name.title(), metadata={"year": 2020 + n, "kind": name[0]})
            for n, (name, body) in enumerate(TEXTS.items())
        ]
        await ingest(quire, session.id, *sources)
        yield quire, session.id


async def found(quire: Quire, *session_ids: str, **asked: Any) -> list[dict[str, Any]]:
    page = await quire.search.search(ADA, session_ids, SearchRequest(**asked), {})
    return page.items


def documents(items: list[dict[str, Any]]) -> list[str]:
    return [item["document_id"] for item in items]


@pytest.mark.parametrize("mode", list(Mode))
async def test_every_mode_finds_what_is_asked_for(library: tuple[Quire, str], mode: Mode) -> None:
    quire, session_id = library
    items = await found(quire, session_id, query="iron gall ink", mode=mode)
    assert documents(items)[0] == "ink"
    assert items[0]["score"] == max(item["score"] for item in items)
    assert items[0]["title"] == "Ink"
    assert items[0]["session_id"] == session_id


async def test_words_are_found_in_other_forms(library: tuple[Quire, str]) -> None:
    quire, session_id = library
    items = await found(quire, session_id, query="sewing leaf", mode=Mode.KEYWORD)
    assert documents(items) == ["binding"]
    assert await found(quire, session_id, query="the of and", mode=Mode.KEYWORD) == []


async def test_without_a_question_there_may_be_more_than_a_thousand(tmp_path: Path) -> None:
    async with filled_quire(tmp_path, query=QuerySettings(results=5_000)) as quire:
        session = await create(quire)
        await ingest(quire, session.id, text("A single chunk."))
        for start in (0, 1_000):
            ids = range(start, start + 1_000)
            points = [{"id": n, "vector": [1.0] * 32, "payload": {"n": n}} for n in ids]
            await quire.points.upsert(ADA, session.id, points)
        for limit, expected in ((5_000, 2_001), (1_500, 1_500)):
            request = SearchRequest(kql=parse_kql("*"), limit=limit, page_size=1_000)
            page = await quire.search.search(ADA, [session.id], request, {})
            assert page.num_total_items == expected
        assert page.items[0]["text"] == "A single chunk."


async def test_weights_decide_between_meaning_and_words(library: tuple[Quire, str]) -> None:
    quire, session_id = library
    words = await found(quire, session_id, query="oak", dense_weight=0.0)
    assert sorted(documents(words)) == ["garden", "ink"]
    both = await found(quire, session_id, query="oak", keyword_weight=1000.0)
    assert sorted(documents(both)[:2]) == ["garden", "ink"]


async def test_filters_hold_over_metadata(library: tuple[Quire, str]) -> None:
    quire, session_id = library
    year = parse_filter({"year": {"gte": 2022, "lt": 2024}})
    items = await found(quire, session_id, query="oak", filter=year)
    assert sorted(documents(items)) == ["garden", "ink"]
    listed = await found(quire, session_id, filter=year)
    assert documents(listed) == ["ink", "garden"]  # without a question, in their order


async def test_a_list_by_filter_alone_begins_at_the_beginning(tmp_path: Path) -> None:
    async with filled_quire(tmp_path) as quire:
        session = await create(quire)
        body = "\n\n".join(f"Leaf {n:04}." for n in range(2500))
        await ingest(quire, session.id, text(body, metadata={"k": 1}), chunk_size=12)
        await quire.points.upsert(ADA, session.id, [{"id": 1, "text": "p", "payload": {"k": 1}}])
        items = await found(quire, session.id, filter=parse_filter({"k": 1}), limit=5)
        assert [item["seq"] for item in items] == [0, 1, 2, 3, 4]
        late = parse_filter({"k": 1, "seq": {"gte": 2498}})
        assert [i["seq"] for i in await found(quire, session.id, filter=late)] == [2498, 2499]
        own = parse_filter({"k": 1, "seq": {"exists": False}})
        assert [i["id"] for i in await found(quire, session.id, filter=own)] == [1]


async def test_kql_says_what_every_hit_must_hold(library: tuple[Quire, str]) -> None:
    quire, session_id = library
    asked = parse_kql("error AND api AND year:[2020 TO 2024]")
    assert documents(await found(quire, session_id, kql=asked)) == ["error"]
    assert await found(quire, session_id, kql=parse_kql("error AND garden")) == []
    items = await found(quire, session_id, kql=parse_kql("oak AND NOT garden"))
    assert documents(items) == ["ink"]
    assert documents(await found(quire, session_id, kql=parse_kql("kind:p"))) == ["paper"]


async def test_a_threshold_cuts_what_is_too_far(library: tuple[Quire, str]) -> None:
    quire, session_id = library
    every = await found(quire, session_id, query="iron gall ink", mode=Mode.DENSE)
    middle = every[0]["score"] - 1e-6
    assert len(every) > 1
    kept = await found(
        quire, session_id, query="iron gall ink", mode=Mode.DENSE, score_threshold=middle
    )
    assert documents(kept) == ["ink"]


async def test_a_vector_of_ones_own(library: tuple[Quire, str]) -> None:
    quire, session_id = library
    (ink,) = await found(quire, session_id, query="iron gall ink", limit=1, with_vectors=True)
    again = await found(quire, session_id, vector=ink["vector"], limit=1)
    assert again[0]["id"] == ink["id"]
    assert again[0]["score"] == pytest.approx(1.0, abs=1e-5)
    with pytest.raises(InvalidInput, match="3 dimensions"):
        await found(quire, session_id, vector=[1.0, 2.0, 3.0])


async def test_hits_whose_neighbours_touch_are_one(tmp_path: Path) -> None:
    async with filled_quire(tmp_path) as quire:
        session = await create(quire)
        lines = [f"Line {n} is about nothing." for n in range(30)]
        for n in (10, 12, 25):
            lines[n] = f"Line {n} names the heliotrope."
        await ingest(quire, session.id, text("\n\n".join(lines), id="a"), chunk_size=36)
        plain = await found(quire, session.id, query="heliotrope", mode=Mode.KEYWORD)
        assert sorted(item["index"] for item in plain) == [10, 12, 25]
        items = await found(
            quire, session.id, query="heliotrope", mode=Mode.KEYWORD, before=1, after=1
        )
        places = [
            sorted([item["seq"], *(c["seq"] for c in item["before"] + item["after"])])
            for item in items
        ]
        assert sorted(places) == [[9, 10, 11, 12, 13], [24, 25, 26]]
        merged = next(item for item in items if item["seq"] in (10, 12))
        scored = [c["seq"] for c in merged["before"] + merged["after"] if "score" in c]
        assert {merged["seq"], *scored} == {10, 12}


async def test_grouping_gives_every_document_its_turn(tmp_path: Path) -> None:
    async with filled_quire(tmp_path) as quire:
        session = await create(quire)
        for name, times in (("a", 12), ("b", 3)):
            body = "\n\n".join(f"The heliotrope {name}{n} flowers." for n in range(times))
            await ingest(quire, session.id, text(body, id=name), chunk_size=34)
        one = await found(
            quire, session.id, query="heliotrope", group_by_document=True, mode=Mode.KEYWORD
        )
        assert sorted(documents(one)) == ["a", "b"]
        two = await found(
            quire, session.id, query="heliotrope", group_by_document=True, group_size=2,
            mode=Mode.KEYWORD,
        )  # fmt: skip
        assert sorted(documents(two)) == ["a", "a", "b", "b"]


async def test_diversity_pushes_repetitions_down(tmp_path: Path) -> None:
    async with filled_quire(tmp_path) as quire:
        session = await create(quire)
        same = [text(f"heliotrope blooms violet {'!' * n}", id=f"same{n}") for n in range(5)]
        other = text("heliotrope grows in peru", id="other")
        await ingest(quire, session.id, *same, other)
        asked = {"query": "heliotrope blooms violet", "mode": Mode.DENSE, "limit": 2}
        assert "other" not in documents(await found(quire, session.id, **asked))
        assert "other" in documents(await found(quire, session.id, diversity=0.9, **asked))


async def test_several_sessions_answer_as_one(tmp_path: Path) -> None:
    async with filled_quire(tmp_path) as quire:
        sessions = [await create(quire) for _ in range(3)]
        await ingest(quire, sessions[0].id, text("Iron gall ink is brewed from oak galls.", id="x"))
        await ingest(quire, sessions[1].id, *(text(f"Nothing of note {n}.") for n in range(20)))
        await ingest(quire, sessions[2].id, text("Ink stains.", id="x"), text("Paper.", id="y"))
        ids = [session.id for session in sessions]
        for mode in Mode:
            items = await found(quire, *ids, query="iron gall ink", mode=mode)
            best = [(item["session_id"], item["document_id"]) for item in items[:2]]
            # what fits best comes first, wherever it is; ranks in a poor session count for nothing
            assert best == [(ids[0], "x"), (ids[2], "x")], mode
        page = await quire.search.search(ADA, ids, SearchRequest(query="ink", limit=30), {})
        assert (await quire.pages.page(ADA, page.query_id, 1)).page_index == 1
        with pytest.raises(SessionNotFound):
            await quire.search.search(GRACE, ids, SearchRequest(query="ink"), {})


async def test_results_stay_as_they_were_found(library: tuple[Quire, str]) -> None:
    quire, session_id = library
    request = SearchRequest(query="oak iron linen error garden", limit=5, page_size=2)
    page = await quire.search.search(ADA, [session_id], request, {"query": "…"})
    assert (page.num_total_items, page.num_total_pages, page.has_next) == (5, 3, True)
    await remove(quire, session_id, *TEXTS)
    seen = documents(page.items)
    for index in (1, 2):
        seen += documents((await quire.pages.page(ADA, page.query_id, index)).items)
    assert sorted(seen) == sorted(TEXTS)
    assert await found(quire, session_id, query="oak") == []
    with pytest.raises(InvalidInput, match="Valid range: 0-2"):
        await quire.pages.page(ADA, page.query_id, 3)


async def test_what_is_being_written_is_not_found(library: tuple[Quire, str]) -> None:
    quire, session_id = library
    await ingest(quire, session_id, text("All about heliotropes.", id="garden"))
    assert documents(await found(quire, session_id, query="heliotropes", limit=1)) == ["garden"]
    assert "garden" not in documents(
        await found(quire, session_id, query="oak trees pond", mode=Mode.KEYWORD)
    )


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({}, "Give a query"),
        ({"query": "  "}, "blank"),
        ({"query": "a\x00b"}, "NUL"),
        ({"query": "a\ud800"}, "surrogates"),
        ({"query": "x", "limit": 0}, "1 to 1000"),
        ({"query": "x", "limit": 10**9}, "1 to 1000"),
        ({"query": "x", "before": -1}, "before is 0 to 100"),
        ({"query": "x", "diversity": 2.0}, "0 to 1"),
        ({"query": "x", "dense_weight": float("nan")}, "weights"),
        ({"query": "x", "dense_weight": 0.0, "keyword_weight": 0.0}, "weights"),
        ({"query": "x", "score_threshold": float("inf")}, "finite"),
        ({"query": "x", "group_size": 0}, "group_size"),
        ({"vector": [1.0] * 32, "mode": Mode.KEYWORD}, "by words"),
        ({"query": "x", "page_size": 0}, "page_size is 1 to 1000"),
    ],
)
async def test_what_cannot_be_searched_is_refused(
    library: tuple[Quire, str], asked: dict[str, Any], told: str
) -> None:
    quire, session_id = library
    with pytest.raises(InvalidInput, match=told):
        await found(quire, session_id, **asked)


async def test_a_question_of_many_words_is_limited(tmp_path: Path) -> None:
    async with filled_quire(tmp_path, limits=LimitSettings(search_sessions=2)) as quire:
        session = await create(quire)
        with pytest.raises(LimitExceeded, match="QUIRE_LIMITS_QUERY_CHARS"):
            await found(quire, session.id, query="word " * 100_000)
        with pytest.raises(LimitExceeded, match="QUIRE_LIMITS_SEARCH_SESSIONS"):
            await found(quire, session.id, "b", "c", query="x")
        # longer than the model's window, and still answered
        await ingest(quire, session.id, text("heliotrope"))
        assert await found(quire, session.id, query="heliotrope " * 900)


async def test_a_session_of_foreign_vectors_is_searched_by_vector_or_words(tmp_path: Path) -> None:
    async with filled_quire(tmp_path) as quire:
        session = await create(quire, dimension=4)
        points = [{"id": 1, "vector": [1, 0, 0, 0], "payload": {"text": "heliotrope"}}]
        await quire.points.upsert(ADA, session.id, points)
        (hit,) = await found(quire, session.id, vector=[1.0, 0.0, 0.0, 0.0])
        assert (hit["id"], hit["text"], hit["document_id"]) == (1, "heliotrope", None)
        (hit,) = await found(quire, session.id, query="heliotrope", mode=Mode.KEYWORD)
        assert hit["id"] == 1
        with pytest.raises(Conflict):
            await found(quire, session.id, query="heliotrope")


async def test_an_expired_query_says_so(library: tuple[Quire, str]) -> None:
    quire, session_id = library
    page = await quire.search.search(ADA, [session_id], SearchRequest(query="oak"), {})
    for _ in range(quire.settings.query.per_session + 1):
        await quire.search.search(ADA, [session_id], SearchRequest(query="oak"), {})
    await quire.pages.close()
    with pytest.raises(QueryExpired):
        await quire.pages.page(ADA, page.query_id, 0)


async def test_a_long_document_is_found_by_what_stands_anywhere_in_it(tmp_path: Path) -> None:
    async with filled_quire(tmp_path) as quire:
        session = await create(quire)
        body = f"{paragraphs(100)}\n\nThe heliotrope ends it."
        await ingest(quire, session.id, text(body, id="long"), chunk_size=200)
        (hit, *_) = await found(quire, session.id, query="heliotrope", mode=Mode.KEYWORD)
        assert hit["text"].endswith("The heliotrope ends it.")
        assert hit["links"]["next"] is None
