"""Extraction in processes of its own: what a file does to its parser, it does to that process."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import structlog

from quire.content.extraction.port import Extracted
from quire.content.models import TextKind
from quire.errors import ExtractionFailed, Unavailable
from quire.settings import LimitSettings

_log = structlog.get_logger(__name__)

# All that a worker is told of the environment; secrets are in the rest.
_ENVIRONMENT = ("PATH", "PYTHONPATH", "PYTHONHOME", "LD_LIBRARY_PATH", "SYSTEMROOT", "TMPDIR")
# A process that has read so many documents, or kept so much of its memory, has served long enough.
_DOCUMENTS = 200
_RESIDENT_SHARE = 0.3
_END_SECONDS = 5.0
_LONGEST_ANSWER = 1024 * 1024


class ProcessExtractor:
    """An `Extractor` that keeps a process or two for as long as there is work for them.

    A process is started when it is first needed and ended when it has been idle, when it has read
    many documents, when it fails, and when this one ends, however it ends.
    """

    def __init__(
        self, limits: LimitSettings, *, processes: int = 2, idle_seconds: float = 60.0
    ) -> None:
        self._limits = limits
        self._processes = processes
        self._slots = asyncio.Semaphore(processes)
        self._closed = False
        self._idle_seconds = idle_seconds
        self._free: dict[_Worker, asyncio.TimerHandle] = {}
        self._busy: set[_Worker] = set()
        self._ending: set[asyncio.Task[None]] = set()

    async def extract(self, media_type: str, source: Path, target: Path) -> Extracted:
        """Write the source's text to the target; whatever goes wrong leaves no target.

        `media_type` may have a charset (`text/html; charset=koi8-r`): it is what the sender says.
        """
        order = {
            "media_type": media_type,
            "source": str(source),
            "target": str(target),
            "seconds": self._limits.extraction_seconds,
            "bytes": self._limits.document_bytes,
        }
        try:
            async with self._slots:
                answer = await self._answer(order)
            return self._extracted(answer, media_type)
        except BaseException:
            target.unlink(missing_ok=True)  # noqa: ASYNC240 - as short as a system call
            raise

    async def close(self) -> None:
        """End every process; an extraction that is under way fails, and none begins any more."""
        self._closed = True
        for worker in self._busy:
            worker.kill()
        for _ in range(self._processes):  # until whoever had a process has let go of it
            await self._slots.acquire()
        for _ in range(self._processes):
            self._slots.release()
        for worker in list(self._free):
            self._end(worker)
        if self._ending:
            await asyncio.wait(self._ending)

    async def _answer(self, order: Mapping[str, Any]) -> Mapping[str, Any]:
        if self._closed:
            raise Unavailable("Documents are no longer read: Quire is stopping")
        try:
            return await self._ask(await self._worker(), order)
        except _DiedError as died:
            if died.had_begun:
                raise self._crashed(died) from None
        # It died while it waited for work: not the document's doing.
        try:
            return await self._ask(await self._start(), order)
        except _DiedError as died:
            if died.had_begun:
                raise self._crashed(died) from None
            raise Unavailable(
                f"The process that reads documents does not start ({died})",
                recovery="See whether QUIRE_LIMITS_EXTRACTION_MEGABYTES leaves it enough memory.",
            ) from died

    async def _ask(self, worker: _Worker, order: Mapping[str, Any]) -> Mapping[str, Any]:
        self._busy.add(worker)
        may_stay = False
        try:
            async with asyncio.timeout(self._limits.extraction_seconds):
                answer = await worker.ask(order)
            may_stay = self._may_stay(worker, answer)
            return answer
        except TimeoutError:
            raise self._too_slow() from None
        finally:
            self._busy.discard(worker)
            if may_stay:
                self._keep(worker)
            else:
                worker.kill()
                self._end(worker)

    def _may_stay(self, worker: _Worker, answer: Mapping[str, Any]) -> bool:
        is_sound = "kind" in answer or "failed" in answer
        room = self._limits.extraction_megabytes * 1024**2 * _RESIDENT_SHARE
        return is_sound and worker.documents < _DOCUMENTS and answer["resident"] < room

    async def _worker(self) -> _Worker:
        while self._free:
            worker, timer = self._free.popitem()
            timer.cancel()
            if worker.is_alive:
                return worker
            self._end(worker)
        return await self._start()

    async def _start(self) -> _Worker:
        return await _Worker.start(self._limits.extraction_megabytes)

    def _keep(self, worker: _Worker) -> None:
        loop = asyncio.get_running_loop()
        self._free[worker] = loop.call_later(self._idle_seconds, self._end, worker)

    def _end(self, worker: _Worker) -> None:
        timer = self._free.pop(worker, None)
        if timer is not None:
            timer.cancel()
        task = asyncio.get_running_loop().create_task(worker.end())
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    def _extracted(self, answer: Mapping[str, Any], media_type: str) -> Extracted:
        if "failed" in answer:
            raise ExtractionFailed(answer["failed"], recovery=answer["recovery"])
        if "out_of_memory" in answer:
            raise ExtractionFailed(
                f"Reading it takes more than {self._limits.extraction_megabytes} MB of memory "
                "(QUIRE_LIMITS_EXTRACTION_MEGABYTES)",
                recovery="Send it in parts, or have the operator raise the named setting.",
            )
        if "broke" in answer:
            _log.error("extraction_broke", media_type=media_type, trace=answer["broke"])
            raise ExtractionFailed(f"The reader of {media_type} could not cope with it")
        return Extracted(
            kind=TextKind(answer["kind"]),
            characters=answer["characters"],
            title=answer["title"],
            metadata=answer["metadata"],
        )

    def _too_slow(self) -> ExtractionFailed:
        return ExtractionFailed(
            f"Reading it takes longer than {self._limits.extraction_seconds:g} seconds "
            "(QUIRE_LIMITS_EXTRACTION_SECONDS)",
            recovery="Send it in parts, or have the operator raise the named setting.",
        )

    def _crashed(self, died: _DiedError) -> ExtractionFailed:
        if died.signal == "SIGXCPU":
            return self._too_slow()
        return ExtractionFailed(
            f"The process that was reading it died ({died}): the document broke its reader, or it "
            f"takes more than {self._limits.extraction_megabytes} MB of memory "
            "(QUIRE_LIMITS_EXTRACTION_MEGABYTES)"
        )


class _DiedError(Exception):
    """A worker died before it answered, and perhaps before it read the order."""

    def __init__(self, code: int, *, had_begun: bool) -> None:
        self.signal = signal.Signals(-code).name if code < 0 else None
        self.had_begun = had_begun
        super().__init__(self.signal or f"exit status {code}")


class _Worker:
    """One process, spoken to in lines of JSON."""

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        orders: asyncio.StreamWriter,
        answers: asyncio.StreamReader,
    ) -> None:
        self._process = process
        self._orders = orders
        self._answers = answers
        self.documents = 0

    @classmethod
    async def start(cls, megabytes: int) -> _Worker:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-P",  # what lies in the current directory is no module
            "-m",
            "quire.content.extraction.worker",
            str(os.getpid()),
            str(megabytes),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env={name: os.environ[name] for name in _ENVIRONMENT if name in os.environ},
            limit=_LONGEST_ANSWER,
            start_new_session=True,  # Ctrl-C is for this process; the worker follows it
        )
        orders, answers = process.stdin, process.stdout
        assert orders is not None  # noqa: S101 - asked for above
        assert answers is not None  # noqa: S101
        return cls(process, orders, answers)

    @property
    def is_alive(self) -> bool:
        return self._process.returncode is None

    async def ask(self, order: Mapping[str, Any]) -> Mapping[str, Any]:
        """Have an order obeyed; `_DiedError` where it dies over it."""
        self.documents += 1
        try:
            self._orders.write(json.dumps(order).encode() + b"\n")
            await self._orders.drain()
        except (BrokenPipeError, ConnectionResetError):
            raise _DiedError(await self._process.wait(), had_begun=False) from None
        await self._line(had_begun=False)
        return await self._line(had_begun=True)

    async def _line(self, *, had_begun: bool) -> Mapping[str, Any]:
        line = await self._answers.readline()
        if not line.endswith(b"\n"):
            raise _DiedError(await self._process.wait(), had_begun=had_begun)
        said: Mapping[str, Any] = json.loads(line)
        return said

    def kill(self) -> None:
        if self.is_alive:
            self._process.kill()

    async def end(self) -> None:
        """Close its input, which ends it; kill it where that does not."""
        self._orders.close()
        try:
            async with asyncio.timeout(_END_SECONDS):
                await self._answers.read()  # to the end, or its pipes outlive it
        except TimeoutError:
            self.kill()
        await self._process.wait()
