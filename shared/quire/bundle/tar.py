"""The tar that holds a bundle: USTAR with plain files and nothing else, each header one way only.

Read by hand, for `tarfile` forgives much: links, devices, sparse files, long names, damaged
headers, things behind the end. Here a header is valid when it is the one that would be written.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from quire.errors import FileRefused, LimitExceeded

BLOCK = 512
END = bytes(2 * BLOCK)
SIZE_MAX = 8**11 - 1
NAME_MAX = 100

_REGULAR = b"0"
_KINDS = {
    b"1": "a hard link",
    b"2": "a symbolic link",
    b"3": "a device",
    b"4": "a device",
    b"5": "a directory",
    b"6": "a pipe",
    b"g": "a pax header",
    b"x": "a pax header",
    b"K": "a GNU long name",
    b"L": "a GNU long name",
    b"S": "a sparse file",
}


@dataclass(frozen=True, slots=True)
class Member:
    """A file in the tar: its name, and where its bytes are."""

    name: str
    offset: int
    size: int


def header(name: str, size: int) -> bytes:
    """The header of a file, without owner, time or anything else that could differ."""
    if size > SIZE_MAX:
        raise LimitExceeded(f"{name} has {size} bytes; a bundle's part has at most {SIZE_MAX}.")
    fields = (
        name.encode("ascii").ljust(NAME_MAX, b"\0")
        + b"0000644\0"
        + b"0000000\0" * 2
        + b"%011o\0" % size
        + b"00000000000\0"
        + b" " * 8
        + _REGULAR
        + bytes(100)
        + b"ustar\00000"
        + bytes(64)
        + b"0000000\0" * 2
    ).ljust(BLOCK, b"\0")
    return fields[:148] + b"%06o\0 " % sum(fields) + fields[156:]


def padding(size: int) -> bytes:
    """What fills the last block of so many bytes."""
    return bytes(-size % BLOCK)


def members(file: BinaryIO, length: int) -> Iterator[Member]:
    """The files of a tar of that length, up to its end, which is checked too.

    Their bytes are not looked at; the reader may move in the file between two members.
    """
    position = 0
    while True:
        file.seek(position)
        block = file.read(BLOCK)
        if len(block) < BLOCK:
            raise FileRefused("The file ends before the tar does: it is truncated.")
        if not any(block):
            return _check_end(file, position)
        name, size = _parsed(block)
        position += BLOCK
        end = position + size
        if end > length:
            raise FileRefused(f"The file ends within {name}: it is truncated.", part=name)
        yield Member(name, position, size)
        file.seek(end)
        position = end + len(padding(size))
        if any(file.read(position - end)):
            raise FileRefused(f"Behind {name} is padding that is not zero.", part=name)


def _parsed(block: bytes) -> tuple[str, int]:
    raw_name = block[:NAME_MAX].rstrip(b"\0")
    shown = ascii(raw_name.decode("latin-1"))
    unsigned = sum(block) - sum(block[148:156]) + 8 * 32
    if block[148:156] != b"%06o\0 " % unsigned:
        raise FileRefused(f"The tar header of {shown} has a wrong checksum.")
    kind = block[156:157]
    if kind != _REGULAR:
        what = _KINDS.get(kind, "of an unknown kind")
        raise FileRefused(f"{shown} is {what}; a bundle has plain files only.")
    try:
        name, size = raw_name.decode("ascii"), int(block[124:135], 8)
    except ValueError:
        raise FileRefused(f"The tar header of {shown} has no valid name or size.") from None
    if name.startswith(("/", "\\")) or ".." in name.replace("\\", "/").split("/"):
        raise FileRefused(f"{shown} would lead out of the bundle.")
    if size < 0 or block != header(name, size):
        raise FileRefused(f"The tar header of {shown} has fields that a bundle's does not have.")
    return name, size


def _check_end(file: BinaryIO, position: int) -> None:
    file.seek(position)
    if file.read(len(END)) != END:
        raise FileRefused("The tar does not end with two blocks of zeros.")
    while block := file.read(1 << 20):
        if any(block):
            raise FileRefused("There is something behind the end of the tar.")
