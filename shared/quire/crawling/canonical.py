"""One address for one page, however it is written."""

from __future__ import annotations

import hashlib
import re
from dataclasses import replace
from urllib.parse import unquote_plus

from quire.web.address import Address

_TRACKING = re.compile(r"utm_\w+|gclid|dclid|fbclid|msclkid|yclid|mc_[ce]id|igshid|_hs\w+|_ga")
_ESCAPED = re.compile(r"%([0-9A-Fa-f]{2})")
_UNRESERVED = re.compile(r"[A-Za-z0-9._~-]")


def canonical(address: Address) -> Address:
    """The address without what only counts visitors, and with its escapes written one way.

    What is left of the query keeps its order: to some servers it means something.
    """
    query = None
    if address.query:
        kept = (
            part
            for part in address.query.split("&")
            if part and not _TRACKING.fullmatch(unquote_plus(part.partition("=")[0]).lower())
        )
        query = "&".join(_written_one_way(part) for part in kept) or None
    return replace(address, path=_written_one_way(address.path), query=query)


def page_id(url: str) -> str:
    """The document that a page is: the same for each crawl of it."""
    return f"page-{hashlib.sha256(url.encode()).hexdigest()[:32]}"


def _written_one_way(text: str) -> str:
    def escape(found: re.Match[str]) -> str:
        character = chr(int(found[1], 16))
        return character if _UNRESERVED.fullmatch(character) else found[0].upper()

    return _ESCAPED.sub(escape, text)
