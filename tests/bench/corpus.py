"""Long documents with answers in known places, and the questions to them; the same for a seed.

Each document is about one place (a brewery, a mine, …) and is written from sentences that all of
them share, so a chunk has many that resemble it. Its facts are of three kinds, in equal shares, and
stand at the start, in the middle and at the end.

A corpus has three turns. The documents and facts are the same in each, but every fact stands at
another position, so each is once at the start, once in the middle and once at the end: what differs
between positions is then the position, not how hard the questions are.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import product

from tests.bench.accounts import (
    ASKED_OF_FINDS,
    FINDERS,
    FINDS,
    FOUND,
    HAPPENED,
    WHEREABOUTS,
    Account,
)
from tests.bench.vocabulary import (
    ADJECTIVES,
    ASKED_BY_CODE,
    ASKED_BY_NAME,
    CODED,
    MATERIALS,
    NAMED,
    OPENINGS,
    PLACES,
    SEASONS,
    SUMS,
    SURNAMES,
    SYLLABLES,
    TAILS,
    TOPICS,
    TRADES,
)

SEED = 7
PARAGRAPH_CHARS = (250, 950)
GROUPS_PER_POSITION = 2
# One sentence in so many records a code or a rare name that nobody asks for.
CODED_EVERY = 12
NAMED_EVERY = 20


class Kind(StrEnum):
    """What a question has in common with its answer."""

    MEANING = "meaning"  # and no word, or just one or two
    EXACT = "exact"  # a code or a rare name, whose parts stand in other places too
    MIXED = "mixed"  # the name of the place, which its document is full of, and a paraphrase


class Position(StrEnum):
    START = "start"
    MIDDLE = "middle"
    END = "end"


KINDS, POSITIONS = tuple(Kind), tuple(Position)
TURNS = len(POSITIONS)
GROUPS = GROUPS_PER_POSITION * len(POSITIONS)
# Every fact has a paragraph of its own.
PARAGRAPHS_PER_POSITION = GROUPS_PER_POSITION * len(KINDS)


@dataclass(frozen=True)
class Fact:
    """A sentence that answers a question; a sequel may tell how it went on."""

    kind: Kind
    sentence: str
    question: str
    sequel: str = ""

    @property
    def told(self) -> str:
        return f"{self.sentence} {self.sequel}".rstrip()


@dataclass(frozen=True)
class Planted:
    """A fact in its document: where in it, and at which characters."""

    fact: Fact
    position: Position
    start: int
    end: int


@dataclass(frozen=True)
class Written:
    """A document of one turn."""

    id: str
    text: str
    planted: tuple[Planted, ...]


def write(documents: int, characters: int, seed: int = SEED) -> list[list[Written]]:
    """The corpus, turn by turn: so many documents in each, of so many characters or a few more."""
    if documents > len(PLACES):
        raise ValueError(f"there are names for {len(PLACES)} documents")
    drafts = _drafts(documents, characters, random.Random(seed))
    return [[draft.written(turn) for draft in drafts] for turn in range(TURNS)]


@dataclass(frozen=True)
class _Draft:
    """A document before its facts are in it: sentences by paragraph, and facts in groups."""

    number: int
    id: str
    paragraphs: Sequence[Sequence[str]]
    groups: Sequence[Sequence[Fact]]
    """Each has one fact of every kind; they stand together, at one position."""

    def written(self, turn: int) -> Written:
        paragraphs = [list(sentences) for sentences in self.paragraphs]
        position_of: dict[str, Position] = {}
        for number, group in enumerate(self.groups):
            row, column = divmod(number, len(POSITIONS))
            at = (column + turn) % TURNS
            for kind, fact in enumerate(group):
                among = row * len(group) + (kind + column) % len(group)
                sentences = paragraphs[self._paragraph(at, among)]
                # At the paragraph's beginning, within it and at its end: so of the chunk as well.
                place = (0, len(sentences) // 2, len(sentences))
                sentences.insert(place[(kind + self.number) % len(place)], fact.told)
                position_of[fact.sentence] = POSITIONS[at]
        text = "\n\n".join(" ".join(sentences) for sentences in paragraphs)
        planted = []
        for fact in (fact for group in self.groups for fact in group):
            start = text.index(fact.sentence)
            end = start + len(fact.sentence)
            planted.append(Planted(fact, position_of[fact.sentence], start, end))
        return Written(self.id, text, tuple(planted))

    def _paragraph(self, position: int, number: int) -> int:
        """The first ones, those around the middle, or the last ones."""
        last = len(self.paragraphs) - PARAGRAPHS_PER_POSITION
        return position * last // (len(POSITIONS) - 1) + number


def _drafts(documents: int, characters: int, chance: random.Random) -> list[_Draft]:
    authors = [_Author(number, chance) for number in range(documents)]
    records = _Records(chance)
    combinations = chance.sample([*product(FINDS, WHEREABOUTS)], documents * GROUPS)
    facts = []
    for author in authors:
        happened = chance.sample(HAPPENED, GROUPS)
        facts.append(
            [
                (
                    author.meaning(*combinations.pop()),
                    author.exact(records, is_code=chance.random() < 2 / 3),
                    author.mixed(happened.pop()),
                )
                for _ in range(GROUPS)
            ]
        )
    # The rest is written when all that is asked for is known, so that it stands nowhere else.
    return [
        _Draft(author.number, author.id, author.paragraphs(characters, records), groups)
        for author, groups in zip(authors, facts, strict=True)
    ]


class _Records:
    """Codes and rare names, put together from few parts; none is given out twice."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._series = ["".join(chance.sample("BCDFGHKLMPQRVW", 2)) for _ in range(12)]
        self._numbers = [str(number) for number in chance.sample(range(1000, 10_000), 250)]
        self._first = ["".join(chance.sample(SYLLABLES, 2)).title() for _ in range(60)]
        self._last = ["".join(chance.sample(SYLLABLES, 3)).title() for _ in range(80)]
        self._given: set[tuple[str, ...]] = set()

    def code(self) -> str:
        series, number, letter = self._new(self._series, self._numbers, "KRTVXZ")
        form = self._chance.choice(("{}-{}-{}", "{} {}/{}", "{}{}-{}"))
        return form.format(series, number, letter)

    def name(self) -> str:
        return " ".join(self._new(self._first, self._last))

    def _new(self, *parts: Sequence[str]) -> tuple[str, ...]:
        while (drawn := tuple(map(self._chance.choice, parts))) in self._given:
            pass
        self._given.add(drawn)
        return drawn


class _Author:
    """Writes of one place."""

    def __init__(self, number: int, chance: random.Random) -> None:
        trade, self._place = TRADES[number % len(TRADES)], PLACES[number]
        self._chance = chance
        self.number = number
        self.id = f"{self._place}-{trade.noun}".lower().replace(" ", "-")
        self._words: dict[str, Sequence[str]] = {
            "name": (self._place,),
            "noun": (trade.noun,),
            "person": trade.people,
            "thing": trade.things,
            "room": trade.rooms,
            "surname": SURNAMES,
            "material": MATERIALS,
            "adjective": ADJECTIVES,
            "season": SEASONS,
            "sum": SUMS,
            "year": [str(year) for year in range(1820, 1960)],
            "number": [str(number) for number in range(12, 900)],
        }

    def meaning(self, find: Account, whereabouts: Account) -> Fact:
        choice = self._chance.choice
        question = choice(ASKED_OF_FINDS).format(
            find=find.asked, whereabouts=choice((whereabouts.told, whereabouts.asked))
        )
        event = f"{choice(FINDERS)} {choice(FOUND)} {find.told} {whereabouts.told}"
        sequel = f"{whereabouts.sequel} {find.sequel}"
        return Fact(Kind.MEANING, self._sentence(event), _begun(question), sequel)

    def exact(self, records: _Records, *, is_code: bool) -> Fact:
        what = records.code() if is_code else records.name()
        record = self._chance.choice(CODED if is_code else NAMED)
        question = self._chance.choice(ASKED_BY_CODE if is_code else ASKED_BY_NAME)
        sentence = self._sentence(record.format(code=what, rare=what))
        return Fact(Kind.EXACT, sentence, question.format(code=what, rare=what))

    def mixed(self, event: Account) -> Fact:
        sentence = self._sentence(self._filled(event.told))
        question = event.asked.format(name=self._place)
        return Fact(Kind.MIXED, sentence, question, event.sequel)

    def paragraphs(self, characters: int, records: _Records) -> list[list[str]]:
        paragraphs: list[list[str]] = []
        topics = self._chance.sample(TOPICS, len(TOPICS))
        written = 0
        while written < characters or len(paragraphs) < PARAGRAPHS_PER_POSITION * len(POSITIONS):
            # Topic after topic, as sections are; each looks ahead at the next.
            at = written * len(topics) // characters
            told = topics[at % len(topics)] + topics[(at + 1) % len(topics)][:3]
            paragraph = self._paragraph(told, records)
            paragraphs.append(paragraph)
            written += sum(map(len, paragraph))
        return paragraphs

    def _paragraph(self, told: Sequence[str], records: _Records) -> list[str]:
        sentences: list[str] = []
        untold = self._chance.sample(told, len(told))
        most = self._chance.randint(*PARAGRAPH_CHARS)
        while untold and sum(map(len, sentences)) < most:
            chance = self._chance.random()
            if chance < 1 / CODED_EVERY:
                sentence = self._chance.choice(CODED).format(code=records.code())
            elif chance < 1 / CODED_EVERY + 1 / NAMED_EVERY:
                sentence = self._chance.choice(NAMED).format(rare=records.name())
            else:
                sentence = self._filled(untold.pop())
            sentences.append(self._sentence(sentence))
        return sentences

    def _sentence(self, told: str) -> str:
        """With when it was, or how it came about, or both, or neither."""
        if self._chance.random() < 0.5:
            told = f"{self._filled(self._chance.choice(OPENINGS))}, {told}"
        if self._chance.random() < 0.4:
            told = f"{told}, {self._filled(self._chance.choice(TAILS))}"
        return f"{_begun(told)}."

    def _filled(self, template: str) -> str:
        """Every slot filled by itself: two people in a sentence need not be the same."""
        while "{" in template:
            head, slot = template.split("{", 1)
            name, tail = slot.split("}", 1)
            template = f"{head}{self._chance.choice(self._words[name])}{tail}"
        return template


def _begun(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]
