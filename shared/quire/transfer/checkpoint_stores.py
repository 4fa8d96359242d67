"""Where checkpoints are, and what is in them."""

from __future__ import annotations

from dataclasses import dataclass

from quire.transfer.checkpoint_rows import CheckpointRecords
from quire.transfer.kept_documents import KeptDocuments
from quire.transfer.kept_points import KeptPoints


@dataclass(frozen=True, slots=True)
class Stores:
    """The three that whoever makes, restores or compares checkpoints needs."""

    records: CheckpointRecords
    points: KeptPoints
    documents: KeptDocuments
