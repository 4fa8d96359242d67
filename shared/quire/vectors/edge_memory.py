"""Giving back the memory that a shard maps in without need.

The engine maps its payload indexes with every page present: sparse files that are nearly all holes
count with some 11 MB a shard, whatever it holds. Their pages are dropped right after the load. And
what is written or read stays mapped in, vectors and payloads whole: their pages are dropped now and
then while points are written or streamed. A page that is needed comes back by itself, from the
file. Nobody may write to the shard meanwhile.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from pathlib import Path

MADV_DONTNEED = 4
MAPS = "/proc/self/maps"
INDEXES = b"payload_index"

DROP_EVERY = 4_096
"""Points written, or read in a stream, between two drops: some 20 MB; it takes milliseconds."""


def drop_mapped_pages(shard: Path, *, only: bytes = INDEXES) -> None:
    """Drop the pages of the shard's mapped files whose path holds `only`, where it is possible."""
    if not sys.platform.startswith("linux"):
        return
    madvise = ctypes.CDLL(None).madvise
    madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    with open(MAPS, "rb") as listing:
        maps = listing.read()
    for start, end in _shared_mappings(maps, os.fsencode(shard) + b"/", only):
        madvise(start, end - start, MADV_DONTNEED)


def _shared_mappings(maps: bytes, shard: bytes, only: bytes) -> Iterator[tuple[int, int]]:
    """Where these files of the shard are mapped. A shared page is the file's: nothing is lost."""
    at = maps.find(shard)
    while at >= 0:
        begins, ends = maps.rfind(b"\n", 0, at) + 1, maps.find(b"\n", at)
        place, rights, rest = maps[begins:ends].split(b" ", 2)
        if rights.endswith(b"s") and only in rest:
            start, _, end = place.partition(b"-")
            yield int(start, 16), int(end, 16)
        at = maps.find(shard, ends)
