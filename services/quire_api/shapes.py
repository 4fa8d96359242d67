"""The JSON of sessions, in and out; the original service's names, with ours on top."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StrictBool

from quire.access.policy import Role
from quire.sessions.models import Configuration, Outcome, Residency, Session, Status
from quire.sessions.requests import NewSession, SessionChange

Json = dict[str, Any]


class Input(BaseModel):
    model_config = ConfigDict(extra="forbid")


class ConfigurationShape(Input):
    clustering_params: Json = {}
    embedding_model: str | None = None
    llm_model: str | None = None
    processing_options: Json = {}


class ProcessingStatsShape(BaseModel):
    urls_processed: int
    content_analyzed: int
    clusters_generated: int
    embeddings_created: int
    last_processing_time: datetime | None


class ModelUsageShape(BaseModel):
    llm_models_used: list[str]
    embedding_models_used: list[str]
    model_switches: int
    last_model_switch: datetime | None


class EmbeddingShape(BaseModel):
    """What the session's vectors are made with; pinned at creation."""

    provider: str
    model: str
    revision: str
    dimension: int
    distance: str
    chunker: str


class SessionShape(BaseModel):
    """A session."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {
                "id": "spring-archive",
                "name": "Spring archive",
                "description": "Tabs saved in spring",
                "status": "active",
                "created_at": "2026-11-20T09:30:00Z",
                "updated_at": "2026-11-20T09:30:00Z",
                "owner_id": "ada",
                "shared_with": [],
                "qdrant_collection_name": "session_4be0643f1d98573b97cdca98a65347dd",
                "configuration": {
                    "clustering_params": {},
                    "embedding_model": None,
                    "llm_model": None,
                    "processing_options": {},
                },
                "processing_stats": {
                    "urls_processed": 0,
                    "content_analyzed": 0,
                    "clusters_generated": 0,
                    "embeddings_created": 0,
                    "last_processing_time": None,
                },
                "model_usage_history": {
                    "llm_models_used": [],
                    "embedding_models_used": [],
                    "model_switches": 0,
                    "last_model_switch": None,
                },
                "tags": ["research"],
                "metadata": {"project": "garden"},
                "group": None,
                "outcome": None,
                "ended_at": None,
                "hold": False,
                "ttl_seconds": None,
                "expires_at": None,
                "last_activity_at": "2026-11-20T09:30:00Z",
                "residency": "hot",
                "woke_at": None,
                "pinned": False,
                "ephemeral": False,
                "embedding": {
                    "provider": "minilm",
                    "model": "sentence-transformers/all-MiniLM-L6-v2",
                    "revision": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
                    "dimension": 384,
                    "distance": "cosine",
                    "chunker": "1",
                },
                "points_count": 0,
                "chunks_count": 0,
                "lineage": {},
            }
        },
    )

    id: str
    name: str
    description: str | None
    status: Status
    created_at: datetime
    updated_at: datetime
    owner_id: str | None
    shared_with: list[str]
    qdrant_collection_name: str
    configuration: ConfigurationShape
    processing_stats: ProcessingStatsShape
    model_usage_history: ModelUsageShape
    tags: list[str]
    metadata: Json
    group: str | None
    outcome: Outcome | None
    ended_at: datetime | None
    hold: bool
    ttl_seconds: float | None
    expires_at: datetime | None
    last_activity_at: datetime
    residency: Residency
    woke_at: datetime | None
    pinned: bool
    ephemeral: bool
    embedding: EmbeddingShape
    points_count: int
    chunks_count: int
    lineage: Json


def session_shape(session: Session) -> Json:
    """`SessionShape` as the serialiser takes it, which knows dataclasses and times."""
    return {
        "id": session.id,
        "name": session.name,
        "description": session.description,
        "status": session.status.value,
        "created_at": session.created_at,
        "updated_at": session.updated_at,
        "owner_id": session.owner_id,
        "shared_with": [c.user_id for c in session.collaborators],
        "qdrant_collection_name": session.collection,
        "configuration": session.configuration,
        "processing_stats": session.processing_stats,
        "model_usage_history": session.model_usage,
        "tags": session.tags,
        "metadata": session.metadata,
        "group": session.group,
        "outcome": session.outcome,
        "ended_at": session.ended_at,
        "hold": session.hold,
        "ttl_seconds": session.ttl_seconds,
        "expires_at": session.expires_at,
        "last_activity_at": session.last_activity_at,
        "residency": session.residency.value,
        "woke_at": session.woke_at,
        "pinned": session.pinned,
        "ephemeral": session.ephemeral,
        "embedding": session.embedding,
        "points_count": session.points_count,
        "chunks_count": session.chunks_count,
        "lineage": session.lineage,
    }


class EmbeddingInput(Input):
    """Unset: what this server embeds with. For vectors that a pipeline brings ready-made, give
    their dimension (`provider` is then `external`)."""

    provider: str | None = None
    model: str | None = None
    dimension: Annotated[int, Field(ge=1, le=65_536)] | None = None
    distance: Literal["cosine", "dot", "euclid", "manhattan"] | None = None


class CreateSession(Input):
    model_config = ConfigDict(
        json_schema_extra={
            "example": {"id": "spring-archive", "name": "Spring archive", "tags": ["research"]}
        }
    )

    name: str
    id: str | None = Field(
        None, description="chosen by you: A-Z a-z 0-9 . _ -; makes the request idempotent"
    )
    description: str | None = None
    owner_id: str | None = None
    group: str | None = None
    configuration: ConfigurationShape | None = None
    tags: list[str] = []
    metadata: Json = {}
    embedding: EmbeddingInput | None = None
    ttl_seconds: float | None = Field(None, description="expires after so long without use")
    expires_at: AwareDatetime | None = None
    ephemeral: StrictBool = Field(
        False, description="ending it removes it; unless an expiry is given, it has a short one"
    )
    hold: StrictBool = Field(False, description="exempt from every sweep")

    def request(self, derived_id: str | None) -> NewSession:
        configuration = self.configuration or ConfigurationShape()
        embedding = self.embedding or EmbeddingInput()
        return NewSession(
            name=self.name,
            id=derived_id if self.id is None else self.id,
            description=self.description,
            owner_id=self.owner_id,
            group=self.group,
            tags=tuple(self.tags),
            metadata=self.metadata,
            configuration=Configuration(**configuration.model_dump()),
            provider=embedding.provider,
            model=embedding.model,
            dimension=embedding.dimension,
            distance=embedding.distance,
            ttl_seconds=self.ttl_seconds,
            expires_at=self.expires_at,
            ephemeral=self.ephemeral,
            hold=self.hold,
        )


class UpdateSession(Input):
    """What is null or left out stays as it is; metadata is merged (the original service's PUT)."""

    model_config = ConfigDict(
        json_schema_extra={"example": {"name": "Summer archive", "tags": ["research", "summer"]}}
    )

    name: str | None = None
    description: str | None = None
    status: Status | None = None
    configuration: ConfigurationShape | None = None
    tags: list[str] | None = None
    metadata: Json | None = None

    def request(self) -> SessionChange:
        given = self.model_dump(exclude_none=True, exclude={"status", "configuration"})
        if "tags" in given:
            given["tags"] = tuple(given["tags"])
        if self.configuration is not None:
            given["configuration"] = self.configuration.model_dump(exclude_unset=True)
        return SessionChange(**given)


class PatchSession(Input):
    """RFC 7396: what is left out stays, null clears, objects merge."""

    model_config = ConfigDict(
        json_schema_extra={"example": {"description": None, "metadata": {"project": "orchard"}}}
    )

    name: str = ""
    description: str | None = None
    status: Status = Status.ACTIVE
    configuration: ConfigurationShape = ConfigurationShape()
    tags: list[str] = []
    metadata: Json = {}
    group: str | None = None
    hold: StrictBool = False
    pinned: StrictBool = Field(False, description="hot for as long as it is active")
    ttl_seconds: float | None = None
    expires_at: AwareDatetime | None = None

    def request(self) -> SessionChange:
        given: Json = {name: getattr(self, name) for name in self.model_fields_set - {"status"}}
        if "tags" in given:
            given["tags"] = tuple(self.tags)
        if "configuration" in given:
            given["configuration"] = self.configuration.model_dump(exclude_unset=True)
        return SessionChange(**given, nulls_remove=True)

    @property
    def wanted_status(self) -> Status | None:
        return self.status if "status" in self.model_fields_set else None


class ShareSession(Input):
    model_config = ConfigDict(
        json_schema_extra={"example": {"user_ids": ["grace"], "permissions": ["write"]}}
    )

    user_ids: list[str]
    permissions: list[Role] = Field([Role.READ], description="the widest of them counts")

    @property
    def role(self) -> Role:
        return max(self.permissions, key=lambda role: role.reach, default=Role.READ)


class EndSession(Input):
    model_config = ConfigDict(json_schema_extra={"example": {"outcome": "completed"}})

    outcome: Outcome = Outcome.COMPLETED
