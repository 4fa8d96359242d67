"""Numeric work in a process of its own: it takes memory, and a core for as long as it lasts."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import orjson
import structlog

from quire.errors import QuireError

_log = structlog.get_logger(__name__)

# All that the process is told of the environment; secrets are in the rest.
_ENVIRONMENT = ("PATH", "PYTHONPATH", "PYTHONHOME", "LD_LIBRARY_PATH", "SYSTEMROOT", "TMPDIR")
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
_LONGEST_ANSWER = 16 * 1024 * 1024


class ClusterProcess:
    """One process for one order; it ends with the block that it was started for."""

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        orders: asyncio.StreamWriter,
        answers: asyncio.StreamReader,
    ) -> None:
        self._process = process
        self._orders = orders
        self._answers = answers

    @classmethod
    @asynccontextmanager
    async def started(cls) -> AsyncIterator[ClusterProcess]:
        """Load its libraries while its work is being put together."""
        environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-P",  # what lies in the current directory is no module
            "-m",
            "quire.clustering.worker",
            str(os.getpid()),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            # Threads of numeric libraries wait for each other without sleeping: on a machine that
            # others use as well, two take longer than one.
            env={**environment, **dict.fromkeys(_THREADS, "1")},
            limit=_LONGEST_ANSWER,
            start_new_session=True,  # Ctrl-C is for this process; the other one follows it
        )
        orders, answers = process.stdin, process.stdout
        assert orders is not None  # noqa: S101 - asked for above
        assert answers is not None  # noqa: S101
        try:
            yield cls(process, orders, answers)
        finally:
            if process.returncode is None:
                process.kill()
            orders.close()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.shield(process.communicate())

    async def order(self, order: Mapping[str, Any]) -> None:
        await self.feed(orjson.dumps(order) + b"\n")

    async def feed(self, content: bytes) -> None:
        """Give it more; that it died over it is told by `answer`."""
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self._orders.write(content)
            await self._orders.drain()

    async def answer(self) -> Mapping[str, Any]:
        """What came of it, once it has been given everything."""
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self._orders.write_eof()
        line = await self._answers.readline()
        if not line.endswith(b"\n"):
            raise _died(await self._process.wait())
        answer: Mapping[str, Any] = orjson.loads(line)
        if "out_of_memory" in answer:
            raise QuireError("Finding clusters takes more memory than there is", recovery=_LESS)
        if "broke" in answer:
            _log.error("clustering broke", trace=answer["broke"])
            raise QuireError("Finding clusters failed; the log has the particulars")
        return answer


_LESS = "Have the operator lower QUIRE_CLUSTERING_SAMPLE, then cluster again."


def _died(code: int) -> QuireError:
    told = signal.Signals(-code).name if code < 0 else f"exit status {code}"
    return QuireError(f"The process that finds clusters died ({told})", recovery=_LESS)
