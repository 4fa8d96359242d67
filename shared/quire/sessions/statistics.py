"""What was done in a session: counters, models used, and what its collection holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any, Literal

from quire.access.principal import Principal
from quire.errors import CollectionNotFound, InvalidInput, Unavailable
from quire.sessions import validation
from quire.sessions.models import Residency, Session
from quire.sessions.sessions import Sessions, require_not_deleted
from quire.settings import LimitSettings
from quire.store.columns import now
from quire.vectors.port import VectorEngine

COUNTERS = ("urls_processed", "content_analyzed", "clusters_generated", "embeddings_created")
MOST_AT_ONCE = 10**12


@dataclass(frozen=True, slots=True)
class Statistics:
    """A session's numbers at one moment."""

    session: Session
    collection: Mapping[str, Any]
    age_days: int


class StatisticsKeeper:
    """Reads the numbers of a session, and adds to them."""

    def __init__(self, sessions: Sessions, engine: VectorEngine, limits: LimitSettings) -> None:
        self._sessions = sessions
        self._engine = engine
        self._limits = limits

    async def read(self, principal: Principal, session_id: str) -> Statistics:
        """The numbers; a collection that cannot be asked is reported as such, beside the rest.

        A cold session stays cold: what its row knows is told.
        """
        session = await self._sessions.get(principal, session_id)
        if session.residency is Residency.COLD:
            return Statistics(session, _at_rest(session), (now() - session.created_at).days)
        try:
            collection: Mapping[str, Any] = asdict(await self._engine.info(session.collection))
        except (CollectionNotFound, Unavailable) as error:
            collection = {"error": error.message, "code": error.code}
        return Statistics(session, collection, (now() - session.created_at).days)

    async def add(
        self,
        principal: Principal,
        session_id: str,
        counts: Mapping[str, int],
        metadata: Mapping[str, Any] | None,
    ) -> Session:
        """Increase the counters by these amounts, and merge metadata."""
        for name, amount in counts.items():
            if name not in COUNTERS:
                valid = ", ".join(COUNTERS)
                raise InvalidInput(f"There is no counter {name}; there are {valid}", field=name)
            if not 0 <= amount <= MOST_AT_ONCE:
                raise InvalidInput(f"{name} must be between 0 and {MOST_AT_ONCE}", field=name)

        def apply(session: Session, at: datetime) -> Session:
            require_not_deleted(session)
            stats = session.processing_stats
            raised = {name: getattr(stats, name) + amount for name, amount in counts.items()}
            merged = dict(session.metadata)
            if metadata is not None:
                merged |= {**metadata, "last_stats_update": at.isoformat()}
                merged = validation.json_object("metadata", merged, self._limits)
            return replace(
                session,
                metadata=merged,
                processing_stats=replace(stats, **raised, last_processing_time=at),
            )

        return await self._sessions.change(principal, session_id, apply)

    async def note_model(
        self,
        principal: Principal,
        session_id: str,
        model_type: Literal["llm", "embedding"],
        model_name: str,
    ) -> Session:
        """Note that a model was used; each note counts as a switch, as it always has."""
        validation.someone("model_name", model_name)

        def apply(session: Session, at: datetime) -> Session:
            require_not_deleted(session)
            usage = session.model_usage
            field = f"{model_type}_models_used"
            used: tuple[str, ...] = getattr(usage, field)
            if model_name not in used:
                if len(used) >= self._limits.tags:
                    raise InvalidInput(f"More than {self._limits.tags} models", field="model_name")
                used = (*used, model_name)
            return replace(
                session,
                model_usage=replace(
                    usage,
                    **{field: used},
                    model_switches=usage.model_switches + 1,
                    last_model_switch=at,
                ),
            )

        return await self._sessions.change(principal, session_id, apply)


def _at_rest(session: Session) -> Mapping[str, Any]:
    return {
        "name": session.collection,
        "residency": session.residency.value,
        "points_count": session.points_count,
    }
