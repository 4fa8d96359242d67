"""JSONL, one object a line: Quire's own have id, vector, sparse, payload; others have columns."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

from quire.bundle.formats.json_values import check_integers, dumped, loaded, written
from quire.bundle.formats.lines import lines
from quire.bundle.formats.mapping import ColumnMapping
from quire.bundle.formats.points import (
    RowPoints,
    batched,
    dense_of,
    identity_of,
    located,
    payload_of,
    sparse_of,
)
from quire.errors import FileRefused, InvalidInput
from quire.vectors.port import Point, Record

_OWN = frozenset({"id", "vector", "sparse", "payload"})
_LOOK = 100
"""The lines whose keys count as the columns; later ones may have fewer, not others."""


async def write_jsonl(
    points: AsyncIterator[Sequence[Record]], *, vectors: bool = True
) -> AsyncGenerator[bytes, None]:
    """A line for each point: id, vector, payload, and sparse where there is one."""
    async for batch in points:
        yield await asyncio.to_thread(_encoded, batch, vectors)


def _encoded(batch: Sequence[Record], vectors: bool) -> bytes:
    return b"".join(dumped(written(point, vectors=vectors)) + b"\n" for point in batch)


class JsonlReader:
    """A JSONL file, its first lines looked at; blocking."""

    def __init__(self, path: Path, mapping: ColumnMapping | None, namespace: UUID | None) -> None:
        """Without a mapping, a file in Quire's own shape is read as such."""
        self._path = path
        first = []
        for number, raw in lines(path):
            first.append(_row(raw, number))
            if len(first) == _LOOK:
                break
        self.columns = tuple(dict.fromkeys(key for row in first for key in row))
        self.own = bool(first) and mapping is None and _is_own(first[0])
        self.taken: ColumnMapping | None = None
        self._rows: RowPoints | None = None
        if first and not self.own:
            self.taken = (mapping or ColumnMapping()).resolved(self.columns)
            # What a later line has besides goes into the payload too, unless that is listed.
            self._takes_all = mapping is None or mapping.payload is None
            self._mapped = frozenset(self.columns)
            self._namespace = namespace
            self._rows = RowPoints(self.taken, namespace)

    def batches(self) -> Iterator[list[Point]]:
        """All points in the file's order."""
        return batched(self._points(), "Point")

    def _points(self) -> Iterator[tuple[Point, int]]:
        for number, raw in lines(self._path):
            row = _row(raw, number)
            try:
                point = self._own_point(row) if self.own else self._mapped_point(row, number)
                check_integers(raw, point.payload)
            except FileRefused:
                raise
            except InvalidInput as error:
                raise located(f"Line {number}", error) from None
            yield point, len(raw)

    def _own_point(self, row: dict[str, Any]) -> Point:
        if "id" not in row or not row.keys() <= _OWN:
            unknown = next((f"{key[:80]!a} is none" for key in row if key not in _OWN), "")
            raise InvalidInput(
                "Lines like the first have id, and may have vector, sparse and payload"
                + (f"; {unknown} of them." if unknown else "; this one has no id.")
            )
        return Point(
            identity_of(row["id"]),
            dense_of(row.get("vector")),
            sparse_of(row.get("sparse")),
            payload_of(row.get("payload")),
        )

    def _mapped_point(self, row: dict[str, Any], number: int) -> Point:
        assert self._rows is not None  # noqa: S101 - there is a line, so the first was looked at
        assert self.taken is not None  # noqa: S101
        if self._takes_all and not row.keys() <= self._mapped:
            new = (key for key in row if key not in self._mapped)
            self._mapped |= row.keys()
            more = replace(self.taken, payload=(*(self.taken.payload or ()), *new))
            self.taken = more.resolved(tuple(self._mapped))
            self._rows = RowPoints(self.taken, self._namespace)
        return self._rows.point(row, number)


def _is_own(row: dict[str, Any]) -> bool:
    return "id" in row and isinstance(row.get("payload"), dict) and row.keys() <= _OWN


def _row(raw: bytes, number: int) -> dict[str, Any]:
    try:
        row = loaded(raw)
    except InvalidInput as error:
        raise located(f"Line {number}", error) from None
    if not isinstance(row, dict):
        raise FileRefused(f"Line {number} is no JSON object; each line must be one.")
    return row
