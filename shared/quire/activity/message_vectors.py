"""Messages by their meaning: embedded after they were appended, compared one with all.

A vector says what it was made with; after a session has moved to another model, all are made anew.
A message that is longer than the model's window has several vectors, and is as near to a question
as the nearest of them.
"""

from __future__ import annotations

import asyncio
import hashlib
import heapq
from collections.abc import Sequence
from weakref import WeakValueDictionary

import numpy as np
import orjson
import sqlalchemy as sa
import structlog

from quire.activity.message_content import text_of
from quire.content.chunking.chunkers import open_chunker
from quire.content.models import ChunkSettings, SizeUnit, TextKind
from quire.embedding.embedders import Embedders
from quire.embedding.port import Identity, Vectors
from quire.embedding.scheduler import Embedder
from quire.errors import InvalidInput, QuireError
from quire.sessions.identity import identity_of
from quire.sessions.models import Session
from quire.sessions.repository import SessionRepository
from quire.store.database import Database
from quire.store.tables import conversations, messages

log = structlog.get_logger(__name__)

PORTION = 32
"""Messages embedded at once."""

BATCH = 128
"""Messages compared at once."""

PATIENCE_SECONDS = 5.0
"""So long a search waits for messages that have no vector yet."""


class MessageVectors:
    """Embeds the messages of sessions that want it, and finds them by meaning."""

    def __init__(
        self, database: Database, repository: SessionRepository, embedders: Embedders
    ) -> None:
        self._database = database
        self._repository = repository
        self._embedders = embedders
        self._awaiting: dict[str, None] = {}
        self._task: asyncio.Task[None] | None = None
        # One at a time embeds a session's messages: others would make the same vectors.
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._is_closed = False

    def embed_soon(self, session_id: str) -> None:
        """Embed what has no vector yet, in the background."""
        if self._is_closed:
            return
        self._awaiting[session_id] = None
        if self._task is None:
            self._task = asyncio.create_task(self._work(), name="embed messages")

    async def complete(self, session: Session) -> int:
        """Embed what has no vector yet, for a while; answers how many are left."""
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                await self._embed_all(session.id)
        except TimeoutError:
            self.embed_soon(session.id)
        return await self.pending(session)

    async def pending(self, session: Session) -> int:
        """How many messages have no vector yet."""
        mark = mark_of(identity_of(session.embedding))
        query = sa.select(sa.func.count()).where(*_without(session.id, mark))
        async with self._database.read() as connection:
            return int((await connection.execute(query)).scalar_one())

    async def find(self, session: Session, query: str, limit: int) -> list[tuple[int, float]]:
        """The rows nearest to the question, with their cosines: best first, then newest."""
        while True:
            identity = identity_of(session.embedding)
            embedder = await self._embedders.of(identity)
            found = await self._nearest(session.id, identity, await embedder.query(query), limit)
            latest = await self._repository.latest(session.id)
            if latest is None or identity_of(latest.embedding) == identity:
                return found
            session = latest  # moved to another model meanwhile

    async def close(self) -> None:
        """Stop embedding; what is left is embedded when it is searched for."""
        self._is_closed = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _work(self) -> None:
        try:
            while self._awaiting:
                session_id = next(iter(self._awaiting))
                del self._awaiting[session_id]
                try:
                    await self._embed_all(session_id)
                except QuireError as error:
                    log.warning(
                        "messages not embedded", session_id=session_id, reason=error.message
                    )
                except Exception:  # a boundary: the other sessions go on
                    log.exception("messages not embedded", session_id=session_id)
        finally:
            self._task = None

    async def _embed_all(self, session_id: str) -> None:
        lock = self._locks.setdefault(session_id, asyncio.Lock())
        async with lock:
            while await self._embed_portion(session_id):
                pass

    async def _embed_portion(self, session_id: str) -> bool:
        """Embed some messages that have no vector yet; False when there are none."""
        session = await self._repository.latest(session_id)
        if session is None:
            return False
        embedder = await self._embedders.of(identity_of(session.embedding))
        mark = mark_of(embedder.identity)
        is_wanted = sa.exists().where(
            conversations.c.session_id == session_id, conversations.c.is_semantic
        )
        query = sa.select(messages.c.seq, messages.c.content).where(
            *_without(session_id, mark), is_wanted
        )
        async with self._database.read() as connection:
            rows = (await connection.execute(query.limit(PORTION))).all()
        if not rows:
            return False
        pieces = await asyncio.to_thread(_pieces, [row.content for row in rows], embedder)
        vectors = await _embedded(pieces, embedder)
        made = [
            {"row": row.seq, "made": vector.tobytes()}
            for row, vector in zip(rows, vectors, strict=True)
        ]
        change = sa.update(messages).where(messages.c.seq == sa.bindparam("row"))
        async with self._database.write() as connection:
            await connection.execute(
                change.values(vector=sa.bindparam("made"), vector_identity=mark), made
            )
        return True

    async def _nearest(
        self, session_id: str, identity: Identity, question: Sequence[float], limit: int
    ) -> list[tuple[int, float]]:
        asked = np.array(question, np.float32)
        query = (
            sa.select(messages.c.seq, messages.c.ordinal, messages.c.vector)
            .where(
                messages.c.session_id == session_id,
                messages.c.vector_identity == mark_of(identity),
            )
            .order_by(messages.c.ordinal)
            .limit(BATCH)
        )
        best: list[tuple[float, int]] = []
        after = -1
        while True:
            async with self._database.read() as connection:
                rows = (await connection.execute(query.where(messages.c.ordinal > after))).all()
            kept = [(row.seq, row.vector) for row in rows if row.vector]
            best = heapq.nlargest(limit, best + _compared(kept, asked))
            if len(rows) < BATCH:
                return [(seq, score) for score, seq in best]
            after = rows[-1].ordinal


def _without(session_id: str, mark: str) -> list[sa.ColumnElement[bool]]:
    """The session's messages that have no vector of this identity; an index knows them."""
    made_with = messages.c.vector_identity
    other = sa.or_(made_with.is_(None), made_with < mark, made_with > mark)
    return [messages.c.session_id == session_id, other]


def mark_of(identity: Identity) -> str:
    """What stands for an identity beside vectors that were made with it."""
    return hashlib.sha256(repr(identity).encode()).hexdigest()[:16]


def _compared(kept: Sequence[tuple[int, bytes]], question: Vectors) -> list[tuple[float, int]]:
    """The cosine of each row's nearest vector: all of them have length 1."""
    if not kept:
        return []
    stacked = np.frombuffer(b"".join(vector for _, vector in kept), np.float32)
    scores = stacked.reshape(-1, len(question)) @ question
    sizes = [len(vector) // question.nbytes for _, vector in kept]
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    nearest = np.maximum.reduceat(scores, starts).tolist()
    return [(score, seq) for score, (seq, _) in zip(nearest, kept, strict=True)]


def _pieces(contents: Sequence[bytes], embedder: Embedder) -> list[list[str]]:
    """Each message's text, cut to fit the model; a text without a word has no piece."""
    settings = ChunkSettings(size=embedder.window, unit=SizeUnit.TOKENS)
    found = []
    for content in contents:
        text = text_of(orjson.loads(content)).replace("\x00", " ")
        chunker = open_chunker(
            TextKind.PLAIN, settings, window=embedder.window, count_tokens=embedder.count_tokens
        )
        cuts = [*chunker.feed(text), *chunker.finish()]
        found.append([cut.text for cut in cuts if cut.text.strip()])
    return found


async def _embedded(pieces: Sequence[Sequence[str]], embedder: Embedder) -> list[Vectors]:
    """The vectors of each message; none where the model makes nothing of it."""
    try:
        vectors = await embedder.passages([piece for of in pieces for piece in of])
    except InvalidInput as error:
        if len(pieces) > 1:
            return [alone for of in pieces for alone in await _embedded([of], embedder)]
        log.warning("a message has no vector", reason=error.message)
        return [np.empty((0, embedder.identity.dimension), np.float32)]
    ends = np.cumsum([len(of) for of in pieces])
    return [vectors[end - len(of) : end] for of, end in zip(pieces, ends, strict=True)]
