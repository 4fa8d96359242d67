"""What it costs to take sessions apart, to put them together, and to carry them away."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import orjson

from tests.bench import plain_copy
from tests.bench.client import connected
from tests.bench.ingesting import FAKE, Growth, watched
from tests.bench.points import made_points
from tests.bench.serving import serve
from tests.bench.sessions import Figure

OF_EDGE = 0.6
OF_SERVER = 3.0
FORK_OF_SERVER = 8.0
SIZE = 0.35
GROWTH_MEGABYTES = 150.0
WARM_POINTS = 1_000
WAIT = {"Prefer": "wait=300"}


@dataclass(frozen=True)
class Sizes:
    points: int = 50_000
    few: int = 10_000
    many: int = 200_000
    rounds: int = 3


QUICK = Sizes(points=4_000, few=1_000, many=6_000, rounds=1)


def measure(backend: str, environment: dict[str, str], sizes: Sizes) -> Iterator[Figure]:
    """All figures of one backend, in the order of the goals."""
    environment = {**environment, **FAKE}
    with serve(environment, empty_route=False) as served, connected(served) as client:
        yield from _speeds(backend, environment, client, sizes)
    yield from _memory(environment, sizes)


def _speeds(
    backend: str, environment: dict[str, str], client: httpx.Client, sizes: Sizes
) -> Iterator[Figure]:
    number = sizes.points
    halves = [filled(client, number // 2, seed=seed) for seed in (1, 2)]
    whole = filled(client, number, seed=3)
    plain: list[float] = []
    found: dict[str, list[float]] = {}
    with TemporaryDirectory(prefix="quire-bench-") as folder:
        bundle = Path(folder, "session.quire")
        steps: dict[str, Callable[[], str | None]] = {
            "fork": lambda: _fork(client, whole),
            "merge": lambda: _merge(client, halves),
            "split": lambda: _split(client, whole),
            "export": lambda: _export(client, whole, bundle),
            "import": lambda: _import(client, bundle),
        }
        for _ in range(sizes.rounds):
            # In turn, so that all meet the same moods of the machine.
            plain.append(_plain(backend, environment, number))
            for name, step in steps.items():
                started = time.perf_counter()
                made = step()
                found.setdefault(name, []).append(number / (time.perf_counter() - started))
                if made is not None:
                    _remove(client, made)
        size = bundle.stat().st_size
    bare = statistics.median(plain)
    for name, speeds in found.items():
        speed = statistics.median(speeds)
        goal = _goal(backend, name)
        yield Figure(
            f"{name} of {number:,} points",
            f"{speed:,.0f} points/s, {speed / bare:.2f} × the plain loop ({bare:,.0f})",
            "–" if goal is None else f"≥ {goal:g} ×",
            goal is None or speed / bare >= goal,
        )
    ratio = size / _json_size(client, whole)
    yield Figure("bundle beside the JSON export", f"{ratio:.2f}", f"≤ {SIZE}", ratio <= SIZE)


def _goal(backend: str, name: str) -> float | None:
    if backend == "embedded":
        return None if name == "fork" else OF_EDGE
    return {"fork": FORK_OF_SERVER, "merge": OF_SERVER, "split": OF_SERVER}.get(name)


def _plain(backend: str, environment: dict[str, str], points: int) -> float:
    if backend == "embedded":
        return plain_copy.on_edge(points)
    url, port = environment["QUIRE_QDRANT_URL"], int(environment["QUIRE_QDRANT_GRPC_PORT"])
    return plain_copy.on_server(url, port, points)


def filled(client: httpx.Client, number: int, *, seed: int) -> str:
    """A session with so many points; answers its id."""
    answer = client.post("/sessions", json={"name": "measured"}).raise_for_status()
    session_id: str = answer.json()["id"]
    for batch in made_points(number, seed=seed):
        points = [{"id": p.id, "vector": p.dense, "payload": p.payload} for p in batch]
        client.put(
            f"/sessions/{session_id}/points",
            content=orjson.dumps({"points": points}),
            headers={"Content-Type": "application/json"},
        ).raise_for_status()
    return session_id


def _fork(client: httpx.Client, session_id: str) -> str:
    return str(_done(client, f"/sessions/{session_id}/fork", {"name": "fork"})["id"])


def _merge(client: httpx.Client, session_ids: list[str]) -> str:
    body = {
        "source_session_ids": session_ids,
        "target_name": "merged",
        "archive_sources": False,
    }
    return str(_done(client, "/sessions/merge", body)["id"])


def _split(client: httpx.Client, session_id: str) -> str:
    """Into two halves, by a payload field; the original stays."""
    body = {"by": {"field": "cluster"}, "remove_points": False}
    made = [
        session["id"]
        for session in _done(client, f"/sessions/{session_id}/split", body)["new_sessions"]
    ]
    for part in made[1:]:
        _remove(client, part)
    return str(made[0])


def _export(client: httpx.Client, session_id: str, target: Path) -> None:
    with (
        target.open("wb") as file,
        client.stream("GET", f"/sessions/{session_id}/export?format=bundle") as answer,
    ):
        answer.raise_for_status()
        for block in answer.iter_bytes():
            file.write(block)


def _import(client: httpx.Client, bundle: Path) -> str:
    with bundle.open("rb") as file:
        answer = client.post(
            "/sessions/import",
            content=file,
            headers={"Content-Type": "application/octet-stream", **WAIT},
        )
    return str(_settled(client, answer)["id"])


def _json_size(client: httpx.Client, session_id: str) -> int:
    size = 0
    with client.stream("GET", f"/sessions/{session_id}/export") as answer:
        for block in answer.raise_for_status().iter_bytes():
            size += len(block)
    return size


def _remove(client: httpx.Client, session_id: str) -> None:
    client.delete(f"/sessions/{session_id}?permanent=true").raise_for_status()


def _done(client: httpx.Client, path: str, body: dict[str, Any]) -> Any:
    return _settled(client, client.post(path, json=body, headers=WAIT))


def _settled(client: httpx.Client, answer: httpx.Response) -> Any:
    if answer.status_code == 202:
        raise RuntimeError(f"not done within five minutes: {answer.text}")
    return answer.raise_for_status().json()


def _memory(environment: dict[str, str], sizes: Sizes) -> Iterator[Figure]:
    """How much more each transfer needs for many points than for few."""
    few, many = (_growths(environment, number) for number in (sizes.few, sizes.many))
    for name, least in few.items():
        most = many[name]
        growth = most.whole - least.whole
        yield Figure(
            f"memory of {name}, {sizes.few:,} to {sizes.many:,} points",
            f"+{least.whole:.0f} MB and +{most.whole:.0f} MB "
            f"({least.anonymous:.0f} and {most.anonymous:.0f} not of files)",
            f"≤ {GROWTH_MEGABYTES:g} MB more",
            growth <= GROWTH_MEGABYTES,
        )


def _growths(environment: dict[str, str], number: int) -> dict[str, Growth]:
    """Of each transfer, in a process that has done nothing else but a small one like it."""
    with serve(environment, empty_route=False) as served, connected(served) as client:
        halves = [filled(client, number // 2, seed=seed) for seed in (1, 2)]
        small = [filled(client, WARM_POINTS // 2, seed=seed) for seed in (3, 4)]
    growths: dict[str, Growth] = {}
    with TemporaryDirectory(prefix="quire-bench-") as folder:
        for name in ("merge", "export", "import", "fork", "split"):
            with serve(environment, empty_route=False) as served, connected(served) as client:
                _transfer(name, client, small, Path(folder, "small"))
                with watched(served) as growth:
                    made = _transfer(name, client, halves, Path(folder, "large"))
                growths[name] = growth
                if made is not None:
                    _remove(client, made)
    return growths


def _transfer(name: str, client: httpx.Client, session_ids: list[str], bundle: Path) -> str | None:
    match name:
        case "merge":
            return _merge(client, session_ids)
        case "export":
            return _export(client, session_ids[0], bundle)
        case "import":
            return _import(client, bundle)
        case "fork":
            return _fork(client, session_ids[0])
        case _:
            return _split(client, session_ids[0])
