"""The real `quire` command in processes of its own."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import httpx

from tests.backends.process import LAUNCH

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

QUIRE = str(Path(sys.executable).with_name("quire"))
SECRET = "a secret that is long enough for HS256 "
# Importing the library takes seconds, and more on a busy machine.
START_SECONDS = 60
STOP_SECONDS = 30


@dataclass(frozen=True, slots=True)
class Ended:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def said(self) -> str:
        """Everything it wrote; a traceback in it is never right."""
        return self.out + self.err


def wait_for(condition: Callable[[], bool], seconds: float = START_SECONDS) -> None:
    """Return when it holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.05)


def environment(data_dir: Path, given: Mapping[str, str]) -> dict[str, str]:
    """This process's environment without Quire's settings, then those."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("QUIRE_", "QDRANT_"))
    }
    return kept | {"QUIRE_DATA_DIR": str(data_dir)} | dict(given)


def quire(*arguments: str, data_dir: Path, **settings: str) -> Ended:
    """Run a command to its end."""
    done = subprocess.run(
        [QUIRE, *arguments],
        env=environment(data_dir, settings),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=START_SECONDS,
        check=False,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return Ended(done.returncode, done.stdout, done.stderr)


class Running:
    """A command that goes on until it is told to stop."""

    def __init__(self, process: subprocess.Popen[bytes], out: Path, err: Path) -> None:
        self.process = process
        self._out, self._err = out, err

    @property
    def out(self) -> str:
        return self._out.read_text()

    @property
    def said(self) -> str:
        return self.out + self._err.read_text()

    def until(self, pattern: str) -> re.Match[str]:
        """Wait for it to write this on stdout."""
        deadline = time.monotonic() + START_SECONDS
        while (found := re.search(pattern, self.out)) is None:
            assert self.process.poll() is None, f"it ended: {self.said}"
            assert time.monotonic() < deadline, f"it wrote nothing like {pattern}: {self.said}"
            time.sleep(0.02)
        return found

    def stop(self, number: signal.Signals = signal.SIGTERM) -> tuple[int, float]:
        """End it in order; the exit code, and how many seconds that took."""
        began = time.monotonic()
        self.process.send_signal(number)
        code = self.process.wait(STOP_SECONDS)
        assert "Traceback" not in self.said, self.said
        return code, time.monotonic() - began


@contextmanager
def started(*arguments: str, data_dir: Path, logs: Path, **settings: str) -> Iterator[Running]:
    """The command, started; killed at the end of the block if it still runs."""
    name = f"{arguments[0]}-{time.monotonic_ns()}"
    out, err = logs / f"{name}.out", logs / f"{name}.err"
    # It must not outlive these tests, however they end.
    launch = [sys.executable, "-I", "-S", str(LAUNCH), str(int(signal.SIGKILL)), str(os.getpid())]
    with out.open("wb") as to_out, err.open("wb") as to_err:
        process = subprocess.Popen(
            [*launch, "-1", "-1", QUIRE, *arguments],
            env=environment(data_dir, settings),
            stdin=subprocess.DEVNULL,
            stdout=to_out,
            stderr=to_err,
        )
    try:
        yield Running(process, out, err)
    finally:
        process.kill()
        process.wait()


class Serving(Running):
    """A server that is up, and a client of it."""

    url = ""

    def client(self, token: str | None = None) -> httpx.Client:
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        return httpx.Client(base_url=self.url, headers=headers, timeout=30, trust_env=False)

    @property
    def port(self) -> str:
        return self.url.rpartition(":")[2]


@contextmanager
def serving(data_dir: Path, logs: Path, **settings: str) -> Iterator[Serving]:
    """`quire serve` on a port that was free."""
    with started("serve", "--port", "0", data_dir=data_dir, logs=logs, **settings) as running:
        server = Serving(running.process, running._out, running._err)
        server.url = server.until(r"serves at (http://\S+:\d+)\n")[1]
        yield server
