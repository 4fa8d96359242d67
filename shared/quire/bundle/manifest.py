"""The manifest: what a bundle holds, and the checksum of each part."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeGuard

import orjson

from quire.bundle.parts import FORMAT, HEAD, MANIFEST, TABLES, VERSION
from quire.errors import FileRefused
from quire.vectors.digest import Digest

INCLUDE, OMIT = "include", "omit"
COUNTED = ("points", "documents", *TABLES)
MAX_DIMENSION = 65_535

_SHA256 = re.compile(r"[0-9a-f]{64}")
_EMBEDDING_TEXTS = ("provider", "model", "revision", "distance", "chunker")


@dataclass(frozen=True, slots=True)
class Part:
    """One part as it is stored, and how much it is unpacked."""

    name: str
    sha256: str
    size: int
    unpacked: int


@dataclass(frozen=True, slots=True)
class Head:
    """What is known of a bundle from its first bytes on."""

    creator: str
    embedding: Mapping[str, Any]
    vectors: bool
    """Whether the points have theirs."""

    @property
    def dimension(self) -> int:
        return int(self.embedding["dimension"])

    def to_json(self) -> bytes:
        return _dumped(self._fields())

    def _fields(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "version": VERSION,
            "creator": self.creator,
            "embedding": dict(self.embedding),
            "vectors": INCLUDE if self.vectors else OMIT,
        }


@dataclass(frozen=True, slots=True)
class Manifest(Head):
    """The last part: what is in the others."""

    counts: Mapping[str, int]
    digest: Digest
    """Of the points, as they are in the bundle."""
    parts: tuple[Part, ...]

    def to_json(self) -> bytes:
        parts = [
            {"name": p.name, "sha256": p.sha256, "size": p.size, "unpacked": p.unpacked}
            for p in self.parts
        ]
        fields = self._fields() | {
            "counts": dict(self.counts),
            "points_digest": str(self.digest),
            "parts": parts,
        }
        return sealed(fields)


def sealed(fields: Mapping[str, Any]) -> bytes:
    """A manifest as it is stored: with a checksum of its own, for no other part has it."""
    seal = hashlib.sha256(_dumped(fields)).hexdigest()
    return _dumped({**fields, "sha256": seal})


def parse_head(raw: bytes) -> Head:
    """Read `format.json`; a newer version is refused by its number alone."""
    fields = _object(raw, HEAD)
    if fields.get("format") != FORMAT:
        raise FileRefused(f"{HEAD} does not say that this is a {FORMAT}.", part=HEAD)
    version = fields.get("version")
    if not _is_count(version) or version < 1:
        raise FileRefused(f"{HEAD} has no valid version.", part=HEAD)
    if version > VERSION:
        raise FileRefused(
            f"The bundle is of format version {version}; this Quire reads up to version {VERSION}.",
            recovery="Import it with a newer Quire, or export it with an older one.",
            part=HEAD,
        )
    return Head(**_head(fields, HEAD))


def parse_manifest(raw: bytes, head: Head) -> Manifest:
    """Read the manifest, which must say again what the head said."""
    fields = _object(raw, MANIFEST)
    common = _head(fields, MANIFEST)
    if fields.get("format") != FORMAT or fields.get("version") != VERSION or Head(**common) != head:
        raise _contradiction(f"contradicts {HEAD}")
    counts = fields.get("counts")
    if (
        not isinstance(counts, dict)
        or not {"points", "documents"} <= counts.keys() <= set(COUNTED)
        or not all(_is_count(count) for count in counts.values())
    ):
        raise _contradiction("has no valid counts")
    digest, parts = fields.get("points_digest"), fields.get("parts")
    if not isinstance(digest, str) or not _SHA256.fullmatch(digest):
        raise _contradiction("has no valid points_digest")
    if not isinstance(parts, list):
        raise _contradiction("lists no parts")
    manifest = Manifest(
        **common,
        counts=counts,
        digest=Digest.parsed(counts["points"], digest),
        parts=tuple(map(_part, parts)),
    )
    if manifest.to_json() != raw:
        raise _contradiction("has not the checksum that it names, or more in it than it should")
    return manifest


def _part(fields: Any) -> Part:
    if isinstance(fields, dict) and fields.keys() == {"name", "sha256", "size", "unpacked"}:
        name, sha256 = fields["name"], fields["sha256"]
        if (
            isinstance(name, str)
            and isinstance(sha256, str)
            and _SHA256.fullmatch(sha256)
            and _is_count(fields["size"])
            and _is_count(fields["unpacked"])
        ):
            return Part(**fields)
    raise _contradiction("lists a part without a valid name, sha256, size or unpacked")


def _head(fields: Mapping[str, Any], part: str) -> dict[str, Any]:
    creator, embedding = fields.get("creator"), fields.get("embedding")
    if not isinstance(creator, str):
        raise FileRefused(f"{part} does not name its creator.", part=part)
    if not isinstance(embedding, dict) or not all(
        isinstance(embedding.get(name), str) for name in _EMBEDDING_TEXTS
    ):
        raise FileRefused(f"{part} does not say what the vectors were made with.", part=part)
    dimension = embedding.get("dimension")
    if not _is_count(dimension) or not 1 <= dimension <= MAX_DIMENSION:
        raise FileRefused(f"{part} has no valid dimension.", part=part)
    if fields.get("vectors") not in (INCLUDE, OMIT):
        raise FileRefused(f"{part} does not say whether vectors are included.", part=part)
    included = fields["vectors"] == INCLUDE
    return {"creator": creator, "embedding": embedding, "vectors": included}


def _object(raw: bytes, part: str) -> dict[str, Any]:
    try:
        fields = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise FileRefused(f"{part} is no valid JSON ({error}).", part=part) from None
    if not isinstance(fields, dict):
        raise FileRefused(f"{part} is no JSON object.", part=part)
    return fields


def _is_count(value: Any) -> TypeGuard[int]:
    return type(value) is int and 0 <= value < 1 << 63


def _contradiction(what: str) -> FileRefused:
    return FileRefused(f"{MANIFEST} {what}.", part=MANIFEST)


def _dumped(fields: Mapping[str, Any]) -> bytes:
    return orjson.dumps(fields, option=orjson.OPT_SORT_KEYS)
