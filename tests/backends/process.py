"""A server as a child process: started, probed, stopped, killed, and never left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

LAUNCH = Path(__file__).with_name("launch.py")

# Linux ties the death signal to the thread that forked, so one thread that lives as long as the
# tests do starts every server; a restart from a test's own thread would die with that thread.
_starter = ThreadPoolExecutor(max_workers=1, thread_name_prefix="backend-starter")


class StartError(Exception):
    """A server did not come up; the message ends with what it wrote last."""


@dataclass(frozen=True, slots=True)
class User:
    """Who a server runs as."""

    uid: int
    gid: int


@dataclass(slots=True)
class ServerProcess:
    """One server executable; it may be started again after `stop` or `kill`."""

    name: str
    log: Path
    stop_signal: signal.Signals = signal.SIGTERM
    death_signal: signal.Signals = signal.SIGKILL
    user: User | None = None
    _child: subprocess.Popen[bytes] | None = field(default=None, init=False, repr=False)

    @property
    def pid(self) -> int | None:
        """The process id while it runs."""
        return self._child.pid if self._child is not None and self.running else None

    @property
    def running(self) -> bool:
        """Whether the process is there (it may be paused)."""
        return self._child is not None and self._child.poll() is None

    def start(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        ready: Callable[[], bool],
        *,
        seconds: float = 30,
    ) -> None:
        """Start `command` and return once `ready()` says so."""
        if self.running:
            raise StartError(f"{self.name} is running already")
        self._child = _starter.submit(self._spawn, command, environment).result()
        deadline = time.monotonic() + seconds
        try:
            while not ready():
                if not self.running:
                    raise StartError(f"{self.name} ended while starting: {self._last_words()}")
                if time.monotonic() > deadline:
                    raise StartError(
                        f"{self.name} was not ready within {seconds:g} s: {self._last_words()}"
                    )
                time.sleep(0.02)
        except BaseException:  # Ctrl-C too must leave nothing behind
            self.kill()
            raise

    def stop(self, *, seconds: float = 20) -> None:
        """End it in order; by force when that takes too long."""
        self._end(self.stop_signal, seconds)

    def kill(self) -> None:
        """End it as `kill -9` does."""
        self._end(signal.SIGKILL, 10)

    def pause(self) -> None:
        """Stop it from answering while its connections stay open."""
        if self._child is not None and self.running:
            self._child.send_signal(signal.SIGSTOP)
            # Its threads stop one by one; the system tells when the last one has.
            os.waitid(os.P_PID, self._child.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def resume(self) -> None:
        """Let a paused server go on."""
        self._signal(signal.SIGCONT)

    def _spawn(
        self, command: Sequence[str], environment: Mapping[str, str]
    ) -> subprocess.Popen[bytes]:
        user = self.user or User(-1, -1)
        head = [sys.executable, "-I", "-S", str(LAUNCH), str(int(self.death_signal))]
        with self.log.open("ab") as output:
            return subprocess.Popen(
                [*head, str(os.getpid()), str(user.uid), str(user.gid), *command],
                env=dict(environment),
                cwd=self.log.parent,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # a Ctrl-C in the terminal is for the tests, not for it
            )

    def _end(self, how: signal.Signals, seconds: float) -> None:
        if self._child is None:
            return
        self._signal(how)
        if how is not signal.SIGKILL:
            self._signal(signal.SIGCONT)  # a paused process can't act on a signal
        try:
            self._child.wait(seconds)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
        self._child = None

    def _signal(self, number: signal.Signals) -> None:
        if self._child is not None and self.running:
            self._child.send_signal(number)

    def _last_words(self) -> str:
        if not self.log.exists():
            return "it wrote nothing"
        lines = self.log.read_text(errors="replace").splitlines()
        return " | ".join(line.strip() for line in lines[-8:] if line.strip()) or "it wrote nothing"
