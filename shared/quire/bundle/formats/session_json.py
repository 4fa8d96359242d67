"""The original session service's export: one JSON document with the session and its points.

    {"session": {…}, "collection_data": {"collection_name", "points": [{id, vector, payload}],
     "exported_points"} | null, "export_timestamp"}

A point that has a sparse vector too has it as `sparse`, so that nothing is lost on the way back.
`exported_points` stands after the points, when it is known for certain.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from quire.bundle.formats.json_stream import JsonStream
from quire.bundle.formats.json_values import check_integers, dumped, written
from quire.bundle.formats.mapping import ColumnMapping
from quire.bundle.formats.points import (
    batched,
    identity_of,
    located,
    named_vectors,
    payload_of,
    sparse_of,
)
from quire.errors import FileRefused, InvalidInput
from quire.vectors.port import Point, Record

SESSION, DATA, TIMESTAMP = "session", "collection_data", "export_timestamp"
NAME, COUNT, POINTS = "collection_name", "exported_points", "points"
_POINT = frozenset({"id", "vector", "sparse", "payload"})


async def write_session_json(
    session: Mapping[str, Any],
    collection_name: str,
    points: AsyncIterator[Sequence[Record]] | None,
    *,
    timestamp: str,
) -> AsyncGenerator[bytes, None]:
    """The document, streamed; without points its collection_data is null."""
    yield b'{"session":' + dumped(session) + b',"collection_data":'
    if points is None:
        yield b"null"
    else:
        yield b'{"collection_name":' + dumped(collection_name) + b',"points":['
        count = 0
        async for batch in points:
            if batch:
                encoded = await asyncio.to_thread(_encoded, batch)
                yield b"," + encoded if count else encoded
                count += len(batch)
        yield b'],"exported_points":%d}' % count
    yield b',"export_timestamp":' + dumped(timestamp) + b"}"


def _encoded(batch: Sequence[Record]) -> bytes:
    return b",".join(dumped(written(point)) for point in batch)


class SessionJsonReader:
    """An original export, read through once to see that it is complete; blocking.

    That goes through some 100 MB a second; points are parsed in `batches` only.
    """

    def __init__(self, path: Path, mapping: ColumnMapping | None) -> None:
        self._path = path
        self._chosen = None if mapping is None else mapping.vector
        self.session: dict[str, Any] = {}
        self.collection_name: str | None = None
        self.points = 0
        said: object = None
        for place, key, stream in self._walk():
            if (place, key) == (DATA, POINTS):
                for _ in _elements(stream):
                    stream.skip()
                    self.points += 1
                continue
            value = stream.value()
            if (place, key) == ("", SESSION):
                if not isinstance(value, dict):
                    raise FileRefused("`session` is no JSON object.", field=SESSION)
                self.session = value
            elif (place, key) == (DATA, NAME):
                self.collection_name = value if isinstance(value, str) else None
            elif (place, key) == (DATA, COUNT):
                said = value
        if said is not None and said != self.points:
            raise FileRefused(
                f"The file holds {self.points} points; its exported_points says {str(said)[:40]}.",
                field=COUNT,
            )

    def batches(self) -> Iterator[list[Point]]:
        """All points in the file's order."""
        return batched(self._points(), "Point")

    def _points(self) -> Iterator[tuple[Point, int]]:
        for place, key, stream in self._walk():
            if (place, key) != (DATA, POINTS):
                stream.skip()
                continue
            for number in _elements(stream):
                try:
                    value = stream.value()
                    point = self._point(value)
                    check_integers(stream.raw, point.payload)
                except FileRefused:
                    raise
                except InvalidInput as error:
                    raise located(f"Point {number + 1}", error) from None
                yield point, len(stream.raw)

    def _point(self, value: object) -> Point:
        if not isinstance(value, dict) or "id" not in value or not value.keys() <= _POINT:
            raise InvalidInput("It is no object with id, vector, payload and perhaps sparse.")
        dense, sparse = named_vectors(value.get("vector"), self._chosen)
        if value.get("sparse") is not None:
            sparse = sparse_of(value["sparse"])
        return Point(identity_of(value["id"]), dense, sparse, payload_of(value.get("payload")))

    def _walk(self) -> Iterator[tuple[str, str, JsonStream]]:
        """Each key of the document and of its collection_data; the stream stands at its value."""
        with self._path.open("rb") as file:
            stream = JsonStream(file)
            has_session = False
            for key in _members(stream, ""):
                if key == DATA and stream.next_byte() != b"n":
                    for inner in _members(stream, f"{DATA}."):
                        yield DATA, inner, stream
                    continue
                has_session = has_session or key == SESSION
                yield "", key, stream
            stream.finish()
            if not has_session:
                raise FileRefused("It is no session's export: `session` is missing.", field=SESSION)


def _members(stream: JsonStream, place: str) -> Iterator[str]:
    """The keys, each once: of two lists of points, which would be meant?"""
    seen: set[str] = set()
    for key in stream.members():
        if key in seen:
            raise FileRefused(f"The document has `{place}{key[:80]}` twice.", field=key)
        seen.add(key)
        yield key


def _elements(stream: JsonStream) -> Iterator[int]:
    if stream.next_byte() != b"[":
        raise FileRefused("`collection_data.points` is no JSON array.", field=POINTS)
    return stream.elements()
