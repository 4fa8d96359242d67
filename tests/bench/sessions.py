"""What sessions cost: creating, listing, starting with many, remembering, reading."""

from __future__ import annotations

import asyncio
import os
import statistics
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from tempfile import TemporaryDirectory
from unittest.mock import patch

import httpx
from pydantic import SecretStr
from qdrant_client import QdrantClient, models

from quire.access.principal import Scope
from quire.access.tokens import create_token
from quire.jobs.durable import DurableJobs
from quire.settings import JobSettings, Settings, load_settings
from quire.store import Database, migrate
from tests.backends.postgres import postgres_process
from tests.backends.qdrant import qdrant_process
from tests.bench import load
from tests.bench.seed import OWNERS, seed
from tests.bench.serving import SECRET, Served, serve


@dataclass(frozen=True)
class Sizes:
    sessions: int = 10_000
    filled: int = 400
    hot: int = 200
    requests: int = 300
    seconds: float = 4.0
    rounds: int = 5


@dataclass(frozen=True)
class Figure:
    """One line of the table: what was measured, what came out, and what was wanted."""

    what: str
    value: str
    goal: str
    reached: bool


@contextmanager
def embedded() -> Iterator[dict[str, str]]:
    """The settings of a single machine."""
    with TemporaryDirectory(prefix="quire-bench-") as directory:
        yield {"QUIRE_DATA_DIR": directory, "QUIRE_HOT_SESSIONS_MAX": "200"}


@contextmanager
def server() -> Iterator[dict[str, str]]:
    """A real Qdrant and a real PostgreSQL."""
    with ExitStack() as stack:
        qdrant = stack.enter_context(qdrant_process())
        postgres = stack.enter_context(postgres_process())
        directory = stack.enter_context(TemporaryDirectory(prefix="quire-bench-"))
        environment = {
            "QUIRE_DATA_DIR": directory,
            "QUIRE_DATABASE_URL": postgres.create_database(),
            "QUIRE_QDRANT_URL": qdrant.url,
            "QUIRE_QDRANT_GRPC_PORT": str(qdrant.grpc_port),
        }
        asyncio.run(_migrate(environment["QUIRE_DATABASE_URL"]))
        yield environment


def measure(backend: str, environment: dict[str, str], sizes: Sizes) -> Iterator[Figure]:
    """All figures of one backend, in the order of the goals."""
    is_server = backend == "server"
    with _settings(environment) as settings:
        filled = asyncio.run(seed(settings, sizes.sessions, sizes.filled, lay_all=not is_server))
    headers = {"Authorization": f"Bearer {_token('owner-1', Scope.WRITE)}"}
    admin = {"Authorization": f"Bearer {_token('operator', Scope.ADMIN)}"}
    with serve(environment) as served:
        yield _figure(
            f"start to ready with {sizes.sessions:,} sessions", served.ready_after, "s", 3.0
        )
        created = _create(served, admin, sizes.requests)
        if is_server:
            raw = _raw_create(environment, min(100, sizes.requests))
            ratio = created / raw
            yield Figure(
                "create a session, p50",
                f"{created:.1f} ms, {ratio:.2f} × the raw collection + indexes ({raw:.1f} ms)",
                "≤ 2 ×",
                ratio <= 2,
            )
        else:
            yield _figure("create a session, p50", created, "ms", 60)
        for name, query in _lists():
            timing = asyncio.run(
                load.sequential(f"{served.url}/sessions?limit=100&{query}", headers, 100)
            )
            yield _figure(
                f"list 100 of {sizes.sessions:,} sessions, {name}, p50", timing.p50, "ms", 15
            )
        yield asyncio.run(_reading(served, headers, sizes))
        _touch(served, admin, filled[: sizes.hot])
        goal = 250 if is_server else 400
        yield _figure(
            f"RSS with {sizes.sessions:,} sessions, {sizes.hot} hot",
            served.rss_megabytes,
            "MB",
            goal,
        )


def _lists() -> list[tuple[str, str]]:
    return [
        ("by tag", "tags=tag-3"),
        ("by owner", f"owner_id=owner-{1 % OWNERS}"),
        ("by words", "q=bridges"),
        ("by status", "status=active"),
    ]


async def _reading(served: Served, headers: dict[str, str], sizes: Sizes) -> Figure:
    """In turn, so that both meet the same moods of the machine."""
    session = f"{served.url}/sessions/session-00001"
    ratios, rates = [], []
    await load.saturating(session, headers, 1)
    for _ in range(sizes.rounds):
        empty = await load.saturating(f"{served.url}/empty", headers, sizes.seconds)
        reading = await load.saturating(session, headers, sizes.seconds)
        ratios.append(reading.per_second / empty.per_second)
        rates.append((reading.per_second, empty.per_second))
    ratio = statistics.median(ratios)
    read, empty_rate = (statistics.median(side) for side in zip(*rates, strict=True))
    return Figure(
        "authenticated GET /sessions/{id}, requests/s",
        f"{read:,.0f}, {ratio:.0%} of an empty route ({empty_rate:,.0f})",
        "≥ 50 %",
        ratio >= 0.5,
    )


def _create(served: Served, headers: dict[str, str], count: int) -> float:
    times = []
    with httpx.Client(base_url=served.url, headers=headers, timeout=60) as client:
        for number in range(count):
            started = time.perf_counter()
            client.post("/sessions", json={"name": f"made {number}"}).raise_for_status()
            times.append((time.perf_counter() - started) * 1000)
    return statistics.median(times[5:])


def _raw_create(environment: dict[str, str], count: int) -> float:
    """The same collection and indexes, straight to the server, as the adapter lays them."""
    port = int(environment["QUIRE_QDRANT_GRPC_PORT"])
    client = QdrantClient(
        url=environment["QUIRE_QDRANT_URL"], grpc_port=port, check_compatibility=False
    )
    times = []
    for _ in range(count):
        name = f"raw-{uuid.uuid4().hex}"
        started = time.perf_counter()
        client.create_collection(
            name,
            vectors_config={
                "dense": models.VectorParams(
                    size=384, distance=models.Distance.COSINE, on_disk=True
                )
            },
            sparse_vectors_config={"text": models.SparseVectorParams(modifier=models.Modifier.IDF)},
            on_disk_payload=True,
            optimizers_config=models.OptimizersConfigDiff(default_segment_number=1),
            wal_config=models.WalConfigDiff(wal_capacity_mb=1),
        )
        client.create_payload_index(name, "document_id", models.PayloadSchemaType.KEYWORD)
        client.create_payload_index(name, "seq", models.PayloadSchemaType.INTEGER)
        times.append((time.perf_counter() - started) * 1000)
        client.delete_collection(name)
    client.close()
    return statistics.median(times[2:])


def _touch(served: Served, headers: dict[str, str], session_ids: list[str]) -> None:
    with httpx.Client(base_url=served.url, headers=headers, timeout=60) as client:
        for session_id in session_ids:
            stats = client.get(f"/sessions/{session_id}/stats").raise_for_status().json()
            if stats["collection_stats"]["points_count"] != 100:
                raise RuntimeError(f"{session_id} does not hold its points: {stats}")


def _figure(what: str, value: float, unit: str, goal: float) -> Figure:
    return Figure(what, f"{value:.1f} {unit}", f"≤ {goal:g} {unit}", value <= goal)


def _token(subject: str, scope: Scope) -> str:
    return create_token(SecretStr(SECRET), subject, ["team"], scope)


@contextmanager
def _settings(environment: dict[str, str]) -> Iterator[Settings]:
    with patch.dict(os.environ, {**environment, "QUIRE_AUTH_SECRET": SECRET}):
        yield load_settings()


async def _migrate(url: str) -> None:
    database = Database.postgres(url)
    await migrate(database)
    await DurableJobs(database, JobSettings()).migrate()
    await database.close()
