"""The birth of a session: its row first, then its collection, then it is there."""

from __future__ import annotations

import asyncio
import uuid
from dataclasses import replace
from typing import TypeGuard

import sqlalchemy as sa
import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from quire.access import policy
from quire.access.principal import Principal
from quire.embedding.embedders import Embedders
from quire.embedding.port import EXTERNAL
from quire.errors import Conflict, InvalidInput, QuireError, SessionLimitReached, Unavailable
from quire.sessions.lifecycle import Action, State, after
from quire.sessions.models import CHUNKER_VERSION, Embedding, Session
from quire.sessions.purge import Purge, Reason
from quire.sessions.repository import SessionRepository
from quire.sessions.requests import NewSession, expiry
from quire.sessions.retention_policy import RetentionPolicies
from quire.sessions.sessions import require_present
from quire.sessions.tombstones import unearth
from quire.sessions.waking import Waker
from quire.settings import Settings
from quire.store.columns import now
from quire.store.database import Database
from quire.store.tables import sessions
from quire.vectors.port import CollectionSpec, Distance, VectorEngine

log = structlog.get_logger(__name__)

PATIENCE_SECONDS = 5.0


class Creation:
    """Makes sessions. A kill between row and collection leaves a row that housekeeping purges."""

    def __init__(
        self,
        database: Database,
        repository: SessionRepository,
        engine: VectorEngine,
        purge: Purge,
        policies: RetentionPolicies,
        embedders: Embedders,
        settings: Settings,
        waker: Waker,
    ) -> None:
        self._database = database
        self._repository = repository
        self._engine = engine
        self._purge = purge
        self._policies = policies
        self._embedders = embedders
        self._settings = settings
        self._waker = waker

    async def create(self, principal: Principal, new: NewSession) -> tuple[Session, bool]:
        """Make a session and its collection; answers it and whether it was made just now.

        With a client-chosen id this is idempotent for the same owner.
        """
        new = new.checked(self._settings.limits)
        owner_id = principal.subject if new.owner_id is None else new.owner_id
        policy.require_create(principal, owner_id, new.group)
        session = await self._draft(new, owner_id)
        await self._waker.room()
        async with self._repository.transaction() as connection:
            existing = await self.reserve(connection, session)
        if existing is not None:
            return await self._settle(owner_id, existing), False
        try:
            await self._engine.create(session.collection, _spec(session.embedding))
        except QuireError:
            await self._abandon(session)
            raise
        made = await self._complete(session)
        self._waker.made(made)
        return made, True

    async def _draft(self, new: NewSession, owner_id: str | None) -> Session:
        at = now()
        ttl_seconds = new.ttl_seconds
        if new.ephemeral and ttl_seconds is None and new.expires_at is None:
            ttl_seconds = self._settings.activity.ephemeral_seconds
        return Session(
            id=new.id or str(uuid.uuid4()),
            collection=f"{self._settings.qdrant.collection_prefix}{uuid.uuid4().hex}",
            state=State.PROVISIONING,
            name=new.name,
            description=new.description,
            owner_id=owner_id,
            group=new.group,
            tags=new.tags,
            metadata=new.metadata,
            configuration=new.configuration,
            embedding=await self._embedding(new),
            hold=new.hold,
            ephemeral=new.ephemeral,
            ttl_seconds=ttl_seconds,
            expires_at=expiry(at, ttl_seconds, new.expires_at),
            created_at=at,
            updated_at=at,
            last_activity_at=at,
            version=0,  # the first that anyone sees is 1
        )

    async def _embedding(self, new: NewSession) -> Embedding:
        """What the session is pinned to: a model of this server, or vectors from elsewhere."""
        try:
            distance = Distance(new.distance or Distance.COSINE)
        except ValueError:
            valid = ", ".join(Distance)
            raise InvalidInput(f"distance must be one of {valid}", field="distance") from None
        if new.provider == EXTERNAL and new.dimension is None:
            raise InvalidInput("Vectors from elsewhere need their dimension", field="dimension")
        if new.provider not in (None, EXTERNAL) or new.model is not None:
            identity = await self._embedders.resolve(new.provider, new.model)
        else:
            identity = await self._embedders.default()
        if new.provider == EXTERNAL or new.dimension not in (None, identity.dimension):
            if new.provider not in (None, EXTERNAL) or new.model is not None:
                raise InvalidInput(
                    f"{identity} has {identity.dimension} dimensions, not {new.dimension}",
                    field="dimension",
                )
            return Embedding(EXTERNAL, EXTERNAL, new.dimension or 0, distance.value)
        return Embedding(
            provider=identity.provider,
            model=identity.model,
            dimension=identity.dimension,
            distance=distance.value,
            revision=identity.revision,
            chunker=CHUNKER_VERSION,
        )

    async def reserve(self, connection: AsyncConnection, session: Session) -> Session | None:
        """Write the row that claims the id and a place within the owner's limit.

        Answers the session that has the id already, if one does.
        """
        # Two that race for one id, or for an owner's last place, go one after the other.
        await self._database.lock_sessions(
            connection, [f"id {session.id}", f"owner {session.owner_id}"]
        )
        existing = await self._repository.lock(connection, session.id)
        if existing is not None:
            return existing
        await self._check_room(connection, session.owner_id)
        await unearth(connection, session.id)
        await self._repository.insert(connection, session)
        return None

    async def _check_room(self, connection: AsyncConnection, owner_id: str | None) -> None:
        retention = await self._policies.read(connection)
        allowed = [(self._settings.limits.sessions_per_owner, "QUIRE_LIMITS_SESSIONS_PER_OWNER")]
        if retention.max_sessions_per_user is not None:
            allowed.append((retention.max_sessions_per_user, "max_sessions_per_user"))
        limit, named = min(allowed)
        states = [State.PROVISIONING.value, State.ACTIVE.value, State.ARCHIVED.value]
        count = await connection.scalar(
            sa.select(sa.func.count())
            .select_from(sessions)
            .where(sessions.c.owner_id.is_not_distinct_from(owner_id), sessions.c.state.in_(states))
        )
        if (count or 0) >= limit:
            raise SessionLimitReached(
                f"There are {count} sessions of {owner_id}; the limit is {limit} ({named})",
                limit=limit,
            )

    async def _complete(self, session: Session) -> Session:
        async with self._repository.transaction() as connection:
            reserved = await self._repository.lock(connection, session.id)
            if _is_still(reserved, session):
                ready = replace(reserved, state=after(reserved.state, Action.PROVISION))
                return await self._repository.save(connection, reserved, ready)
        # Housekeeping has cleaned it away, perhaps before the collection was there.
        await self._engine.drop(session.collection)
        raise Unavailable("Creating the session took so long that it was given up")

    async def _abandon(self, session: Session) -> None:
        """The collection could not be made. If even this fails, housekeeping will do it."""
        try:
            async with self._repository.transaction() as connection:
                reserved = await self._repository.lock(connection, session.id)
                if _is_still(reserved, session):
                    await self._purge.begin(connection, reserved, Reason.UNFINISHED)
        except QuireError as error:
            log.warning("creation not undone yet", session_id=session.id, error=error.message)

    async def _settle(self, owner_id: str | None, existing: Session) -> Session:
        """The session that a repeated creation means, once it is there."""
        if existing.owner_id != owner_id:
            raise Conflict(
                f"The id {existing.id} is taken",
                recovery="Choose another id, or leave it out to be given one.",
                field="id",
            )
        deadline = asyncio.get_running_loop().time() + PATIENCE_SECONDS
        session: Session | None = existing
        while session is not None and not session.state.is_visible:
            if asyncio.get_running_loop().time() > deadline:
                raise Unavailable(f"Session {existing.id} is {session.state} just now")
            await asyncio.sleep(0.02)
            session = await self._repository.get(existing.id)
        if session is None:
            raise Unavailable(f"Session {existing.id} was just removed", retry_after=0.1)
        require_present(session)
        if session.state is State.DELETED:
            raise Conflict(
                f"Session {session.id} is deleted",
                recovery="Restore it, delete it for good, or choose another id.",
                field="id",
            )
        return session


def _is_still(reserved: Session | None, session: Session) -> TypeGuard[Session]:
    """What the store has under the id is this very creation, and still to be finished."""
    return (
        reserved is not None
        and reserved.collection == session.collection
        and reserved.state is State.PROVISIONING
    )


def _spec(embedding: Embedding) -> CollectionSpec:
    return CollectionSpec(embedding.dimension, Distance(embedding.distance))
