"""What content costs: taking it in, finding it by meaning and by number."""

from __future__ import annotations

import asyncio
import random
import statistics
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from itertools import islice

import orjson

from quire.access.principal import Principal, Scope
from quire.app import Part, Quire
from quire.content.sources import IngestOptions, Source
from quire.embedding.minilm import IDENTITY
from quire.jobs.port import JobStatus
from quire.sessions.requests import NewSession
from quire.settings import Settings
from tests.bench import load
from tests.bench.client import Session, connected, headers
from tests.bench.filler import Filler
from tests.bench.ingesting import FAKE, memory, throughput
from tests.bench.recall import recall
from tests.bench.serving import Served, serve
from tests.bench.sessions import Figure, settings_of

OVER_HTTP_MILLISECONDS = 4.0
"""What HTTP, the session, the documents and the query's pages may cost."""
WARM_REQUESTS = 50
PASSAGES_A_DOCUMENT = 20
DOCUMENTS_A_REQUEST = 500
LOAD_MEGABYTES = 20
LOAD_BEGINS_SECONDS = 3.0


@dataclass(frozen=True)
class Sizes:
    ingested: int = 400
    ingested_quicker: int = 600
    """With a runtime that embeds twice as fast."""
    searched: int = 10_000
    addressed: int = 100_000
    megabytes: int = 200
    points: int = 50_000
    questions: int = 200
    requests: int = 200
    rounds: int = 3


QUICK = Sizes(
    ingested=96,
    ingested_quicker=192,
    searched=2_000,
    addressed=5_000,
    megabytes=5,
    points=5_000,
    questions=50,
    requests=60,
    rounds=1,
)


def measure(environment: dict[str, str], sizes: Sizes) -> Iterator[Figure]:
    """All figures of one backend, in the order of the goals."""
    yield throughput(environment, "onnxruntime", sizes.ingested, sizes.rounds)
    yield throughput(environment, "openvino", sizes.ingested_quicker, sizes.rounds)
    filler = Filler(seed=4)
    with settings_of({**environment, **FAKE}) as settings:
        searched = asyncio.run(_seeded(settings, filler, sizes.searched))
        addressed = asyncio.run(_seeded(settings, filler, sizes.addressed))
    with serve({**environment, "QUIRE_EMBEDDING_RUNTIME": "onnxruntime"}) as served:
        yield from _searching(served, searched, sizes)
        yield _addressing(served, addressed, sizes)
    yield memory(environment, sizes.megabytes)
    yield recall(environment, sizes.points, sizes.questions)


def _searching(served: Served, session_id: str, sizes: Sizes) -> Iterator[Figure]:
    questions = Filler(seed=5).questions()
    found = _Searches(served, session_id, questions)
    found.ask(WARM_REQUESTS)
    found.parts(WARM_REQUESTS)
    idle, embedding, engine = [], [], []
    for _ in range(sizes.rounds):
        idle.append(found.ask(sizes.requests))
        parts = found.parts(sizes.requests)
        embedding.append(parts[0])
        engine.append(parts[1])
    p50 = statistics.median(timings.p50 for timings in idle)
    vector, query = statistics.median(embedding), statistics.median(engine)
    rest = p50 - vector - query
    yield Figure(
        f"search over HTTP, {sizes.searched:,} chunks, p50",
        f"{p50:.1f} ms = question's vector {vector:.1f} + engine {query:.1f} + {rest:.1f}",
        f"{OVER_HTTP_MILLISECONDS:g} ms besides the two",
        rest <= OVER_HTTP_MILLISECONDS,
    )
    at_rest = statistics.median(timings.p95 for timings in idle)
    loaded, cores = _loaded(served, found, sizes)
    yield Figure(
        f"the same while an ingest keeps {cores:.1f} cores busy, p95",
        f"{loaded:.1f} ms, {loaded / at_rest:.1f} × idle ({at_rest:.1f} ms)",
        "≤ 5 ×",
        loaded <= 5 * at_rest,
    )


def _loaded(served: Served, found: _Searches, sizes: Sizes) -> tuple[float, float]:
    """The p95 beside an ingest into another session, and how many cores the server uses."""
    with connected(served) as client:
        session = Session.made(client)
        job_id = session.begin("load", Filler(seed=6).blocks(LOAD_MEGABYTES * 1_000_000))
        time.sleep(LOAD_BEGINS_SECONDS)
        before, started = served.cpu_seconds, time.perf_counter()
        timings = found.ask(sizes.rounds * sizes.requests)
        cores = (served.cpu_seconds - before) / (time.perf_counter() - started)
        if session.job(job_id)["status"] != "running":
            raise RuntimeError("the ingest was over before the searches were")
        session.cancel(job_id)
    return timings.p95, cores


class _Searches:
    """Searches by questions that were not asked before: their vectors are in no memory."""

    def __init__(self, served: Served, session_id: str, questions: Iterator[str]) -> None:
        self._served = served
        self._session_id = session_id
        self._questions = questions

    def ask(self, count: int) -> load.Timings:
        timings, answers = self._each(
            f"/sessions/{self._session_id}/search",
            [{"query": question} for question in islice(self._questions, count)],
        )
        if not orjson.loads(answers[-1])["items"]:
            raise RuntimeError("nothing was found")
        return timings

    def parts(self, count: int) -> tuple[float, float]:
        """What a question's vector and the engine take by themselves: their medians."""
        _, answers = self._each(
            "/parts",
            [
                {"session_id": self._session_id, "query": question}
                for question in islice(self._questions, count)
            ],
        )
        taken = [orjson.loads(answer) for answer in answers]
        embedding = statistics.median(parts["embedding"] for parts in taken)
        return embedding, statistics.median(parts["engine"] for parts in taken)

    def _each(self, path: str, bodies: list[dict[str, str]]) -> tuple[load.Timings, list[bytes]]:
        requests = [load.Request(path, orjson.dumps(body)) for body in bodies]
        return asyncio.run(load.one_by_one(self._served.url, headers(), requests))


def _addressing(served: Served, session_id: str, sizes: Sizes) -> Figure:
    chance = random.Random(7)

    def read(count: int) -> load.Timings:
        requests = [
            load.Request(f"/sessions/{session_id}/chunks/{chance.randrange(sizes.addressed)}")
            for _ in range(count)
        ]
        return asyncio.run(load.one_by_one(served.url, headers(), requests))[0]

    read(WARM_REQUESTS)
    p50 = statistics.median(read(sizes.requests).p50 for _ in range(sizes.rounds))
    return Figure(
        f"chunk by seq over HTTP, {sizes.addressed:,} chunks, p50",
        f"{p50:.1f} ms",
        "≤ 4 ms",
        p50 <= 4,
    )


async def _seeded(settings: Settings, filler: Filler, chunks: int) -> str:
    """A session with so many chunks, whose questions the default model embeds.

    What it holds was embedded by the fake, for that is quick; to search among such vectors costs
    the same.
    """
    operator = Principal("operator", scope=Scope.ADMIN)
    async with Quire.open(settings, Part.API) as quire:
        await _started(quire)
        session, _ = await quire.creation.create(operator, NewSession(name="seeded"))
        left = chunks
        while left:
            texts: list[str] = []
            while left and len(texts) < DOCUMENTS_A_REQUEST:
                passages = min(left, PASSAGES_A_DOCUMENT)
                texts.append(filler.text(passages))
                left -= passages
            sources = [Source(content=text.encode(), content_type="text/plain") for text in texts]
            admitted = await quire.admission.admit(operator, session.id, sources, IngestOptions())
            assert admitted.job_id is not None
            job = await quire.jobs.wait(admitted.job_id, 600)
            assert job.status is JobStatus.SUCCEEDED, job
        async with quire.repository.transaction() as connection:
            filled = await quire.repository.lock(connection, session.id)
            assert filled is not None
            assert filled.chunks_count == chunks, filled.chunks_count
            pinned = replace(filled.embedding, **asdict(IDENTITY))
            await quire.repository.save(connection, filled, replace(filled, embedding=pinned))
    return session.id


async def _started(quire: Quire) -> None:
    for _ in range(200):
        if quire.hindrance is None:
            return
        await asyncio.sleep(0.05)
    raise RuntimeError(str(quire.hindrance))
