"""Points to write, files to read, and the way from one to the other."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from quire.bundle.formats.mapping import ColumnMapping, parse_mapping
from quire.bundle.formats.models import Format
from quire.bundle.formats.reading import read_rows
from quire.vectors.port import Point, Record, SparseVector
from tests.bundle.samples import points

DIMENSION = 4

AWKWARD: Sequence[Mapping[str, Any]] = (
    {"text": "=SUM(A1:A9)"},
    {"text": "+1"},
    {"text": "-1", "document_id": "@here"},
    {"text": "\tindented"},
    {"text": "\rreturned"},
    {"text": "'quoted'"},
    {"text": 'two\r\nlines, "and" a comma;'},
    {"text": "lone\rreturn\nand line"},
    {"text": "a zero \0 byte"},
    {"text": ""},
    {"text": None, "metadata": None, "document_id": None},
    {"text": 5, "seq": "5", "index": 1.0, "tokens": True, "start": -3},
    {"metadata": {}, "payload": {"payload": 1}, "vector": [1], "id": "mine"},
    {"metadata": [1, "two", None]},
    {"start": 2**63 - 1, "end": -(2**63), "number": 1e300, "small": 5e-324, "third": 1 / 3},
    {"Ünï": "\u2028 \ufeff 𝄞", "deep": {"a": [{"b": []}]}},
    {},
)


def records() -> list[Record]:
    """Chunks and points of all kinds, and payloads that formats stumble over."""
    awkward = [
        Record(2**64 - 1 - n, payload, [0.1, -0.0, 1e-30, 3.0e38], None)
        for n, payload in enumerate(AWKWARD)
    ]
    empty = Record(10**6, {}, None, SparseVector([], []))
    return [*points(1_200, DIMENSION), *awkward, empty]


async def stream(found: Sequence[Record], size: int = 500) -> AsyncIterator[Sequence[Record]]:
    """As an engine gives them."""
    for start in range(0, len(found), size):
        yield found[start : start + size]


async def saved(path: Path, blocks: AsyncIterator[bytes]) -> Path:
    """What a writer gives, as a file."""
    with path.open("wb") as file:
        async for block in blocks:
            file.write(block)
    return path


def read(
    path: Path, format: Format, mapping: Mapping[str, Any] | None = None, **options: Any
) -> list[Point]:
    """All points of a file."""
    columns: ColumnMapping | None = None if mapping is None else parse_mapping(mapping)
    return [point for batch in read_rows(path, format, columns, **options) for point in batch]
