"""Sessions as files: everything that makes or reads one, put together."""

from __future__ import annotations

from quire.transfer.activity_told import ActivityReader
from quire.transfer.backups import Backups
from quire.transfer.export_contents import ExportContents
from quire.transfer.exporting import Exporting
from quire.transfer.foundation import Foundation
from quire.transfer.import_activity import ImportActivity
from quire.transfer.import_documents import ImportDocuments
from quire.transfer.import_inspection import Inspection
from quire.transfer.import_job import ImportJob
from quire.transfer.importing import Importing


class Files:
    """Exports, imports and backups."""

    def __init__(self, on: Foundation) -> None:
        activity = ActivityReader(on.database, on.blobs)
        self.contents = ExportContents(on.engine, on.rows, on.blobs, on.lines, activity)
        self.exporting = Exporting(on.sessions, on.repository, self.contents, on.scratch)
        self.backups = Backups(
            on.database, on.repository, on.ledger, self.exporting, on.waker, on.settings.backup
        )
        self.importing = Importing(
            on.repository, on.creation, on.targets, on.ledger, on.uploads, on.jobs
        )
        ImportJob(
            on.database,
            on.repository,
            on.engine,
            on.blobs,
            on.ledger,
            on.uploads,
            on.embedders,
            Inspection(on.embedders, on.settings.transfer.bundle_bytes),
            ImportDocuments(on.database, on.rows, on.ledger, on.settings.limits),
            ImportActivity(on.database, on.ledger, on.settings),
            on.finale,
            on.scratch,
            on.jobs,
            on.settings.limits,
        )
