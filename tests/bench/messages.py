"""What conversations cost: appending to one session, many at once; searching a long one."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass

import httpx
import orjson

from tests.bench import load
from tests.bench.client import Session, connected, headers
from tests.bench.filler import Filler
from tests.bench.serving import Served, serve
from tests.bench.sessions import Figure

GOALS = {"embedded": 300, "server": 1_000}
FAKE = {"QUIRE_EMBEDDING_PROVIDER": "fake", "QUIRE_EMBEDDING_DIMENSION": "384"}
TURNS = (1, 10)
AT_ONCE = 500
QUESTIONS = 20


@dataclass(frozen=True)
class Sizes:
    seconds: float = 5.0
    appenders: int = 32
    messages: int = 20_000


QUICK = Sizes(seconds=1.0, appenders=16, messages=1_000)


def measure(backend: str, environment: dict[str, str], sizes: Sizes) -> Iterator[Figure]:
    """Appended from many connections; then searched, where there are many."""
    with serve({**environment, **FAKE}) as served, connected(served) as client:
        for a_request in TURNS:
            yield _appending(backend, served, client, sizes, a_request)
        yield from _searching(client, sizes)


def _appending(
    backend: str, served: Served, client: httpx.Client, sizes: Sizes, a_request: int
) -> Figure:
    path = f"/sessions/{Session.made(client).id}/messages"
    message = {"role": "user", "content": Filler(seed=3).text(1)[:400]}
    body = orjson.dumps({"messages": [message] * a_request})
    request, width = load.Request(path, body), sizes.appenders
    asyncio.run(load.saturating(served.url, headers(), sizes.seconds / 5, width, request))  # warm
    timings = asyncio.run(load.saturating(served.url, headers(), sizes.seconds, width, request))
    rate, ordered = timings.per_second * a_request, _is_ordered(client, path)
    return Figure(
        f"messages appended to one session, {width} clients, {a_request} a request, per second",
        f"{rate:.0f}, p95 {timings.p95:.0f} ms, "
        f"{'in one order without a gap' if ordered else 'NOT in order'}",
        f"≥ {GOALS[backend]}",
        rate >= GOALS[backend] and ordered,
    )


def _searching(client: httpx.Client, sizes: Sizes) -> Iterator[Figure]:
    session, filler = Session.made(client), Filler(seed=4)
    path = f"/sessions/{session.id}/messages"
    for start in range(0, sizes.messages, AT_ONCE):
        turns = [
            {"role": "user", "content": f"{filler.text(1)[:400]} number{n}"}
            for n in range(start, min(start + AT_ONCE, sizes.messages))
        ]
        client.post(path, json={"messages": turns}).raise_for_status()
    common = filler.text(1).split()[:QUESTIONS]
    for what, questions, goal in (
        ("a rare word", [f"number{n * 7}" for n in range(QUESTIONS)], 20.0),
        ("common words", common, 500.0),
    ):
        times = []
        for question in questions:
            started = time.perf_counter()
            client.post(f"{path}/search", json={"query": question}).raise_for_status()
            times.append((time.perf_counter() - started) * 1000)
        p50 = statistics.median(times)
        yield Figure(
            f"{what} found among {sizes.messages:,} messages, p50",
            f"{p50:.1f} ms",
            f"≤ {goal:.0f} ms",
            p50 <= goal,
        )


def _is_ordered(client: httpx.Client, path: str) -> bool:
    """Whether the whole conversation, read back, is one row of ordinals."""
    with client.stream("GET", f"{path}/export") as lines:
        ordinals = [orjson.loads(line)["ordinal"] for line in lines.iter_lines()]
    return ordinals == list(range(len(ordinals)))
