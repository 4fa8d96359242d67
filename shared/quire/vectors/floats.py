"""Numbers in payloads that stay what they are, however often they go through an engine.

Qdrant keeps payloads as JSON, and reads a decimal by one multiplication or division. With 16 or 17
digits, or a large exponent, that may miss the number by its last bit, and by another bit with the
next copy: one random double in six changes when it is read back, and again in the next collection.
So a number that would change is written as the nearest one that does not. That is within a few
units of the last place (of 17 digits), nothing with 15 digits or fewer is touched, and from then
on every engine, server and bundle gives back the same bits.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from math import copysign, inf, nextafter
from typing import Any

import orjson

_SUSPECT = re.compile(rb"[:,\[]-?(?:[0-9.]{16}|[0-9.]+e)")
"""Numbers of so many digits, or with an exponent; all others are read exactly."""

_POWERS = [float(f"1e{exponent}") for exponent in range(309)]


def holds_suspects(told: bytes) -> bool:
    """Whether JSON may hold a number that does not stay."""
    return _SUSPECT.search(told) is not None


def settled(payload: Mapping[str, Any]) -> Mapping[str, Any]:
    """The payload with numbers that stay; itself when all of them do, as nearly always."""
    try:
        if not holds_suspects(orjson.dumps(payload)):
            return payload
    except TypeError:
        pass  # a mapping or a key that only Python knows: look at each value
    changed: Mapping[str, Any] = _settled(payload)
    return changed


def _settled(value: Any) -> Any:
    if isinstance(value, float):
        return settled_float(value)
    if isinstance(value, Mapping):
        inner = {key: _settled(item) for key, item in value.items()}
        return inner if any(inner[key] is not value[key] for key in inner) else value
    if isinstance(value, (list, tuple)):
        items = [_settled(item) for item in value]
        return items if any(a is not b for a, b in zip(items, value, strict=True)) else value
    return value


def settled_float(value: float) -> float:
    """The nearest number that an engine reads back as it is."""
    below = above = value
    while True:
        if _read_back(below) == below:
            return value if below == value else below
        if _read_back(above) == above:
            return above
        below, above = nextafter(below, -inf), nextafter(above, inf)


def _read_back(value: float) -> float:
    """What Qdrant's JSON reader makes of this number, written as its writer does."""
    mantissa, _, power = orjson.dumps(float(abs(value))).partition(b"e")
    whole, _, fraction = mantissa.partition(b".")
    exponent = int(power or 0) - len(fraction)
    read = float(int(whole + fraction))
    if exponent < -308:
        read, exponent = read / 1e308, exponent + 308
    read = read * _POWERS[exponent] if exponent >= 0 else read / _POWERS[-exponent]
    return copysign(read, value)
