"""What callers ask for: a crawl."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from quire.content.models import SizeUnit
from quire.errors import InvalidInput, LimitExceeded
from quire.settings import WebSettings
from quire.web import address

PATTERNS = 50
PATTERN_CHARS = 200


class Reach(StrEnum):
    """How far a crawl goes from the address that it begins at."""

    HOST = "host"  # the same host
    DOMAIN = "domain"  # it, and the names below it
    PREFIX = "prefix"  # what is below the same folder of the same host


@dataclass(frozen=True, slots=True, kw_only=True)
class CrawlRequest:
    """A crawl. Without a session a new one is made, named after the site."""

    url: str
    session_id: str | None = None
    depth: int = 2
    """Links from the first page; 0: only that."""
    max_pages: int = 50
    max_bytes: int | None = None
    reach: Reach = Reach.HOST
    include: tuple[str, ...] = ()
    """Patterns of paths with `*`; where there are any, a page must fit one, save the first."""
    exclude: tuple[str, ...] = ()
    use_sitemap: bool = False
    """Begin also at what the site's sitemaps list."""
    name: str | None = None
    """Of the new session."""
    chunk_size: int | None = None
    chunk_unit: SizeUnit | None = None

    def checked(self, web: WebSettings) -> CrawlRequest:
        """The same, its address canonical; or an error that names the field that cannot be."""
        for name, value, most, setting in (
            ("depth", self.depth, web.crawl_depth, "QUIRE_WEB_CRAWL_DEPTH"),
            ("max_pages", self.max_pages, web.crawl_pages, "QUIRE_WEB_CRAWL_PAGES"),
            ("max_bytes", self.max_bytes, web.crawl_bytes, "QUIRE_WEB_CRAWL_BYTES"),
        ):
            least = 0 if name == "depth" else 1
            if value is not None and value < least:
                raise InvalidInput(f"{name} is {least} or more", field=name)
            if value is not None and value > most:
                raise LimitExceeded(f"{name} is at most {most} ({setting})", field=name)
        for name, patterns in (("include", self.include), ("exclude", self.exclude)):
            _check_patterns(name, patterns)
        return replace(self, url=str(address.parse(self.url)))


def _check_patterns(name: str, patterns: tuple[str, ...]) -> None:
    if len(patterns) > PATTERNS:
        raise LimitExceeded(f"{name} has at most {PATTERNS} patterns", field=name)
    for text in patterns:
        if not text or len(text) > PATTERN_CHARS:
            raise InvalidInput(
                f"{name}: a pattern has 1 to {PATTERN_CHARS} characters, like /docs/*",
                field=name,
            )
