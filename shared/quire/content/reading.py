"""Reading a document's text out of the blob store, a piece at a time."""

from __future__ import annotations

import codecs
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass

from quire.blobs.port import BlobStore
from quire.content.chunking.port import PIECE_CHARS
from quire.content.models import Slice

SMALL_BYTES = 64 * 1024
WINDOW_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Piece:
    text: str
    start: int  # characters
    byte: int


class SliceReader:
    """Reads slices in their order; small neighbours in one blob are fetched together."""

    def __init__(self, blobs: BlobStore) -> None:
        self._blobs = blobs
        self._window: tuple[Slice, bytes] | None = None

    async def bytes(self, part: Slice) -> AsyncIterator[bytes]:
        if part.size > SMALL_BYTES:
            async for content in self._blobs.get(part.sha256, start=part.start, end=part.end):
                yield content
            return
        if self._window is None or not _holds(self._window[0], part):
            ahead = Slice(part.sha256, part.start, part.start + WINDOW_BYTES)
            read = self._blobs.get(ahead.sha256, start=ahead.start, end=ahead.end)
            self._window = ahead, b"".join([content async for content in read])
        window, fetched = self._window
        yield fetched[part.start - window.start : part.end - window.start]


class TextReader:
    """A document's text from some place on, in pieces of PIECE_CHARS; knows where they lay."""

    def __init__(self, slices: SliceReader, text: Slice, *, at: int = 0, byte: int = 0) -> None:
        self._slices = slices
        self._text = text
        self._at = at
        self._byte = byte
        self._kept: deque[Piece] = deque([Piece("", at, byte)])

    async def pieces(self) -> AsyncIterator[str]:
        decoder = codecs.getincrementaldecoder("utf-8")()
        rest = Slice(self._text.sha256, self._text.start + self._byte, self._text.end)
        waiting: list[str] = []
        characters = 0
        async for content in self._slices.bytes(rest):
            text = decoder.decode(content)
            waiting.append(text)
            characters += len(text)
            while characters >= PIECE_CHARS:
                joined = "".join(waiting)
                yield self._keep(joined[:PIECE_CHARS])
                waiting = [joined[PIECE_CHARS:]]
                characters -= PIECE_CHARS
        last = "".join(waiting) + decoder.decode(b"", final=True)
        if last:
            yield self._keep(last)

    def byte_at(self, character: int) -> int:
        """The byte at which a character lies; no earlier one will be asked for."""
        while len(self._kept) > 1 and self._kept[1].start <= character:
            self._kept.popleft()
        piece = self._kept[0]
        return piece.byte + len(piece.text[: character - piece.start].encode())

    def _keep(self, text: str) -> str:
        self._kept.append(Piece(text, self._at, self._byte))
        self._at += len(text)
        self._byte += len(text.encode())
        return text


def _holds(window: Slice, part: Slice) -> bool:
    return window.sha256 == part.sha256 and window.start <= part.start and part.end <= window.end
