"""What must stand in a text: words by their stems, phrases as they are, and any logic of them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

from quire.vectors.bm25 import Bm25

_WORD = re.compile(r"[^\W_]+")  # as the keyword vectors are cut: letters and digits of any script


class Text:
    """A text to be tested, taken apart once however many words are looked for."""

    def __init__(self, text: str, bm25: Bm25) -> None:
        self._text = text
        self._bm25 = bm25

    @cached_property
    def stems(self) -> frozenset[int]:
        """What keyword search knows of the text."""
        return frozenset(self._bm25.document(self._text).indices)

    @cached_property
    def phrase(self) -> str:
        """The words in order, without case and what stands between them."""
        return f" {' '.join(words(self._text))} "


class TextTest(Protocol):
    """Whether a text holds what is asked."""

    def holds(self, text: Text) -> bool: ...


@dataclass(frozen=True, slots=True)
class Stem:
    """A word in any of its forms, as keyword search finds it."""

    stem: int

    def holds(self, text: Text) -> bool:
        return self.stem in text.stems


@dataclass(frozen=True, slots=True)
class Phrase:
    """Words in this order with nothing but punctuation between them, in exactly these forms."""

    words: str

    def holds(self, text: Text) -> bool:
        return f" {self.words} " in text.phrase


@dataclass(frozen=True, slots=True)
class Every:
    tests: Sequence[TextTest]

    def holds(self, text: Text) -> bool:
        return all(test.holds(text) for test in self.tests)


@dataclass(frozen=True, slots=True)
class Some:
    tests: Sequence[TextTest]

    def holds(self, text: Text) -> bool:
        return any(test.holds(text) for test in self.tests)


@dataclass(frozen=True, slots=True)
class Without:
    test: TextTest

    def holds(self, text: Text) -> bool:
        return not self.test.holds(text)


def words(text: str) -> list[str]:
    """The words of a text, without case."""
    return _WORD.findall(text.casefold())


def word_test(word: str, bm25: Bm25) -> TextTest | None:
    """The test for one word of a query; None when it holds no letter or digit.

    What is several words to keyword search (`10.0.0.1`) is a phrase. So is a stop word, which
    keyword search does not know.
    """
    stems = bm25.query(word).indices
    if len(words(word)) == 1 and len(stems) == 1:
        return Stem(stems[0])
    return phrase_test(word)


def phrase_test(phrase: str) -> TextTest | None:
    """The test for a quoted phrase; None when it holds no letter or digit."""
    found = words(phrase)
    return Phrase(" ".join(found)) if found else None
