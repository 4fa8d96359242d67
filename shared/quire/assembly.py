"""What Quire is made of: every part, given what it stands on. `quire.app` brings it to life."""

from __future__ import annotations

from quire.access.tokens import TokenVerifier
from quire.activity.activity import Activity
from quire.activity.agents import Agents
from quire.blobs.ledger import BlobLedger
from quire.blobs.port import BlobStore
from quire.clustering.clustering import Clustering
from quire.content.admission import Admission
from quire.content.arrival import Arrivals
from quire.content.chunks import Chunks
from quire.content.documents import Documents
from quire.content.extraction.port import Extractor
from quire.content.holdings import Holdings
from quire.content.ingest import Ingest
from quire.content.reembedding import Reembedding
from quire.content.removal import Removal
from quire.content.repository import DocumentRepository
from quire.content.scratch import Scratch
from quire.content.switching import Switching
from quire.content.web_pages import WebPages
from quire.crawling.crawling import Crawling
from quire.embedding.embedders import Embedders
from quire.events.hub import Hub
from quire.idempotency import IdempotencyKeys
from quire.jobs.durable import DurableJobs
from quire.points.points import Points
from quire.residency.residency import Residency
from quire.retrieval.pages import QueryPages
from quire.retrieval.search import Search
from quire.sessions.comparison import Comparer
from quire.sessions.conclusion import Conclusion
from quire.sessions.creation import Creation
from quire.sessions.listing import Listing
from quire.sessions.live import LiveEvents
from quire.sessions.purge import Purge
from quire.sessions.reconciliation import Reconciliation
from quire.sessions.repository import SessionRepository
from quire.sessions.retention import Retention
from quire.sessions.retention_policy import RetentionPolicies
from quire.sessions.sessions import Sessions
from quire.sessions.sharing import Sharing
from quire.sessions.spares import SpareCollections
from quire.sessions.statistics import StatisticsKeeper
from quire.sessions.work import Work
from quire.settings import Settings
from quire.store import Database
from quire.telemetry.metrics import Metrics
from quire.telemetry.tracing import Tracing
from quire.transfer.files import Files
from quire.transfer.foundation import Foundation
from quire.transfer.history import History
from quire.transfer.transfers import Transfers
from quire.uploads.uploads import Uploads
from quire.vectors.port import VectorEngine
from quire.web.web import Web


class Assembly:
    """Everything, wired, and nothing started."""

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
        self.uploads = Uploads(database, blobs, self.ledger, settings.transfer)
        repository = SessionRepository(database)
        self.repository = repository
        self.policies = RetentionPolicies(database)
        purge = self._purge = Purge(repository, engine, self.ledger, self.jobs)
        limits = settings.limits
        self.scratch = Scratch(settings.data_dir / "scratch")
        spares = SpareCollections(database, engine)
        self._spares = spares
        self.residency = Residency(
            database,
            repository,
            engine,
            blobs,
            self.ledger,
            spares,
            metrics,
            settings,
            self.scratch.folder,
        )
        self.sessions = Sessions(database, repository, purge, limits, self.residency)
        self.creation = Creation(
            database,
            repository,
            engine,
            purge,
            self.policies,
            embedders,
            settings,
            self.residency,
        )
        self.conclusion = Conclusion(self.sessions, repository, purge)
        self.hub = Hub(database, settings.events)
        self.events = LiveEvents(database, self.sessions, self.hub, settings.events)
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
            repository, engine, spares, purge, self.jobs, settings.qdrant.collection_prefix
        )

    def _lay_content(self, embedders: Embedders, extractor: Extractor) -> None:
        """Documents, chunks, points and searches."""
        settings, limits = self.settings, self.settings.limits
        repository, engine, jobs = self.repository, self.engine, self.jobs
        rows = DocumentRepository(self.database, self.ledger)
        switching = Switching(repository, rows, engine)
        arrivals = Arrivals(self.blobs, self.ledger, limits.document_bytes)
        self.points = Points(self.sessions, repository, engine, embedders, limits)
        self.web = Web(settings.web)
        pages = WebPages(self.web, extractor, self.scratch)
        self.admission = Admission(
            self.sessions, repository, rows, arrivals, embedders, pages, jobs, limits
        )
        self.crawling = Crawling(
            self.web,
            pages,
            self.creation,
            self.sessions,
            repository,
            self.admission,
            self.blobs,
            self.ledger,
            jobs,
            settings.jobs,
        )
        self.documents = Documents(self.sessions, repository, rows, self.blobs, jobs)
        self.chunks = Chunks(self.sessions, rows, engine)
        self.holdings = Holdings(self.sessions, self.database)
        self.agents = Agents(self.database, settings.mcp)
        self.search = Search(
            self.sessions, rows, engine, embedders, self.pages, limits, settings.query
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
            self.scratch,
            self.residency,
        )
        Removal(self.database, repository, rows, switching, jobs, self.residency)
        self.activity = Activity(
            settings=settings,
            database=self.database,
            repository=repository,
            sessions=self.sessions,
            rows=rows,
            engine=engine,
            embedders=embedders,
            blobs=self.blobs,
            ledger=self.ledger,
        )
        self.clustering = Clustering(
            self.database,
            self.sessions,
            repository,
            engine,
            self.blobs,
            self.ledger,
            jobs,
            self.scratch.folder,
            settings.clustering,
        )
        self._lay_transfers(rows)

    def _lay_transfers(self, rows: DocumentRepository) -> None:
        """What sessions flow into, and out of."""
        foundation = Foundation(
            settings=self.settings,
            database=self.database,
            engine=self.engine,
            blobs=self.blobs,
            ledger=self.ledger,
            embedders=self.embedders,
            jobs=self.jobs,
            repository=self.repository,
            sessions=self.sessions,
            creation=self.creation,
            purge=self._purge,
            spares=self._spares,
            waker=self.residency,
            work=self.work,
            rows=rows,
            scratch=self.scratch,
            uploads=self.uploads,
        )
        self.transfers = Transfers(foundation)
        self.files = Files(foundation)
        self.history = History(foundation)
