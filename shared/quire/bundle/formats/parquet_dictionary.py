"""The head of a Parquet page, as far as it tells the size of a dictionary."""

from __future__ import annotations

from typing import BinaryIO

from quire.errors import FileRefused

_DICTIONARY_PAGE = 2
_INTEGER = 0x15
"""A field with the next number, a 32-bit integer, in Thrift's compact protocol."""


def dictionary_bytes(file: BinaryIO) -> int:
    """What the page that begins here unpacks to, if it is a dictionary; 0 if it is another.

    A page's head begins with its type and its unpacked size, which the parser holds it to.
    """
    head = file.read(16)
    kind, position = _number(head, 0)
    if kind != _DICTIONARY_PAGE:
        return 0
    size, _ = _number(head, position)
    if size < 0:
        raise FileRefused("A page of the Parquet file has no valid size.")
    return size


def _number(head: bytes, position: int) -> tuple[int, int]:
    if head[position : position + 1] != bytes([_INTEGER]):
        raise FileRefused("A page of the Parquet file has no valid head.")
    number = 0
    for shift, byte in enumerate(head[position + 1 :]):
        number |= (byte & 127) << (7 * shift)
        if byte < 128:
            return (number >> 1) ^ -(number & 1), position + 2 + shift
    raise FileRefused("A page of the Parquet file has no valid head.")
