"""What ingest costs over HTTP: time beside the embedder alone, and memory."""

from __future__ import annotations

import asyncio
import statistics
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from quire.embedding.minilm import open_minilm
from quire.embedding.port import EmbeddingProvider, Lane, Purpose
from quire.settings import EmbeddingSettings
from tests.bench.client import Session, connected
from tests.bench.embedding import NAMES, Runtime
from tests.bench.filler import Filler
from tests.bench.serving import Served, serve
from tests.bench.sessions import Figure

FAKE = {"QUIRE_EMBEDDING_PROVIDER": "fake", "QUIRE_EMBEDDING_DIMENSION": "384"}
WARM_PASSAGES = 64
# The bare embedder has as many batches: one's tokens are ready when the other's vectors are.
UNDER_WAY = 2
SAMPLE_SECONDS = 0.1


def throughput(environment: dict[str, str], runtime: Runtime, passages: int, rounds: int) -> Figure:
    """Chunks per second from the upload until they are found, and of the embedder alone."""
    what = f"ingest over HTTP, {NAMES[runtime]}, chunks/s"
    if find_spec(runtime) is None:
        return Figure(what, "not installed", "≥ 90 %", reached=False)
    filler = Filler(seed=1)
    with (
        serve({**environment, "QUIRE_EMBEDDING_RUNTIME": runtime}) as served,
        connected(served) as client,
        asyncio.Runner() as runner,
    ):
        provider = runner.run(open_minilm(EmbeddingSettings(runtime=runtime), Path("none")))
        Session.made(client).ingest("warm", filler.text(WARM_PASSAGES))
        pairs, shares = [], []
        for _ in range(rounds):
            # In turn, so that both meet the same moods of the machine.
            session, text = Session.made(client), filler.text(passages)
            started = time.perf_counter()
            session.ingest("text", text)
            ingested = time.perf_counter() - started
            chunks = session.chunks()
            started = time.perf_counter()
            runner.run(_embed(provider, chunks))
            embedded = time.perf_counter() - started
            pairs.append((len(chunks) / ingested, len(chunks) / embedded))
            shares.append(embedded / ingested)
        runner.run(provider.close())
    ours, bare = (statistics.median(side) for side in zip(*pairs, strict=True))
    share = statistics.median(shares)
    return Figure(
        what, f"{ours:.1f}, {share:.0%} of the embedder alone ({bare:.1f})", "≥ 90 %", share >= 0.9
    )


async def _embed(provider: EmbeddingProvider, chunks: Sequence[str]) -> None:
    """As quickly as the provider can: full batches of texts that are alike in length."""
    ordered = sorted(chunks, key=len)
    starts = iter(range(0, len(ordered), provider.batch))

    async def work() -> None:
        for start in starts:
            batch = ordered[start : start + provider.batch]
            await provider.embed(batch, purpose=Purpose.PASSAGE, lane=Lane.BULK)

    await asyncio.gather(*(work() for _ in range(UNDER_WAY)))


def memory(environment: dict[str, str], megabytes: int) -> Figure:
    """How much larger the server gets while it takes a long text in.

    The vectors are the fake's: of the model the server would have as many, an hour later.
    """
    filler = Filler(seed=2)
    with serve({**environment, **FAKE}) as served, connected(served) as client:
        session = Session.made(client)
        session.ingest("warm", filler.text(WARM_PASSAGES))
        with watched(served) as growth:
            chunks = session.ingest("text", filler.blocks(megabytes * 1_000_000))
    return Figure(
        f"RSS growth, {megabytes} MB of text ingested ({chunks:,} chunks; fake vectors)",
        f"{growth.whole:.0f} MB, {growth.anonymous:.0f} of them not of files",
        "≤ 250 MB",
        growth.whole <= 250,
    )


class Growth:
    """How much larger a server got, in megabytes."""

    def __init__(self, served: Served) -> None:
        self._served = served
        self._before = served.rss_megabytes, served.anonymous_megabytes
        self.whole = self.anonymous = 0.0

    def look(self) -> None:
        before, anonymous = self._before
        self.whole = max(self.whole, self._served.rss_megabytes - before)
        self.anonymous = max(self.anonymous, self._served.anonymous_megabytes - anonymous)


@contextmanager
def watched(served: Served) -> Iterator[Growth]:
    """The most that the server has grown by at any time within."""
    growth, over = Growth(served), threading.Event()

    def watch() -> None:
        while not over.wait(SAMPLE_SECONDS):
            growth.look()

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield growth
    finally:
        over.set()
        thread.join()
        growth.look()
