"""What is kept of the work in a session: everything of it, put together."""

from __future__ import annotations

from quire.activity.attachments import Attachments
from quire.activity.context import Context
from quire.activity.data import SessionData
from quire.activity.invocations import Invocations
from quire.activity.messages import Messages
from quire.activity.statistics import ActivityStatistics
from quire.blobs.ledger import BlobLedger
from quire.blobs.port import BlobStore
from quire.content.repository import DocumentRepository
from quire.embedding.embedders import Embedders
from quire.sessions.repository import SessionRepository
from quire.sessions.sessions import Sessions
from quire.settings import Settings
from quire.store.database import Database
from quire.vectors.port import VectorEngine


class Activity:
    """Conversations and what goes with them: one attribute for each."""

    def __init__(
        self,
        *,
        settings: Settings,
        database: Database,
        repository: SessionRepository,
        sessions: Sessions,
        rows: DocumentRepository,
        engine: VectorEngine,
        embedders: Embedders,
        blobs: BlobStore,
        ledger: BlobLedger,
    ) -> None:
        self.messages = Messages(database, repository, sessions, embedders, settings)
        self.context = Context(database, sessions, rows, engine, embedders, settings)

        self.invocations = Invocations(database, sessions, settings.limits)
        self.data = SessionData(database, sessions, settings.activity)
        self.attachments = Attachments(database, sessions, blobs, ledger, settings)
        self.statistics = ActivityStatistics(database, sessions)

    async def close(self) -> None:
        """Finish what is being written, and stop what goes on in the background."""
        await self.messages.close()
