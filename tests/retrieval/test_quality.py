"""How good search is, on a sample of the benchmark's corpus and with the default model."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from quire.embedding.weights import find_weights
from quire.retrieval.requests import Mode
from tests.bench.corpus import GROUPS, KINDS, POSITIONS, Kind, Planted, Written, write
from tests.bench.quality import Quality, Sizes, ask_all
from tests.sessions.house import quire_in

if TYPE_CHECKING:
    from pathlib import Path

SAMPLE = Sizes(documents=3, characters=12_000)
# So few questions tell a position that is lost from one that is not, but not three points.
SPREAD = 0.15


@pytest.fixture(scope="module")
def turns() -> list[list[Written]]:
    return write(SAMPLE.documents, SAMPLE.characters)


@pytest.fixture(scope="module")
def quality(tmp_path_factory: pytest.TempPathFactory) -> Quality:
    if find_weights(tmp_path_factory.mktemp("none")) is None:
        pytest.fail("the default model's weights are not here: run `quire weights`")
    return asyncio.run(_measured(tmp_path_factory.mktemp("quality")))


def test_hybrid_finds_more_than_meaning_or_words_alone(quality: Quality) -> None:
    hybrid = quality.scores(Mode.HYBRID)
    for mode in (Mode.DENSE, Mode.KEYWORD):
        alone = quality.scores(mode)
        assert hybrid.ndcg_10 > alone.ndcg_10
        assert hybrid.recall_10 > alone.recall_10


def test_each_of_both_is_good_at_its_own_questions(quality: Quality) -> None:
    assert quality.of_kind(Mode.KEYWORD, Kind.EXACT).recall_1 > 0.95
    meaning = {mode: quality.of_kind(mode, Kind.MEANING).recall_10 for mode in Mode}
    assert meaning[Mode.DENSE] > meaning[Mode.KEYWORD]


@pytest.mark.parametrize("mode", list(Mode))
def test_what_stands_at_the_end_is_found_as_well(quality: Quality, mode: Mode) -> None:
    assert quality.spread(mode) < SPREAD


def test_the_corpus_is_the_same_every_time(turns: list[list[Written]]) -> None:
    assert write(SAMPLE.documents, SAMPLE.characters) == turns


def test_every_fact_stands_at_every_position_once(turns: list[list[Written]]) -> None:
    stood = Counter((planted.fact, planted.position) for planted in _planted(turns))
    facts = {fact for fact, _ in stood}
    assert len(facts) == SAMPLE.documents * GROUPS * len(KINDS)
    assert stood == Counter((fact, position) for fact in facts for position in POSITIONS)
    assert len(set(Counter(fact.kind for fact in facts).values())) == 1  # equal shares


def test_an_answer_stands_where_it_says_and_nowhere_else(turns: list[list[Written]]) -> None:
    for turn in turns:
        text = "\n".join(document.text for document in turn)
        for document in turn:
            for planted in document.planted:
                assert document.text[planted.start : planted.end] == planted.fact.sentence
                assert text.count(planted.fact.sentence) == 1


def _planted(turns: list[list[Written]]) -> list[Planted]:
    return [planted for turn in turns for document in turn for planted in document.planted]


async def _measured(directory: Path) -> Quality:
    async with quire_in(directory) as quire:
        return await ask_all(quire, SAMPLE)
