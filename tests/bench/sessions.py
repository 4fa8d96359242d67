"""What sessions cost: creating, listing, starting with many, remembering, reading."""

from __future__ import annotations

import asyncio
import os
import statistics
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
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
from quire.vectors.port import CollectionSpec
from quire.vectors.server_translate import collection_options
from tests.backends.postgres import postgres_process
from tests.backends.qdrant import qdrant_process
from tests.bench import load
from tests.bench.seed import OWNERS, seed
from tests.bench.serving import SECRET, Served, serve

STARTS = 3
SETTLE_SECONDS = 10.0


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
    with settings_of(environment) as settings:
        filled = asyncio.run(seed(settings, sizes.sessions, sizes.filled, lay_all=not is_server))
    headers = {"Authorization": f"Bearer {token('owner-1', Scope.WRITE)}"}
    admin = {"Authorization": f"Bearer {token('operator', Scope.ADMIN)}"}
    time.sleep(SETTLE_SECONDS)  # the servers still put the seeds in order; that is not our part
    yield _figure(f"start to ready with {sizes.sessions:,} sessions", _start(environment), "s", 3.0)
    with serve(environment) as served:
        if is_server:
            created, raw = _create_beside_raw(served, admin, environment, sizes.requests)
            ratio = created / raw
            yield Figure(
                "create a session, p50",
                f"{created:.1f} ms, {ratio:.2f} × the raw collection + indexes ({raw:.1f} ms)",
                "≤ 2 ×",
                ratio <= 2,
            )
        else:
            created = _create(served, admin, sizes.requests)
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


def _start(environment: dict[str, str]) -> float:
    times = []
    for _ in range(STARTS):
        with serve(environment, empty_route=False) as served:
            times.append(served.ready_after)
    return statistics.median(times)


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
    with httpx.Client(base_url=served.url, headers=headers, timeout=60) as client:
        times = [_milliseconds(partial(_post_session, client, number)) for number in range(count)]
    return statistics.median(times[5:])


def _create_beside_raw(
    served: Served, headers: dict[str, str], environment: dict[str, str], count: int
) -> tuple[float, float]:
    """In turn: the server gets slower with every collection, whoever made it."""
    ours, raw = [], []
    direct = QdrantClient(url=environment["QUIRE_QDRANT_URL"], check_compatibility=False)
    with httpx.Client(base_url=served.url, headers=headers, timeout=60) as client:
        for number in range(count):
            ours.append(_milliseconds(partial(_post_session, client, number)))
            raw.append(_milliseconds(partial(_create_raw, direct)))
    direct.close()
    return statistics.median(ours[5:]), statistics.median(raw[5:])


def _milliseconds(work: Callable[[], None]) -> float:
    started = time.perf_counter()
    work()
    return (time.perf_counter() - started) * 1000


def _post_session(client: httpx.Client, number: int) -> None:
    client.post("/sessions", json={"name": f"made {number}"}).raise_for_status()


def _create_raw(client: QdrantClient) -> None:
    """The same collection and indexes, straight to the server, as the adapter lays them."""
    name = f"raw-{uuid.uuid4().hex}"
    client.create_collection(name, **collection_options(CollectionSpec(384)))
    client.create_payload_index(name, "document_id", models.PayloadSchemaType.KEYWORD)
    client.create_payload_index(name, "seq", models.PayloadSchemaType.INTEGER)


def _touch(served: Served, headers: dict[str, str], session_ids: list[str]) -> None:
    with httpx.Client(base_url=served.url, headers=headers, timeout=60) as client:
        for session_id in session_ids:
            stats = client.get(f"/sessions/{session_id}/stats").raise_for_status().json()
            if stats["collection_stats"]["points_count"] != 100:
                raise RuntimeError(f"{session_id} does not hold its points: {stats}")


def _figure(what: str, value: float, unit: str, goal: float) -> Figure:
    return Figure(what, f"{value:.1f} {unit}", f"≤ {goal:g} {unit}", value <= goal)


def token(subject: str, scope: Scope) -> str:
    """A token that the servers of these benchmarks know."""
    return create_token(SecretStr(SECRET), subject, ["team"], scope)


@contextmanager
def settings_of(environment: dict[str, str]) -> Iterator[Settings]:
    """What a server with this environment would read."""
    with patch.dict(os.environ, {**environment, "QUIRE_AUTH_SECRET": SECRET}):
        yield load_settings()


async def _migrate(url: str) -> None:
    database = Database.postgres(url)
    await migrate(database)
    await DurableJobs(database, JobSettings()).migrate()
    await database.close()
