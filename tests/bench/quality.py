"""How good search is: whether it finds the chunk that holds the answer, and how far up.

The corpus and its questions are made in `tests.bench.corpus`, taken in by the default model in
chunks of the default size, and asked for as a caller would.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import log2
from pathlib import Path
from tempfile import TemporaryDirectory

from quire.app import Quire
from quire.content.sources import IngestOptions, Source
from quire.retrieval.requests import Mode, SearchRequest
from tests.bench.corpus import KINDS, POSITIONS, Kind, Planted, Position, Written, write
from tests.bench.sessions import Figure
from tests.sessions.house import ADA, create, quire_in

LIMIT = 10
AT_ONCE = 8
INGEST_SECONDS = 1_800.0
SPREAD_GOAL = 0.03
MEASURES = ("recall@1", "recall@10", "nDCG@10")
# Where in its chunk an answer stands: parts of the chunk's length.
PARTS = ("first third", "middle third", "last third")


@dataclass(frozen=True)
class Sizes:
    """So many documents of so many characters; three times, as the corpus has three turns."""

    documents: int = 60
    characters: int = 18_000


QUICK = Sizes(documents=12, characters=15_000)


@dataclass(frozen=True)
class Answer:
    """Where in a result list the chunk with the answer came; None: not among the first ten."""

    mode: Mode
    kind: Kind
    position: Position
    part: str
    rank: int | None


@dataclass(frozen=True)
class Scores:
    """Of a set of questions with one right chunk each."""

    recall_1: float
    recall_10: float
    ndcg_10: float

    @classmethod
    def of(cls, answers: Iterable[Answer]) -> Scores:
        ranks = [answer.rank for answer in answers]
        if not ranks:
            return cls(0.0, 0.0, 0.0)
        found = [rank for rank in ranks if rank is not None]
        return cls(
            found.count(0) / len(ranks),
            len(found) / len(ranks),
            sum(1 / log2(rank + 2) for rank in found) / len(ranks),
        )

    @property
    def values(self) -> tuple[float, float, float]:
        return self.recall_1, self.recall_10, self.ndcg_10

    def __str__(self) -> str:
        return ", ".join(f"{value:.3f}" for value in self.values)


class Quality:
    """What every question came to in every mode."""

    def __init__(self, answers: Sequence[Answer]) -> None:
        self._answers = answers

    def scores(self, mode: Mode, wanted: Callable[[Answer], bool] = lambda _: True) -> Scores:
        return Scores.of(a for a in self._answers if a.mode is mode and wanted(a))

    def of_kind(self, mode: Mode, kind: Kind) -> Scores:
        return self.scores(mode, lambda answer: answer.kind is kind)

    def at(self, mode: Mode, position: Position) -> Scores:
        return self.scores(mode, lambda answer: answer.position is position)

    def in_part(self, mode: Mode, part: str) -> Scores:
        return self.scores(mode, lambda answer: answer.part == part)

    def spread(self, mode: Mode) -> float:
        """How much the position matters: the widest gap in nDCG@10 between two of them."""
        at = [self.at(mode, position).ndcg_10 for position in POSITIONS]
        return max(at) - min(at)


async def measure_quality(sizes: Sizes | None = None) -> list[Figure]:
    """All figures: of the modes, of each kind of question, and of each position."""
    sizes = sizes or Sizes()
    with TemporaryDirectory(prefix="quire-bench-") as name:
        async with quire_in(Path(name)) as quire:
            return figures(await ask_all(quire, sizes))


async def ask_all(quire: Quire, sizes: Sizes) -> Quality:
    """Take the corpus in, turn by turn, and ask every question in every mode."""
    answers: list[Answer] = []
    for documents in write(sizes.documents, sizes.characters):
        session = await create(quire)
        await _take_in(quire, session.id, documents)
        answers += await _ask(quire, session.id, documents)
    return Quality(answers)


def figures(quality: Quality) -> list[Figure]:
    shown = [_reported(f"{mode}: {', '.join(MEASURES)}", quality.scores(mode)) for mode in Mode]
    shown += _hybrid_beside_both(quality)
    shown += [
        _reported(f"{mode}, questions by {kind}", quality.of_kind(mode, kind))
        for kind in KINDS
        for mode in Mode
    ]
    for mode in Mode:
        shown += [
            _reported(f"{mode}, answers at the {position}", quality.at(mode, position))
            for position in POSITIONS
        ]
        spread = quality.spread(mode)
        shown.append(
            Figure(
                f"{mode}, widest gap between positions, nDCG@10",
                f"{spread * 100:.1f} points",
                f"≤ {SPREAD_GOAL * 100:g} points",
                spread <= SPREAD_GOAL,
            )
        )
    shown += [
        _reported(f"hybrid, answers in their chunk's {part}", quality.in_part(Mode.HYBRID, part))
        for part in PARTS
    ]
    return shown


def _hybrid_beside_both(quality: Quality) -> Iterator[Figure]:
    every = [quality.scores(mode).values for mode in (Mode.HYBRID, Mode.DENSE, Mode.KEYWORD)]
    for measure, (hybrid, *others) in zip(MEASURES, zip(*every, strict=True), strict=True):
        best = max(others)
        yield Figure(
            f"hybrid beside the better of both, {measure}",
            f"{hybrid:.3f}, {(hybrid - best) * 100:+.1f} points ({best:.3f})",
            "> 0 points",
            hybrid > best,
        )


def _reported(what: str, scores: Scores) -> Figure:
    return Figure(what, str(scores), "–", reached=True)


async def _take_in(quire: Quire, session_id: str, documents: Sequence[Written]) -> None:
    sources = [
        Source(content=document.text.encode(), content_type="text/plain", id=document.id)
        for document in documents
    ]
    admitted = await quire.admission.admit(ADA, session_id, sources, IngestOptions())
    if admitted.job_id is None:
        raise RuntimeError("the corpus is in the session already")
    job = await quire.jobs.wait(admitted.job_id, INGEST_SECONDS)
    if job.status != "succeeded":
        raise RuntimeError(f"the corpus was not taken in: {job}")


async def _ask(quire: Quire, session_id: str, documents: Sequence[Written]) -> list[Answer]:
    slots = asyncio.Semaphore(AT_ONCE)

    async def ask(planted: Planted, chunk_id: object, part: str, mode: Mode) -> Answer:
        request = SearchRequest(query=planted.fact.question, mode=mode, limit=LIMIT)
        async with slots:
            page = await quire.search.search(ADA, [session_id], request, {})
        ids = [item["id"] for item in page.items]
        rank = ids.index(chunk_id) if chunk_id in ids else None
        return Answer(mode, planted.fact.kind, planted.position, part, rank)

    asked = []
    for document in documents:
        chunks = [
            chunk
            async for batch in quire.chunks.stream(ADA, session_id, document_id=document.id)
            for chunk in batch
        ]
        for planted in document.planted:
            # Sentences are never cut where a chunk has room for one, so there is one, and one only.
            (chunk,) = (c for c in chunks if c.start <= planted.start and planted.end <= c.end)
            middle = (planted.start + planted.end) / 2 - chunk.start
            part = PARTS[int(len(PARTS) * middle / (chunk.end - chunk.start))]
            asked += [ask(planted, chunk.id, part, mode) for mode in Mode]
    return await asyncio.gather(*asked)
