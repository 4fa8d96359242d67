"""Reading a session: a chunk, all of it as far as it fits, or a URL for each chunk."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import Field
from typing_extensions import TypedDict

from quire.access.principal import Principal
from quire.app import Quire
from quire.content.models import Chunk
from quire.errors import ChunkNotFound
from quire_mcp.arguments import ChunkIndex, Neighbours, SessionId
from quire_mcp.callers import caller
from quire_mcp.shapes import ChunkText, call, chunk_text, chunk_url
from quire_mcp.toolbox import Toolbox

# As many chunks as are looked at in one go when a session is joined.
WINDOW = 50
MOST_URLS = 500

Offset = Annotated[int, Field(description="Characters of the first chunk to pass over.", ge=0)]


class ChunkAnswer(TypedDict):
    """A chunk, with the way to those beside it."""

    session_id: str
    chunk_index: int
    text: str
    is_cut: Annotated[bool, Field(description="Whether the text goes on; `next` reads the rest.")]
    document_id: str
    document_index: Annotated[int, Field(description="Its number in its document, from 0.")]
    start: Annotated[int, Field(description="Where it begins in the document, in characters.")]
    end: int
    tokens: int
    context: Annotated[str | None, Field(description="What it stands under: a table's header.")]
    metadata: Annotated[dict[str, Any] | None, Field(description="Null where it is too large.")]
    before: list[ChunkText]
    after: list[ChunkText]
    previous_index: int | None
    next_index: int | None
    next: str


class SessionText(TypedDict):
    """Joined text, up to where it fits."""

    session_id: str
    text: str
    first_index: Annotated[int | None, Field(description="The first chunk in the text.")]
    last_index: Annotated[int | None, Field(description="The last one, perhaps cut.")]
    is_complete: Annotated[bool, Field(description="Whether this is the end of the session.")]
    size_bytes: Annotated[int, Field(description="Of this text.")]
    total_chunks: int
    next: str


class ChunkUrls(TypedDict):
    """Where chunks are to be had over HTTP, with the same token."""

    session_id: str
    urls: list[str]
    total_chunks: int
    next_start: int | None
    next: str


def offer(toolbox: Toolbox) -> None:
    """The tools of this module."""
    quire, budget = toolbox.quire, toolbox.budget

    @toolbox.reads("Read a chunk")
    async def get_session_chunk(
        session_id: SessionId,
        chunk_index: ChunkIndex,
        before: Neighbours = 0,
        after: Neighbours = 0,
        offset: Offset = 0,
    ) -> ChunkAnswer:
        """The text of one chunk, counted from 0; with neighbours if you ask for them."""
        principal = caller().principal
        try:
            found = await quire.chunks.get(
                principal, session_id, chunk_index, before=before, after=after
            )
        except ChunkNotFound as error:
            raise await _named(quire, principal, session_id, chunk_index, error) from error
        chunk = found.chunk
        around = max((len(c.text) for c in (*found.before, *found.after)), default=0)

        def built(characters: int, *, bare: bool = False, beside: int = around) -> ChunkAnswer:
            end = offset + characters
            is_cut = end < len(chunk.text)
            return {
                "session_id": session_id,
                "chunk_index": chunk.seq,
                "text": chunk.text[offset:end],
                "is_cut": is_cut,
                "document_id": chunk.document_id,
                "document_index": chunk.index,
                "start": chunk.start,
                "end": chunk.end,
                "tokens": chunk.tokens,
                "context": None if bare else chunk.context,
                "metadata": None if bare else dict(chunk.metadata),
                "before": [chunk_text(other, beside) for other in found.before if beside],
                "after": [chunk_text(other, beside) for other in found.after if beside],
                "previous_index": found.previous_seq,
                "next_index": found.next_seq,
                "next": _after_chunk(
                    session_id, chunk.seq, end if is_cut else None, found.next_seq
                ),
            }

        whole = built(len(chunk.text))
        if budget.holds(whole):
            return whole
        # Neighbours give way first, then what is known of the chunk, and its own text last.
        less = budget.fit(around, lambda n: built(len(chunk.text), beside=n))
        if budget.holds(less):
            return less
        return budget.fit(len(chunk.text), lambda n: built(n, bare=True, beside=0))

    @toolbox.reads("Read a session")
    async def get_session(
        session_id: SessionId,
        start: Annotated[int, Field(description="The first chunk wanted.", ge=0)] = 0,
        offset: Offset = 0,
        max_bytes: Annotated[
            int | None,
            Field(description="Of text, at most; the answer's own budget holds too.", ge=1),
        ] = None,
    ) -> SessionText:
        """The session's text, joined from a chunk on, as far as it fits into an answer."""
        principal = caller().principal
        session = await quire.sessions.get(principal, session_id)
        most = min(budget.bytes, max_bytes or budget.bytes)
        chunks, more = await _enough(quire, principal, session_id, start, most + offset * 4)
        joined, ends = _joined(chunks, offset)
        limit = len(joined.encode()[:most].decode(errors="ignore"))

        def built(characters: int) -> SessionText:
            text = joined[:characters]
            at = next((i for i, end in enumerate(ends) if end >= characters), len(ends) - 1)
            is_complete = not more and characters >= len(joined)
            return {
                "session_id": session_id,
                "text": text,
                "first_index": chunks[0].seq if chunks else None,
                "last_index": chunks[at].seq if chunks else None,
                "is_complete": is_complete,
                "size_bytes": len(text.encode()),
                "total_chunks": session.chunks_count,
                "next": "That is all of it."
                if is_complete
                else _going_on(session_id, chunks, ends, at, characters, offset),
            }

        return budget.fit(limit, built)

    @toolbox.reads("URLs of chunks")
    async def get_session_urls(
        session_id: SessionId,
        start: Annotated[int, Field(description="The first chunk wanted.", ge=0)] = 0,
        limit: Annotated[int, Field(description="How many.", ge=1, le=MOST_URLS)] = 100,
    ) -> ChunkUrls:
        """One URL for each chunk, for tools that read many at once; they need your token."""
        principal = caller().principal
        session = await quire.sessions.get(principal, session_id)
        page = await quire.chunks.page(principal, session_id, start=start, limit=limit)
        base = caller().url

        def built(count: int) -> ChunkUrls:
            chunks = page.chunks[:count]
            following = page.next_start if count >= len(page.chunks) else page.chunks[count].seq
            told = "These are all. GET them with your token; each answers a chunk as JSON."
            if following is not None:
                told = call("get_session_urls", session_id=session_id, start=following)
            return {
                "session_id": session_id,
                "urls": [chunk_url(base, session_id, chunk.seq) for chunk in chunks],
                "total_chunks": session.chunks_count,
                "next_start": following,
                "next": told,
            }

        return budget.fit(len(page.chunks), built)


async def _named(
    quire: Quire, principal: Principal, session_id: str, index: int, error: ChunkNotFound
) -> ChunkNotFound:
    """In the words that agents know; what was removed keeps its own."""
    session = await quire.sessions.peek(principal, session_id)
    if session.next_seq == 0 or 0 <= index < session.next_seq:
        return error
    return ChunkNotFound(
        f"Invalid chunk index {index}. Valid range: 0–{session.next_seq - 1}",
        recovery="Ask for a chunk within the range; the first is 0.",
        field="chunk_index",
    )


async def _enough(
    quire: Quire, principal: Principal, session_id: str, start: int, wanted: int
) -> tuple[list[Chunk], bool]:
    """Chunks from there on with so many bytes of text, if there are; and whether more follow."""
    chunks: list[Chunk] = []
    size, following = 0, start
    while True:
        page = await quire.chunks.page(principal, session_id, start=following, limit=WINDOW)
        chunks += page.chunks
        size += sum(len(chunk.text.encode()) for chunk in page.chunks)
        if page.next_start is None:
            return chunks, False
        if size >= wanted:
            return chunks, True
        following = page.next_start


def _joined(chunks: Sequence[Chunk], offset: int) -> tuple[str, list[int]]:
    """The text of all of them, and where each ends in it. What overlaps is there once."""
    parts: list[str] = []
    ends: list[int] = []
    length = 0
    previous: Chunk | None = None
    for chunk in chunks:
        if previous is None:
            part = chunk.text[offset:]
        elif previous.document_id != chunk.document_id:
            part = f"\n\n{chunk.text}"
        elif previous.end > chunk.start and previous.index + 1 == chunk.index:
            part = chunk.text[previous.end - chunk.start :]
        else:
            part = chunk.text
        parts.append(part)
        length += len(part)
        ends.append(length)
        previous = chunk
    return "".join(parts), ends


def _going_on(
    session_id: str, chunks: Sequence[Chunk], ends: Sequence[int], at: int, taken: int, offset: int
) -> str:
    """The call that begins where the text ends."""
    left = ends[at] - taken
    if left <= 0:
        start, skipped = chunks[at].seq + 1, 0
    else:
        # From the chunk's end, for of its beginning the text may have had a part before.
        start, skipped = chunks[at].seq, max(0, len(chunks[at].text) - left)
    arguments: dict[str, Any] = {"session_id": session_id, "start": start}
    if skipped:
        arguments["offset"] = skipped
    return f"Go on with {call('get_session', **arguments)}, or find what you need: search_session."


def _after_chunk(session_id: str, index: int, offset: int | None, following: int | None) -> str:
    if offset is not None:
        return call("get_session_chunk", session_id=session_id, chunk_index=index, offset=offset)
    if following is not None:
        return call("get_session_chunk", session_id=session_id, chunk_index=following)
    return "This is the last chunk."
