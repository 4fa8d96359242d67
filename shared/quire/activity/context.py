"""What to tell a model before it answers: recent turns and what was retrieved, within a budget."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from quire.access.principal import Principal
from quire.activity.message_content import text_of
from quire.activity.message_models import Message, MessageFilter, MessageRole
from quire.activity.message_rows import MessageRows
from quire.activity.passages import Passage, chunks_of, passage_of, widest
from quire.content.repository import DocumentRepository
from quire.embedding.embedders import Embedders
from quire.embedding.port import EXTERNAL
from quire.embedding.scheduler import Embedder
from quire.errors import InvalidInput
from quire.retrieval.finding import Finder
from quire.retrieval.hits import Hit
from quire.retrieval.neighbours import with_neighbours
from quire.retrieval.requests import NEIGHBOURS_MAX, Mode, SearchRequest
from quire.sessions.identity import identity_of
from quire.sessions.models import Session
from quire.sessions.sessions import Sessions
from quire.settings import Settings
from quire.store.database import Database
from quire.vectors.port import VectorEngine

TOKENS_MAX = 200_000
PASSAGES_MAX = 100
READ_AHEAD = 20

SOURCES, CONVERSATION = "Sources:\n\n", "Conversation:\n\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextRequest:
    """What to assemble; without a `query`, what the last user message asks."""

    query: str | None = None
    tokens: int = 4_000
    messages_share: float = 0.5
    """Of the budget, for messages; what one side does not need, the other may have."""
    passages: int = 12
    """The most that are looked for."""
    neighbours: int = 1
    """Chunks on either side of each."""
    mode: Mode | None = None
    """How it is searched; None: by meaning and words, where the session can."""

    def check(self) -> None:
        """Raise `InvalidInput` naming the field that is out of its range."""
        for name, least, most in (
            ("tokens", 1, TOKENS_MAX),
            ("messages_share", 0, 1),
            ("passages", 0, PASSAGES_MAX),
            ("neighbours", 0, NEIGHBOURS_MAX),
        ):
            if not least <= getattr(self, name) <= most:
                raise InvalidInput(f"{name} is {least} to {most}", field=name)


@dataclass(frozen=True, slots=True, kw_only=True)
class AssembledContext:
    """What fits, oldest message first, best passage first; `text` is all of it as one block."""

    query: str | None
    messages: Sequence[Message]
    passages: Sequence[Passage]
    tokens: int
    budget: int
    messages_left_out: int
    passages_left_out: int

    @property
    def text(self) -> str:
        return prompt(self.messages, self.passages)


@dataclass(frozen=True, slots=True)
class _Counted:
    message: Message
    tokens: int


class Context:
    """Assembles contexts on behalf of a caller."""

    def __init__(
        self,
        database: Database,
        sessions: Sessions,
        rows: DocumentRepository,
        engine: VectorEngine,
        embedders: Embedders,
        settings: Settings,
    ) -> None:
        self._sessions = sessions
        self._messages = MessageRows(database)
        self._rows = rows
        self._engine = engine
        self._embedders = embedders
        self._finder = Finder(sessions, engine, embedders)
        self._limits = settings.limits
        self._queries = settings.query

    async def assemble(
        self, principal: Principal, session_id: str, request: ContextRequest
    ) -> AssembledContext:
        """The newest messages and the best passages that the budget has room for.

        Tokens are those of the session's own model, and never more than the budget.
        """
        request.check()
        session = await self._sessions.open(principal, session_id)
        embedder = await self._counting(session)
        budget = request.tokens
        recent = await self._recent(session_id, embedder, budget)
        query = request.query
        if query is None:
            query = await self._last_question(session_id)
        hits = await self._hits(session, query, request) if query is not None else []

        heads = sum(await _count(embedder, [SOURCES, CONVERSATION]))
        share = int((budget - heads) * request.messages_share)
        chosen = _fitting(recent, share)
        room = budget - heads - sum(one.tokens for one in chosen)
        passages, used = await self._passages(session_id, hits, embedder, room)
        chosen = _fitting(recent, budget - heads - used)
        messages = [one.message for one in reversed(chosen)]
        messages, passages, tokens = await _trimmed(embedder, messages, passages, budget)
        return AssembledContext(
            query=query,
            messages=messages,
            passages=passages,
            tokens=tokens,
            budget=budget,
            messages_left_out=await self._messages.count(session_id) - len(messages),
            passages_left_out=len(hits) - len(passages),
        )

    async def _counting(self, session: Session) -> Embedder:
        """What counts tokens: the session's model, or this server's where vectors are brought."""
        identity = identity_of(session.embedding)
        if identity.provider == EXTERNAL:
            identity = await self._embedders.default()
        return await self._embedders.of(identity)

    async def _recent(self, session_id: str, embedder: Embedder, budget: int) -> list[_Counted]:
        """Messages with their tokens, the newest first: no more than the budget could hold."""
        recent: list[_Counted] = []
        room, after = budget, None
        while True:
            page, more = await self._messages.page(
                session_id, MessageFilter(), limit=READ_AHEAD, after=after, newest_first=True
            )
            counts = await _count(embedder, [_block(message) for message in page])
            for message, tokens in zip(page, counts, strict=True):
                if tokens <= budget:
                    recent.append(_Counted(message, tokens))
                    room -= tokens
            if not more or room < 0:
                return recent
            after = page[-1].ordinal

    async def _last_question(self, session_id: str) -> str | None:
        """What the last user message asks, as far as a search takes it in."""
        page, _ = await self._messages.page(
            session_id, MessageFilter(role=MessageRole.USER), limit=1, newest_first=True
        )
        text = text_of(page[0].content).replace("\x00", " ") if page else ""
        return text[: self._limits.query_chars].strip() or None

    async def _hits(self, session: Session, query: str, request: ContextRequest) -> list[Hit]:
        """What is found, merged with what stands around it; what has no text is left aside."""
        if not request.passages:
            return []
        can_embed = session.embedding.provider != EXTERNAL
        mode = request.mode or (Mode.HYBRID if can_embed else Mode.KEYWORD)
        wanted = SearchRequest(query=query, mode=mode, limit=request.passages)
        wanted = wanted.checked(self._limits, self._queries)
        hits = await self._finder.find([session], wanted, depth=wanted.limit, vectors=False)
        hits = [hit for hit in hits if hit.text.strip()]
        around = request.neighbours
        return await with_neighbours(
            self._sessions, self._engine, hits, before=around, after=around
        )

    async def _passages(
        self, session_id: str, hits: Sequence[Hit], embedder: Embedder, room: int
    ) -> tuple[list[Passage], int]:
        """The best passages, each with as much around it as there is room for; and their tokens."""
        documents = {chunk.document_id for hit in hits if (chunk := hit.chunk) is not None}
        headings = await self._rows.headings(session_id, documents)
        passages: list[Passage] = []
        used = 0
        for hit in hits:
            chunks, at = chunks_of(hit)
            alone = passage_of(hit, chunks[at : at + 1], len(passages) + 1, headings)
            whole = passage_of(hit, chunks, alone.citation, headings)
            texts = [chunk.text for chunk in chunks] or [alone.text]
            heads = [f"{passage.heading}\n\n" for passage in (alone, whole)]
            one, other, *sizes = await _count(embedder, heads + texts)
            about = max(one, other)
            window = widest(sizes, at, room - used - about)
            if window is not None:
                chosen = chunks[window]
                passages.append(passage_of(hit, chosen, alone.citation, headings))
                used += about + sum(sizes[window])
        return passages, used


def prompt(messages: Sequence[Message], passages: Sequence[Passage]) -> str:
    """Sources with their citations, then the conversation."""
    sources = "".join(f"{passage.heading}\n{passage.text}\n\n" for passage in passages)
    turns = "".join(_block(message) for message in messages)
    return (SOURCES + sources if sources else "") + (CONVERSATION + turns if turns else "")


def _block(message: Message) -> str:
    tool = f" {message.tool}" if message.tool else ""
    return f"{message.role.value}{tool}: {text_of(message.content)}\n"


def _fitting(recent: Sequence[_Counted], room: int) -> list[_Counted]:
    """The newest that fit, without a gap; but one that alone is too long is passed over."""
    chosen: list[_Counted] = []
    left = room
    for one in recent:
        if one.tokens > room:
            continue
        if one.tokens > left:
            break
        chosen.append(one)
        left -= one.tokens
    return chosen


async def _trimmed(
    embedder: Embedder, messages: list[Message], passages: list[Passage], budget: int
) -> tuple[list[Message], list[Passage], int]:
    """The same within the budget: joined, texts may have more tokens than they had apart."""
    while True:
        (tokens,) = await _count(embedder, [prompt(messages, passages)])
        if tokens <= budget:
            return messages, passages, tokens
        if passages and len(messages) < 2:
            passages = passages[:-1]
        else:
            messages = messages[1:]


async def _count(embedder: Embedder, texts: Sequence[str]) -> list[int]:
    return await asyncio.to_thread(embedder.count_tokens, texts) if texts else []
