"""A stream that comes in, cut into pieces."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator

from quire.errors import BodyTooLarge, QuireError
from quire.uploads.checksum import Checksum, Verification


class Incoming:
    """Gives out a stream piece by piece, never holding more than one block of it.

    A stream that breaks off ends its piece as one that is over does, so that what has arrived
    can be kept; `require_whole` tells the two apart afterwards.
    """

    def __init__(
        self,
        content: AsyncIterable[bytes],
        piece_bytes: int,
        *,
        room: int,
        too_much: str,
        checksum: Checksum | None,
    ) -> None:
        self._content = aiter(content)
        self._piece_bytes = piece_bytes
        self._room = room
        self._too_much = too_much
        self._verification = Verification(checksum)
        self._block = b""
        self._is_over = False
        self._broken: QuireError | None = None

    async def has_more(self) -> bool:
        """Whether there is another piece; waits for its first bytes."""
        while not self._block and not self._is_over:
            await self._next()
        return bool(self._block)

    async def piece(self) -> AsyncIterator[bytes]:
        """The next piece, as it comes in."""
        left = self._piece_bytes
        while left and await self.has_more():
            taken, self._block = self._block[:left], self._block[left:]
            left -= len(taken)
            yield taken

    def require_whole(self) -> None:
        """Raise what the stream broke off with, or that its checksum is wrong."""
        if self._broken is not None:
            raise self._broken
        self._verification.require()

    async def _next(self) -> None:
        try:
            block = await anext(self._content, None)
        except QuireError as error:
            self._broken, block = error, None
        if block is None:
            self._is_over = True
            return
        self._room -= len(block)
        if self._room < 0:
            raise BodyTooLarge(self._too_much)
        self._verification.update(block)
        self._block = block
