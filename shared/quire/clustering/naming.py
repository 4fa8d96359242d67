"""Clusters' names: the words that stand in their texts more often than in the others'.

The class-based form of tf-idf: a cluster counts as one text, and a word's weight is the share of
the cluster's texts that have it, times how much larger that is than its share of all texts. So
what every text has weighs nothing, in whatever language; keyword search's stop words go as well.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import numpy.typing as npt

from quire.clustering.model import NOISE
from quire.retrieval.words import words
from quire.vectors.bm25 import Bm25

NOISE_NAME = "noise"
NAMED_BY = 3
TERMS = 8
TEXT_CHARS = 4_000
"""Of a text; a cluster's words stand in the beginnings of its texts as well."""
VOCABULARY = 10_000
LONGEST_WORD = 40
_COUNTED_MAX = 200_000

Texts = Callable[[], Iterable[str]]


def named(texts: Texts, labels: npt.NDArray[np.int64]) -> list[tuple[str, list[str]]]:
    """Of each cluster its name and its terms; texts come in the order of the labels, twice."""
    count = int(labels.max(initial=NOISE)) + 1
    vocabulary = _vocabulary(texts())
    table = np.zeros((count + 1, len(vocabulary)), np.int32)  # noise is the last row
    sizes = np.zeros(count + 1, np.int64)
    for label, text in zip(labels.tolist(), texts(), strict=True):
        known = [vocabulary[word] for word in _words(text) if word in vocabulary]
        table[label, known] += 1
        sizes[label] += 1
    spelled = list(vocabulary)
    # Noise is nothing to tell several clusters from, but all there is to tell a single one from.
    compared = slice(None) if count == 1 else slice(count)
    everywhere = table[compared].sum(axis=0) / max(1, int(sizes[compared].sum()))
    stems = _Stems()
    names: list[tuple[str, list[str]]] = []
    taken = {NOISE_NAME}
    for label in range(count):
        share = table[label] / max(1, int(sizes[label]))
        with np.errstate(divide="ignore", invalid="ignore"):
            weights = np.where(share > 0, share * np.log(share / everywhere), 0.0)
        if not weights.any():
            weights = share
        ranked = (spelled[n] for n in np.argsort(-weights, kind="stable") if weights[n] > 0)
        terms = _distinct(ranked, stems)
        names.append((_name(label, terms, taken), terms))
    return names


def _vocabulary(texts: Iterable[str]) -> dict[str, int]:
    """The words of most texts, without those that only one has."""
    counted: Counter[str] = Counter()
    for text in texts:
        counted.update(_words(text))
        if len(counted) > _COUNTED_MAX:
            counted = Counter({word: n for word, n in counted.items() if n > 1})
            if len(counted) > _COUNTED_MAX // 2:
                counted = Counter(dict(counted.most_common(_COUNTED_MAX // 2)))
    frequent = (word for word, n in counted.most_common(VOCABULARY) if n > 1)
    return {word: number for number, word in enumerate(frequent)}


def _words(text: str) -> list[str]:
    """Each word once, in the order of the text: of equals the same comes first every time."""
    return [
        word
        for word in dict.fromkeys(words(text[:TEXT_CHARS]))
        if 1 < len(word) <= LONGEST_WORD and not word.isdigit()
    ]


class _Stems:
    """What keyword search makes of words: forms of one word are one, stop words none."""

    def __init__(self) -> None:
        self._bm25 = Bm25()
        self._known: dict[str, int | None] = {}

    def of(self, word: str) -> int | None:
        if word not in self._known:
            found = self._bm25.query(word).indices
            self._known[word] = found[0] if found else None
        return self._known[word]


def _distinct(ranked: Iterable[str], stems: _Stems) -> list[str]:
    terms: dict[int, str] = {}
    for word in ranked:
        stem = stems.of(word)
        if stem is not None:
            terms.setdefault(stem, word)
        if len(terms) == TERMS:
            break
    return list(terms.values())


def _name(label: int, terms: Sequence[str], taken: set[str]) -> str:
    longer = (", ".join(terms[:size]) for size in range(min(NAMED_BY, len(terms)), len(terms) + 1))
    plain = next((name for name in longer if name and name not in taken), None)
    if plain is None:
        plain = f"cluster {label}" if not terms else f"{', '.join(terms[:NAMED_BY])} ({label})"
    taken.add(plain)
    return plain
