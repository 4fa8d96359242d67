"""A server process to measure, and what the system says of it."""

from __future__ import annotations

import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path

from tests.backends.ports import free_ports

SECRET = "a-secret-for-the-benchmarks-of-quire-only"


@dataclass
class Served:
    url: str
    pid: int
    ready_after: float

    @property
    def rss_megabytes(self) -> float:
        return self._megabytes("VmRSS")

    @property
    def anonymous_megabytes(self) -> float:
        """Without what the system can read again from files."""
        return self._megabytes("RssAnon")

    @property
    def cpu_seconds(self) -> float:
        """What the process has used of all cores."""
        times = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[11:13]
        return sum(map(int, times)) / os.sysconf("SC_CLK_TCK")

    def _megabytes(self, name: str) -> float:
        status = Path(f"/proc/{self.pid}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith(name))
        return int(line.split()[1]) / 1024


@contextmanager
def serve(environment: dict[str, str], *, empty_route: bool = True) -> Iterator[Served]:
    """Start the server; `ready_after` counts from the exec to the first ready answer.

    Without the empty route it is `quire serve` itself.
    """
    (port,) = free_ports(1)
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("QUIRE_")}
    given = {
        **inherited,
        "QUIRE_AUTH_SECRET": SECRET,
        "QUIRE_LOG_LEVEL": "warning",
        **environment,
    }
    command = [sys.executable, "-m", "quire_cli.main", "serve", "--port", str(port)]
    if empty_route:
        command = [
            sys.executable, "-m", "uvicorn", "--factory", "tests.bench.app:bench_app",
            "--port", str(port), "--no-access-log", "--log-level", "warning",
            "--loop", "uvloop", "--http", "httptools", "--no-server-header",
        ]  # fmt: skip
    started = time.perf_counter()
    process = subprocess.Popen(command, env=given, stdout=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    try:
        while not _is_ready(port):
            if process.poll() is not None:
                raise RuntimeError(f"the server ended with {process.returncode}")
            if time.perf_counter() - started > 120:
                raise RuntimeError("the server did not get ready")
            time.sleep(0.05)
        yield Served(url, process.pid, time.perf_counter() - started)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _is_ready(port: int) -> bool:
    """Asked as cheaply as can be: the asking must not take the processor from the starting."""
    try:
        with closing(HTTPConnection("127.0.0.1", port, timeout=5)) as connection:
            connection.request("GET", "/readyz")
            return connection.getresponse().status == 200
    except OSError:
        return False


def machine() -> str:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    model = platform.processor() or platform.machine()
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    return (
        f"{os.cpu_count()} cores of {model}, {memory:.0f} GiB, "
        f"Python {platform.python_version()}, {platform.system()} {platform.release()}"
    )
