"""`quire doctor`: what is configured, and whether each part answers."""

from __future__ import annotations

import json
import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from quire.settings import (
    DatabaseSettings,
    EmbeddingSettings,
    QdrantSettings,
    Settings,
    environment_names,
)
from quire_cli import examination
from quire_cli.configured import HIDDEN, settings_in_force
from tests.backends.ports import free_ports
from tests.cli.command import SECRET, Ended, quire, serving

# What these tests say of other parts does not depend on the model's weights.
FAKE = {"QUIRE_EMBEDDING_PROVIDER": "fake"}


def checks(ended: Ended) -> dict[str, Any]:
    return {check["name"]: check for check in json.loads(ended.out)["checks"]}


def test_on_a_fresh_machine_all_is_well_and_nothing_is_made(tmp_path: Path) -> None:
    found = quire("doctor", "--json", data_dir=tmp_path / "data")
    assert found.code == 0, found.said
    assert {name for name, check in checks(found).items() if check["ok"]} >= {
        "settings",
        "disk",
        "database",
        "engine",
        "blobs",
        "jobs",
        "embedding",
        "extraction",
    }
    embedding = checks(found)["embedding"]["message"]
    assert "minilm:sentence-transformers/all-MiniLM-L6-v2 on o" in embedding
    assert "verified weights in " in embedding
    assert "a question became 384 dimensions in " in embedding
    machine = json.loads(found.out)["machine"]
    assert machine["sqlite"] == sqlite3.sqlite_version
    assert not (tmp_path / "data").exists()


def test_of_a_running_server_it_asks_that_server(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with serving(data, tmp_path) as server:
        found = quire("doctor", "--json", data_dir=data, QUIRE_PORT=server.port, **FAKE)
        assert found.code == 0, found.said
        assert f"process {server.process.pid} holds" in checks(found)["server"]["message"]
        assert checks(found)["engine"]["message"].startswith("qdrant-edge")

        elsewhere = quire("doctor", data_dir=data, QUIRE_PORT=str(free_ports(1)[0]), **FAKE)
        assert elsewhere.code == 1
        assert "no Quire answers at" in elsewhere.out
        server.stop()

    found = quire("doctor", data_dir=data, **FAKE)  # now it opens the parts itself
    assert found.code == 0, found.said
    assert "All is well." in found.out


def test_servers_that_do_not_answer_are_each_named(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    jwks = f"http://127.0.0.1:{port}/keys"  # may be down at the start, unlike a file
    found = quire(
        *("doctor", "--json"),
        data_dir=tmp_path / "data",
        QUIRE_DATABASE_URL=f"postgresql+psycopg://ann:{SECRET.strip()}@127.0.0.1:{port}/quire",
        QUIRE_QDRANT_URL=f"http://127.0.0.1:{port}",
        QUIRE_JOBS_IN_PROCESS="false",
        QUIRE_AUTH_JWKS=jwks,
        **FAKE,
    )
    assert found.code == 1
    failures = {name: check for name, check in checks(found).items() if not check["ok"]}
    assert set(failures) == {"database", "engine", "jobs", "workers", "jwks"}
    assert all(check["recovery"] for check in failures.values())
    assert "QUIRE_DATABASE_URL" in failures["database"]["recovery"]
    assert "QUIRE_QDRANT_URL" in failures["engine"]["recovery"]
    assert SECRET.strip() not in found.said


def test_wrong_settings_are_a_finding_too(tmp_path: Path) -> None:
    found = quire("doctor", "--json", data_dir=tmp_path, QUIRE_PORT="none")
    assert found.code == 1
    assert "QUIRE_PORT" in checks(found)["settings"]["message"]


def test_every_setting_is_shown_with_its_origin_and_no_secret(monkeypatch: Any) -> None:
    monkeypatch.setenv("QUIRE_DATABASE_URL", "x")
    monkeypatch.setenv("QUIRE_HOST", "")  # empty is unset
    monkeypatch.setenv("QDRANT_HOST", "q")
    monkeypatch.delenv("QUIRE_HOST")
    settings = Settings(
        database=DatabaseSettings(url=SecretStr("postgresql+psycopg://a:b@h/d")),
        qdrant=QdrantSettings(url="http://me:hush@q:6333"),
    )
    shown = {setting.variable: setting for setting in settings_in_force(settings)}
    assert set(shown) == environment_names()
    assert shown["QUIRE_DATABASE_URL"].value == HIDDEN
    assert shown["QUIRE_DATABASE_URL"].source == "QUIRE_DATABASE_URL"
    assert "hush" not in str(shown["QUIRE_QDRANT_URL"].value)
    assert shown["QUIRE_QDRANT_URL"].source == "QDRANT_HOST"
    assert shown["QUIRE_HOST"].source == "default"


def test_a_key_file_that_is_missing_is_named(tmp_path: Path) -> None:
    keys = str(tmp_path / "keys.json")
    settings = FAKE | {"QUIRE_AUTH_JWKS": keys}
    found = quire("doctor", "--json", data_dir=tmp_path / "data", **settings)
    assert found.code == 1
    assert not checks(found)["jwks"]["ok"]
    assert keys in checks(found)["jwks"]["message"]


async def test_a_database_that_a_start_would_migrate_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "quire.db"
    sqlite3.connect(path).close()
    found = {check.name: check for check in await examination.parts(Settings(data_dir=tmp_path))}
    assert all(check.ok for check in found.values())
    assert "the next start applies the migrations" in found["data"].message
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT count(*) FROM sqlite_schema").fetchone() == (0,)


def test_weights_that_are_not_here_are_a_finding(tmp_path: Path) -> None:
    found = quire(
        "doctor", "--json", data_dir=tmp_path / "data", XDG_CACHE_HOME=str(tmp_path / "cache")
    )
    assert found.code == 1
    assert [name for name, check in checks(found).items() if not check["ok"]] == ["embedding"]
    assert "weights" in checks(found)["embedding"]["message"]
    assert "`quire weights`" in checks(found)["embedding"]["recovery"]


async def test_readers_of_documents_that_do_not_start_are_a_finding(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # given an environment in which no process comes up
    monkeypatch.setattr(sys, "executable", "/bin/false")
    settings = Settings(embedding=EmbeddingSettings(provider="fake"))
    found = {check.name: check for check in await examination.content(settings)}
    assert found["embedding"].ok
    assert "does not start" in found["extraction"].message
    assert "QUIRE_LIMITS_EXTRACTION_MEGABYTES" in str(found["extraction"].recovery)


def test_a_damaged_database_is_a_finding_and_no_server_starts(tmp_path: Path) -> None:
    (tmp_path / "quire.db").write_bytes(b"this is no database" * 1000)
    found = quire("doctor", "--json", data_dir=tmp_path)
    assert found.code == 1
    assert "file is not a database" in checks(found)["data"]["message"]

    refused = quire("serve", "--port", "0", data_dir=tmp_path)
    assert refused.code == 1
    assert "file is not a database" in refused.err
