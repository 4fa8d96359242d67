"""What sessions were and where they come from: checkpoints, undoing, lineage, put together."""

from __future__ import annotations

from quire.transfer.checkpoint_diff import CheckpointDiff
from quire.transfer.checkpoint_restore import CheckpointRestore
from quire.transfer.checkpoint_rows import CheckpointRecords
from quire.transfer.checkpoint_stores import Stores
from quire.transfer.checkpoints import Checkpoints
from quire.transfer.foundation import Foundation
from quire.transfer.kept_documents import KeptDocuments
from quire.transfer.kept_points import KeptPoints
from quire.transfer.lineage_graph import LineageGraph
from quire.transfer.undo import Undo


class History:
    """Going back, and looking back."""

    def __init__(self, on: Foundation) -> None:
        stores = Stores(
            CheckpointRecords(on.database),
            KeptPoints(on.engine, on.blobs, on.ledger, on.scratch.folder),
            KeptDocuments(on.database, on.blobs, on.ledger),
        )
        self.checkpoints = Checkpoints(
            on.sessions,
            on.repository,
            stores,
            on.ledger,
            on.engine,
            on.finale,
            on.waker,
            on.jobs,
            on.settings.transfer,
        )
        self.restore = CheckpointRestore(
            on.sessions,
            on.database,
            on.repository,
            on.rows,
            stores,
            on.engine,
            on.targets,
            on.finale,
            on.replaced,
            on.waker,
            on.jobs,
        )
        self.diff = CheckpointDiff(on.sessions, stores, on.engine)
        self.undo = Undo(
            on.database,
            on.repository,
            on.rows,
            on.lines,
            on.replaced,
            on.activity,
            on.spares,
            on.purge,
            on.waker,
            on.work,
            on.jobs,
            on.settings.transfer.undo_hours,
        )
        self.lineage = LineageGraph(on.sessions, on.repository, on.lines)
