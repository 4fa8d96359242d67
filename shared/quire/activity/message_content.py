"""What a message may say: checked whole before it is kept, and its text."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from math import isfinite
from typing import Any

import orjson

from quire.activity.message_models import Content, NewMessage, Part
from quire.activity.names import client_id
from quire.errors import InvalidInput, LimitExceeded
from quire.sessions import validation
from quire.settings import Settings

RESERVED_IDS = frozenset({"export", "search", "settings"})
TOOL_CHARS = 256
TOKENS_MAX = 2**53


def checked(message: NewMessage, at: str, settings: Settings) -> bytes:
    """The content as it is kept; raises `InvalidInput` naming what is wrong with the message."""
    if message.id is not None and client_id(f"{at}id", message.id) in RESERVED_IDS:
        raise InvalidInput(
            f"{at}id: {message.id} is the name of an endpoint; choose another", field=f"{at}id"
        )
    if message.invocation_id is not None:
        client_id(f"{at}invocation_id", message.invocation_id)
    if message.tool is not None:
        _check_tool(message.tool, f"{at}tool")
    for name in ("tokens_in", "tokens_out"):
        number = getattr(message, name)
        if number is not None and not 0 <= number <= TOKENS_MAX:
            raise InvalidInput(f"{at}{name} is 0 or more", field=f"{at}{name}")
    if message.cost is not None and not (isfinite(message.cost) and message.cost >= 0):
        raise InvalidInput(f"{at}cost is a number, 0 or more", field=f"{at}cost")
    validation.json_object(f"{at}metadata", message.metadata, settings.limits)
    return _content_bytes(message.content, f"{at}content", settings.activity.message_bytes)


def fingerprint(message: NewMessage, content: bytes) -> str:
    """Of all that a client says with a message, but for its id."""
    said = (
        message.role.value,
        message.tool,
        message.invocation_id,
        message.tokens_in,
        message.tokens_out,
        message.cost,
        message.metadata,
    )
    digest = hashlib.sha256(orjson.dumps(said, option=orjson.OPT_SORT_KEYS))
    digest.update(content)
    return digest.hexdigest()


def text_of(content: Content) -> str:
    """What can be searched and counted of a message: its texts, and its data as JSON."""
    if isinstance(content, str):
        return content
    return "\n".join(text for part in content if (text := _part_text(part)))


def _part_text(part: Part) -> str:
    if part["type"] == "text":
        return str(part["text"])
    if part["type"] == "data":
        return orjson.dumps(part["data"]).decode()
    return str(part.get("attachment") or part.get("url"))


def _content_bytes(content: Content, field: str, most: int) -> bytes:
    if not isinstance(content, str):
        if not content:
            raise InvalidInput(f"{field} has no parts", field=field)
        for position, part in enumerate(content):
            _check_part(part, f"{field}[{position}]")
    try:
        kept = orjson.dumps(content)
    except (orjson.JSONEncodeError, RecursionError) as error:
        raise InvalidInput(f"{field} cannot be kept: {error}", field=field) from None
    if len(kept) > most:
        raise LimitExceeded(
            f"{field} is {len(kept)} bytes of JSON, over the limit of {most} "
            "(QUIRE_ACTIVITY_MESSAGE_BYTES)",
            field=field,
            recovery="Put what is large under /attachments and name it in a part, or have the "
            "operator raise the named setting.",
        )
    return kept


def _check_part(part: Part, field: str) -> None:
    kind = part.get("type")
    check = PARTS.get(kind) if isinstance(kind, str) else None
    if check is None:
        raise InvalidInput(
            f"{field}.type is {str(kind)[:50]!r}; valid: {', '.join(PARTS)}",
            field=f"{field}.type",
        )
    check(part, field)


def _check_text(part: Part, field: str) -> None:
    _check_names(part, field, {"text"})
    if not isinstance(part.get("text"), str):
        raise InvalidInput(f"{field}.text must be a text", field=f"{field}.text")


def _check_data(part: Part, field: str) -> None:
    _check_names(part, field, {"data"})
    if "data" not in part:
        raise InvalidInput(f"{field}.data is missing", field=f"{field}.data")
    _check_numbers(part["data"], f"{field}.data")


def _check_reference(part: Part, field: str) -> None:
    _check_names(part, field, {"attachment", "url", "media_type"})
    for name in ("attachment", "url", "media_type"):
        value = part.get(name)
        if value is not None and not (isinstance(value, str) and value):
            raise InvalidInput(f"{field}.{name} must be a text", field=f"{field}.{name}")
    if (part.get("attachment") is None) == (part.get("url") is None):
        raise InvalidInput(f"{field} names an attachment or a url: one of them", field=field)


PARTS: Mapping[str, Callable[[Part, str], None]] = {
    "text": _check_text,
    "image": _check_reference,
    "file": _check_reference,
    "data": _check_data,
}


def _check_names(part: Part, field: str, known: set[str]) -> None:
    for name in part:
        if name != "type" and name not in known:
            raise InvalidInput(
                f"{field} has {name[:50]!r}; a part of type {part['type']} has "
                f"{', '.join(sorted(known))}",
                field=field,
            )


def _check_numbers(value: Any, field: str) -> None:
    """NaN and infinity are no JSON: they would come back as null."""
    left: list[Any] = [value]
    while left:
        entry = left.pop()
        if isinstance(entry, float) and not isfinite(entry):
            raise InvalidInput(f"{field}: NaN and infinity are not JSON", field=field)
        if isinstance(entry, Mapping):
            left += entry.values()
        elif isinstance(entry, Sequence) and not isinstance(entry, str):
            left += entry


def _check_tool(tool: str, field: str) -> None:
    if not 1 <= len(tool) <= TOOL_CHARS or not tool.isprintable():
        raise InvalidInput(
            f"{field} must be 1 to {TOOL_CHARS} characters, without control characters",
            field=field,
        )
