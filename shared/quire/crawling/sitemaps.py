"""Sitemaps: lists of a site's pages, and lists of such lists."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from dataclasses import dataclass

from quire.web.inflating import BrokenEncodingError, Inflating

MOST_ADDRESSES = 50_000

# Two elements are looked for, and nothing is parsed: so no entity can swell, and none is fetched.
_PLACE = re.compile(r"<loc>\s*(?:<!\[CDATA\[)?\s*([^<\]\s]{1,4000})", re.IGNORECASE)
_IS_INDEX = re.compile(r"<sitemapindex[\s>]", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Sitemap:
    """What a sitemap lists: pages, or further sitemaps."""

    is_index: bool
    addresses: Sequence[str]


def parse_sitemap(content: bytes, most_bytes: int) -> Sitemap:
    """Read a sitemap: XML, compressed or not, or plain text with an address on each line."""
    text = _unpacked(content, most_bytes).decode("utf-8-sig", "replace")
    if "<" not in text[:1_000]:
        lines = (line.strip() for line in text.splitlines())
        return Sitemap(False, [line for line in lines if line][:MOST_ADDRESSES])
    places = (html.unescape(found[1]) for found in _PLACE.finditer(text))
    return Sitemap(
        _IS_INDEX.search(text[:10_000]) is not None,
        [place for place, _ in zip(places, range(MOST_ADDRESSES), strict=False)],
    )


def _unpacked(content: bytes, most_bytes: int) -> bytes:
    """Of a compressed one as much as there may be of any page."""
    if not content.startswith(b"\x1f\x8b"):
        return content
    unpacked = bytearray()
    try:
        for block in Inflating().feed(content):
            unpacked += block
            if len(unpacked) >= most_bytes:
                break
    except BrokenEncodingError:
        pass  # what came before is good
    return bytes(unpacked[:most_bytes])
