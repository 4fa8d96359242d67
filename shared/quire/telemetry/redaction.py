"""Taking secrets out of what is about to be logged."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date, timedelta
from functools import lru_cache
from pathlib import PurePath
from typing import Any
from uuid import UUID

REDACTED = "[redacted]"

MAX_TEXT_CHARS = 20_000
MAX_KEY_CHARS = 100
MAX_DEPTH = 8
MAX_ITEMS = 200

# `tokens` and `max_tokens` count; `token` and `access_token` admit.
_SECRET_KEY = re.compile(
    r"(?:^|_)(?:authorization|token|jwt|api_?key|access_key|secret_key|private_key|cookie"
    r"|credentials?|passphrase|passwd)$"
    r"|(?:^|_)(?:secret|password)(?:_|$)"
)
_CAMEL_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")

_IN_TEXT = (
    # Authorization: Basic dXNlcjpwYXNz
    re.compile(r"(?i)(\bauthorization['\"]?\s*[:=]\s*(?:b?['\"])?)(?:\w+\s+)?[^\s'\",;]+"),
    # Bearer abc; but "a bearer token is needed" may be said
    re.compile(r"(?i)(\bbearer\s+)(?!(?:tokens?|auth\w*|scheme)\b)[\w.~+/=-]+"),
    # A JWT anywhere
    re.compile(r"()\beyJ[\w-]{6,}\.[\w-]+\.[\w-]*"),
    # ?token=abc, password='abc', "api_key": "abc"
    re.compile(
        r"(?i)((?:\b|_)(?:token|api[_-]?key|secret(?:[_-]key)?|access[_-]key|password|passwd)"
        r"(?:['\"]\s*:|\s?=)\s*(?:b?['\"])?)(?!\[redacted\])[^\s'\",;&)]+"
    ),
)
# Nearly all text has none of these, and is spared the patterns.
_SUSPECT = re.compile(r"(?i)://|eyj|bearer|authorization|token|secret|passw|key")
_URLS = re.compile(r"://[^\s'\"]+")
_PORT = re.compile(r"\d+(?:[/?#,)\]]|$)")


def is_secret(key: object) -> bool:
    """Whether what stands under this key (a field, a header) is to be kept out of logs."""
    if isinstance(key, bytes):
        key = key.decode("latin-1")
    return isinstance(key, str) and _names_a_secret(key[:MAX_KEY_CHARS])


@lru_cache(maxsize=1024)
def _names_a_secret(key: str) -> bool:
    name = _CAMEL_HUMP.sub("_", key).lower().replace("-", "_").replace(" ", "_")
    return _SECRET_KEY.search(name) is not None


def redact_text(text: str) -> str:
    """The text without bearer tokens, passwords in URLs and the like, and of bounded length."""
    if len(text) > MAX_TEXT_CHARS:
        text = f"{text[:MAX_TEXT_CHARS]}… ({len(text)} characters)"
    if _SUSPECT.search(text) is None:
        return text
    for pattern in _IN_TEXT:
        text = pattern.sub(rf"\1{REDACTED}", text)
    return _URLS.sub(_without_passwords, text)


def _without_passwords(found: re.Match[str]) -> str:
    # By hand: a pattern that seeks the last @ from each :// takes quadratic time.
    return "://".join(_without_password(part) for part in found[0].split("://"))


def _without_password(after_scheme: str) -> str:
    user, _, rest = after_scheme.partition(":")
    # Up to the last @, for a password may hold one.
    _, at, host = rest.rpartition("@")
    if not at or any(mark in user for mark in "/@?#") or _PORT.match(rest):
        return after_scheme
    return f"{user}:{REDACTED}@{host}"


def redact(value: Any, depth: int = 0) -> Any:
    """The value with secrets taken out at every level; objects become their redacted `repr`."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, str):
        return redact_text(str(value))
    if isinstance(value, bytes | bytearray):
        return redact_text(value[: MAX_TEXT_CHARS + 1].decode("utf-8", "replace"))
    if isinstance(value, date | timedelta | UUID | PurePath):
        return redact_text(str(value))
    if depth >= MAX_DEPTH:
        return "…"
    if isinstance(value, Mapping):
        return redact_fields(value, depth)
    if isinstance(value, list | tuple | set | frozenset):
        return _redact_items(value, depth)
    return redact_text(_repr(value))


def redact_fields(fields: Mapping[Any, Any], depth: int = 0) -> dict[str, Any]:
    """The mapping with secrets taken out, its keys made text."""
    kept: dict[str, Any] = {}
    for number, (key, value) in enumerate(fields.items()):
        if number == MAX_ITEMS:
            kept["…"] = f"{len(fields) - number} more"
            break
        plain = isinstance(key, str) and len(key) <= MAX_KEY_CHARS and key.isidentifier()
        name = key if plain else redact(key, depth + 1)
        kept[name if isinstance(name, str) else str(name)] = (
            REDACTED if value is not None and is_secret(key) else redact(value, depth + 1)
        )
    return kept


def _redact_items(
    items: list[Any] | tuple[Any, ...] | set[Any] | frozenset[Any], depth: int
) -> Any:
    # A pair such as (b"authorization", b"…"): headers come as lists of these.
    if isinstance(items, tuple) and len(items) == 2 and is_secret(items[0]):
        return [redact(items[0], depth + 1), REDACTED]
    kept = [redact(item, depth + 1) for number, item in enumerate(items) if number < MAX_ITEMS]
    if len(items) > MAX_ITEMS:
        kept.append(f"… {len(items) - MAX_ITEMS} more")
    return kept


def _repr(value: object) -> str:
    try:
        return repr(value)
    except Exception:
        # A boundary: a broken __repr__ must not break the request that wanted to log.
        return f"<{type(value).__name__} without a repr>"
