"""Where extracted text goes: a file of clean UTF-8, no larger than allowed."""

from __future__ import annotations

import re
from typing import BinaryIO

from quire.content.text import REPLACEMENT
from quire.errors import ExtractionFailed

# Control characters and non-characters that parsers let through, and halves of surrogate pairs.
_UNWANTED = re.compile("[\x00-\x08\x0b\x0e-\x1f\x7f\ufdd0-\ufdef\ufffe\uffff]")
_SURROGATES = re.compile("[\ud800-\udfff]")
_BLOCK = 256 * 1024


class Output:
    """Takes text in pieces; `ExtractionFailed` where it grows over the limit."""

    def __init__(self, file: BinaryIO, limit: int) -> None:
        self._file = file
        self._limit = limit
        self._pieces: list[str] = []
        self._held = 0
        self._written = 0
        self.characters = 0

    def write(self, piece: str) -> None:
        self._pieces.append(piece)
        self._held += len(piece)
        if self._held >= _BLOCK:
            self.flush()

    def flush(self) -> None:
        """Hand everything that was written to the file."""
        text = _UNWANTED.sub("", "".join(self._pieces))
        try:
            encoded = text.encode()
        except UnicodeEncodeError:
            text = _SURROGATES.sub(REPLACEMENT, text)
            encoded = text.encode()
        self._pieces.clear()
        self._held = 0
        self._written += len(encoded)
        if self._written > self._limit:
            raise ExtractionFailed(
                f"Its text is larger than {self._limit} bytes (QUIRE_LIMITS_DOCUMENT_BYTES)",
                recovery="Send it in parts, or have the operator raise the named setting.",
            )
        self._file.write(encoded)
        self.characters += len(text)
