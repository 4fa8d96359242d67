"""What cold sessions cost: waking them, and keeping ten thousand where two hundred are hot."""

from __future__ import annotations

import re
import statistics
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx

from tests.backends.qdrant import QdrantProcess, qdrant_process
from tests.bench.client import connected
from tests.bench.points import DIMENSION, made_points
from tests.bench.serving import Served, serve
from tests.bench.sessions import Figure

WAKE_GOALS = {"embedded": 100.0, "server": 250.0}
CLIENTS = 4
SETTLE_SECONDS = 60.0
HOT = re.compile(r'^quire_sessions\{residency="hot",status="active"\} (\S+)', re.MULTILINE)


@dataclass(frozen=True)
class Sizes:
    sessions: int = 10_000
    hot: int = 200
    points: int = 100
    woken: int = 20
    rounds: int = 5
    woken_points: int = 1_000


QUICK = Sizes(sessions=200, hot=20, woken=4, rounds=3)


@dataclass(frozen=True)
class House:
    """Settings of a Quire, and the Qdrant server beside it where there is one."""

    environment: dict[str, str]
    qdrant: QdrantProcess | None


def measure(backend: str, sizes: Sizes) -> Iterator[Figure]:
    """All figures of one backend, in the order of the goals."""
    with _house(backend, sizes.hot) as house, serve(house.environment) as served:
        yield from _wakes(backend, served, sizes)
    with _house(backend, sizes.hot) as house:
        yield from _thousands(house, sizes)


@contextmanager
def _house(backend: str, hot: int) -> Iterator[House]:
    with ExitStack() as stack:
        directory = stack.enter_context(TemporaryDirectory(prefix="quire-bench-"))
        environment = {
            "QUIRE_DATA_DIR": directory,
            "QUIRE_HOT_SESSIONS_MAX": str(hot),
            "QUIRE_RESIDENCY_SWEEP_SECONDS": "5",
        }
        if backend == "embedded":
            yield House(environment, None)
            return
        qdrant = stack.enter_context(qdrant_process())
        environment["QUIRE_QDRANT_URL"] = qdrant.url
        environment["QUIRE_QDRANT_GRPC_PORT"] = str(qdrant.grpc_port)
        yield House(environment, qdrant)


def _wakes(backend: str, served: Served, sizes: Sizes) -> Iterator[Figure]:
    goal = WAKE_GOALS[backend]
    named = f"first use of a cold {sizes.woken_points:,}-point session"
    with connected(served) as client:
        ids = [_made(client, sizes.woken_points) for _ in range(sizes.woken)]
        if backend == "embedded":
            closed = _times(client, ids, sizes.rounds, pack=False)
            yield _figure(f"{named}, closed, p95", closed, goal)
        packed = _times(client, ids, sizes.rounds, pack=True)
        if backend == "embedded":
            yield Figure(f"{named}, packed, p95", _told(packed), "–", True)
        else:
            yield _figure(f"{named}, p95", packed, goal)


def _times(client: httpx.Client, ids: list[str], rounds: int, *, pack: bool) -> list[float]:
    """Milliseconds from the request to its answer, cold sessions one after the other."""
    times = []
    asked = {"pack": str(pack).lower()}
    for _ in range(rounds):
        for session_id in ids:
            client.post(f"/sessions/{session_id}/sleep", params=asked).raise_for_status()
        for session_id in ids:
            started = time.perf_counter()
            client.get(f"/sessions/{session_id}/points?limit=10").raise_for_status()
            times.append((time.perf_counter() - started) * 1000)
    return times[len(ids) :]  # the first round loads the libraries


def _thousands(house: House, sizes: Sizes) -> Iterator[Figure]:
    many = f"{sizes.sessions:,} sessions × {sizes.points} points, {sizes.hot} hot"
    most = 0
    with serve(house.environment) as served:
        started = time.perf_counter()
        with connected(served) as client, ThreadPoolExecutor(CLIENTS) as pool:
            for made, _ in enumerate(
                pool.map(lambda _: _made(client, sizes.points), range(sizes.sessions))
            ):
                if made % 50 == 0:
                    most = max(most, _hot(client))
            rate = sizes.sessions / (time.perf_counter() - started)
            limit = sizes.hot * 2
            yield Figure(
                f"{many}: most hot at once while they come, {rate:.0f} sessions/s",
                f"{most}",
                f"≤ {limit}",
                most <= limit,
            )
            _until(lambda: _hot(client) <= sizes.hot)
            ours = served.rss_megabytes
            theirs = _rss_megabytes(house.qdrant)
            yield Figure(
                f"{many}: RSS, ours + the Qdrant server's",
                f"{ours:.0f} + {theirs:.0f} = {ours + theirs:.0f} MB",
                "≤ 1,024 MB",
                ours + theirs <= 1024,
            )
    if house.qdrant is not None:
        house.qdrant.stop()
        started = time.perf_counter()
        house.qdrant.start()
        took = time.perf_counter() - started
        yield Figure("the Qdrant server starts again", f"{took:.1f} s", "≤ 10 s", took <= 10)


def _made(client: httpx.Client, number: int) -> str:
    """A session with so many points; answers its id."""
    embedding: dict[str, Any] = {"provider": "external", "dimension": DIMENSION}
    body = {"name": "measured", "embedding": embedding}
    session_id: str = client.post("/sessions", json=body).raise_for_status().json()["id"]
    for batch in made_points(number):
        points = [
            {
                "id": point.id,
                "vector": list(point.dense or ()),
                "payload": dict(point.payload),
            }
            for point in batch
        ]
        path = f"/sessions/{session_id}/points"
        client.put(path, json={"points": points}).raise_for_status()
    return session_id


def _hot(client: httpx.Client) -> int:
    found = HOT.search(client.get("/metrics").raise_for_status().text)
    return int(float(found[1])) if found else 0


def _until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SETTLE_SECONDS
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.5)


def _rss_megabytes(qdrant: QdrantProcess | None) -> float:
    if qdrant is None:
        return 0.0
    status = Path(f"/proc/{qdrant.process.pid}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


def _figure(what: str, times: list[float], goal: float) -> Figure:
    return Figure(what, _told(times), f"≤ {goal:g} ms", _p95(times) <= goal)


def _told(times: list[float]) -> str:
    return f"{_p95(times):.0f} ms (p50 {statistics.median(times):.0f})"


def _p95(times: list[float]) -> float:
    return statistics.quantiles(times, n=20)[-1]
