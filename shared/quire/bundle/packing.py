"""Compressed parts: written through a scratch file, read within bounds; zstd, one frame a part."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self, cast

import orjson
import zstandard

from quire.bundle.manifest import Part
from quire.bundle.parts import LINE_BYTES_MAX
from quire.errors import FileRefused

LEVEL = 6
WINDOW_LOG = 22
_BLOCK = 1024 * 1024


class Spool:
    """A part on its way into the bundle: compressed into a file, for its size must come first.

    What comes out depends on the bytes alone, not on the pieces in which they came.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.unpacked = 0
        self._file = path.open("wb")
        parameters = zstandard.ZstdCompressionParameters.from_level(LEVEL, window_log=WINDOW_LOG)
        self._packing = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
        self._waiting = bytearray()

    async def write(self, data: bytes) -> None:
        """Take bytes in; the work is done in a thread, some megabytes at a time."""
        self.unpacked += len(data)
        self._waiting += data
        if len(self._waiting) >= _BLOCK:
            await asyncio.to_thread(self._pack_blocks)

    async def close(self) -> None:
        """Finish the file; it stays until the caller removes it."""
        await asyncio.to_thread(self._finish)

    def abandon(self) -> None:
        """Let go of a file that is not wanted any more."""
        self._file.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            await self.close()
        self.abandon()

    def _pack_blocks(self) -> None:
        while len(self._waiting) >= _BLOCK:
            self._file.write(self._packing.compress(bytes(self._waiting[:_BLOCK])))
            del self._waiting[:_BLOCK]

    def _finish(self) -> None:
        self._pack_blocks()
        self._file.write(self._packing.compress(bytes(self._waiting)))
        self._file.write(self._packing.flush())
        self._file.close()


class Window(io.RawIOBase):
    """A stretch of a file, read as if it were one of its own."""

    def __init__(self, path: Path, offset: int, size: int) -> None:
        self._file = path.open("rb", buffering=0)
        self._offset = offset
        self._size = size
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = max(0, base + offset)
        return self._position

    def tell(self) -> int:
        return self._position

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer)[: max(0, self._size - self._position)]
        self._file.seek(self._offset + self._position)
        count = self._file.readinto(view) or 0
        self._position += count
        return count

    def close(self) -> None:
        self._file.close()
        super().close()


class Unpacking(io.RawIOBase):
    """A part's bytes, unpacked as they are read: as many as the manifest says, or refused."""

    def __init__(self, path: Path, offset: int, part: Part) -> None:
        self._part = part
        self._window = Window(path, offset, part.size)
        unpacker = zstandard.ZstdDecompressor(max_window_size=1 << WINDOW_LOG)
        # Across frames, so that nothing may stand unread behind the first.
        self._stream: Any = unpacker.stream_reader(
            cast("IO[bytes]", self._window), read_across_frames=True
        )
        self._count = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        name, declared = self._part.name, self._part.unpacked
        try:
            data = self._stream.read(len(buffer))
        except zstandard.ZstdError as error:
            raise FileRefused(f"{name} cannot be unpacked ({error}).", part=name) from None
        self._count += len(data)
        if self._count > declared:
            raise FileRefused(
                f"{name} unpacks to more than the {declared} bytes that the manifest says.",
                part=name,
            )
        if buffer and not data and self._count < declared:
            raise FileRefused(
                f"{name} unpacks to {self._count} bytes, not the {declared} of the manifest.",
                part=name,
            )
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self._stream.close()
        self._window.close()
        super().close()


def rows(path: Path, offset: int, part: Part) -> Iterator[dict[str, Any]]:
    """The rows of a table: JSON objects, one a line."""
    with io.BufferedReader(Unpacking(path, offset, part), _BLOCK) as lines:
        number = 0
        while line := lines.readline(LINE_BYTES_MAX + 1):
            number += 1
            if len(line) > LINE_BYTES_MAX:
                reason = f"is longer than {LINE_BYTES_MAX} bytes"
            elif not line.endswith(b"\n"):
                reason = "does not end"
            else:
                try:
                    row = orjson.loads(line)
                except orjson.JSONDecodeError as error:
                    reason = f"is no valid JSON ({error})"
                else:
                    if isinstance(row, dict):
                        yield row
                        continue
                    reason = "is no JSON object"
            raise FileRefused(f"Line {number} of {part.name} {reason}.", part=part.name)
