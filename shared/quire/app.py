"""The composition root: settings in, a working Quire out. Only here are adapters chosen."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum

import structlog

from quire.access.tokens import TokenVerifier
from quire.assembly import Assembly
from quire.blobs.objects import open_blobs
from quire.chores import chores_of
from quire.content.extraction.process import ProcessExtractor
from quire.directory import DataDirectory
from quire.embedding.embedders import Embedders
from quire.errors import ConfigurationError, QuireError, Unavailable
from quire.housekeeping import Housekeeping
from quire.settings import Settings
from quire.store import migrate, open_database, pending_migrations
from quire.telemetry.engine import MeasuredEngine
from quire.telemetry.metrics import Metrics
from quire.telemetry.tracing import configure_tracing
from quire.vectors.port import VectorEngine

log = structlog.get_logger(__name__)

RETRY_SECONDS = 1.0


class Part(StrEnum):
    """What this process is for."""

    API = "api"  # serves; runs jobs too where QUIRE_JOBS_IN_PROCESS says so
    WORKER = "worker"  # runs jobs
    TOOL = "tool"  # a command that looks or repairs, and goes


@dataclass(frozen=True, slots=True)
class Readiness:
    """Whether each part answers: its version or state, or what is wrong."""

    parts: dict[str, str]
    failures: dict[str, str]

    @property
    def is_ready(self) -> bool:
        return not self.failures


class Quire(Assembly):
    """Everything, running. Use `async with Quire.open(settings) as quire:`."""

    _started = False
    _waits_for = "the database"
    _starting: asyncio.Task[None] | None = None
    _housekeeping: Housekeeping

    @classmethod
    @asynccontextmanager
    async def open(cls, settings: Settings, part: Part = Part.API) -> AsyncIterator[Quire]:
        """A running Quire; at the end of the block steps are finished or parked, all is closed.

        Servers that do not answer yet are waited for in the background: until then the parts that
        need them raise `Unavailable`.
        """
        async with AsyncExitStack() as stack:
            if settings.database.url is None or settings.qdrant.url is None:
                directory = DataDirectory.open(settings.data_dir)
                stack.callback(directory.close)
            metrics = Metrics()
            tracing = configure_tracing(settings.tracing)
            stack.push_async_callback(tracing.close)
            database = open_database(settings)
            stack.push_async_callback(database.close)
            engine = await _open_engine(settings)
            stack.push_async_callback(engine.close)
            verifier = None
            if settings.auth.configured:
                verifier = await TokenVerifier.open(settings.auth)
                stack.push_async_callback(verifier.close)
            measured = MeasuredEngine(engine, metrics, tracing)
            blobs = open_blobs(settings.blob, settings.data_dir)
            embedders = await Embedders.open(settings.embedding, settings.data_dir)
            stack.push_async_callback(embedders.close)
            extractor = ProcessExtractor(settings.limits)
            stack.push_async_callback(extractor.close)
            quire = cls(
                settings,
                database,
                measured,
                blobs,
                metrics,
                tracing,
                verifier,
                embedders,
                extractor,
            )
            quire._housekeeping = Housekeeping(database, chores_of(quire))
            stack.push_async_callback(quire._stop)
            await quire._start(part)
            yield quire

    @property
    def hindrance(self) -> Unavailable | None:
        """What a request has to be told that comes before Quire has started."""
        return None if self._started else Unavailable(f"Quire is starting: {self._waits_for}")

    async def ready(self) -> Readiness:
        """Ask every part, side by side."""
        names = ("database", "engine", "blobs", "jobs")
        asked = (self._ping_database(), self.engine.ping(), self.blobs.ping(), self._ping_jobs())
        answers = await asyncio.gather(*asked, return_exceptions=True)
        readiness = Readiness({}, {})
        for name, answer in zip(names, answers, strict=True):
            if isinstance(answer, str):
                readiness.parts[name] = answer
            elif isinstance(answer, QuireError):
                readiness.failures[name] = answer.message
            else:
                raise answer
        return readiness

    async def refresh_metrics(self) -> None:
        """Set the gauges to what is true now, before they are read; unknown ones are left out."""
        self.metrics.set_hot_collections(self.engine.hot_collections())
        try:
            census = await self.repository.census()
            counts = await self.jobs.counts()
        except Unavailable:
            census, counts = {}, {}
        self.metrics.set_sessions(census)
        self.metrics.set_jobs({(kind, status.value): n for (kind, status), n in counts.items()})

    async def _start(self, part: Part) -> None:
        self.pages.open()
        runs_jobs = part is Part.WORKER or (part is Part.API and self.settings.jobs.in_process)
        if self.database.is_sqlite:
            await self.scratch.sweep(left_after=0)  # nobody else uses this directory
            applied = await migrate(self.database)
            if applied:
                log.info("database migrated", revisions=applied)
            await self._start_jobs(runs_jobs)
            await self.residency.open()
            if runs_jobs and (purged := await self.retention.purge_cut_off()):
                log.info("creations that were cut off are cleaned away", sessions=purged)
        else:
            self.repository.open()
            self._starting = asyncio.create_task(self._start_when_possible(runs_jobs))

    async def _start_when_possible(self, runs_jobs: bool) -> None:
        said = ""
        while True:
            try:
                await self._require_migrated()
                await self._start_jobs(runs_jobs)
            except QuireError as error:
                if error.message != said:
                    log.warning("waiting for the database", reason=error.message)
                said = self._waits_for = error.message
            except Exception:  # a boundary: nobody else would ever hear of it
                log.exception("starting failed, and is tried again")
                self._waits_for = "it failed, and is tried again"
            else:
                return
            await asyncio.sleep(RETRY_SECONDS)

    async def _start_jobs(self, runs_jobs: bool) -> None:
        await self.jobs.start(run=runs_jobs)
        self._started = True
        if runs_jobs:
            self._housekeeping.start()

    async def _stop(self) -> None:
        if self._starting is not None:
            self._starting.cancel()
            await asyncio.gather(self._starting, return_exceptions=True)
        await self.hub.close()
        await self.activity.close()
        await self._housekeeping.stop()
        await self.residency.close()
        await self.pages.close()
        await self.repository.close()
        await self.jobs.stop(grace_seconds=self.settings.jobs.grace_seconds)
        self.web.close()

    async def _require_migrated(self) -> None:
        if pending := await pending_migrations(self.database):
            raise ConfigurationError(
                f"The database lacks the migrations {', '.join(pending)}",
                recovery="Run `quire db upgrade` once, with the same settings.",
            )

    async def _ping_database(self) -> str:
        version = await self.database.ping()
        await self._require_migrated()
        return version

    async def _ping_jobs(self) -> str:
        if not self._started:
            raise Unavailable("Jobs are waiting for the database")
        return await self.jobs.ping()


async def _open_engine(settings: Settings) -> VectorEngine:
    # Imported when chosen: each brings a library that takes its time and memory.
    server = settings.qdrant
    if server.url is None:
        from quire.vectors.edge import EdgeEngine  # noqa: PLC0415

        root = settings.data_dir / "collections"
        return await EdgeEngine.open(root, max_open=settings.hot_sessions_max)
    from quire.vectors.server import QdrantEngine  # noqa: PLC0415

    return await QdrantEngine.open(
        server.url,
        api_key=None if server.api_key is None else server.api_key.get_secret_value(),
        grpc_port=server.grpc_port or None,
        timeout=server.timeout_seconds,
        replication_factor=server.replication_factor,
        shard_number=server.shard_number,
    )
