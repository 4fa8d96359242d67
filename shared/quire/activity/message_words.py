"""Messages by their words: the database finds, and what it found is ranked here.

So both databases find the same messages in the same order: words are cut and stemmed as keyword
search cuts and stems them, and BM25 is reckoned with what is in the session, not beside it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from math import log

import numpy as np
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from quire.store.database import Database
from quire.store.message_words import INDEXED, SESSION_MARK
from quire.store.tables import messages
from quire.vectors.bm25 import Bm25

# Of a question's words so many are looked for.
QUERY_WORDS = 64
# Of more messages than these that hold one of the words, the newest are ranked.
CANDIDATES = 20_000
BATCH = 200
# BM25: how soon a repeated word adds nothing more, and how much long messages are discounted.
K1, B = 1.2, 0.75
# More often than this a word in a message hardly counts for more.
REPETITIONS = 4

_FIND_SQLITE = sa.text(
    "SELECT rowid FROM message_words WHERE message_words MATCH :asked ORDER BY rowid DESC "
    "LIMIT :limit"
)
_INDEXED = sa.literal_column(INDEXED, postgresql.ARRAY(sa.Text))


class MessageWords:
    """Finds messages of one session by the words of a question."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._bm25 = Bm25()

    def of(self, text: str) -> str:
        """A text's words as they are kept: each as often as it counts."""
        counts = self._bm25.counts(text.replace("\x00", " "))
        return " ".join(
            " ".join([f"{word:x}"] * min(n, REPETITIONS)) for word, n in sorted(counts.items())
        )

    async def find(self, session_id: str, query: str, limit: int) -> list[tuple[int, float]]:
        """The rows that hold words of the question with their scores: best first, then newest."""
        asked = [f"{word:x}" for word in sorted(self._bm25.query(query).indices)[:QUERY_WORDS]]
        if not asked:
            return []
        seqs = await self._candidates(session_id, asked)
        ranking = Ranking(asked)
        for start in range(0, len(seqs), BATCH):
            part = seqs[start : start + BATCH]
            chosen = sa.select(messages.c.seq, messages.c.words).where(
                messages.c.session_id == session_id, messages.c.seq.in_(part)
            )
            async with self._database.read() as connection:
                rows = [(row.seq, row.words) for row in await connection.execute(chosen)]
            await asyncio.to_thread(ranking.add, rows)
        return ranking.best(limit, await self._count(session_id))

    async def _candidates(self, session_id: str, asked: Sequence[str]) -> list[int]:
        session = f"{SESSION_MARK}{session_id}"
        if self._database.is_sqlite:
            any_of = " OR ".join(f'"{word}"' for word in asked)
            statement: sa.Executable = _FIND_SQLITE.bindparams(
                asked=f'"{session}" AND ({any_of})', limit=CANDIDATES
            )
        else:
            statement = _found_by_postgres(session, asked)
        async with self._database.read() as connection:
            return list((await connection.execute(statement)).scalars())

    async def _count(self, session_id: str) -> int:
        query = sa.select(sa.func.count()).where(messages.c.session_id == session_id)
        async with self._database.read() as connection:
            return int((await connection.execute(query)).scalar_one())


def _found_by_postgres(session: str, asked: Sequence[str]) -> sa.Select[tuple[int]]:
    holds = _INDEXED.contains([session]) & _INDEXED.overlap(asked)
    # Found before it is sorted, or the planner may walk through the table in the order of seq.
    found = sa.select(messages.c.seq).where(holds).cte("found").prefix_with("MATERIALIZED")
    return sa.select(found.c.seq).order_by(found.c.seq.desc()).limit(CANDIDATES)


class Ranking:
    """BM25 over messages that are read one after the other; keeps numbers, not their words."""

    def __init__(self, asked: Sequence[str]) -> None:
        self._asked = asked
        self._seqs: list[int] = []
        self._lengths: list[int] = []
        self._counts: list[list[int]] = []

    def add(self, rows: Sequence[tuple[int, str]]) -> None:
        """Count the words that are asked for."""
        for seq, kept in rows:
            words = kept.split(" ")
            self._seqs.append(seq)
            self._lengths.append(len(words))
            self._counts.append([words.count(word) for word in self._asked])

    def best(self, limit: int, total: int) -> list[tuple[int, float]]:
        """So many of the best, among so many messages of the session."""
        if not self._seqs:
            return []
        counts = np.array(self._counts, np.float64)
        lengths = np.array(self._lengths, np.float64)
        holding = (counts > 0).sum(axis=0)
        rarity = np.array([log(1 + max(0.0, total - n + 0.5) / (n + 0.5)) for n in holding])
        discount = K1 * (1 - B + B * lengths / lengths.mean())
        scores = (rarity * counts * (K1 + 1) / (counts + discount[:, None])).sum(axis=1)
        order = np.lexsort((-np.array(self._seqs), -scores.round(9)))[:limit]
        return [(self._seqs[at], float(scores[at])) for at in order]
