"""A query: what was found or posted, as it was then, cut into pages."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import orjson

from quire.errors import InvalidInput

# Fast, and text shrinks to a third all the same.
LEVEL = 1
# Below this, compressing saves nothing worth the time.
PLAIN_BELOW = 512
# What a result set takes in memory besides its bytes.
OVERHEAD = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """What a result set answers, whose it is and how long it stays; not its items."""

    id: str
    session_id: str | None
    owner_id: str | None
    across: tuple[str, ...]
    request: bytes
    page_size: int
    total: int
    created_at: datetime
    used_at: datetime
    expires_at: datetime

    @property
    def pages_count(self) -> int:
        return -(-self.total // self.page_size)

    @property
    def last_page(self) -> int:
        """Without items there is still page 0, and it is empty."""
        return max(0, self.pages_count - 1)

    def has_expired(self, at: datetime) -> bool:
        return self.expires_at <= at


@dataclass(frozen=True, slots=True)
class Results:
    """A query with its items: each page a JSON array, plain or compressed by itself."""

    query: Query
    pages: tuple[bytes, ...]

    @property
    def size(self) -> int:
        return OVERHEAD + len(self.query.request) + sum(len(page) for page in self.pages)

    def page(self, index: int) -> bytes:
        """One page as JSON; no other is looked at."""
        return unpacked(self.pages[index])

    def packed(self) -> Results:
        """The same, compressed; takes a while where there are many items."""
        return replace(self, pages=tuple(packed(page) for page in self.pages))


def cut(items: Sequence[Any], page_size: int) -> tuple[bytes, ...]:
    """The items as JSON, so many a page; one page if there are none."""
    texts = [as_json(f"items[{position}]", item) for position, item in enumerate(items)]
    starts = range(0, max(1, len(texts)), page_size)
    return tuple(b"[%b]" % b",".join(texts[start : start + page_size]) for start in starts)


def as_json(field: str, value: Any) -> bytes:
    try:
        return orjson.dumps(value, option=orjson.OPT_UTC_Z)
    except orjson.JSONEncodeError as error:
        raise InvalidInput(f"{field} cannot be kept as JSON: {error}", field=field) from error


def packed(page: bytes) -> bytes:
    return page if len(page) < PLAIN_BELOW else zlib.compress(page, LEVEL)


def unpacked(page: bytes) -> bytes:
    # A JSON array starts with a bracket, which no zlib stream does.
    return page if page.startswith(b"[") else zlib.decompress(page)
