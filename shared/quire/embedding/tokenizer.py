"""The default model's tokeniser: nothing truncated, nothing padded that need not be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding
from tokenizers import Tokenizer as NativeTokenizer

from quire.embedding.port import Lane
from quire.embedding.weights import MODEL
from quire.embedding.window import require_fits, require_unicode

IDS, MASK = "input_ids", "attention_mask"

SPECIAL = 2
"""A text stands between [CLS] and [SEP]."""


@dataclass(frozen=True, slots=True)
class Tokens:
    """A batch as the model takes it, padded to its longest text."""

    ids: NDArray[np.int64]
    mask: NDArray[np.int64]

    @property
    def inputs(self) -> dict[str, NDArray[np.int64]]:
        """By the names that the graph has for them."""
        return {IDS: self.ids, MASK: self.mask}


@dataclass(frozen=True, slots=True)
class Part:
    """Texts of like length out of a larger list, and where in it they stand."""

    positions: list[int]
    tokens: Tokens


class Tokenizer:
    """Blocking; for any number of threads."""

    def __init__(self, path: Path, window: int) -> None:
        self._tokenizer = NativeTokenizer.from_file(str(path))
        # The file says to cut and to pad at 128: text would be lost without a word.
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._window = window

    def count(self, texts: Sequence[str]) -> list[int]:
        """How many tokens each text has, special ones not counted."""
        return [len(encoding) for encoding in self._encode(texts, special=False)]

    def parts(self, texts: Sequence[str], rows: int, lane: Lane) -> list[Part]:
        """The texts as batches of at most so many rows, the longest first.

        Raises `InvalidInput` if one is longer than the window.
        """
        if lane is Lane.BULK:
            encodings = self._encode(texts, special=True)
        else:
            # One by one, on this thread: those that share in batches give way to everybody.
            require_unicode(texts)
            encodings = [self._tokenizer.encode(text) for text in texts]
        require_fits(MODEL, self._window, [len(encoding) - SPECIAL for encoding in encodings])
        # The longest first: what is left for the end, while other cores idle, is then short.
        order = sorted(range(len(texts)), key=lambda at: len(encodings[at]), reverse=True)
        cuts = [order[start : start + rows] for start in range(0, len(order), rows)]
        return [Part(cut, _padded([encodings[at].ids for at in cut])) for cut in cuts]

    def _encode(self, texts: Sequence[str], *, special: bool) -> list[Encoding]:
        require_unicode(texts)
        return self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=special)


def _padded(rows: list[list[int]]) -> Tokens:
    shape = len(rows), max(map(len, rows))
    ids, mask = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
    for row, tokens in enumerate(rows):
        ids[row, : len(tokens)] = tokens
        mask[row, : len(tokens)] = 1
    return Tokens(ids, mask)
