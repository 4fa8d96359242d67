"""What a bundle is made of: which parts, in which order, and how large they may be."""

from __future__ import annotations

import re

FORMAT = "quire-bundle"
VERSION = 1
"""Raised when a bundle can no longer be read by what read the version before."""

HEAD = "format.json"
SESSION = "session.json.zst"
DOCUMENTS = "documents.jsonl.zst"
MANIFEST = "manifest.json"

TABLES = ("attachments", "data", "invocations", "lineage", "messages", "settings")
"""The tables that a bundle may have besides documents, in their order."""

ATTACHMENTS = "attachments"
"""The table whose rows have content, as documents have."""

POINTS_MAX = 10_000
"""Points in one part."""

POINTS_BYTES = 256 * 1024 * 1024
"""A part of points is closed when it comes to so much, unpacked, even with fewer points."""

PACK_BYTES = 16 * 1024 * 1024
"""Bytes of documents in one part, unpacked; what is larger has a part to itself."""

LINE_BYTES_MAX = 32 * 1024 * 1024
OBJECT_BYTES_MAX = 32 * 1024 * 1024
"""The session's own row, and the manifest."""

_NUMBERED = re.compile(r"(?:points/(\d{5})\.parquet|content/(\d{5})\.bin\.zst)")
_TABLE = re.compile(r"([a-z]+)\.jsonl\.zst")


def points_name(number: int) -> str:
    return f"points/{number:05d}.parquet"


def content_name(number: int) -> str:
    return f"content/{number:05d}.bin.zst"


def table_name(table: str) -> str:
    return f"{table}.jsonl.zst"


Place = tuple[int, int]


def place(name: str) -> Place | None:
    """Where a part stands: in which section, and as which of it; None if there is no such part."""
    fixed = {HEAD: 0, SESSION: 1, DOCUMENTS: 3, MANIFEST: 6}
    if name in fixed:
        return fixed[name], 0
    if numbered := _NUMBERED.fullmatch(name):
        of_points, of_content = numbered.groups()
        return (2, int(of_points)) if of_points else (4, int(of_content))
    if (table := _TABLE.fullmatch(name)) and table[1] in TABLES:
        return 5, TABLES.index(table[1])
    return None


def follows(before: Place | None, after: Place) -> bool:
    """Whether one part may stand right after another (None: at the start)."""
    if before is None:
        return after == (0, 0)
    if after[0] == before[0]:
        # Points and content are numbered without a gap; tables may be left out.
        return after[1] == before[1] + 1 if after[0] != 5 else after[1] > before[1]
    needed = {section for section in range(before[0] + 1, after[0]) if section in (0, 1, 3)}
    begins = after[0] == 5 or after[1] == 0
    return after[0] > before[0] and not needed and begins
