"""The sessions that a transfer makes: there from the first moment, seen when all is in them."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from quire.access import policy
from quire.access.principal import Principal
from quire.sessions.creation import Creation
from quire.sessions.lifecycle import State
from quire.sessions.models import ModelUsage, ProcessingStats, Residency, Session
from quire.sessions.requests import NewSession
from quire.settings import Settings
from quire.store.columns import now


@dataclass(frozen=True, slots=True, kw_only=True)
class NewTarget:
    """What a session that a transfer makes is to be called, and whose it is to be."""

    name: str
    description: str | None = None
    owner_id: str | None = None
    group: str | None = None
    tags: Sequence[str] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)


class Targets:
    """Drafts and reserves sessions for the jobs that fill them."""

    def __init__(self, creation: Creation, settings: Settings) -> None:
        self._creation = creation
        self._settings = settings

    def draft(self, principal: Principal, target: NewTarget, like: Session, job_id: str) -> Session:
        """A session embedded and configured as another is, that the job alone knows of."""
        new = NewSession(
            name=target.name,
            description=target.description,
            owner_id=target.owner_id,
            group=target.group,
            tags=tuple(target.tags),
            metadata=target.metadata,
        ).checked(self._settings.limits)
        owner_id = principal.subject if new.owner_id is None else new.owner_id
        policy.require_create(principal, owner_id, new.group)
        at = now()
        return replace(
            like,
            id=str(uuid.uuid4()),
            collection=self.collection(),
            state=State.PROVISIONING,
            name=new.name,
            description=new.description,
            owner_id=owner_id,
            group=new.group,
            tags=new.tags,
            metadata=new.metadata,
            made_by=job_id,
            collaborators=(),
            processing_stats=ProcessingStats(),
            model_usage=ModelUsage(embedding_models_used=like.model_usage.embedding_models_used),
            **UNLIKE,
            created_at=at,
            updated_at=at,
            last_activity_at=at,
        )

    def collection(self) -> str:
        """A name that no collection has."""
        return f"{self._settings.qdrant.collection_prefix}{uuid.uuid4().hex}"

    async def reserve(self, connection: AsyncConnection, drafts: Sequence[Session]) -> None:
        """Write their rows, if their owners may have so many sessions."""
        for draft in sorted(drafts, key=lambda session: session.id):
            await self._creation.reserve(connection, draft)


UNLIKE: Mapping[str, Any] = {
    "lineage": {},
    "residency": Residency.HOT,
    "outcome": None,
    "hold": False,
    "points_count": 0,
    "chunks_count": 0,
    "next_seq": 0,
    "hidden_stages": (),
    "removals": 0,
    "successor": None,
    "busy_job": None,
    "pack": None,
    "pinned": False,
    "woke_at": None,
    "ephemeral": False,
    "ttl_seconds": None,
    "expires_at": None,
    "ended_at": None,
    "archived_at": None,
    "deleted_at": None,
    "version": 0,
}
"""What a new session has not from the one that it is like."""
