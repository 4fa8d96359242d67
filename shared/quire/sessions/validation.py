"""What a session's fields may hold, checked before anything is written."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from quire.errors import InvalidInput, LimitExceeded
from quire.settings import LimitSettings

ID_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
# These would shadow an endpoint of their own.
RESERVED_IDS = frozenset({"compare", "cleanup", "retention-policy", "merge", "import"})
NAME_OF_SOMEONE = re.compile(r"[^\x00-\x20\x7f][^\x00-\x1f\x7f]{0,255}")
MAX_TTL_SECONDS = 10 * 365 * 86_400
SAFE_INTEGER = 2**53


def session_id(value: str) -> str:
    if not ID_PATTERN.fullmatch(value) or ".." in value:
        raise InvalidInput(
            "A session id is 1 to 128 of A-Z a-z 0-9 . _ - and starts with a letter or digit, "
            "without two dots in a row",
            field="id",
        )
    if value in RESERVED_IDS:
        raise InvalidInput(f"{value} is the name of an endpoint; choose another id", field="id")
    return value


def name(value: str, limits: LimitSettings) -> str:
    text = _text("name", value, limits.name_chars, "QUIRE_LIMITS_NAME_CHARS")
    if not text.strip():
        raise InvalidInput("A session's name must not be blank", field="name")
    if any(unicodedata.category(character) == "Cc" for character in text):
        raise InvalidInput("A session's name must not hold control characters", field="name")
    return text


def description(value: str | None, limits: LimitSettings) -> str | None:
    if value is None:
        return None
    setting = "QUIRE_LIMITS_DESCRIPTION_CHARS"
    return _text("description", value, limits.description_chars, setting)


def tags(values: Sequence[str], limits: LimitSettings) -> tuple[str, ...]:
    """Without repetitions, in the order given."""
    if len(values) > limits.tags:
        raise LimitExceeded(
            f"{len(values)} tags are over the limit of {limits.tags} (QUIRE_LIMITS_TAGS)",
            field="tags",
        )
    for position, tag in enumerate(values):
        field = f"tags[{position}]"
        _text(field, tag, limits.tag_chars, "QUIRE_LIMITS_TAG_CHARS")
        if not tag.strip() or "," in tag or any(unicodedata.category(c) == "Cc" for c in tag):
            raise InvalidInput(
                f"{field} must not be blank, nor hold commas or control characters", field=field
            )
    return tuple(dict.fromkeys(values))


def someone(field: str, value: str) -> str:
    """The name of a user or a group, as tokens carry it."""
    if not NAME_OF_SOMEONE.fullmatch(value) or _has_surrogate(value):
        raise InvalidInput(
            f"{field} must be 1 to 256 characters, without control characters", field=field
        )
    return value


def json_object(field: str, value: Mapping[str, Any], limits: LimitSettings) -> dict[str, Any]:
    """A JSON object that every database keeps unchanged, within size and depth."""
    _check_json(field, value, limits.json_depth)
    size = len(orjson.dumps(value))
    if size > limits.json_bytes:
        raise LimitExceeded(
            f"{field} is {size} bytes of JSON, over the limit of {limits.json_bytes} "
            "(QUIRE_LIMITS_JSON_BYTES)",
            field=field,
        )
    return dict(value)


def ttl(seconds: float | None) -> float | None:
    if seconds is not None and not 1 <= seconds <= MAX_TTL_SECONDS:
        raise InvalidInput(
            f"ttl_seconds must be between 1 and {MAX_TTL_SECONDS} (ten years)", field="ttl_seconds"
        )
    return seconds


def _text(field: str, value: str, limit: int, setting: str) -> str:
    if len(value) > limit:
        raise LimitExceeded(
            f"{field} has {len(value)} characters, over the limit of {limit} ({setting})",
            field=field,
        )
    if _has_surrogate(value) or "\x00" in value:
        raise InvalidInput(f"{field} must not hold NUL or lone surrogates", field=field)
    return value


def _has_surrogate(value: str) -> bool:
    return any("\ud800" <= character <= "\udfff" for character in value)


def _check_json(field: str, value: Any, depth: int) -> None:
    if depth < 0:
        raise LimitExceeded(
            f"{field} is nested deeper than the limit (QUIRE_LIMITS_JSON_DEPTH)", field=field
        )
    if value is None or isinstance(value, bool):
        return
    if isinstance(value, str):
        if _has_surrogate(value) or "\x00" in value:
            raise InvalidInput(f"{field} must not hold NUL or lone surrogates", field=field)
    elif isinstance(value, int):
        if abs(value) > SAFE_INTEGER:
            raise InvalidInput(f"{field}: integers must be within ±2^53", field=field)
    elif isinstance(value, float):
        if value != value or value in (float("inf"), float("-inf")):
            raise InvalidInput(f"{field}: NaN and infinity are not JSON", field=field)
    elif isinstance(value, Mapping):
        for key, entry in value.items():
            if not isinstance(key, str) or _has_surrogate(key) or "\x00" in key:
                raise InvalidInput(
                    f"{field}: keys must be text without NUL or lone surrogates", field=field
                )
            _check_json(f"{field}.{key[:64]}", entry, depth - 1)
    elif isinstance(value, Sequence):
        for position, entry in enumerate(value):
            _check_json(f"{field}[{position}]", entry, depth - 1)
    else:
        raise InvalidInput(f"{field}: {type(value).__name__} is not JSON", field=field)
