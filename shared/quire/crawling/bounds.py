"""How far a crawl goes: which addresses are of the site, and which of them are wanted."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from quire.crawling.patterns import fits
from quire.crawling.requests import Reach
from quire.web.address import SCHEMES, Address

SEGMENTS = 30
REPEATED = 3
"""An address whose path says one thing more often than this is one of a loop's."""

# Not asked for at all: whatever a server calls it, it has no text.
_OTHER_THINGS = re.compile(
    r"\.(?:png|jpe?g|gif|webp|avif|svg|ico|bmp|tiff?|mp[34]|m4a|ogg|wav|webm|avi|mov|mkv|zip|t?gz|"
    r"bz2|xz|7z|rar|tar|exe|dmg|msi|deb|rpm|iso|apk|jar|css|m?js|map|wasm|woff2?|[to]tf|eot|"
    r"xlsx?|pptx?|epub)",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Bounds:
    """The site that a crawl is of."""

    root: Address
    reach: Reach
    include: Sequence[str] = ()
    exclude: Sequence[str] = ()

    def within(self, address: Address) -> bool:
        """The address is of the site."""
        if not _same_port(address, self.root):
            return False
        if self.reach is Reach.DOMAIN and self.root.ip is None:
            domain = self.root.host.removeprefix("www.")
            return address.host == domain or address.host.endswith(f".{domain}")
        if address.host != self.root.host:
            return False
        folder = self.root.path.rpartition("/")[0] + "/"
        return self.reach is not Reach.PREFIX or address.path.startswith(folder)

    def wants(self, address: Address) -> bool:
        """It is of the site, fits the patterns, and may be a page."""
        if not self.within(address) or _is_of_a_loop(address):
            return False
        if _OTHER_THINGS.fullmatch(PurePosixPath(address.path).suffix):
            return False
        if any(fits(pattern, address.path) for pattern in self.exclude):
            return False
        return not self.include or any(fits(pattern, address.path) for pattern in self.include)


def _same_port(address: Address, root: Address) -> bool:
    """The same, or each the usual one of its scheme."""
    usual = address.port == SCHEMES[address.scheme] and root.port == SCHEMES[root.scheme]
    return usual or address.port == root.port


def _is_of_a_loop(address: Address) -> bool:
    segments = [segment for segment in address.path.split("/") if segment]
    if len(segments) > SEGMENTS:
        return True
    return max(Counter(segments).values(), default=0) > REPEATED
