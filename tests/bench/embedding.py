"""What embedding costs, beside sentence-transformers' own default on the same chunks."""

from __future__ import annotations

import asyncio
import random
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import numpy as np

from quire.embedding.minilm import open_minilm
from quire.embedding.port import EmbeddingProvider, Lane, Purpose, Vectors
from quire.embedding.priority import give_way
from quire.embedding.scheduler import Embedder
from quire.settings import EmbeddingSettings
from tests.bench.sessions import Figure
from tests.embedding.reference_model import reference_model

Runtime = Literal["onnxruntime", "openvino"]

CHUNK_CHARS = 1_000
QUESTION = "What did the committee decide about the harbour?"
# The lowest ratio of texts/s for each runtime.
GOALS: dict[Runtime, float] = {"onnxruntime": 1.9, "openvino": 4.0}
NAMES: dict[Runtime, str] = {"onnxruntime": "default embedder", "openvino": "OpenVINO extra"}
WORDS = (
    "the of and to in a is that for it as was with be by on not he his but at are this have from "
    "or had an they which one you were her all she there would their we him been has when who "
    "will more no if out so said what up its about into than them can only other new some could "
    "time these two may then do first any my now such like our over man me even most made after "
    "also did many before must through years where much your way well down should because each "
    "harbour committee engine library weather mountain electric measure history distribution"
)


@dataclass(frozen=True)
class Sizes:
    chunks: int = 256
    questions: int = 60
    rounds: int = 5


QUICK = Sizes(chunks=64, questions=20, rounds=2)


def measure(sizes: Sizes) -> Iterator[Figure]:
    """All figures, for each runtime that is installed."""
    with TemporaryDirectory(prefix="quire-bench-") as name:
        folder = reference_model(Path(name))
        for runtime in GOALS:
            if find_spec(runtime) is None:
                yield Figure(NAMES[runtime], "not installed", "", reached=False)
            else:
                yield from asyncio.run(_compare(runtime, folder, sizes))


async def _compare(runtime: Runtime, folder: Path, sizes: Sizes) -> list[Figure]:
    chunks, name = _chunks(sizes.chunks), NAMES[runtime]
    async with _opened(runtime, folder) as provider:
        embedder = Embedder(provider, queue=EmbeddingSettings().queue)
        figures = await _beside_reference(runtime, embedder, provider, folder, chunks, sizes)
        figures.append(await _scheduling(name, embedder, provider, chunks, sizes))
        figures.append(await _question_under_load(name, embedder, provider, chunks, sizes))
        await embedder.close()
    return figures


async def _beside_reference(
    runtime: Runtime,
    embedder: Embedder,
    provider: EmbeddingProvider,
    folder: Path,
    chunks: list[str],
    sizes: Sizes,
) -> list[Figure]:
    # With the priority of our bulk work, or what else the machine does would weigh on us alone;
    # the threads that torch starts inherit it.
    with (
        ThreadPoolExecutor(1, initializer=give_way) as bulk,
        ThreadPoolExecutor(1) as interactive,
    ):
        loop = asyncio.get_running_loop()
        reference = await loop.run_in_executor(bulk, _load_reference, folder)
        all_of_it = partial(loop.run_in_executor, bulk, _encode, reference, chunks)
        asked = partial(loop.run_in_executor, interactive, _encode, reference, [QUESTION])
        theirs, ours = await all_of_it(), await embedder.passages(chunks)
        rates, questions = _Pairs(), _Pairs()
        for _ in range(sizes.rounds):
            rates.add(await _seconds(lambda: embedder.passages(chunks)), await _seconds(all_of_it))
            for _ in range(sizes.questions // sizes.rounds):
                questions.add(await _seconds(partial(_ask, provider)), await _seconds(asked))
    name, goal = NAMES[runtime], GOALS[runtime]
    cosine = float((theirs * ours).sum(axis=1).min())
    faster = 1 / rates.ratio
    return [
        Figure(
            f"{name} against sentence-transformers, texts/s",
            f"{len(chunks) / rates.ours:.0f}, {faster:.2f} × ({len(chunks) / rates.theirs:.0f})",
            f"≥ {goal:g} ×",
            faster >= goal,
        ),
        Figure(f"{name}, least cosine to it", f"{cosine:.6f}", "≥ 0.9999", cosine >= 0.9999),
        Figure(
            f"{name} against it, a question, p50",
            f"{questions.ours * 1e3:.1f} ms, {questions.ratio:.2f} × "
            f"({questions.theirs * 1e3:.1f} ms)",
            "≤ 0.5 ×",
            questions.ratio <= 0.5,
        ),
    ]


async def _scheduling(
    name: str, embedder: Embedder, provider: EmbeddingProvider, chunks: list[str], sizes: Sizes
) -> Figure:
    ordered = sorted(chunks, key=len)

    async def bare() -> None:
        for start in range(0, len(ordered), provider.batch):
            batch = ordered[start : start + provider.batch]
            await provider.embed(batch, purpose=Purpose.PASSAGE, lane=Lane.BULK)

    pairs = _Pairs()
    for _ in range(sizes.rounds):
        pairs.add(await _seconds(lambda: embedder.passages(chunks)), await _seconds(bare))
    share = 1 / pairs.ratio
    return Figure(
        f"{name}, scheduled, against batch after batch", f"{share:.0%}", "≥ 97 %", share >= 0.97
    )


async def _question_under_load(
    name: str, embedder: Embedder, provider: EmbeddingProvider, chunks: list[str], sizes: Sizes
) -> Figure:
    async def load() -> None:
        while True:
            await embedder.passages(chunks)

    async def p95() -> float:
        times = [await _seconds(partial(_ask, provider)) for _ in range(4 * sizes.questions)]
        return statistics.quantiles(times, n=20)[-1]

    idle = await p95()
    task = asyncio.create_task(load())
    await asyncio.sleep(0.5)
    loaded = await p95()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return Figure(
        f"{name}, a question beside bulk work on every core, p95",
        f"{loaded * 1e3:.1f} ms, {loaded / idle:.1f} × idle ({idle * 1e3:.1f} ms)",
        "≤ 5 ×",
        loaded <= 5 * idle,
    )


class _Pairs:
    """Seconds of ours and theirs, taken in turn so that both meet the same moods of the machine."""

    def __init__(self) -> None:
        self._pairs: list[tuple[float, float]] = []

    def add(self, ours: float, theirs: float) -> None:
        self._pairs.append((ours, theirs))

    @property
    def ours(self) -> float:
        return statistics.median(ours for ours, _ in self._pairs)

    @property
    def theirs(self) -> float:
        return statistics.median(theirs for _, theirs in self._pairs)

    @property
    def ratio(self) -> float:
        return statistics.median(ours / theirs for ours, theirs in self._pairs)


@asynccontextmanager
async def _opened(runtime: Runtime, folder: Path) -> AsyncIterator[EmbeddingProvider]:
    provider = await open_minilm(EmbeddingSettings(runtime=runtime), folder)
    try:
        yield provider
    finally:
        await provider.close()


async def _ask(provider: EmbeddingProvider) -> None:
    await provider.embed([QUESTION], purpose=Purpose.QUERY)


async def _seconds(work: Callable[[], Awaitable[object]]) -> float:
    started = time.perf_counter()
    await work()
    return time.perf_counter() - started


def _load_reference(folder: Path) -> Any:
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(str(folder), device="cpu", local_files_only=True)


def _encode(model: Any, texts: list[str]) -> Vectors:
    return np.asarray(model.encode(texts, show_progress_bar=False), np.float32)


def _chunks(count: int) -> list[str]:
    """Texts of 800 to 1,000 characters, as a chunker leaves them; none over the window."""
    generator, words, chunks = random.Random(20), WORDS.split(), []
    for _ in range(count):
        text, end = "", generator.randint(CHUNK_CHARS * 8 // 10, CHUNK_CHARS)
        while len(text) < end:
            text += generator.choice(words) + " "
        chunks.append(text[:end])
    return chunks
