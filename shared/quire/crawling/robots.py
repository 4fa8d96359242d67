"""robots.txt (RFC 9309): what a site asks of those who come by themselves."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import quote

from quire.crawling.patterns import fits

MOST_BYTES = 500 * 1024
MOST_RULES = 2_000
MOST_SITEMAPS = 50
LONGEST_DELAY_SECONDS = 30.0
"""What is asked for beyond it is not waited for."""

_LINE = re.compile(r"\s*([A-Za-z-]+)\s*:\s*([^#]*)")
_TOKEN = re.compile(r"[A-Za-z_-]+")
_SAFE = "/%:@!$&'()*+,;=-._~?[]|^`{}"


@dataclass(frozen=True, slots=True)
class Rule:
    pattern: str
    allows: bool


@dataclass(frozen=True, slots=True)
class Rules:
    """What one site asks of us."""

    rules: Sequence[Rule] = ()
    delay: float = 0.0
    sitemaps: Sequence[str] = field(default_factory=tuple)

    def allow(self, target: str) -> bool:
        """Whether a path with its query may be fetched: the longest rule decides, else allowing."""
        longest, allowed = -1, True
        for rule in self.rules:
            length = len(rule.pattern)
            if length < longest or (length == longest and not rule.allows):
                continue
            if _applies(rule.pattern, target):
                longest, allowed = length, rule.allows
        return allowed


ALL = Rules()
NOTHING = Rules((Rule("/", False),))
"""Of a site that does not tell: its server failed, or cannot be reached."""


def parse_robots(content: bytes, user_agent: str) -> Rules:
    """The rules for a robot of this name, or those for everyone; whatever else stands there."""
    mine, everyones = _Group(), _Group()
    sitemaps: list[str] = []
    token = token_of(user_agent)
    current: list[_Group] = []
    names_go_on = False
    for line in content[:MOST_BYTES].decode("utf-8-sig", "replace").splitlines():
        found = _LINE.match(line)
        if found is None:
            continue
        name, value = found[1].lower(), found[2].strip()
        if name == "user-agent":
            current = current if names_go_on else []
            names_go_on = True
            said = _TOKEN.match(value)
            if value == "*":
                current.append(everyones)
            elif said is not None and said[0].lower() == token:
                mine.is_there = True
                current.append(mine)
            continue
        if name == "sitemap":
            if len(sitemaps) < MOST_SITEMAPS:
                sitemaps.append(value)
            continue
        names_go_on = False
        for group in current:
            group.take(name, value)
    chosen = mine if mine.is_there else everyones
    return Rules(tuple(chosen.rules), chosen.delay, tuple(sitemaps))


def token_of(user_agent: str) -> str:
    """How robots.txt names a robot."""
    found = _TOKEN.match(user_agent)
    return "" if found is None else found[0].lower()


class _Group:
    def __init__(self) -> None:
        self.is_there = False
        self.rules: list[Rule] = []
        self.delay = 0.0

    def take(self, name: str, value: str) -> None:
        if name in ("allow", "disallow") and value and len(self.rules) < MOST_RULES:
            self.rules.append(Rule(quote(value, safe=_SAFE), name == "allow"))
        elif name == "crawl-delay" and re.fullmatch(r"\d{1,6}(\.\d{1,6})?", value):
            self.delay = min(float(value), LONGEST_DELAY_SECONDS)


def _applies(pattern: str, target: str) -> bool:
    return fits(pattern[:-1], target) if pattern.endswith("$") else fits(f"{pattern}*", target)
