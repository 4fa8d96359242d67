"""Checking a bundle: all of it, before anything is taken out of it."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from quire.bundle import tar
from quire.bundle.manifest import Head, Manifest, Part, parse_head, parse_manifest
from quire.bundle.packing import Unpacking, Window, rows
from quire.bundle.parts import (
    ATTACHMENTS,
    DOCUMENTS,
    HEAD,
    MANIFEST,
    OBJECT_BYTES_MAX,
    POINTS_MAX,
    SESSION,
    Place,
    follows,
    place,
    table_name,
)
from quire.errors import FileRefused

_BLOCK = 1024 * 1024


def read_plan(path: Path) -> tuple[Manifest, Mapping[str, int]]:
    """The manifest, and where each part begins; names, order and sizes are checked, not contents.

    Here is also said what is too new: a later version need not look like this one behind its head.
    """
    found: list[tar.Member] = []
    head: Head | None = None
    before: Place | None = None
    with path.open("rb") as file:
        for member in tar.members(file, path.stat().st_size):
            before = _checked_place(member.name, before)
            if head is None:
                head = parse_head(_small(path, member))
            found.append(member)
    if head is None or before is None or found[-1].name != MANIFEST:
        raise FileRefused(f"The bundle has no {MANIFEST}: it is not complete.")
    manifest = parse_manifest(_small(path, found[-1]), head)
    _compare(found[:-1], manifest.parts)
    return manifest, {member.name: member.offset for member in found}


def check_contents(
    path: Path, manifest: Manifest, offsets: Mapping[str, int], unpacked_max: int
) -> None:
    """Hash and unpack every part, and see whether it is what the manifest says it is."""
    unpacked = sum(part.unpacked for part in manifest.parts)
    if unpacked > unpacked_max:
        raise FileRefused(
            f"The bundle unpacks to {unpacked} bytes; {unpacked_max} is the most "
            "(QUIRE_TRANSFER_BUNDLE_BYTES)."
        )
    counts = dict.fromkeys(manifest.counts, 0)
    places = _Places([p.unpacked for p in manifest.parts if p.name.startswith("content/")])
    for part in manifest.parts:
        offset = offsets[part.name]
        _check_sha256(path, offset, part)
        if part.name.startswith("points/"):
            counts["points"] += _count_points(path, offset, part, manifest.dimension)
        elif part.name == DOCUMENTS:
            for row in rows(path, offset, part):
                counts["documents"] += 1
                places.check_document(row)
        elif part.name == SESSION:
            read_session(path, offset, part)
        elif part.name.startswith("content/"):
            _unpack(path, offset, part)
        elif part.name == table_name(ATTACHMENTS):
            counts[ATTACHMENTS] = 0
            for row in rows(path, offset, part):
                counts[ATTACHMENTS] += 1
                places.check_attachment(row)
        elif part.name != HEAD:
            table = part.name.partition(".")[0]
            counts[table] = sum(1 for _ in rows(path, offset, part))
    places.check_end()
    for name, count in counts.items():
        if count != manifest.counts.get(name):
            raise FileRefused(
                f"The bundle has {count} {name}; {MANIFEST} says {manifest.counts.get(name, 0)}.",
                part=MANIFEST,
            )


def read_session(path: Path, offset: int, part: Part) -> Mapping[str, Any]:
    """The session's own row."""
    if part.unpacked > OBJECT_BYTES_MAX:
        raise FileRefused(f"{part.name} is larger than {OBJECT_BYTES_MAX} bytes.", part=part.name)
    found = list(rows(path, offset, part))
    if len(found) != 1:
        raise FileRefused(f"{part.name} has {len(found)} sessions, not one.", part=part.name)
    return found[0]


class _Places:
    """Whether documents, then attachments, lie in the packs one after another, and fill them."""

    def __init__(self, sizes: Sequence[int]) -> None:
        self._sizes = sizes
        self._pack = 0
        self._end = 0
        self._number = 0
        self._part = self._what = ""

    def check_document(self, row: Mapping[str, Any]) -> None:
        self._next(DOCUMENTS, "Document")
        if not {"raw", "text"} <= row.keys():
            raise self._refusal("does not say where its content is")
        raw, text = row["raw"], row["text"]
        self._take(raw)
        if text is not None and text != raw:
            self._take(text)

    def check_attachment(self, row: Mapping[str, Any]) -> None:
        self._next(table_name(ATTACHMENTS), "Attachment")
        self._take(row.get("content"))

    def check_end(self) -> None:
        if self._end:
            self._turn()
        if self._pack != len(self._sizes):
            raise _unclaimed()

    def _next(self, part: str, what: str) -> None:
        self._number = self._number + 1 if part == self._part else 1
        self._part, self._what = part, what

    def _take(self, span: Any) -> None:
        if not isinstance(span, dict) or span.keys() != {"pack", "start", "end"}:
            raise self._refusal("does not say where its content is")
        pack, start, end = span["pack"], span["start"], span["end"]
        if not all(type(number) is int and number >= 0 for number in (pack, start, end)):
            raise self._refusal("does not say where its content is")
        if start == end == 0:
            return
        if pack == self._pack + 1 and self._end:
            self._turn()
        if (pack, start) != (self._pack, self._end) or end <= start or pack >= len(self._sizes):
            raise self._refusal("has its content where it cannot be")
        if end > self._sizes[pack]:
            raise self._refusal("ends behind the end of its pack")
        self._end = end

    def _turn(self) -> None:
        if self._end != self._sizes[self._pack]:
            raise _unclaimed()
        self._pack, self._end = self._pack + 1, 0

    def _refusal(self, what: str) -> FileRefused:
        return FileRefused(f"{self._what} {self._number} of {self._part} {what}.", part=self._part)


def _unclaimed() -> FileRefused:
    reason = "The bundle has content that no document has, and no attachment."
    return FileRefused(reason, part=DOCUMENTS)


def _checked_place(name: str, before: Place | None) -> Place:
    here = place(name)
    shown = ascii(name)
    if here is None:
        raise FileRefused(f"{shown} is no part of a bundle.", part=name)
    if before is not None and here == before:
        raise FileRefused(f"{shown} is in the bundle twice.", part=name)
    if not follows(before, here):
        raise FileRefused(f"{shown} is not where it belongs, or a part before it is missing.")
    return here


def _small(path: Path, member: tar.Member) -> bytes:
    if member.size > OBJECT_BYTES_MAX:
        raise FileRefused(f"{member.name} is larger than {OBJECT_BYTES_MAX} bytes.")
    with Window(path, member.offset, member.size) as window:
        return window.read()


def _compare(found: Sequence[tar.Member], listed: Sequence[Part]) -> None:
    if [member.name for member in found] != [part.name for part in listed]:
        raise FileRefused(f"{MANIFEST} lists other parts than the bundle has.", part=MANIFEST)
    for member, part in zip(found, listed, strict=True):
        if member.size != part.size:
            raise FileRefused(
                f"{part.name} has {member.size} bytes; {MANIFEST} says {part.size}.", part=part.name
            )


def _check_sha256(path: Path, offset: int, part: Part) -> None:
    hashed = hashlib.sha256()
    with Window(path, offset, part.size) as window:
        while block := window.read(_BLOCK):
            hashed.update(block)
    if hashed.hexdigest() != part.sha256:
        raise FileRefused(
            f"{part.name} has not the checksum that is listed for it.", part=part.name
        )


def _unpack(path: Path, offset: int, part: Part) -> None:
    with Unpacking(path, offset, part) as unpacking:
        while unpacking.read(_BLOCK):
            pass


def _count_points(path: Path, offset: int, part: Part, dimension: int) -> int:
    from quire.bundle.points_file import PointsReader  # noqa: PLC0415 - loads pyarrow

    with io.BufferedReader(Window(path, offset, part.size)) as window:
        try:
            reader = PointsReader(window)
        except FileRefused as refused:
            raise FileRefused(f"{part.name}: {refused.message}", part=part.name) from None
        if reader.dimension != dimension:
            reason = f"has vectors of {reader.dimension} dimensions, not {dimension}"
        elif not 0 < reader.points <= POINTS_MAX:
            reason = f"has {reader.points} points; 1 to {POINTS_MAX} are valid"
        elif reader.unpacked != part.unpacked:
            reason = f"unpacks to {reader.unpacked} bytes; {MANIFEST} says {part.unpacked}"
        else:
            return reader.points
    raise FileRefused(f"{part.name} {reason}.", part=part.name)
