"""A session and its parts, as values that never change."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from quire.access.policy import Role
from quire.sessions.lifecycle import State

Json = Mapping[str, Any]


class Status(StrEnum):
    """A session's state as it is shown: `shared` is an active session with collaborators."""

    ACTIVE = "active"
    ARCHIVED = "archived"
    SHARED = "shared"
    DELETED = "deleted"


class Outcome(StrEnum):
    """How the work in a session came out."""

    COMPLETED = "completed"
    FAILED = "failed"
    ABANDONED = "abandoned"


class Residency(StrEnum):
    HOT = "hot"
    COLD = "cold"


@dataclass(frozen=True, slots=True)
class Collaborator:
    user_id: str
    role: Role


@dataclass(frozen=True, slots=True)
class Embedding:
    """What a session's vectors were made with; pinned at creation."""

    provider: str
    model: str
    dimension: int
    distance: str = "cosine"
    revision: str = ""
    chunker: str = ""


CHUNKER_VERSION = "1"
"""Raised when the same text would be cut otherwise than before."""


@dataclass(frozen=True, slots=True)
class Successor:
    """The collection that a re-embedding is filling, and what it is made with."""

    job_id: str
    collection: str
    embedding: Embedding


@dataclass(frozen=True, slots=True)
class Pack:
    """A cold session's points, in the blob store."""

    sha256: str
    points: int
    digest: str
    # Payload indexes besides the standard ones: field to kind.
    indexes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Configuration:
    clustering_params: Json = field(default_factory=dict)
    embedding_model: str | None = None
    llm_model: str | None = None
    processing_options: Json = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ProcessingStats:
    urls_processed: int = 0
    content_analyzed: int = 0
    clusters_generated: int = 0
    embeddings_created: int = 0
    last_processing_time: datetime | None = None


@dataclass(frozen=True, slots=True)
class ModelUsage:
    llm_models_used: tuple[str, ...] = ()
    embedding_models_used: tuple[str, ...] = ()
    model_switches: int = 0
    last_model_switch: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """One workspace: its metadata, and the name of the collection that is its own."""

    id: str
    collection: str
    state: State
    name: str
    description: str | None = None
    owner_id: str | None = None
    group: str | None = None
    tags: tuple[str, ...] = ()
    collaborators: tuple[Collaborator, ...] = ()
    configuration: Configuration = field(default_factory=Configuration)
    processing_stats: ProcessingStats = field(default_factory=ProcessingStats)
    model_usage: ModelUsage = field(default_factory=ModelUsage)
    metadata: Json = field(default_factory=dict)
    embedding: Embedding
    lineage: Json = field(default_factory=dict)
    outcome: Outcome | None = None
    residency: Residency = Residency.HOT
    hold: bool = False
    points_count: int = 0
    chunks_count: int = 0
    next_seq: int = 0
    hidden_stages: tuple[str, ...] = ()
    removals: int = 0
    successor: Successor | None = None
    busy_job: str | None = None
    made_by: str | None = None
    pack: Pack | None = None
    pinned: bool = False
    woke_at: datetime | None = None
    ephemeral: bool = False
    ttl_seconds: float | None = None
    expires_at: datetime | None = None
    created_at: datetime
    updated_at: datetime
    last_activity_at: datetime
    ended_at: datetime | None = None
    archived_at: datetime | None = None
    deleted_at: datetime | None = None
    version: int = 1

    @property
    def status(self) -> Status:
        if self.state is State.ACTIVE and self.collaborators:
            return Status.SHARED
        return Status(self.state.value)

    @property
    def etag(self) -> str:
        return f'"{self.version}"'

    def has_expired(self, at: datetime) -> bool:
        """Past its time, and not held."""
        return self.expires_at is not None and self.expires_at <= at and not self.hold
