"""How long an answer may be, and making it that long."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar, cast

import orjson

# English has four and more bytes a token, JSON and other scripts about three: no model is asked.
BYTES_PER_TOKEN = 3
# What the protocol writes around an answer.
ENVELOPE_BYTES = 160

# What something is addressed by is never cut.
ADDRESSES = frozenset({"id", "session_id", "document_id", "message_id", "source_url"})

A = TypeVar("A", bound=Mapping[str, Any])
T = TypeVar("T")


class Budget:
    """Counts an answer as it is sent: once as text, and once more as structured content."""

    def __init__(self, tokens: int) -> None:
        self.bytes = tokens * BYTES_PER_TOKEN

    def holds(self, answer: Mapping[str, Any]) -> bool:
        """Whether an answer may be sent as it is."""
        return self.size(answer) <= self.bytes

    def size(self, answer: Mapping[str, Any]) -> int:
        """The bytes of an answer with all that is around it."""
        text = orjson.dumps(answer)
        return len(text) + len(orjson.dumps(text.decode())) + ENVELOPE_BYTES

    def fit(self, most: int, build: Callable[[int], A]) -> A:
        """The answer made of as much as will fit, of at most so much of it.

        `build(n)` is the answer with n of whatever it is made of; the more, the longer. With
        nothing of it, it is what it is.
        """
        answer = build(most)
        if most <= 0 or self.holds(answer):
            return answer
        fits, too_many = 0, most
        while too_many - fits > 1:
            middle = (fits + too_many) // 2
            if self.holds(build(middle)):
                fits = middle
            else:
                too_many = middle
        return build(fits)

    def fit_items(self, items: Sequence[T], build: Callable[[Sequence[T]], A]) -> A:
        """The answer with as many of the items as will fit: with one at least, if need be cut."""
        if not items or self.holds(one := build(items[:1])):
            return self.fit(len(items), lambda n: build(items[:n]))
        return self.fit(longest(one), lambda n: build([cut(items[0], n)]))


def longest(value: Any) -> int:
    """The length of the longest text in something that may be cut."""
    match value:
        case str():
            return len(value)
        case dict():
            return max((longest(it) for k, it in value.items() if k not in ADDRESSES), default=0)
        case list() | tuple():
            return max(map(longest, value), default=0)
        case _:
            return 0


def cut(value: T, most: int) -> T:
    """The same with no text in it longer than that."""
    match value:
        case str():
            return cast("T", value[:most])
        case dict():
            kept = {k: it if k in ADDRESSES else cut(it, most) for k, it in value.items()}
            return cast("T", kept)
        case list():
            return cast("T", [cut(it, most) for it in value])
        case _:
            return value
