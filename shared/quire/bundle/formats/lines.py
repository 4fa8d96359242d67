"""The lines of a text file, none longer than may be held in memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from quire.bundle.formats.models import ROW_BYTES_MAX
from quire.errors import FileRefused

_MARK = b"\xef\xbb\xbf"


def lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Each line that is not blank, with its number from 1; blocking."""
    for number, line in enumerate(raw_lines(path), 1):
        if not line.isspace():
            yield number, line


def raw_lines(path: Path) -> Iterator[bytes]:
    """Each line with its end, without a byte order mark; blocking."""
    with path.open("rb") as file:
        number = 0
        while line := file.readline(ROW_BYTES_MAX + 1):
            number += 1
            if len(line) > ROW_BYTES_MAX:
                raise FileRefused(
                    f"Line {number} is longer than {ROW_BYTES_MAX // (1024 * 1024)} MB."
                )
            yield line.removeprefix(_MARK) if number == 1 else line
