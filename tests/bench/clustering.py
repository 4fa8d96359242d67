"""What it takes to cluster a session, and whether what was planted is found."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import orjson
from sklearn.metrics import adjusted_rand_score

from tests.bench.client import connected
from tests.bench.filler import Filler
from tests.bench.ingesting import FAKE
from tests.bench.serving import Served, serve
from tests.bench.sessions import Figure

DIMENSION = 384
SUBJECTS = 40
STRAY_SHARE = 0.1
BATCH = 500
SECONDS = 60.0
MEGABYTES = 600.0
AGREEMENT = 0.9
SAMPLE_SECONDS = 0.05
WAIT = {"Prefer": "wait=300"}


@dataclass(frozen=True)
class Sizes:
    points: int = 50_000


QUICK = Sizes(points=5_000)


def measure(backend: str, environment: dict[str, str], sizes: Sizes) -> Iterator[Figure]:
    """Both algorithms, each in a server that has done nothing else; then points that come later."""
    environment = {**environment, **FAKE}
    number = sizes.points
    with serve(environment, empty_route=False) as served, connected(served) as client:
        session_id = filled(client, number)
    has_goal = backend == "embedded"
    for asked in ({"algorithm": "hdbscan", "coordinates": "pca"}, {"algorithm": "kmeans"}):
        with serve(environment, empty_route=False) as served, connected(served) as client:
            client.get(f"/sessions/{session_id}/points?limit=1").raise_for_status()
            with watched(served) as growth:
                seconds, found = _clustered(client, session_id, asked)
            name = asked["algorithm"]
            yield Figure(
                f"{name} of {number:,} points, {DIMENSION}-d",
                f"{seconds:.1f} s, {len(found['clusters'])} clusters",
                f"≤ {SECONDS:g} s" if has_goal else "–",
                not has_goal or seconds <= SECONDS,
            )
            yield Figure(
                f"memory of {name}, with the process that it starts",
                f"+{growth.most:.0f} MB",
                f"≤ {MEGABYTES:g} MB",
                growth.most <= MEGABYTES,
            )
            if name == "hdbscan":
                agreement = _agreement(client, session_id)
                yield Figure(
                    "what was planted is found (adjusted Rand index, strays left out)",
                    f"{agreement:.3f}",
                    f"≥ {AGREEMENT}",
                    agreement >= AGREEMENT,
                )
    with serve(environment, empty_route=False) as served, connected(served) as client:
        later = number // 50
        _put(client, session_id, later, seed=2, first_id=number)
        seconds, _ = _clustered(client, session_id, {"incremental": True})
        yield Figure(
            f"{later:,} new points join the clusters", f"{seconds:.1f} s", "–", reached=True
        )


def _clustered(
    client: httpx.Client, session_id: str, asked: dict[str, Any]
) -> tuple[float, dict[str, Any]]:
    started = time.perf_counter()
    answer = client.post(f"/sessions/{session_id}/cluster", json=asked, headers=WAIT)
    answer.raise_for_status()
    assert answer.status_code == 200, answer.text
    return time.perf_counter() - started, answer.json()


def _agreement(client: httpx.Client, session_id: str) -> float:
    planted, found = [], []
    path: str | None = f"/sessions/{session_id}/points?limit=1000"
    while path is not None:
        page = client.get(path).raise_for_status()
        for point in page.json():
            if point["payload"]["subject"] >= 0:
                planted.append(point["payload"]["subject"])
                found.append(point["payload"]["cluster"])
        path = page.links.get("next", {}).get("url")
    return float(adjusted_rand_score(planted, found))


def filled(client: httpx.Client, number: int) -> str:
    """A session of so many points about some subjects, large and small, and strays among them."""
    answer = client.post("/sessions", json={"name": "measured"}).raise_for_status()
    session_id: str = answer.json()["id"]
    _put(client, session_id, number, seed=1, first_id=0)
    return session_id


def _put(client: httpx.Client, session_id: str, number: int, *, seed: int, first_id: int) -> None:
    centres = np.random.default_rng(0).standard_normal((SUBJECTS, DIMENSION))
    shares = 1 / np.arange(3, SUBJECTS + 3)
    chance, filler = np.random.default_rng(seed), Filler(seed)
    for start in range(0, number, BATCH):
        count = min(BATCH, number - start)
        subjects = chance.choice(SUBJECTS, count, p=shares / shares.sum())
        vectors = centres[subjects] + chance.normal(0, 0.8, (count, DIMENSION))
        is_stray = chance.random(count) < STRAY_SHARE
        vectors[is_stray] = chance.standard_normal((int(is_stray.sum()), DIMENSION))
        points = [
            {
                "id": first_id + start + n,
                "vector": vectors[n].tolist(),
                "payload": {
                    "text": f"{filler.text(1)} Subject{subjects[n]}.",
                    "subject": -1 if is_stray[n] else int(subjects[n]),
                },
            }
            for n in range(count)
        ]
        client.put(
            f"/sessions/{session_id}/points",
            content=orjson.dumps({"points": points}),
            headers={"Content-Type": "application/json"},
        ).raise_for_status()


@dataclass
class TreeGrowth:
    """By how many megabytes a process and its children grew at most."""

    most: float = 0.0


@contextmanager
def watched(served: Served) -> Iterator[TreeGrowth]:
    growth, ended, before = TreeGrowth(), threading.Event(), _resident(served.pid)

    def watch() -> None:
        while not ended.wait(SAMPLE_SECONDS):
            growth.most = max(growth.most, _resident(served.pid) - before)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield growth
    finally:
        ended.set()
        watcher.join()


def _resident(pid: int) -> float:
    """Of the process and all that it started, in megabytes; what has just ended counts nothing."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        children = [child for task in tasks for child in (task / "children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    line = next((line for line in status.splitlines() if line.startswith("VmRSS")), "VmRSS: 0")
    return int(line.split()[1]) / 1024 + sum(_resident(int(child)) for child in children)
