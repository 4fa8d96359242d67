"""Messages are found by words, alike on both databases; and by meaning where that is wanted."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio
import sqlalchemy as sa

from quire.activity.message_models import MessageMode, MessageRole, NewMessage
from quire.errors import Conflict, InvalidInput, LimitExceeded
from quire.sessions.requests import NewSession
from quire.store.tables import messages
from tests.activity.conversing import over, say
from tests.sessions.house import ADA, create

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from quire.app import Quire

pytestmark = pytest.mark.asyncio(loop_scope="module")

KEYWORD, SEMANTIC, HYBRID = MessageMode.KEYWORD, MessageMode.SEMANTIC, MessageMode.HYBRID
TALK = (
    "The bindings of old books are glued with animal glue",
    "Gluing paper wants patience",
    "We talked about the weather and about paper, paper and more paper",
    "error E4711 in module parser: unexpected token",
    "Straße, naïve café – 東京 タワー",
    "",
    "binding",
)


@pytest_asyncio.fixture(
    scope="module",
    loop_scope="module",
    params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)],
)
async def quire(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Quire]:
    async with over(request.param, tmp_path_factory.mktemp("quire"), request) as opened:
        yield opened


async def found(
    quire: Quire, session_id: str, query: str, mode: MessageMode = KEYWORD, limit: int = 10
) -> list[int]:
    answer = await quire.activity.messages.search(ADA, session_id, query, mode=mode, limit=limit)
    assert answer.pending == 0
    scores = [hit.score for hit in answer.hits]
    assert scores == sorted(scores, reverse=True)
    return [hit.message.ordinal for hit in answer.hits]


class TestByWords:
    @pytest.mark.parametrize(
        ("query", "expected"),
        [
            ("glued", [1, 0]),  # in any form, shorter ones first
            ("bindings", [6, 0]),
            ("paper", [2, 1]),  # the more often the better
            ("patience with paper", [1, 2]),
            ("E4711", [3]),
            ("PARSER unexpected", [3]),
            ("naïve", [4]),
            ("the and about", []),  # nothing but stop words
            ("nowhere", []),
            ('"glue" AND NOT (paper) OR * : @', [2, 0, 1]),  # nothing is an operator
        ],
    )
    async def test_words_are_found_as_keyword_search_finds_them(
        self, quire: Quire, query: str, expected: list[int]
    ) -> None:
        session = await create(quire)
        await say(quire, session.id, *TALK)
        assert await found(quire, session.id, query) == expected

    async def test_of_equals_the_newest_comes_first(self, quire: Quire) -> None:
        session = await create(quire)
        await say(quire, session.id, *["the same words"] * 5)
        assert await found(quire, session.id, "words", limit=3) == [4, 3, 2]

    async def test_other_sessions_neither_show_nor_count(self, quire: Quire) -> None:
        mine = await create(quire, id=f"Case.{id(self)}")
        others = [await create(quire, id=f"case.{id(self)}"), await create(quire)]
        for session in others:
            await say(quire, session.id, *["a rare common word"] * 30)
        await say(quire, mine.id, "rare and rare", "common", "common", "common", "word")

        assert await found(quire, mine.id, "rare common") == [0, 3, 2, 1]
        score = (await quire.activity.messages.search(ADA, mine.id, "rare")).hits[0].score
        alone = await create(quire)
        await say(quire, alone.id, "rare and rare", "common", "common", "common", "word")
        same = (await quire.activity.messages.search(ADA, alone.id, "rare")).hits[0].score
        assert score == same

    async def test_parts_and_data_are_searched_too(self, quire: Quire) -> None:
        session = await create(quire)
        parts = [
            {"type": "text", "text": "a screenshot"},
            {"type": "data", "data": {"temperature": "tropical"}},
            {"type": "image", "attachment": "beach.png"},
        ]
        await quire.activity.messages.append(
            ADA, session.id, [NewMessage(role=MessageRole.TOOL, content=parts)]
        )
        for word in ("screenshots", "tropical", "beach"):
            assert await found(quire, session.id, word) == [0]

    async def test_a_message_of_very_many_words_is_found_by_each(self, quire: Quire) -> None:
        session = await create(quire)
        await say(quire, session.id, " ".join(f"w{n}x" for n in range(90_000)))
        for word in ("w0x", "w44444x", "w89999x"):
            assert await found(quire, session.id, word) == [0]

    async def test_of_too_many_the_newest_are_ranked(
        self, quire: Quire, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("quire.activity.message_words.CANDIDATES", 3)
        monkeypatch.setattr("quire.activity.message_words.BATCH", 2)
        session = await create(quire)
        await say(quire, session.id, "glue glue", "glue", "glue", "glue", "nothing")
        assert await found(quire, session.id, "glue") == [3, 2, 1]

    @pytest.mark.parametrize("query", ["", "  ", "a\x00b", "\ud800"])
    async def test_what_is_no_question_is_refused(self, quire: Quire, query: str) -> None:
        session = await create(quire)
        with pytest.raises(InvalidInput) as refused:
            await quire.activity.messages.search(ADA, session.id, query)
        assert refused.value.field == "query"

    async def test_limits_are_named(self, quire: Quire) -> None:
        session = await create(quire)
        with pytest.raises(LimitExceeded, match="QUIRE_LIMITS_QUERY_CHARS"):
            await quire.activity.messages.search(ADA, session.id, "x" * 20_001)
        with pytest.raises(LimitExceeded, match="QUIRE_LIMITS_PAGE_SIZE"):
            await quire.activity.messages.search(ADA, session.id, "x", limit=1_001)


class TestByMeaning:
    async def test_a_session_that_did_not_ask_for_it_says_how_to(self, quire: Quire) -> None:
        session = await create(quire)
        await say(quire, session.id, "hello")
        for mode in (SEMANTIC, HYBRID):
            with pytest.raises(Conflict, match="not embedded") as refused:
                await found(quire, session.id, "hello", mode)
            assert "messages/settings" in refused.value.recovery

    async def test_old_and_new_messages_are_found(self, quire: Quire) -> None:
        session = await create(quire)
        await say(quire, session.id, *TALK[:3])
        state = await quire.activity.messages.set_semantic(ADA, session.id, on=True)
        assert (state.semantic, state.messages) == (True, 3)
        await say(quire, session.id, *TALK[3:])

        assert (await found(quire, session.id, "Gluing paper wants patience", SEMANTIC))[0] == 1
        assert (await found(quire, session.id, "binding", SEMANTIC))[0] == 6
        state = await quire.activity.messages.settings(ADA, session.id)
        assert (state.messages, state.pending) == (7, 0)

    async def test_they_are_embedded_in_the_background(self, quire: Quire) -> None:
        session = await create(quire)
        await quire.activity.messages.set_semantic(ADA, session.id, on=True)
        await say(quire, session.id, *TALK)
        async with asyncio.timeout(10):
            while (await quire.activity.messages.settings(ADA, session.id)).pending:
                await asyncio.sleep(0.02)

    async def test_what_is_longer_than_the_window_is_found_by_its_end(self, quire: Quire) -> None:
        session = await create(quire)
        await quire.activity.messages.set_semantic(ADA, session.id, on=True)
        filler = " ".join(f"filler{n}" for n in range(700))
        await say(quire, session.id, "short", f"{filler} marmalade tastes of oranges", "shorter")
        best = await quire.activity.messages.search(
            ADA, session.id, "marmalade tastes of oranges", mode=SEMANTIC
        )
        assert best.hits[0].message.ordinal == 1
        vector = sa.select(messages.c.vector).where(
            messages.c.session_id == session.id, messages.c.ordinal == 1
        )
        async with quire.database.read() as connection:
            kept = (await connection.execute(vector)).scalar_one()
        assert len(kept) >= 3 * 4 * session.embedding.dimension

    async def test_cosines_are_exact_and_of_many_batches(
        self, quire: Quire, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("quire.activity.message_vectors.BATCH", 7)
        monkeypatch.setattr("quire.activity.message_vectors.PORTION", 5)
        session = await create(quire)
        await quire.activity.messages.set_semantic(ADA, session.id, on=True)
        texts = [f"word{n} word{n + 1} word{n * 2}" for n in range(40)]
        await say(quire, session.id, *texts)
        answer = await quire.activity.messages.search(
            ADA, session.id, "word20 word10", mode=SEMANTIC, limit=40
        )
        embedder = await quire.embedders.of(await quire.embedders.default())
        vectors = await embedder.passages(texts)
        cosines = vectors @ (await embedder.query("word20 word10"))
        assert [hit.message.ordinal for hit in answer.hits] == sorted(
            range(40), key=lambda n: (-cosines[n], -n)
        )
        assert [hit.score for hit in answer.hits] == pytest.approx(sorted(cosines)[::-1], abs=1e-6)

    async def test_hybrid_fuses_both(self, quire: Quire) -> None:
        session = await create(quire)
        await quire.activity.messages.set_semantic(ADA, session.id, on=True)
        await say(quire, session.id, *TALK)
        ranked = await found(quire, session.id, "E4711 unexpected", HYBRID)
        assert ranked[0] == 3
        assert set(ranked) >= {0, 1, 2, 3}

    async def test_after_the_session_moved_to_another_model_vectors_do_not_mix(
        self, quire: Quire
    ) -> None:
        session = await create(quire)
        await quire.activity.messages.set_semantic(ADA, session.id, on=True)
        await say(quire, session.id, *TALK)
        before = await found(quire, session.id, "gluing paper", SEMANTIC)
        job = await quire.reembedding.begin(ADA, session.id, "fake", "other")
        await quire.jobs.wait(job, 30)

        state = await quire.activity.messages.settings(ADA, session.id)
        assert state.pending == len(TALK)
        assert (await found(quire, session.id, "gluing paper", SEMANTIC))[0] == before[0]
        assert (await quire.activity.messages.settings(ADA, session.id)).pending == 0

    async def test_off_again_nothing_more_is_embedded(self, quire: Quire) -> None:
        session = await create(quire)
        await quire.activity.messages.set_semantic(ADA, session.id, on=True)
        await say(quire, session.id, "before")
        await found(quire, session.id, "before", SEMANTIC)
        await quire.activity.messages.set_semantic(ADA, session.id, on=False)
        await say(quire, session.id, "after")
        with pytest.raises(Conflict):
            await found(quire, session.id, "after", SEMANTIC)
        await quire.activity.messages.set_semantic(ADA, session.id, on=True)
        assert sorted(await found(quire, session.id, "after", SEMANTIC)) == [0, 1]

    async def test_a_session_of_vectors_from_elsewhere_says_why_not(self, quire: Quire) -> None:
        new = NewSession(name="s", provider="external", dimension=8)
        session, _ = await quire.creation.create(ADA, new)
        with pytest.raises(Conflict, match="brought by a pipeline"):
            await quire.activity.messages.set_semantic(ADA, session.id, on=True)
