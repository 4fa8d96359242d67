"""What transfers stand on: the parts of the house that all of them use."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from quire.blobs.ledger import BlobLedger
from quire.blobs.port import BlobStore
from quire.content.repository import DocumentRepository
from quire.content.scratch import Scratch
from quire.embedding.embedders import Embedders
from quire.jobs.port import Jobs
from quire.sessions.creation import Creation
from quire.sessions.purge import Purge
from quire.sessions.repository import SessionRepository
from quire.sessions.sessions import Sessions
from quire.sessions.spares import SpareCollections
from quire.sessions.waking import Waker
from quire.sessions.work import Work
from quire.settings import Settings
from quire.store.database import Database
from quire.transfer.activity_rows import ActivityRows
from quire.transfer.finale import Finale
from quire.transfer.lineage import LineageRecords
from quire.transfer.replaced import ReplacedDocuments
from quire.transfer.targets import Targets
from quire.uploads.uploads import Uploads
from quire.vectors.port import VectorEngine


@dataclass(frozen=True, kw_only=True)
class Foundation:
    """Ports and services from below, and what begins and ends every transfer."""

    settings: Settings
    database: Database
    engine: VectorEngine
    blobs: BlobStore
    ledger: BlobLedger
    embedders: Embedders
    jobs: Jobs
    repository: SessionRepository
    sessions: Sessions
    creation: Creation
    purge: Purge
    spares: SpareCollections
    waker: Waker
    work: Work
    rows: DocumentRepository
    scratch: Scratch
    uploads: Uploads

    @cached_property
    def lines(self) -> LineageRecords:
        return LineageRecords(self.database)

    @cached_property
    def replaced(self) -> ReplacedDocuments:
        return ReplacedDocuments(self.database, self.rows, self.ledger, self.blobs)

    @cached_property
    def activity(self) -> ActivityRows:
        return ActivityRows(self.database, self.ledger)

    @cached_property
    def targets(self) -> Targets:
        return Targets(self.creation, self.settings)

    @cached_property
    def finale(self) -> Finale:
        return Finale(
            self.database,
            self.repository,
            self.rows,
            self.spares,
            self.purge,
            self.lines,
            self.replaced,
            self.settings.transfer.undo_hours,
        )
