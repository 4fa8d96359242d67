"""The JSON of checkpoints and of what differs between them, in and out."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from quire.transfer.checkpoint_diff import Changes, Difference
from quire.transfer.checkpoint_rows import Checkpoint
from quire_api.shapes import EmbeddingShape, Input, SessionShape

CHECKPOINT: dict[str, Any] = {
    "name": "before clustering",
    "session_id": "spring-archive",
    "points_count": 1200,
    "chunks_count": 1180,
    "documents_count": 40,
    "size_bytes": 2650112,
    "embedding": {
        "provider": "minilm",
        "model": "all-MiniLM-L6-v2",
        "revision": "53aa5117",
        "dimension": 384,
        "distance": "cosine",
        "chunker": "1",
    },
    "created_at": "2026-11-20T09:30:00Z",
    "job_id": "1f0c5d5e-8f0e-4a58-a0a0-2b1f0f0c9a11",
}


class PostCheckpoint(Input):
    """A new checkpoint."""

    model_config = ConfigDict(json_schema_extra={"example": {"name": "before clustering"}})

    name: str = Field(description="1 to 200 printable characters, no slashes; new in the session")


class CheckpointShape(BaseModel):
    """What the session held at one moment."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": CHECKPOINT})

    name: str
    session_id: str
    points_count: int
    chunks_count: int
    documents_count: int
    size_bytes: int = Field(description="without the documents' own bytes, which are shared")
    embedding: EmbeddingShape
    created_at: datetime = Field(description="the moment that it is of")
    job_id: str


class DeletedCheckpoint(BaseModel):
    message: str


class RestoredShape(BaseModel):
    """A session that went back."""

    job_id: str = Field(description="undoing this job brings back what was there before")
    checkpoint: str
    session: SessionShape


class FirstPoints(BaseModel):
    """Ids, in their order, as many as were asked for."""

    added: list[int | str]
    removed: list[int | str]
    changed: list[int | str]


class FirstDocuments(BaseModel):
    """Ids, in their order, as many as were asked for."""

    added: list[str]
    removed: list[str]
    changed: list[str]


class Counted(BaseModel):
    added: int
    removed: int
    changed: int
    unchanged: int


class PointChanges(Counted):
    ids: FirstPoints


class DocumentChanges(Counted):
    ids: FirstDocuments


class DifferenceShape(BaseModel):
    """What became of points and documents from one moment to another."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "session_id": "spring-archive",
                "from": "before clustering",
                "to": "now",
                "points": {
                    "added": 1,
                    "removed": 0,
                    "changed": 2,
                    "unchanged": 1197,
                    "ids": {"added": [1200], "removed": [], "changed": [3, 4]},
                },
                "documents": {
                    "added": 0,
                    "removed": 0,
                    "changed": 0,
                    "unchanged": 40,
                    "ids": {"added": [], "removed": [], "changed": []},
                },
            }
        }
    )

    session_id: str
    older: str = Field(alias="from")
    newer: str = Field(alias="to")
    points: PointChanges
    documents: DocumentChanges


def checkpoint_shape(checkpoint: Checkpoint) -> dict[str, Any]:
    return {
        "name": checkpoint.name,
        "session_id": checkpoint.session_id,
        "points_count": checkpoint.points_count,
        "chunks_count": checkpoint.state["chunks"],
        "documents_count": checkpoint.documents_count,
        "size_bytes": checkpoint.size_bytes,
        "embedding": checkpoint.state["embedding"],
        "created_at": checkpoint.created_at,
        "job_id": checkpoint.job_id,
    }


def difference_shape(difference: Difference) -> dict[str, Any]:
    return {
        "session_id": difference.session_id,
        "from": difference.older,
        "to": difference.newer,
        "points": _changes_shape(difference.points),
        "documents": _changes_shape(difference.documents),
    }


def _changes_shape(changes: Changes) -> dict[str, Any]:
    return {
        "added": changes.added,
        "removed": changes.removed,
        "changed": changes.changed,
        "unchanged": changes.unchanged,
        "ids": {
            "added": changes.first_added,
            "removed": changes.first_removed,
            "changed": changes.first_changed,
        },
    }
