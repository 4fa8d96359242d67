"""What tools answer about sessions and chunks."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from urllib.parse import quote

from typing_extensions import TypedDict

from quire.content.models import Chunk
from quire.sessions.models import Session


class SessionBrief(TypedDict):
    """A session in a list."""

    session_id: str
    name: str
    description: str | None
    status: str
    tags: list[str]
    total_chunks: int
    points_count: int
    created_at: str
    updated_at: str


class ChunkText(TypedDict):
    """A chunk beside another."""

    chunk_index: int
    text: str


def session_brief(session: Session) -> SessionBrief:
    return {
        "session_id": session.id,
        "name": _short(session.name, 200),
        "description": None if session.description is None else _short(session.description, 300),
        "status": session.status.value,
        "tags": [_short(tag, 100) for tag in session.tags[:20]],
        "total_chunks": session.chunks_count,
        "points_count": session.points_count,
        "created_at": moment(session.created_at),
        "updated_at": moment(session.updated_at),
    }


def chunk_text(chunk: Chunk, characters: int) -> ChunkText:
    return {"chunk_index": chunk.seq, "text": chunk.text[:characters]}


def moment(at: datetime) -> str:
    return at.isoformat().replace("+00:00", "Z")


def call(tool: str, **arguments: Any) -> str:
    """A call, as it is written in `next`."""
    told = ", ".join(f"{name}={_value(value)}" for name, value in arguments.items())
    return f"{tool}({told})"


def session_uri(session_id: str) -> str:
    return f"quire://sessions/{quote(session_id, safe='')}"


def chunk_url(base: str, session_id: str, seq: int) -> str:
    return f"{base}/sessions/{quote(session_id, safe='')}/chunks/{seq}"


def known(values: Mapping[str, Any]) -> dict[str, Any]:
    """Without what is not there."""
    return {name: value for name, value in values.items() if value is not None}


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return f'"{value}"' if isinstance(value, str) else str(value)


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"
