"""Sessions, chunks and documents as resources. Ids are percent-encoded in their URIs."""

from __future__ import annotations

from typing import Any

import orjson
from fastmcp import FastMCP

from quire.app import Quire
from quire_mcp.budget import BYTES_PER_TOKEN
from quire_mcp.callers import caller
from quire_mcp.failures import protocol_errors
from quire_mcp.shapes import call, moment, session_brief

# What is said where a text was cut.
NOTE_BYTES = 300


def offer(server: FastMCP[Any], quire: Quire) -> None:
    """The resources of a server; each is held to the budget of an answer."""
    room = quire.settings.mcp.answer_tokens * BYTES_PER_TOKEN - NOTE_BYTES

    @server.resource(
        "quire://sessions/{session_id}", mime_type="application/json", title="A session"
    )
    @protocol_errors
    async def session(session_id: str) -> str:
        """What a session is; its text is in its chunks and documents."""
        found = await quire.sessions.get(caller().principal, session_id)
        expires = None if found.expires_at is None else moment(found.expires_at)
        told = {**session_brief(found), "expires_at": expires, "metadata": dict(found.metadata)}
        if len(orjson.dumps(told)) > room:
            del told["metadata"]
        return orjson.dumps(told).decode()

    @server.resource(
        "quire://sessions/{session_id}/chunks/{seq}", mime_type="text/plain", title="A chunk"
    )
    @protocol_errors
    async def chunk(session_id: str, seq: int) -> str:
        """The text of a chunk."""
        found = await quire.chunks.get(caller().principal, session_id, seq)
        text = found.chunk.text
        kept = text.encode()[:room].decode(errors="ignore")
        if len(kept) == len(text):
            return text
        rest = call("get_session_chunk", session_id=session_id, chunk_index=seq, offset=len(kept))
        return f"{kept}\n\n[Cut here; the rest: {rest}]"

    @server.resource(
        "quire://sessions/{session_id}/documents/{document_id}",
        mime_type="text/plain",
        title="A document",
    )
    @protocol_errors
    async def document(session_id: str, document_id: str) -> str:
        """The text of a document, as far as it fits."""
        found = await quire.documents.get(caller().principal, session_id, document_id)
        size = quire.documents.text_of(found).size
        blocks = quire.documents.text(found, 0, min(size, room))
        kept = b"".join([block async for block in blocks]).decode(errors="ignore")
        if size <= room:
            return kept
        rest = call("get_session", session_id=session_id, start=found.first_seq or 0)
        return f"{kept}\n\n[Cut at {room} of {size} bytes; read it by chunks: {rest}]"
