"""Reading a bundle that was checked whole; nothing is ever unpacked to a path that it names."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from quire.bundle.checking import check_contents, read_plan, read_session
from quire.bundle.manifest import Manifest
from quire.bundle.packing import Unpacking, Window, rows
from quire.bundle.parts import (
    DOCUMENTS,
    SESSION,
    TABLES,
    content_name,
    points_name,
    table_name,
)
from quire.errors import FileRefused
from quire.vectors.port import Point

_BLOCK = 1024 * 1024


class BundleReader:
    """A bundle in a file; blocking, and for one thread at a time.

    Whatever is wrong with the file raises `FileRefused`, which names the reason and the part:
    nearly all of it in `open`, what only shows in single points while they are read.
    """

    def __init__(self, path: Path, manifest: Manifest, offsets: Mapping[str, int]) -> None:
        self.manifest = manifest
        self._path = path
        self._parts = {part.name: (offsets[part.name], part) for part in manifest.parts}
        self._cursor: tuple[int, int, Unpacking] | None = None

    @classmethod
    def open(cls, path: Path, *, unpacked_max: int, checked: bool = False) -> Self:
        """Check the whole file, then have it to read from.

        `checked` is for a file that passed before and cannot have changed: only its outline is
        checked then, which takes no time.
        """
        manifest, offsets = read_plan(path)
        if not checked:
            check_contents(path, manifest, offsets, unpacked_max)
        return cls(path, manifest, offsets)

    @property
    def session(self) -> Mapping[str, Any]:
        """The session's row, as it was handed to the writer."""
        return read_session(self._path, *self._parts[SESSION])

    @property
    def points_parts(self) -> int:
        """How many parts of points there are."""
        return sum(name.startswith("points/") for name in self._parts)

    def points(self, part: int) -> Iterator[list[Point]]:
        """The points of one part, in their order, in lists of at most 512."""
        from quire.bundle.points_file import PointsReader  # noqa: PLC0415 - loads pyarrow

        offset, entry = self._parts[points_name(part)]
        with io.BufferedReader(Window(self._path, offset, entry.size)) as window:
            try:
                yield from PointsReader(window).batches()
            except FileRefused as refused:
                raise FileRefused(f"{entry.name}: {refused.message}", part=entry.name) from None

    def documents(self, skip: int = 0) -> Iterator[Mapping[str, Any]]:
        """The documents' rows; `raw` and `text` tell what to ask of `content`."""
        return islice(rows(self._path, *self._parts[DOCUMENTS]), skip, None)

    def content(self, pack: int, start: int, end: int) -> Iterator[bytes]:
        """Bytes of a document, in pieces of at most a megabyte.

        Quick when asked for in the order of the documents; before that the pack is unpacked again
        from its beginning.
        """
        if start == end:
            return
        offset, part = self._parts[content_name(pack)]
        position, stream = 0, None
        # Taken away while it is in use: whoever else reads meanwhile begins a stream of their own.
        cursor, self._cursor = self._cursor, None
        if cursor is not None and cursor[0] == pack and cursor[1] <= start:
            _, position, stream = cursor
        elif cursor is not None:
            cursor[2].close()
        stream = stream or Unpacking(self._path, offset, part)
        try:
            while position < end:
                wanted = (start if position < start else end) - position
                data = stream.read(min(_BLOCK, wanted))
                if not data:
                    break
                position += len(data)
                if position > start:
                    yield data
        except BaseException:
            stream.close()
            raise
        self.close()
        self._cursor = pack, position, stream
        if position < end:
            raise FileRefused(f"{part.name} ends before byte {end}.", part=part.name)

    def table(self, name: str) -> Iterator[Mapping[str, Any]]:
        """The rows of a table; none where the bundle does not have it."""
        if name not in TABLES:
            raise ValueError(f"a bundle has no table {name}")
        entry = self._parts.get(table_name(name))
        return iter(()) if entry is None else rows(self._path, *entry)

    def close(self) -> None:
        """Let go of the file."""
        if self._cursor is not None:
            self._cursor[2].close()
            self._cursor = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
