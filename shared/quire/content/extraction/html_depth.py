"""HTML nested deeper than any page is made: flattened before it is parsed.

Parsing HTML takes time in proportion to the depth of what is open, for every tag: 100,000 open
divs took half a minute, three times as many nine times as long. Browsers flatten too, at 512.
"""

from __future__ import annotations

import re
from collections import Counter

DEEPEST = 512


def tags(names: str) -> frozenset[str]:
    """Names of elements, written as one line."""
    return frozenset(names.split())


# Never looks past the next "<", so that a page of those alone takes no longer than another.
_TAG = re.compile(r"<(?:(!--)|(/?)([a-z][^\s/<>]*)[^<>]*>?)", re.IGNORECASE)
# Nothing in these is a tag until they are closed.
_RAW = tags("script style textarea title xmp iframe noembed noframes")
_END_OF_RAW = {name: re.compile(f"</{name}", re.IGNORECASE) for name in _RAW}
# Have no end, or need none: they close one another, and nest only in what is counted.
_UNCOUNTED = tags(
    "area base br col embed hr img input link meta param source track wbr keygen basefont bgsound "
    "frame p li dt dd tr td th thead tbody tfoot caption colgroup option optgroup rb rt rtc rp "
    "html head body"
)
_INLINE = tags(
    "a abbr acronym b bdi bdo big cite code data del dfn em font i ins kbd label mark nobr q ruby "
    "s samp small span strike strong sub sup time tt u var"
)


def flattened(page: str) -> str:
    """The page without the tags that would nest deeper than `DEEPEST`; mostly the page itself."""
    kept: list[str] = []
    begin = position = 0
    depth = 0
    opened: Counter[str] = Counter()
    cut: Counter[str] = Counter()
    while (tag := _TAG.search(page, position)) is not None:
        position = tag.end()
        if tag[1]:
            end = page.find("-->", position)
            if end < 0:
                break
            position = end
            continue
        name = tag[3].lower()
        if name in _UNCOUNTED:
            continue
        if name in _RAW and not tag[2]:
            closing = _END_OF_RAW[name].search(page, position)
            if closing is None:
                break
            position = closing.start()
            continue
        if not tag[2]:
            if depth < DEEPEST:
                depth += 1
                opened[name] += 1
                continue
            cut[name] += 1
        elif cut[name]:
            cut[name] -= 1
        else:
            if opened[name]:
                opened[name] -= 1
                depth -= 1
            continue
        kept += (page[begin : tag.start()], "" if name in _INLINE else "<br>")
        begin = position
    if not kept:
        return page
    kept.append(page[begin:])
    return "".join(kept)
