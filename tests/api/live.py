"""The service in a process of its own, behind a real socket.

Run as a module it *is* that process: `python -m tests.api.live`, with `QUIRE_*` as its settings.
"""

from __future__ import annotations

import os
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import uvicorn

from quire.settings import load_settings
from quire_api.app import create_app
from tests.backends.ports import LOOPBACK, free_ports
from tests.backends.process import ServerProcess
from tests.store.template import migrated

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]


class LiveService:
    """A service that may be stopped, killed and started again on the same data and port."""

    def __init__(self, directory: Path, environment: dict[str, str]) -> None:
        (self.port,) = free_ports(1)
        self.url = f"http://{LOOPBACK}:{self.port}"
        self.directory = directory
        self._environment = environment
        directory.mkdir(parents=True, exist_ok=True)
        self.process = ServerProcess("quire", directory / "log")

    def start(self) -> None:
        """Start it; when this returns it answers, ready or not."""
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(("QUIRE_", "QDRANT_"))}
        given = {
            "QUIRE_PORT": str(self.port),
            "QUIRE_DATA_DIR": str(self.directory / "data"),
            "QUIRE_JOBS_POLL_SECONDS": "0.05",
            "QUIRE_JOBS_LEASE_SECONDS": "1",
            "PYTHONPATH": str(ROOT),
        }
        command = [sys.executable, "-m", "tests.api.live"]
        self.process.start(command, {**inherited, **given, **self._environment}, self._answers)

    def stop(self) -> None:
        self.process.stop()

    def log(self) -> str:
        return (self.directory / "log").read_text(errors="replace")

    def _answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/healthz", timeout=2, trust_env=False).status_code == 200
        except httpx.TransportError:
            return False


@contextmanager
def live_service(directory: Path, **environment: str) -> Iterator[LiveService]:
    """A running service of the caller's own; embedded unless the environment says otherwise."""
    if "QUIRE_DATABASE_URL" not in environment:
        migrated(directory / "data")
    service = LiveService(directory, environment)
    service.start()
    try:
        yield service
    finally:
        service.stop()


def until(happened: object, seconds: float = 20.0) -> None:
    """Wait until a condition (a function) holds."""
    assert callable(happened)
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.05)


def main() -> None:
    settings = load_settings()
    uvicorn.run(
        create_app(settings),
        host=settings.host,
        port=settings.port,
        http="httptools",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=10,
    )


if __name__ == "__main__":
    main()
