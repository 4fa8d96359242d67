"""The frontier: where a crawl has been, where it still goes, and what it found."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import orjson

from quire.crawling.robots import Rule, Rules

FAILURES_TOLD = 100
ROBOTS_KEPT = 200
WAITING_PER_PAGE = 20
"""So many addresses wait for each page that there may be: of more, the crawl would not see."""


@dataclass(frozen=True, slots=True)
class Step:
    """An address to go to, and how many links it is from where the crawl began."""

    url: str
    depth: int


@dataclass(slots=True)
class Counts:
    """What became of the addresses."""

    pages: int = 0
    """Handed over as documents."""
    unchanged: int = 0
    """Of those, the session had so many already."""
    bytes: int = 0
    failed: int = 0
    duplicates: int = 0
    refused_by_robots: int = 0
    noindex: int = 0
    elsewhere: int = 0
    """Led off the site."""
    unreadable: int = 0
    """Pictures and the like."""
    left_out: int = 0
    """Found after there were too many to remember."""

    @property
    def visited(self) -> int:
        """Addresses that were asked for, whatever came of it."""
        return (
            self.pages
            + self.failed
            + self.duplicates
            + self.noindex
            + self.elsewhere
            + self.unreadable
        )


@dataclass(slots=True)
class Frontier:
    """All that a crawl remembers between its portions, bounded by how many pages it may have."""

    max_pages: int
    root: str | None = None
    """Where the first page was found; until then nothing is known of the site."""
    waiting: deque[Step] = field(default_factory=deque)
    seen: set[str] = field(default_factory=set)
    """Digests of the addresses that wait, or were gone to."""
    contents: set[str] = field(default_factory=set)
    sitemaps: deque[str] = field(default_factory=deque)
    robots: dict[str, Rules] = field(default_factory=dict)
    counts: Counts = field(default_factory=Counts)
    failures: list[Mapping[str, Any]] = field(default_factory=list)
    ingest_jobs: list[str] = field(default_factory=list)

    def add(self, url: str, depth: int) -> bool:
        """Go there later, unless it is known; answers whether it was not."""
        digest = _digest(url)
        if digest in self.seen:
            return False
        if len(self.seen) >= self.max_pages * WAITING_PER_PAGE:
            self.counts.left_out += 1
            return False
        self.seen.add(digest)
        self.waiting.append(Step(url, depth))
        return True

    def has_seen(self, url: str) -> bool:
        return _digest(url) in self.seen

    def note_seen(self, urls: Iterable[str]) -> None:
        self.seen.update(map(_digest, urls))

    def note_content(self, text: bytes) -> bool:
        """Remember what a page says; answers whether another one said the same."""
        digest = _digest(text)
        is_known = digest in self.contents
        self.contents.add(digest)
        return is_known

    def note_failure(self, failure: Mapping[str, Any]) -> None:
        self.counts.failed += 1
        if len(self.failures) < FAILURES_TOLD:
            self.failures.append(failure)

    def note_robots(self, origin: str, rules: Rules) -> None:
        if len(self.robots) >= ROBOTS_KEPT:
            self.robots.pop(next(iter(self.robots)))
        self.robots[origin] = rules

    def dumped(self) -> bytes:
        return orjson.dumps(
            {
                "max_pages": self.max_pages,
                "root": self.root,
                "waiting": [[step.url, step.depth] for step in self.waiting],
                "seen": sorted(self.seen),
                "contents": sorted(self.contents),
                "sitemaps": list(self.sitemaps),
                "robots": {origin: asdict(rules) for origin, rules in self.robots.items()},
                "counts": asdict(self.counts),
                "failures": self.failures,
                "ingest_jobs": self.ingest_jobs,
            }
        )

    @classmethod
    def loaded(cls, kept: bytes) -> Frontier:
        value = orjson.loads(kept)
        robots = {
            origin: Rules(
                tuple(Rule(**rule) for rule in rules["rules"]), rules["delay"], rules["sitemaps"]
            )
            for origin, rules in value["robots"].items()
        }
        return cls(
            **{
                **value,
                "waiting": deque(Step(url, depth) for url, depth in value["waiting"]),
                "seen": set(value["seen"]),
                "contents": set(value["contents"]),
                "sitemaps": deque(value["sitemaps"]),
                "robots": robots,
                "counts": Counts(**value["counts"]),
            }
        )


def _digest(value: str | bytes) -> str:
    content = value.encode() if isinstance(value, str) else value
    return hashlib.blake2b(content, digest_size=10).hexdigest()
