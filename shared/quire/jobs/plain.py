"""Plain JSON: what a job may be given, may remember and may answer."""

from __future__ import annotations

import json
from typing import Any

import orjson


def plain(value: Any) -> Any:
    """The value as it will be read back from the store; `ValueError` says why it cannot be.

    A job sees the same value in its first run as after a crash, because both see this one.
    """
    try:
        text = json.dumps(value, allow_nan=False, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"it is not JSON: {error}") from error
    try:
        plain_value = json.loads(text)
        # The store writes with orjson: integers of 64 bits, no lone surrogates.
        orjson.dumps(plain_value)
    except (TypeError, UnicodeEncodeError) as error:
        raise ValueError(f"it cannot be stored as JSON: {error}") from error
    if "\\u0000" in text and _has_nul(plain_value):
        raise ValueError("it holds a NUL character, which PostgreSQL does not store")
    return plain_value


def _has_nul(value: Any) -> bool:
    if isinstance(value, str):
        return "\0" in value
    if isinstance(value, dict):
        return any(_has_nul(key) or _has_nul(item) for key, item in value.items())
    return isinstance(value, list) and any(_has_nul(item) for item in value)
