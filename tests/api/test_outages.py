"""Qdrant or PostgreSQL away: 503 with Retry-After while it lasts, and then all is well again."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from quire.settings import DatabaseSettings, JobSettings, QdrantSettings
from tests.api.service import Service, assert_problem, new_id, serving, settings_for
from tests.backends.ports import free_ports
from tests.store.template import prepare_postgres

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from quire.settings import Settings
    from tests.backends.postgres import PostgresProcess
    from tests.backends.qdrant import QdrantProcess


def on_qdrant(directory: Path, process: QdrantProcess) -> Settings:
    return settings_for(
        directory,
        qdrant=QdrantSettings(url=process.url, grpc_port=process.grpc_port, timeout_seconds=2),
    )


def on_postgres(directory: Path, url: str, **more: Any) -> Settings:
    return settings_for(
        directory,
        database=DatabaseSettings(url=url, timeout_seconds=2, **more),
    )


async def ready(service: Service) -> dict[str, Any]:
    response = await service.client.get("/readyz")
    body: dict[str, Any] = response.json()
    assert (response.status_code == 200) == body["ready"] == (not body["failures"])
    if response.status_code != 200:
        assert response.status_code == 503
        assert int(response.headers["retry-after"]) >= 1
    return body


async def until_ready(service: Service, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not (body := await ready(service))["ready"]:
        assert time.monotonic() < deadline, body
        await asyncio.sleep(0.1)


async def created(service: Service, session_id: str, seconds: float = 20) -> httpx.Response:
    """A creation repeated, as its Retry-After says, until it succeeds."""
    deadline = time.monotonic() + seconds
    while True:
        response = await service.client.post("/sessions", json={"id": session_id, "name": "s"})
        if response.status_code == 200:
            return response
        assert_unavailable(response)
        assert time.monotonic() < deadline
        await asyncio.sleep(0.1)


def assert_unavailable(response: httpx.Response) -> None:
    problem = assert_problem(response, 503, "unavailable")
    assert int(response.headers["retry-after"]) >= 1
    for inside in ("password", "psycopg", "postgresql", "127.0.0.1", "grpc"):
        assert inside not in problem["detail"]


@asynccontextmanager
async def down(process: Any, *, how: str = "kill") -> AsyncIterator[None]:
    await asyncio.to_thread(getattr(process, how))
    try:
        yield
    finally:
        await asyncio.to_thread(process.start)


@pytest.mark.server
async def test_without_qdrant_what_needs_no_vectors_goes_on(
    tmp_path: Path, qdrant_process: QdrantProcess
) -> None:
    async with serving(on_qdrant(tmp_path, qdrant_process)) as service:
        kept = new_id()
        await created(service, kept)
        gone, late = new_id(), new_id()
        await created(service, gone)
        async with down(qdrant_process):
            # creating needs the engine: refused, and nothing of it is to be seen
            response = await service.client.post("/sessions", json={"id": late, "name": "s"})
            assert_unavailable(response)
            assert_problem(await service.client.get(f"/sessions/{late}"), 404)
            # reading, changing and sharing do not
            path = f"/sessions/{kept}"
            assert (await service.client.get(path)).status_code == 200
            assert (await service.client.put(path, json={"name": "t"})).status_code == 200
            stats = await service.client.get(f"{path}/stats")
            assert stats.json()["collection_stats"]["code"] == "unavailable"
            # deleting for good is accepted, and finished when the engine is back
            accepted = await service.client.delete(
                f"/sessions/{gone}?permanent=true", headers={"Prefer": "wait=0"}
            )
            assert accepted.status_code == 202
            assert_problem(await service.client.get(f"/sessions/{gone}"), 404)
            # readiness names the part
            assert set((await ready(service))["failures"]) == {"engine"}
            assert (await service.client.get("/healthz")).status_code == 200
        await until_ready(service)
        await created(service, late)
        job = await service.quire.jobs.wait(accepted.json()["job"]["id"], 30)
        assert job.status == "succeeded"
        findings = await service.quire.reconciliation.run()
        assert findings.is_clean
        assert findings.collections_checked == 2


@pytest.mark.server
async def test_qdrant_may_come_after_quire(tmp_path: Path, qdrant_process: QdrantProcess) -> None:
    # given a server that is not there yet
    await asyncio.to_thread(qdrant_process.stop)
    async with serving(on_qdrant(tmp_path, qdrant_process)) as service:
        response = await service.client.post("/sessions", json={"name": "s"})
        assert_unavailable(response)
        assert set((await ready(service))["failures"]) == {"engine"}
        # when it comes
        await asyncio.to_thread(qdrant_process.start)
        # then nobody has to restart Quire
        await until_ready(service)
        await created(service, new_id())


@pytest.mark.server
async def test_qdrant_killed_in_the_middle_of_requests(
    tmp_path: Path, qdrant_process: QdrantProcess
) -> None:
    async with serving(on_qdrant(tmp_path, qdrant_process)) as service:
        ids = [new_id() for _ in range(40)]

        async def create(number: int) -> httpx.Response:
            await asyncio.sleep(number * 0.01)
            body = {"id": ids[number], "name": "s"}
            return await service.client.post("/sessions", json=body)

        # given requests under way, when the server dies among them
        requests = [asyncio.create_task(create(number)) for number in range(len(ids))]
        await asyncio.sleep(0.15)
        async with down(qdrant_process):
            responses = await asyncio.gather(*requests)
        # then each was done, or said that it was not
        done = [n for n, response in enumerate(responses) if response.status_code == 200]
        for number, response in enumerate(responses):
            if number not in done:
                assert_unavailable(response)
        assert len(done) < len(ids)
        await until_ready(service)
        # and what was not done can be repeated
        for session_id in ids:
            await created(service, session_id)
        for session_id in ids:
            stats = (await service.client.get(f"/sessions/{session_id}/stats")).json()
            assert stats["collection_stats"]["points_count"] == 0


@pytest.mark.postgres
async def test_without_postgres_every_request_is_put_off(
    tmp_path: Path, postgres_process: PostgresProcess
) -> None:
    url = postgres_process.create_database()
    await prepare_postgres(url)
    async with serving(on_postgres(tmp_path, url)) as service:
        await until_ready(service)
        session_id = new_id()
        await created(service, session_id)
        async with down(postgres_process):
            for method, path, body in (
                ("POST", "/sessions", {"name": "s"}),
                ("GET", "/sessions", None),
                ("PUT", f"/sessions/{session_id}", {"name": "t"}),
                ("DELETE", f"/sessions/{session_id}?permanent=true", None),
                ("POST", "/sessions/cleanup", None),
                ("GET", "/jobs", None),
            ):
                started = time.monotonic()
                response = await service.client.request(method, path, json=body)
                assert_unavailable(response)
                assert time.monotonic() - started < 10
            keyed = await service.client.post(
                "/sessions", json={"name": "s"}, headers={"Idempotency-Key": new_id()}
            )
            assert_unavailable(keyed)
            assert "database" in (await ready(service))["failures"]
            assert (await service.client.get("/healthz")).status_code == 200
        await until_ready(service)
        assert (await service.client.get(f"/sessions/{session_id}")).json()["name"] == "s"
        response = await service.client.delete(f"/sessions/{session_id}?permanent=true")
        assert response.status_code == 200


@pytest.mark.postgres
async def test_postgres_may_come_after_quire_and_its_migrations_after_that(
    tmp_path: Path, postgres_process: PostgresProcess
) -> None:
    # given a server that is not there, with a database that is not migrated
    url = postgres_process.create_database()
    await asyncio.to_thread(postgres_process.stop)
    async with serving(on_postgres(tmp_path, url)) as service:
        assert_unavailable(await service.client.get("/sessions"))
        assert "database" in (await ready(service))["failures"]
        # when the server comes, it is still no database of ours
        await asyncio.to_thread(postgres_process.start)
        deadline = time.monotonic() + 20
        while "quire db upgrade" not in str(body := await ready(service)) and "lacks" not in str(
            body
        ):
            assert time.monotonic() < deadline, body
            await asyncio.sleep(0.1)
        for path in ("/sessions", "/sessions/x", "/jobs", "/sessions/retention-policy"):
            assert_problem(await service.client.get(path), 503, "unavailable")
        assert_problem(await service.client.post("/sessions", json={"name": "s"}), 503)
        # when it is migrated, nobody has to restart Quire
        await prepare_postgres(url)
        await until_ready(service)
        await created(service, new_id())


@pytest.mark.postgres
async def test_postgres_restarted_in_the_middle_of_requests_loses_nothing_acknowledged(
    tmp_path: Path, postgres_process: PostgresProcess
) -> None:
    url = postgres_process.create_database()
    await prepare_postgres(url)
    async with serving(on_postgres(tmp_path, url)) as service:
        await until_ready(service)
        session_id = new_id()
        await created(service, session_id)
        acknowledged = 0
        refused = 0
        stop = asyncio.Event()

        async def count() -> None:
            nonlocal acknowledged, refused
            while not stop.is_set():
                response = await service.client.put(
                    f"/sessions/{session_id}/stats", json={"urls_processed": 1}
                )
                if response.status_code == 200:
                    acknowledged += 1
                else:
                    assert_unavailable(response)
                    refused += 1
                    await asyncio.sleep(0.05)

        # given counters that go up, when the server is killed and comes back
        counting = [asyncio.create_task(count()) for _ in range(4)]
        await asyncio.sleep(0.5)
        async with down(postgres_process):
            await asyncio.sleep(0.3)
        await until_ready(service)
        before = acknowledged
        deadline = time.monotonic() + 20
        while acknowledged < before + 10:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.05)
        stop.set()
        await asyncio.gather(*counting)
        # then what was acknowledged was counted; what was refused may have been, where the
        # answer was lost on the way
        stats = (await service.client.get(f"/sessions/{session_id}/stats")).json()
        counted = stats["session_stats"]["urls_processed"]
        assert acknowledged <= counted <= acknowledged + refused
        assert refused > 0


@pytest.mark.postgres
async def test_many_callers_share_few_connections(tmp_path: Path, postgres_url: str) -> None:
    # given two connections, and thirty callers at once for what is not there
    await prepare_postgres(postgres_url)
    settings = on_postgres(tmp_path, postgres_url, pool_size=2)
    async with serving(settings) as service:
        await until_ready(service)
        session_id = new_id()
        await created(service, session_id)

        async def ask(number: int) -> int:
            target = session_id if number % 3 == 0 else new_id()
            response = await service.client.put(
                f"/sessions/{target}/stats", json={"urls_processed": 1}
            )
            return response.status_code

        statuses = await asyncio.gather(*(ask(number) for number in range(30)))
        # then everyone is answered, none is told that the database is too busy
        assert sorted(set(statuses)) == [200, 404]


@pytest.mark.postgres
async def test_text_that_postgres_cannot_hold_is_not_an_error_of_ours(
    tmp_path: Path, postgres_url: str
) -> None:
    await prepare_postgres(postgres_url)
    async with serving(on_postgres(tmp_path, postgres_url)) as service:
        await until_ready(service)
        for path in (
            "/sessions/%00",
            "/sessions/a%00b/stats",
            "/sessions?owner_id=%00",
            "/sessions?group=%00",
            "/sessions?q=%00",
            "/sessions?tags=%00",
            "/jobs/%00",
            "/jobs?session_id=%00",
            "/jobs?kind=%00",
            "/jobs?cursor=%00",
            "/sessions/compare?session_ids=%00,b",
        ):
            response = await service.client.get(path)
            assert response.status_code in {400, 404, 422}, (path, response.text)
            assert_problem(response, response.status_code)
        response = await service.client.delete("/sessions/x/share/%00")
        assert_problem(response, response.status_code)
        assert response.status_code in {400, 404, 422}


@pytest.mark.postgres
async def test_an_api_without_workers_of_its_own_takes_jobs(
    tmp_path: Path, postgres_url: str
) -> None:
    # given an API whose jobs others run, when a session is deleted for good
    await prepare_postgres(postgres_url)
    settings = on_postgres(tmp_path, postgres_url)
    settings = settings.model_copy(update={"jobs": JobSettings(in_process=False)})
    async with serving(settings) as service:
        await until_ready(service)
        session_id = new_id()
        await created(service, session_id)
        response = await service.client.delete(
            f"/sessions/{session_id}?permanent=true", headers={"Prefer": "wait=0"}
        )
        # then it is gone at once, and the job waits for a worker
        assert response.status_code == 202
        assert response.json()["job"]["status"] == "queued"
        assert_problem(await service.client.get(f"/sessions/{session_id}"), 404)


async def test_a_port_where_nobody_listens_is_no_reason_not_to_start(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    settings = settings_for(
        tmp_path, qdrant=QdrantSettings(url=f"http://127.0.0.1:{port}", timeout_seconds=1)
    )
    async with serving(settings) as service:
        assert_unavailable(await service.client.post("/sessions", json={"name": "s"}))
        assert (await service.client.get("/sessions")).json() == []
