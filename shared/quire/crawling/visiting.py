"""Visiting a site: politely, as far as it lets us, and no further than the crawl is to go."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urljoin

from quire.content.web_pages import WebPages
from quire.crawling.bounds import Bounds
from quire.crawling.canonical import canonical
from quire.crawling.frontier import Frontier
from quire.crawling.politeness import Politeness
from quire.crawling.requests import Reach
from quire.crawling.robots import ALL, MOST_BYTES, NOTHING, Rules, parse_robots
from quire.crawling.sitemaps import parse_sitemap
from quire.errors import AddressRefused, FetchFailed, LimitExceeded
from quire.web.address import Address, parse
from quire.web.fetched import Fetched
from quire.web.page import Page, directives
from quire.web.web import Web

SITEMAPS_READ = 20


@dataclass(frozen=True, slots=True)
class Visited:
    """A page, and under which address it is known."""

    fetched: Fetched
    page: Page
    url: str
    robots: frozenset[str]
    """What it asks of robots, in its head or its headers."""


class Visiting:
    """Goes to the addresses of one crawl."""

    def __init__(
        self, web: Web, pages: WebPages, politeness: Politeness, frontier: Frontier
    ) -> None:
        self._web = web
        self._pages = pages
        self._politeness = politeness
        self._frontier = frontier

    async def visit(self, address: Address, bounds: Bounds | None) -> Visited:
        """The page at an address. Without bounds it is the first one, and may lead anywhere."""

        def may_follow(there: Address) -> bool:
            rules = self._frontier.robots.get(there.origin, ALL)
            return bounds is None or (bounds.within(there) and rules.allow(there.target))

        await self._turn(address)
        fetched = await self._web.fetch(str(address), may_follow=may_follow)
        page = await self._pages.page(fetched)
        asked = {*page.robots, *directives(fetched.headers.get("x-robots-tag"))}
        if "none" in asked:
            asked |= {"noindex", "nofollow"}
        found = canonical(parse(fetched.final_url))
        known = _wanted(page.canonical_url, bounds or Bounds(found, Reach.HOST)) or found
        return Visited(fetched, page, str(known), frozenset(asked))

    async def allows(self, address: Address) -> bool:
        """Whether the site's robots.txt lets us."""
        return (await self._rules(address)).allow(address.target)

    async def begin_sitemaps(self, root: Address) -> None:
        """Note where the site's sitemaps are: where its robots.txt says, or where most are."""
        said = (await self._rules(root)).sitemaps or ["/sitemap.xml"]
        self._frontier.sitemaps.extend(urljoin(root.origin, place) for place in said)

    async def read_sitemap(self, bounds: Bounds, add: Callable[[Address], None]) -> None:
        """Read the next sitemap; one that cannot be read is passed over."""
        frontier = self._frontier
        try:
            address = parse(frontier.sitemaps.popleft())
            if not bounds.within(address) and address.host != bounds.root.host:
                return
            await self._turn(address)
            found = await self._web.fetch(str(address), accepts=_anything)
        except (AddressRefused, FetchFailed, LimitExceeded):
            return
        sitemap = parse_sitemap(found.body, self._web.settings.page_bytes)
        for place in sitemap.addresses:
            if sitemap.is_index:
                if len(frontier.sitemaps) < SITEMAPS_READ:
                    frontier.sitemaps.append(place)
                continue
            try:
                add(parse(place))
            except AddressRefused:
                continue

    async def _turn(self, address: Address) -> None:
        rules = self._frontier.robots.get(address.origin, ALL)
        delay = max(self._web.settings.delay_seconds, rules.delay)
        await self._politeness.turn(address.host, delay)

    async def _rules(self, address: Address) -> Rules:
        known = self._frontier.robots.get(address.origin)
        if known is not None:
            return known
        rules = await self._fetch_rules(address)
        self._frontier.note_robots(address.origin, rules)
        return rules

    async def _fetch_rules(self, address: Address) -> Rules:
        await self._turn(address)
        url = f"{address.origin}/robots.txt"
        content = bytearray()
        try:
            async with self._web.stream(url, accepts=_anything) as arriving:
                async for block in arriving.blocks:
                    content += block
                    if len(content) > MOST_BYTES:
                        break
        except FetchFailed as error:
            if 400 <= error.details.get("http_status", 0) < 500:
                return ALL  # there is none
            if self._frontier.root is None:
                raise  # of the first page it is told what is wrong
            return NOTHING
        except (AddressRefused, LimitExceeded):
            return NOTHING
        return parse_robots(bytes(content), self._web.settings.user_agent)


def _wanted(said: str | None, bounds: Bounds) -> Address | None:
    """The address that a page wants to be known under, if it is of the site."""
    if said is None:
        return None
    try:
        address = canonical(parse(said))
    except AddressRefused:
        return None
    return address if bounds.within(address) else None


def _anything(media_type: str) -> bool:
    return True
