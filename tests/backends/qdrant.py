"""A real Qdrant server: one that is named, one in a container, or an executable of its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.backends import docker
from tests.backends.availability import UnavailableError
from tests.backends.ports import LOOPBACK, free_ports
from tests.backends.process import ServerProcess, StartError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

VERSION = "1.16.3"
"""What the tests run and what compose ships; `.ci/qdrant` fetches this version."""

URL = "QUIRE_TEST_QDRANT_URL"
GRPC_PORT = "QUIRE_TEST_QDRANT_GRPC_PORT"
BINARY = "QUIRE_TEST_QDRANT_BIN"
CACHED = Path(__file__).parents[2] / ".cache" / "qdrant" / VERSION / "qdrant"

MISSING = (
    f"server half skipped: no Qdrant server (set {URL}, or {BINARY} to a qdrant executable, "
    "or run .ci/qdrant once, or start Docker)"
)


@dataclass(frozen=True, slots=True)
class QdrantServer:
    """Where a Qdrant server answers; other tests use it too, so collections need names of one's
    own and must be dropped again."""

    url: str
    grpc_port: int | None
    origin: str


class QdrantProcess:
    """A Qdrant server of one's own, that may go down and come back with its data and its ports."""

    def __init__(
        self, binary: Path, directory: Path, settings: Mapping[str, str] | None = None
    ) -> None:
        """Nothing runs before `start`; `settings` are further `QDRANT__…` variables."""
        self.binary = binary
        self.directory = directory
        self.settings = dict(settings or {})
        self.http_port, self.grpc_port = free_ports(2)
        self.process = ServerProcess("qdrant", directory / "log")

    @property
    def url(self) -> str:
        """The address of the REST interface; it stays through restarts."""
        return f"http://{LOOPBACK}:{self.http_port}"

    def start(self) -> None:
        """Start the server, or start it again, and return when it takes requests."""
        self.process.start(
            [str(self.binary), "--disable-telemetry"],
            self._environment(),
            lambda: ready(self.url),
            seconds=60,
        )

    def start_on_free_ports(self) -> None:
        """Start for the first time; chooses other ports should somebody have taken these."""
        for attempt in range(3):
            try:
                return self.start()
            except StartError:
                if attempt == 2:
                    raise
                self.http_port, self.grpc_port = free_ports(2)
        return None

    def stop(self) -> None:
        """End it in order."""
        self.process.stop()

    def kill(self) -> None:
        """End it as `kill -9` does."""
        self.process.kill()

    def restart(self) -> None:
        """Stop, then start with the same data and ports."""
        self.stop()
        self.start()

    def pause(self) -> None:
        """Leave connections open and answer nothing."""
        self.process.pause()

    def resume(self) -> None:
        """Answer again."""
        self.process.resume()

    def _environment(self) -> dict[str, str]:
        storage = self.directory / "storage"
        inherited = {
            name: value for name, value in os.environ.items() if not name.startswith("QDRANT_")
        }
        return inherited | {
            "QDRANT__SERVICE__HOST": LOOPBACK,
            "QDRANT__SERVICE__HTTP_PORT": str(self.http_port),
            "QDRANT__SERVICE__GRPC_PORT": str(self.grpc_port),
            "QDRANT__STORAGE__STORAGE_PATH": str(storage),
            "QDRANT__STORAGE__SNAPSHOTS_PATH": str(self.directory / "snapshots"),
            "QDRANT__TELEMETRY_DISABLED": "true",
            "QDRANT__LOG_LEVEL": "WARN",
            **self.settings,
        }


def ready(url: str) -> bool:
    """Whether the server at `url` takes requests."""
    try:
        # No proxy: this is for servers next door.
        with _direct.open(f"{url}/readyz", timeout=2) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def version(url: str) -> str:
    """The version that the server at `url` gives itself."""
    with _direct.open(url, timeout=5) as response:
        return str(json.load(response)["version"])


_direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def find_binary() -> Path:
    """The qdrant executable: the one named, the one on PATH, or the one in the cache."""
    named = os.environ.get(BINARY)
    if named:
        found = Path(named)
        if not os.access(found, os.X_OK) or found.is_dir():
            raise UnavailableError(f"{MISSING}; {BINARY} is {named}, no executable file")
    else:
        on_path = shutil.which("qdrant")
        found = Path(on_path) if on_path else CACHED
        if not found.exists():
            raise UnavailableError(MISSING)
    try:
        subprocess.run([found, "--version"], check=True, capture_output=True, timeout=30)
    except (OSError, subprocess.SubprocessError) as error:
        raise UnavailableError(f"{MISSING}; {found} does not run: {error}") from error
    return found.resolve()


@contextmanager
def qdrant_process(settings: Mapping[str, str] | None = None) -> Iterator[QdrantProcess]:
    """A running server that belongs to the caller alone."""
    binary = find_binary()
    with tempfile.TemporaryDirectory(prefix="quire-qdrant-", ignore_cleanup_errors=True) as name:
        server = QdrantProcess(binary, Path(name), settings)
        try:
            server.start_on_free_ports()
        except StartError as error:
            raise UnavailableError(f"{MISSING}; {error}") from error
        try:
            yield server
        finally:
            server.kill()  # its data goes away with it: no need to wait for an orderly end


@contextmanager
def qdrant_server() -> Iterator[QdrantServer]:
    """The server that the tests share, from the first place that has one."""
    url = os.environ.get(URL, "").rstrip("/")
    if url:
        if not ready(url):
            raise UnavailableError(f"{MISSING}; nothing answers at {URL}")
        port = os.environ.get(GRPC_PORT)
        yield QdrantServer(url, int(port) if port else None, f"at {URL}")
        return
    # An executable that was named is a choice; one that is merely there comes after Docker.
    if not os.environ.get(BINARY) and docker.engine_answers():
        with _container() as server:
            yield server
        return
    with qdrant_process() as process:
        yield QdrantServer(process.url, process.grpc_port, f"{process.binary.name} executable")


@contextmanager
def _container() -> Iterator[QdrantServer]:
    environment = {"QDRANT__TELEMETRY_DISABLED": "true"}
    with docker.container(f"qdrant/qdrant:v{VERSION}", environment, (6333, 6334)) as (host, ports):
        url = f"http://{host}:{ports[6333]}"
        deadline = time.monotonic() + 60
        while not ready(url):
            if time.monotonic() > deadline:
                raise UnavailableError(f"{MISSING}; the container was not ready within 60 s")
            time.sleep(0.1)
        yield QdrantServer(url, ports[6334], "container")
