"""The archive that a Qdrant snapshot is: looked at strictly, then laid out as an engine wants it.

A collection's snapshot has a folder for each shard (`0/segments/<id>.tar`, `0/wal/…`), a shard's
own has the same without the number. Each segment is an archive within.
"""

from __future__ import annotations

import re
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO, Any

import orjson

from quire.errors import FileRefused

_MEMBERS_MAX = 20_000
_JSON_BYTES_MAX = 1024 * 1024
_BLOCK = 64 * 1024
_EMPTY = bytes(_BLOCK)
_SEGMENT = re.compile(r"(?:([0-9]{1,9})/)?segments/([A-Za-z0-9_-]{1,100})\.tar")
_SEGMENT_ROOT = "snapshot/files/"
_PART = re.compile(r"[A-Za-z0-9._+-]{1,200}")


@dataclass(slots=True)
class SnapshotHead:
    """What a snapshot says of itself."""

    shards: list[str] = field(default_factory=list)
    """The shards' folders; one without a name for a shard's own snapshot."""
    dense: Mapping[str, Any] = field(default_factory=dict)
    sparse: Mapping[str, Any] = field(default_factory=dict)


def read_head(path: Path) -> SnapshotHead:
    """Check the whole table of contents, without unpacking anything; blocking."""
    head = SnapshotHead()
    config: Mapping[str, Any] = {}
    folders: set[str] = set()
    with _opened(path) as archive:
        for member in _members(archive):
            folders |= {member.name.split("/")[0]} if member.name[0].isdigit() else set()
            if member.name == "config.json":
                config = _parsed(_small(archive, member), member.name)
            elif match := _SEGMENT.fullmatch(member.name):
                shard = match[1] or ""
                if shard not in head.shards:
                    head.shards.append(shard)
                if not head.dense and not head.sparse:
                    _look_into_segment(archive, member, head)
    _check_shards(head, folders, config)
    return head


def unpack_shard(path: Path, shard: str, target: Path, bytes_max: int) -> None:
    """Lay one shard out in `target`, its segments unpacked too; blocking."""
    room = _Room(bytes_max)
    start = f"{shard}/" if shard else ""
    with _opened(path) as archive:
        for member in _members(archive):
            if not member.isreg() or not member.name.startswith(start):
                continue
            if segment := _SEGMENT.fullmatch(member.name):
                _unpack_segment(archive, member, target / "segments" / segment[2], room)
            else:
                _write(archive, member, target / member.name.removeprefix(start), room)
    # What an engine insists on may be empty, and then is not in the archive.
    (target / "wal").mkdir(parents=True, exist_ok=True)


def _unpack_segment(
    archive: tarfile.TarFile, member: tarfile.TarInfo, target: Path, room: _Room
) -> None:
    with _within(archive, member) as inner:
        for file in _members(inner):
            if not file.isreg():
                continue
            if not file.name.startswith(_SEGMENT_ROOT):
                raise FileRefused(
                    f"The segment {member.name} is laid out as Qdrant did it long ago: make the "
                    "snapshot anew on Qdrant 1.16 or later."
                )
            _write(inner, file, target / file.name.removeprefix(_SEGMENT_ROOT), room)


def _look_into_segment(
    archive: tarfile.TarFile, member: tarfile.TarInfo, head: SnapshotHead
) -> None:
    with _within(archive, member) as inner:
        for file in _members(inner):
            if file.name == f"{_SEGMENT_ROOT}segment.json":
                config = _parsed(_small(inner, file), file.name).get("config")
                if isinstance(config, dict):
                    head.dense = _object(config.get("vector_data"))
                    head.sparse = _object(config.get("sparse_vector_data"))
                return


def _check_shards(head: SnapshotHead, folders: set[str], config: Mapping[str, Any]) -> None:
    if not head.shards:
        raise FileRefused("It is no snapshot of a Qdrant collection: it has no segments.")
    said = _object(config.get("params")).get("shard_number")
    expected = max(len(folders), said if isinstance(said, int) else 0)
    if config and len(head.shards) < expected:
        raise FileRefused(
            f"The snapshot holds {len(head.shards)} of the collection's {expected} shards, as one "
            "of a cluster's node does: import a snapshot from each node, or read the collection "
            "out and import that."
        )
    head.shards.sort(key=lambda name: (len(name), name))


class _Room:
    """How much may still be unpacked."""

    def __init__(self, bytes_max: int) -> None:
        self._max = self._left = bytes_max

    def take(self, count: int) -> None:
        self._left -= count
        if self._left < 0:
            raise FileRefused(f"A shard unpacks to more than {self._max // 2**20} MB.")


@contextmanager
def _opened(path: Path) -> Iterator[tarfile.TarFile]:
    with _refusals(), tarfile.open(path, "r:", errors="strict") as archive:
        yield archive


@contextmanager
def _within(archive: tarfile.TarFile, member: tarfile.TarInfo) -> Iterator[tarfile.TarFile]:
    with _content(archive, member) as file, tarfile.open(fileobj=file, mode="r:") as inner:
        yield inner


@contextmanager
def _refusals() -> Iterator[None]:
    """Name what the archive's reader finds wrong; the operating system's is another matter."""
    try:
        yield
    except (tarfile.TarError, EOFError, ValueError, OverflowError) as error:
        if isinstance(error, FileRefused):
            raise
        raise FileRefused(f"The snapshot's archive is damaged ({error}).") from None


def _members(archive: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    """Each member, once it is seen to be harmless: a plain file or folder that stays within."""
    seen: set[str] = set()
    while (member := archive.next()) is not None:
        member.name = member.name.removeprefix("./").rstrip("/")
        if not member.name and member.isdir():
            continue
        if not (member.isreg() or member.isdir()):
            raise FileRefused(f"The archive has {_shown(member)}, a link or a device.")
        parts = PurePosixPath(member.name).parts
        if member.name.startswith("/") or not all(map(_harmless, parts)) or len(parts) > 12:
            raise FileRefused(f"The archive has {_shown(member)}, which is no valid path.")
        if member.isreg() and member.name in seen:
            raise FileRefused(f"The archive has {_shown(member)} twice.")
        seen.add(member.name)
        if len(seen) > _MEMBERS_MAX:
            raise FileRefused(f"The archive has more than {_MEMBERS_MAX} files.")
        if member.size < 0:
            raise FileRefused(f"The archive has {_shown(member)} of an impossible size.")
        yield member


def _harmless(part: str) -> bool:
    return part not in (".", "..") and _PART.fullmatch(part) is not None


def _content(archive: tarfile.TarFile, member: tarfile.TarInfo) -> IO[bytes]:
    file = archive.extractfile(member)
    if file is None:
        raise FileRefused(f"The archive has {_shown(member)}, which is no file.")
    return file


def _small(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    if member.size > _JSON_BYTES_MAX:
        raise FileRefused(f"{_shown(member)} is larger than {_JSON_BYTES_MAX // 2**20} MB.")
    with _content(archive, member) as file:
        return file.read()


def _write(archive: tarfile.TarFile, member: tarfile.TarInfo, target: Path, room: _Room) -> None:
    """Write a file; where it is empty for long it stays a hole, for Qdrant's files mostly are."""
    target.parent.mkdir(parents=True, exist_ok=True)
    room.take(member.size)
    with _content(archive, member) as source, target.open("xb") as file:
        while block := source.read(_BLOCK):
            if block == _EMPTY:
                file.seek(_BLOCK, 1)
            else:
                file.write(block)
        file.truncate(member.size)


def _parsed(raw: bytes, name: str) -> Mapping[str, Any]:
    try:
        return _object(orjson.loads(raw))
    except orjson.JSONDecodeError as error:
        raise FileRefused(f"{name} in the snapshot is no valid JSON ({error}).") from None


def _object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _shown(member: tarfile.TarInfo) -> str:
    return ascii(member.name[:120])
