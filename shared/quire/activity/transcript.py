"""A conversation as a file: JSON lines for machines, Markdown to be read."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from typing import Any

import orjson

from quire.activity.message_models import Message, Part, TranscriptFormat
from quire.sessions.models import Session

_BACKTICKS = re.compile(r"`+")
_SPACE = re.compile(r"\s+")
# What Markdown or HTML may take for something else than text.
_SPECIAL = re.compile(r"([\\`*_{}\[\]()<>#+.!|~&-])")


async def written(
    session: Session, messages: AsyncIterator[Message], format: TranscriptFormat
) -> AsyncIterator[bytes]:
    """The file, a message at a time."""
    if format is TranscriptFormat.JSONL:
        async for message in messages:
            yield orjson.dumps(message_item(message), option=orjson.OPT_UTC_Z) + b"\n"
        return
    yield f"# {plain(session.name)}\n".encode()
    async for message in messages:
        yield _section(message).encode()


def message_item(message: Message) -> dict[str, Any]:
    """A message as it is shown, in answers and in files."""
    return {
        "id": message.id,
        "session_id": message.session_id,
        "ordinal": message.ordinal,
        "role": message.role.value,
        "content": message.content,
        "tool": message.tool,
        "invocation_id": message.invocation_id,
        "tokens_in": message.tokens_in,
        "tokens_out": message.tokens_out,
        "cost": message.cost,
        "metadata": message.metadata,
        "author": message.author,
        "created_at": message.created_at,
    }


def fenced(text: str, language: str = "") -> str:
    """A block that nothing in the text can end: its fence is longer than any in there."""
    longest = max((len(found) for found in _BACKTICKS.findall(text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text}\n{fence}\n"


def code(text: str) -> str:
    """The same within a line."""
    line = _SPACE.sub(" ", text)
    longest = max((len(found) for found in _BACKTICKS.findall(line)), default=0)
    fence = "`" * (longest + 1)
    return f"{fence} {line} {fence}" if longest or line != line.strip() else f"`{line}`"


def plain(text: str) -> str:
    """One line of text, and nothing but text."""
    return _SPECIAL.sub(r"\\\1", _SPACE.sub(" ", text))


def _section(message: Message) -> str:
    at = message.created_at.isoformat(timespec="seconds").replace("+00:00", "Z")
    said = [f"\n## {message.ordinal}. {message.role.value}, {at}\n"]
    about = [("tool", message.tool), ("invocation", message.invocation_id)]
    told = [f"{name} {code(value)}" for name, value in about if value is not None]
    if told:
        said.append(f"{', '.join(told)}\n")
    if isinstance(message.content, str):
        said.append(fenced(message.content, "text"))
    else:
        said += [_part(part) for part in message.content]
    return "\n".join(said)


def _part(part: Part) -> str:
    if part["type"] == "text":
        return fenced(part["text"], "text")
    if part["type"] == "data":
        shown = orjson.dumps(part["data"], option=orjson.OPT_INDENT_2).decode()
        return fenced(shown, "json")
    media_type = part.get("media_type")
    what = f" ({code(media_type)})" if media_type else ""
    kind = "attachment" if part.get("attachment") else "url"
    return f"{part['type']}: {kind} {code(part[kind])}{what}\n"
