"""Sessions to bind, and bundles to take apart and forge."""

from __future__ import annotations

import hashlib
import random
import tempfile
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import zstandard

from quire.bundle import tar
from quire.bundle.contents import Body, BundleContents, DocumentEntry
from quire.bundle.manifest import sealed
from quire.bundle.writing import write_bundle
from quire.vectors.port import Record, SparseVector

DIMENSION = 4
EMBEDDING = {
    "provider": "fake",
    "model": "fake",
    "revision": "",
    "dimension": DIMENSION,
    "distance": "cosine",
    "chunker": "1",
}
UNPACKED_MAX = 1 << 30


def body(data: bytes, key: str | None = None, step: int = 1000) -> Body:
    async def read() -> AsyncIterator[bytes]:
        for start in range(0, len(data), step):
            yield data[start : start + step]

    return Body(len(data), key or hashlib.sha256(data).hexdigest(), read)


def points(count: int, dimension: int = DIMENSION, seed: int = 0) -> list[Record]:
    """Points of all kinds: chunks and others, ids of both sorts, vectors or none."""
    chance = random.Random(seed)
    return [
        Record(
            id=n if n % 2 else str(uuid.UUID(int=chance.getrandbits(128), version=4)),
            payload=_payload(n),
            dense=None if n % 7 == 3 else [chance.uniform(-1, 1) for _ in range(dimension)],
            sparse=None if n % 5 == 2 else SparseVector([n, n + 70_000], [0.5, chance.random()]),
        )
        for n in range(count)
    ]


def _payload(n: int) -> dict[str, Any]:
    if n % 3 == 2:
        return {"cluster": n % 4, "text": n}
    return {
        "document_id": f"d{n // 10}",
        "index": n % 10,
        "seq": n,
        "start": 0,
        "end": 9,
        "tokens": 2,
        "text": f"Übung {n}",
        "metadata": {"b": [1, None], "a": n},
        "_stage": "in:7",
    }


@dataclass
class Sample:
    """A session small enough to be held whole."""

    points: Sequence[Record] = field(default_factory=lambda: points(30))
    documents: Sequence[tuple[dict[str, Any], bytes, bytes | None]] = (
        ({"id": "a", "title": "Ä"}, b"raw of a", None),
        ({"id": "b"}, b"same", b"same"),
        ({"id": "c"}, b"", b""),
        ({"id": "d"}, b"<p>raw</p>" * 50, b"text of d"),
    )
    tables: Mapping[str, Sequence[Mapping[str, Any]]] = field(
        default_factory=lambda: {
            "messages": [{"role": "user", "text": "Hi"}, {"role": "assistant", "text": "Ho"}],
            "lineage": [],
            "settings": [{"name": "n"}],
        }
    )
    vectors: bool = True

    def contents(self, batch: int = 7, step: int = 1000) -> BundleContents:
        async def in_batches() -> AsyncIterator[Sequence[Record]]:
            for start in range(0, len(self.points), batch):
                yield self.points[start : start + batch]

        async def entries() -> AsyncIterator[DocumentEntry]:
            for row, raw, text in self.documents:
                yield DocumentEntry(
                    row, body(raw, step=step), None if text is None else body(text, step=step)
                )

        async def rows(of: Sequence[Mapping[str, Any]]) -> AsyncIterator[Mapping[str, Any]]:
            for row in of:
                yield row

        return BundleContents(
            session={"name": "A session", "tags": ["x"]},
            embedding=EMBEDDING,
            points=in_batches(),
            documents=entries(),
            tables={name: rows(of) for name, of in self.tables.items()},
            vectors=self.vectors,
        )


async def bind(sample: Sample | None = None, batch: int = 7, step: int = 1000) -> bytes:
    """The sample as a bundle."""
    with tempfile.TemporaryDirectory() as folder:
        contents = (sample or Sample()).contents(batch, step)
        bound = b"".join([block async for block in write_bundle(contents, Path(folder))])
        assert not any(Path(folder).iterdir())
        return bound


def taken_apart(bundle: bytes) -> dict[str, bytes]:
    """The parts as they are stored, by name."""
    parts: dict[str, bytes] = {}
    position = 0
    while name := bundle[position : position + 100].rstrip(b"\0").decode():
        size = int(bundle[position + 124 : position + 135], 8)
        position += 512
        parts[name] = bundle[position : position + size]
        position += size + len(tar.padding(size))
    return parts


def put_together(parts: Mapping[str, bytes] | Sequence[tuple[str, bytes]]) -> bytes:
    """A tar of these parts, in this order."""
    pairs = parts.items() if isinstance(parts, Mapping) else parts
    members = (tar.header(name, len(data)) + data + tar.padding(len(data)) for name, data in pairs)
    return b"".join(members) + tar.END


def forged(
    parts: Mapping[str, bytes],
    changed: Mapping[str, bytes],
    unpacked: Mapping[str, int] | None = None,
    **manifest: Any,
) -> bytes:
    """The bundle with other parts, and a manifest whose checksums and sizes agree with them."""
    result = {**parts, **changed}
    fields = unsealed(parts["manifest.json"])
    for entry in fields["parts"]:
        data = changed.get(entry["name"])
        if data is not None:
            entry |= {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}
            entry["unpacked"] = (unpacked or {}).get(entry["name"], entry["unpacked"])
    result["manifest.json"] = sealed({**fields, **manifest})
    return put_together(result)


def unsealed(manifest: bytes) -> dict[str, Any]:
    """The manifest's fields, but for its checksum."""
    fields: dict[str, Any] = orjson.loads(manifest)
    del fields["sha256"]
    return fields


def packed(data: bytes) -> bytes:
    return zstandard.compress(data)


def unpacked(data: bytes) -> bytes:
    return zstandard.ZstdDecompressor().decompressobj().decompress(data)
