"""What is true of the command as a whole."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

from quire.settings import environment_names
from tests.cli.command import quire


def test_the_version_and_the_help_load_no_library(tmp_path: Path) -> None:
    assert quire("--version", data_dir=tmp_path).out == f"quire {version('quire')}\n"
    told = quire("--help", data_dir=tmp_path)
    assert told.code == 0
    for command in ("serve", "worker", "doctor", "token", "db", "reconcile", "weights", "settings"):
        assert f"\n  {command} " in told.out

    heavy = "pydantic", "sqlalchemy", "fastapi", "uvicorn", "qdrant_client", "dbos", "httpx"
    look = f"import quire_cli.main, sys; print([m for m in {heavy!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_the_table_of_settings_has_every_setting(tmp_path: Path) -> None:
    table = quire("settings", data_dir=tmp_path).out
    rows = [line.split(" | ") for line in table.splitlines()[2:]]
    assert {row[0].strip("| `") for row in rows} == environment_names()
    assert all(len(row) == 3 for row in rows)


def test_an_unknown_option_is_refused(tmp_path: Path) -> None:
    refused = quire("serve", "--hots", data_dir=tmp_path)
    assert refused.code == 2
    assert "--hots" in refused.err


def test_a_worker_needs_servers(tmp_path: Path) -> None:
    refused = quire("worker", data_dir=tmp_path / "data")
    assert refused.code == 2
    assert "QUIRE_DATABASE_URL and QUIRE_QDRANT_URL" in refused.err
    assert not (tmp_path / "data").exists()
