"""The composition root: settings in, a working Quire out. Only here are adapters chosen."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

import structlog

from quire.access.tokens import TokenVerifier
from quire.blobs.ledger import BlobLedger
from quire.blobs.objects import open_blobs
from quire.blobs.port import BlobStore
from quire.content.admission import Admission
from quire.content.arrival import Arrivals
from quire.content.chunks import Chunks
from quire.content.documents import Documents
from quire.content.extraction.port import Extractor
from quire.content.extraction.process import ProcessExtractor
from quire.content.ingest import Ingest
from quire.content.reembedding import Reembedding
from quire.content.removal import Removal
from quire.content.repository import DocumentRepository
from quire.content.scratch import Scratch
from quire.content.switching import Switching
from quire.directory import DataDirectory
from quire.embedding.embedders import Embedders
from quire.errors import ConfigurationError, QuireError, Unavailable
from quire.housekeeping import Chore, Housekeeping
from quire.idempotency import IdempotencyKeys
from quire.jobs.durable import DurableJobs
from quire.points.points import Points
from quire.retrieval.pages import QueryPages
from quire.retrieval.search import Search
from quire.sessions.comparison import Comparer
from quire.sessions.creation import Creation
from quire.sessions.lifecycle import Action
from quire.sessions.listing import Listing
from quire.sessions.purge import Purge, Reason
from quire.sessions.reconciliation import Reconciliation
from quire.sessions.repository import SessionRepository
from quire.sessions.retention import Retention, Verdict
from quire.sessions.retention_policy import RetentionPolicies
from quire.sessions.sessions import Sessions
from quire.sessions.sharing import Sharing
from quire.sessions.statistics import StatisticsKeeper
from quire.sessions.work import Work
from quire.settings import Settings
from quire.store import Database, migrate, open_database, pending_migrations
from quire.store.columns import now
from quire.telemetry.engine import MeasuredEngine
from quire.telemetry.metrics import ExpirationReason, Metrics
from quire.telemetry.tracing import Tracing, configure_tracing
from quire.vectors.port import VectorEngine

log = structlog.get_logger(__name__)

RETRY_SECONDS = 1.0
HOUR = 3600.0


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


class Quire:
    """Everything, wired. Use `async with Quire.open(settings) as quire:`."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        engine: VectorEngine,
        blobs: BlobStore,
        metrics: Metrics,
        tracing: Tracing,
        verifier: TokenVerifier | None,
        embedders: Embedders,
        extractor: Extractor,
    ) -> None:
        self.settings = settings
        self.database = database
        self.engine = engine
        self.blobs = blobs
        self.metrics = metrics
        self.tracing = tracing
        self.verifier = verifier
        self.embedders = embedders
        self.jobs = DurableJobs(database, settings.jobs)
        self.ledger = BlobLedger(database, blobs, settings.blob.sweep_grace_seconds)
        repository = SessionRepository(database)
        self.repository = repository
        self.policies = RetentionPolicies(database)
        purge = Purge(repository, engine, self.ledger, self.jobs)
        limits = settings.limits
        self.sessions = Sessions(database, repository, purge, limits)
        self.creation = Creation(
            database, repository, engine, purge, self.policies, embedders, settings
        )
        self.listing = Listing(repository)
        self.sharing = Sharing(self.sessions, limits)
        self.statistics = StatisticsKeeper(self.sessions, engine, limits)
        self.comparer = Comparer(self.sessions, limits)
        self.retention = Retention(repository, purge, settings.retention)
        self.work = Work(self.jobs, self.sessions, repository)
        self.pages = QueryPages(database, self.sessions, settings.query)
        self._lay_content(embedders, extractor)
        self.idempotency = IdempotencyKeys(database)
        self.reconciliation = Reconciliation(
            repository, engine, purge, settings.qdrant.collection_prefix
        )
        self._housekeeping = Housekeeping(database, self._chores())
        self._starting: asyncio.Task[None] | None = None
        self._started = False
        self._waits_for = "the database"

    def _lay_content(self, embedders: Embedders, extractor: Extractor) -> None:
        """Documents, chunks, points and searches."""
        settings, limits = self.settings, self.settings.limits
        repository, engine, jobs = self.repository, self.engine, self.jobs
        rows = DocumentRepository(self.database, self.ledger)
        switching = Switching(repository, rows, engine)
        self._scratch = Scratch(settings.data_dir / "scratch")
        arrivals = Arrivals(self.blobs, self.ledger, limits.document_bytes)
        self.points = Points(self.sessions, repository, engine, embedders, limits)
        self.admission = Admission(
            self.sessions, repository, rows, arrivals, embedders, jobs, limits
        )
        self.documents = Documents(self.sessions, repository, rows, self.blobs, jobs)
        self.chunks = Chunks(self.sessions, repository, rows, engine)
        self.search = Search(
            self.sessions, repository, rows, engine, embedders, self.pages, limits, settings.query
        )
        self.reembedding = Reembedding(
            self.sessions, repository, engine, embedders, jobs, settings.qdrant.collection_prefix
        )
        Ingest(
            self.database,
            repository,
            rows,
            engine,
            self.blobs,
            self.ledger,
            embedders,
            extractor,
            switching,
            jobs,
            self._scratch,
        )
        Removal(self.database, repository, rows, switching, jobs)

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
            await self._scratch.sweep(left_after=0)  # nobody else uses this directory
            applied = await migrate(self.database)
            if applied:
                log.info("database migrated", revisions=applied)
            await self._start_jobs(runs_jobs)
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
        await self._housekeeping.stop()
        await self.pages.close()
        await self.repository.close()
        await self.jobs.stop(grace_seconds=self.settings.jobs.grace_seconds)

    def _chores(self) -> list[Chore]:
        blob_pause = max(60.0, self.settings.blob.sweep_grace_seconds / 2)
        query_pause = max(60.0, self.settings.query.ttl_seconds / 4)
        return [
            Chore("retention", self.settings.retention.sweep_seconds, self._sweep_sessions),
            Chore("blobs", blob_pause, self._sweep_blobs),
            Chore("job history", HOUR, self._forget_jobs),
            Chore("idempotency keys", HOUR, self.idempotency.forget_old),
            Chore("query results", query_pause, self._forget_queries),
            Chore("scratch", HOUR, self._scratch.sweep),
        ]

    async def _sweep_sessions(self) -> None:
        sweep = await self.retention.sweep(await self.policies.get())
        for verdict in sweep.verdicts:
            self.metrics.count_expirations(_expiration(verdict))

    async def _sweep_blobs(self) -> None:
        await self.ledger.sweep(now())

    async def _forget_jobs(self) -> None:
        await self.jobs.forget_finished(now() - timedelta(days=self.settings.jobs.history_days))

    async def _forget_queries(self) -> None:
        await self.pages.forget_expired(now())

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


def _expiration(verdict: Verdict) -> ExpirationReason:
    match verdict.action:
        case Action.ARCHIVE:
            return ExpirationReason.RETENTION_ARCHIVED
        case Action.DELETE:
            return ExpirationReason.RETENTION_DELETED
        case _ if verdict.purge_reason is Reason.EXPIRED:
            return ExpirationReason.EXPIRED
        case _:
            return ExpirationReason.PURGED


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
