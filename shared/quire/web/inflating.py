"""Content encodings, undone block by block: what a bomb swells to is never in memory at once."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Protocol

BLOCK_BYTES = 64 * 1024
ACCEPTED = "gzip, deflate"
"""Nothing else is asked for, and nothing else is taken."""

_EITHER = zlib.MAX_WBITS | 32  # gzip, or deflate with zlib's header
_BARE = -zlib.MAX_WBITS


class BrokenEncodingError(Exception):
    """What came is not in the encoding that it is said to be in, or it broke off."""


class Decoding(Protocol):
    def feed(self, block: bytes) -> Iterator[bytes]:
        """What the block comes to, in blocks of `BLOCK_BYTES` at most."""
        ...

    def end(self) -> None:
        """Raise `BrokenEncodingError` unless everything has come."""
        ...


class Plain:
    """Nothing to undo."""

    def feed(self, block: bytes) -> Iterator[bytes]:
        for start in range(0, len(block), BLOCK_BYTES):
            yield block[start : start + BLOCK_BYTES]

    def end(self) -> None:
        """Whether all of it has come, HTTP knows."""


class Inflating:
    """Undoes gzip and deflate, in each of the shapes that servers send."""

    def __init__(self) -> None:
        self._inflate = zlib.decompressobj(_EITHER)
        self._has_begun = False

    def feed(self, block: bytes) -> Iterator[bytes]:
        rest, made = block, b""
        # Where a block came out full there may be more of it, though all that went in is used up.
        while rest or len(made) == BLOCK_BYTES:
            if self._inflate.eof:
                if not rest.startswith(b"\x1f\x8b"):
                    return  # padding, which everyone passes over
                self._inflate = zlib.decompressobj(_EITHER)
            made = self._made(rest)
            if made:
                yield made
            rest = self._inflate.unused_data or self._inflate.unconsumed_tail

    def end(self) -> None:
        if self._has_begun and not self._inflate.eof:
            raise BrokenEncodingError("it broke off")

    def _made(self, data: bytes) -> bytes:
        try:
            made = self._inflate.decompress(data, BLOCK_BYTES)
        except zlib.error as error:
            if self._has_begun:
                raise BrokenEncodingError(str(error)) from None
            # Some call it deflate and leave zlib's header out.
            self._inflate = zlib.decompressobj(_BARE)
            try:
                made = self._inflate.decompress(data, BLOCK_BYTES)
            except zlib.error:
                raise BrokenEncodingError(str(error)) from None
        self._has_begun = True
        return made


def decoding_of(encoding: str) -> Decoding | None:
    """What undoes a Content-Encoding; None for one that was not asked for."""
    name = encoding.strip().lower()
    if name in ("", "identity"):
        return Plain()
    return Inflating() if name in ("gzip", "x-gzip", "deflate") else None
