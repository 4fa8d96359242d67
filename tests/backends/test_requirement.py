"""A run says what it could not test, fails where that was required, and leaves nothing running."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.backends.qdrant import find_binary
from tests.backends.requirement import got_or_skipped

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.backends.postgres import PostgresProcess

ROOT = Path(__file__).parents[2]

USES_QDRANT = """
def test_one(qdrant_url): ...
def test_two(qdrant_url): ...
"""

SKIPS = """
import pytest
def test_one(): pytest.skip("not today")
@pytest.mark.xfail
def test_two(): assert False
"""

WAITS = """
import json, pathlib, time
def test_one(qdrant_url, qdrant_process, postgres_process):
    urls = [qdrant_url, qdrant_process.url]
    ports = [int(url.rsplit(":")[-1]) for url in urls] + [postgres_process.port]
    part = pathlib.Path("running.part")
    part.write_text(json.dumps(ports))
    part.rename("running")
    time.sleep(60)
"""


class Run:
    """A pytest of its own over one test file, with this project's fixtures."""

    def __init__(self, folder: Path, tests: str, environment: Mapping[str, str]) -> None:
        (folder / "conftest.py").write_text(
            "from tests.conftest import *\nfrom tests.conftest import pytest_configure\n"
        )
        (folder / "test_inner.py").write_text(tests)
        (folder / "pytest.ini").write_text("[pytest]\naddopts = -ra -p no:cacheprovider\n")
        inherited = {
            name: value for name, value in os.environ.items() if not name.startswith("QUIRE_TEST_")
        }
        path = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        self.child = subprocess.Popen(
            [sys.executable, "-m", "pytest"],
            cwd=folder,
            env=inherited
            | {"PYTHONPATH": os.pathsep.join(path), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
            | dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def result(self) -> tuple[int, str]:
        output, _ = self.child.communicate(timeout=90)
        return self.child.returncode, output


NO_QDRANT = {"QUIRE_TEST_QDRANT_BIN": "/nowhere/qdrant"}


def test_what_cannot_be_had_is_skipped_with_one_line(tmp_path: Path) -> None:
    code, output = Run(tmp_path, USES_QDRANT, NO_QDRANT).result()
    told = [line for line in output.splitlines() if "server half skipped" in line]
    assert code == 0
    assert len(told) == 1
    assert "SKIPPED [2]" in told[0]
    assert "set QUIRE_TEST_QDRANT_URL" in told[0]


def test_what_is_required_and_missing_fails_at_once(tmp_path: Path) -> None:
    environment = {**NO_QDRANT, "QUIRE_TEST_REQUIRE": "qdrant"}
    code, output = Run(tmp_path, USES_QDRANT, environment).result()
    assert code == pytest.ExitCode.USAGE_ERROR
    assert "QUIRE_TEST_REQUIRE asks for qdrant: server half skipped" in output


def test_an_address_where_nothing_answers_is_missing_too(tmp_path: Path) -> None:
    environment = {
        "QUIRE_TEST_POSTGRES_URL": "postgresql+psycopg://nobody@127.0.0.1:1/none",
        "QUIRE_TEST_REQUIRE": "postgres",
    }
    code, output = Run(tmp_path, SKIPS, environment).result()
    assert code == pytest.ExitCode.USAGE_ERROR
    assert "nothing answers at QUIRE_TEST_POSTGRES_URL" in output


def test_an_unknown_requirement_is_refused(tmp_path: Path) -> None:
    code, output = Run(tmp_path, SKIPS, {"QUIRE_TEST_REQUIRE": "qdrant,mysql"}).result()
    assert code == pytest.ExitCode.USAGE_ERROR
    assert "names mysql; it takes a comma list of qdrant, postgres, s3" in output


@pytest.mark.parametrize(("required", "expected"), [("", 0), ("s3", 1)])
def test_a_skip_fails_only_a_run_with_requirements(
    tmp_path: Path, required: str, expected: int
) -> None:
    code, output = Run(tmp_path, SKIPS, {"QUIRE_TEST_REQUIRE": required}).result()
    assert "1 skipped, 1 xfailed" in output
    assert code == expected
    assert ("allows no skipped test, and 1 skipped" in output) == bool(expected)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_server_outlives_the_tests(
    tmp_path: Path, how: signal.Signals, postgres_process: PostgresProcess
) -> None:
    binary = got_or_skipped(find_binary)
    # Not under tmp_path, which only its owner may enter: PostgreSQL runs as somebody else.
    with tempfile.TemporaryDirectory(prefix="quire-killed-", ignore_cleanup_errors=True) as name:
        temporary = Path(name)
        temporary.chmod(0o755)
        environment = {"TMPDIR": name, "QUIRE_TEST_QDRANT_BIN": str(binary)}
        run = Run(tmp_path, WAITS, environment)
        marker = tmp_path / "running"
        try:
            while not marker.exists():
                assert run.child.poll() is None, run.result()
                time.sleep(0.05)
            ports = json.loads(marker.read_text())
            assert all(_listens(port) for port in ports)
            run.child.send_signal(how)
            run.result()
        finally:
            run.child.kill()
            run.child.wait()
        deadline = time.monotonic() + 10
        while any(_listens(port) for port in ports):
            assert time.monotonic() < deadline, "a server is still running"
            time.sleep(0.05)
        if how is signal.SIGINT:
            assert list(temporary.iterdir()) == []


def _listens(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0
