"""The commands on PostgreSQL and a Qdrant server: migrating, and workers beside the API."""

from __future__ import annotations

import json
import secrets
from pathlib import Path

import httpx
import pytest

from tests.cli.command import quire, serving, started, wait_for


@pytest.mark.postgres
def test_the_database_is_migrated_by_command(tmp_path: Path, postgres_url: str) -> None:
    def db(command: str) -> tuple[int, str]:
        ended = quire("db", command, data_dir=tmp_path / "data", QUIRE_DATABASE_URL=postgres_url)
        return ended.code, ended.said

    code, said = db("status")
    assert code == 1
    assert "quire db upgrade" in said
    code, said = db("upgrade")
    assert code == 0, said
    assert said.startswith("Applied: ")
    assert db("upgrade") == (0, "The database was up to date already\n")
    assert db("status") == (0, "The database is up to date\n")
    assert not (tmp_path / "data").exists()


def test_the_embedded_database_is_migrated_by_command_too(tmp_path: Path) -> None:
    data = tmp_path / "data"
    assert quire("db", "status", data_dir=data).code == 1
    assert not data.exists()
    assert quire("db", "upgrade", data_dir=data).code == 0
    assert quire("db", "status", data_dir=data).code == 0


@pytest.mark.postgres
@pytest.mark.server
def test_a_worker_runs_what_the_api_submits(
    tmp_path: Path, postgres_url: str, qdrant_url: str, qdrant_grpc_port: int | None
) -> None:
    settings = {
        "QUIRE_DATABASE_URL": postgres_url,
        "QUIRE_QDRANT_URL": qdrant_url,
        "QUIRE_QDRANT_COLLECTION_PREFIX": f"cli_{secrets.token_hex(4)}_",
        "QUIRE_JOBS_IN_PROCESS": "false",
        "QUIRE_JOBS_LEASE_SECONDS": "1",
        "QUIRE_EMBEDDING_PROVIDER": "fake",
    }
    if qdrant_grpc_port is not None:
        settings["QUIRE_QDRANT_GRPC_PORT"] = str(qdrant_grpc_port)
    data = tmp_path / "data"
    assert quire("db", "upgrade", data_dir=data, **settings).code == 0

    with serving(data, tmp_path, **settings) as server, server.client() as client:
        wait_for(lambda: client.get("/readyz").status_code == 200)
        assert client.post("/sessions", json={"id": "s", "name": "s"}).status_code == 200

        # given a job that nobody runs, which the doctor notices
        gone = client.delete(
            "/sessions/s", params={"permanent": True}, headers={"Prefer": "wait=0"}
        )
        assert gone.status_code == 202, gone.text
        job = gone.headers["Location"]
        assert client.get(job).json()["status"] == "queued"
        ill = quire("doctor", "--json", data_dir=data, **settings)
        failed = [check for check in json.loads(ill.out)["checks"] if not check["ok"]]
        assert [check["name"] for check in failed] == ["workers"], failed

        # when a worker comes
        with started("worker", data_dir=data, logs=tmp_path, **settings) as worker:
            worker.until("Quire worker is ready")

            # then it runs the job, and is seen
            wait_for(lambda: status(client, job) == "succeeded")
            well = quire("doctor", data_dir=data, **settings)
            assert well.code == 0, well.said
            assert "1 running" in well.out
            code, seconds = worker.stop()
            assert code == 0, worker.said
            assert seconds < 15
        assert quire("reconcile", data_dir=data, **settings).code == 0
        assert server.stop()[0] == 0


@pytest.mark.postgres
@pytest.mark.server
def test_a_worker_waits_for_the_migration(
    tmp_path: Path, postgres_url: str, qdrant_url: str
) -> None:
    settings = {"QUIRE_DATABASE_URL": postgres_url, "QUIRE_QDRANT_URL": qdrant_url}
    with started("worker", data_dir=tmp_path / "data", logs=tmp_path, **settings) as worker:
        wait_for(lambda: "lacks the migrations" in worker.said)
        assert "is ready" not in worker.out
        upgrade = quire("db", "upgrade", data_dir=tmp_path / "data", **settings)
        assert upgrade.code == 0, upgrade.said
        worker.until("Quire worker is ready")
        assert worker.stop()[0] == 0


def status(client: httpx.Client, job: str) -> str:
    answer = client.get(job)
    # Its session is gone, and with it who may see the job; without authentication all may.
    return str(answer.raise_for_status().json()["status"])
