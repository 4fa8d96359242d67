"""Several sessions side by side."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from quire.access.principal import Principal
from quire.errors import BadRequest
from quire.sessions.models import Session
from quire.sessions.sessions import Sessions
from quire.sessions.statistics import COUNTERS
from quire.settings import LimitSettings


@dataclass(frozen=True, slots=True)
class CounterSpread:
    """How one counter differs between the sessions."""

    least: int
    most: int
    by_session: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Comparison:
    sessions: Sequence[Session]
    statuses: Mapping[str, int]
    llm_models: Sequence[str]
    embedding_models: Sequence[str]
    common_models: Sequence[str]
    counters: Mapping[str, CounterSpread]


class Comparer:
    """Compares sessions that the caller may read."""

    def __init__(self, sessions: Sessions, limits: LimitSettings) -> None:
        self._sessions = sessions
        self._limits = limits

    async def compare(self, principal: Principal, session_ids: Sequence[str]) -> Comparison:
        distinct = list(dict.fromkeys(session_ids))
        if not 2 <= len(distinct) <= self._limits.compare_sessions:
            raise BadRequest(
                f"Name 2 to {self._limits.compare_sessions} different sessions in session_ids, "
                "separated by commas (QUIRE_LIMITS_COMPARE_SESSIONS)",
                field="session_ids",
            )
        found = [await self._sessions.get(principal, session_id) for session_id in distinct]
        llm = [set(session.model_usage.llm_models_used) for session in found]
        embedding = [set(session.model_usage.embedding_models_used) for session in found]
        return Comparison(
            sessions=found,
            statuses=Counter(session.status.value for session in found),
            llm_models=sorted(set.union(*llm)),
            embedding_models=sorted(set.union(*embedding)),
            common_models=sorted(set.intersection(*llm) | set.intersection(*embedding)),
            counters={name: _spread(found, name) for name in COUNTERS},
        )


def _spread(sessions: Sequence[Session], counter: str) -> CounterSpread:
    by_session = {session.id: getattr(session.processing_stats, counter) for session in sessions}
    return CounterSpread(min(by_session.values()), max(by_session.values()), by_session)
