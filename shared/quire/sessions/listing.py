"""Finding sessions: filters, order, pages."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

import orjson
import sqlalchemy as sa

from quire.access.policy import visible_to
from quire.access.principal import Principal
from quire.errors import InvalidInput
from quire.sessions.lifecycle import State
from quire.sessions.models import Outcome, Session, Status
from quire.sessions.repository import SessionRepository
from quire.sessions.rows import PURPOSE_CHARS, SELECT_SESSIONS
from quire.store.columns import EPOCH, Moment
from quire.store.tables import invocations, session_collaborators, session_tags, sessions


class Order(StrEnum):
    """Newest first, by this time. By creation, paging never misses or repeats a session."""

    UPDATED = "updated_at"
    CREATED = "created_at"


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionFilter:
    """All that is given must hold; of several tags, one is enough.

    `since` and `until` are about the time that the list is ordered by.
    """

    status: Status | None = None
    owner_id: str | None = None
    user: str | None = None
    """Its owner or one of its collaborators."""
    group: str | None = None
    tags: tuple[str, ...] = ()
    q: str | None = None
    outcome: Outcome | None = None
    purpose: str | None = None
    """`purpose` in the session's metadata."""
    tool: str | None = None
    """One that was invoked in the session."""
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class SessionPage:
    sessions: Sequence[Session]
    next_cursor: str | None


class Listing:
    """The sessions that a caller may see, page by page."""

    def __init__(self, repository: SessionRepository) -> None:
        self._repository = repository

    async def find(
        self,
        principal: Principal,
        filter: SessionFilter,
        *,
        order: Order = Order.UPDATED,
        cursor: str | None = None,
        limit: int = 100,
    ) -> SessionPage:
        moment = sessions.c[order.value]
        conditions = [visible_to(principal), *_conditions(filter)]
        if filter.since is not None:
            conditions.append(moment >= filter.since)
        if filter.until is not None:
            conditions.append(moment < filter.until)
        if cursor is not None:
            at, session_id = _decode(cursor, order)
            key = sa.tuple_(moment, sessions.c.id, types=[Moment(), sa.String()])
            conditions.append(key < (at, session_id))
        found = await self._repository.select(
            SELECT_SESSIONS.where(*conditions)
            .order_by(moment.desc(), sessions.c.id.desc())
            .limit(limit + 1)
        )
        page = found[:limit]
        more = len(found) > limit
        return SessionPage(page, _encode(page[-1], order) if more else None)


def _conditions(filter: SessionFilter) -> list[sa.ColumnElement[bool]]:
    conditions: list[sa.ColumnElement[bool]] = []
    state = sessions.c.state
    collaborators = sa.exists().where(session_collaborators.c.session_id == sessions.c.id)
    match filter.status:
        case None:
            conditions.append(state.in_([State.ACTIVE.value, State.ARCHIVED.value]))
        case Status.SHARED:
            conditions += [state == State.ACTIVE.value, collaborators]
        case Status.ACTIVE:
            conditions += [state == State.ACTIVE.value, sa.not_(collaborators)]
        case other:
            conditions.append(state == other.value)
    if filter.owner_id is not None:
        conditions.append(sessions.c.owner_id == filter.owner_id)
    if filter.user is not None:
        shared = sa.select(session_collaborators.c.session_id).where(
            session_collaborators.c.user_id == filter.user
        )
        conditions.append((sessions.c.owner_id == filter.user) | sessions.c.id.in_(shared))
    if filter.purpose is not None:
        conditions.append(sessions.c.purpose == filter.purpose[:PURPOSE_CHARS])
        if len(filter.purpose) > PURPOSE_CHARS:
            whole = sessions.c.metadata["purpose"].as_string()
            conditions.append(whole == filter.purpose)
    if filter.tool is not None:
        used = sa.select(invocations.c.session_id).where(invocations.c.tool == filter.tool)
        conditions.append(sessions.c.id.in_(used))
    if filter.group is not None:
        conditions.append(sessions.c.group_name == filter.group)
    if filter.outcome is not None:
        conditions.append(sessions.c.outcome == filter.outcome.value)
    if filter.tags:
        tagged = sa.select(session_tags.c.session_id).where(session_tags.c.tag.in_(filter.tags))
        conditions.append(sessions.c.id.in_(tagged))
    if filter.q:
        conditions.append(
            sa.or_(
                sessions.c.name.icontains(filter.q, autoescape=True),
                sessions.c.description.icontains(filter.q, autoescape=True),
            )
        )
    return conditions


def _encode(session: Session, order: Order) -> str:
    at: datetime = getattr(session, order.value)
    place = orjson.dumps([order.value, (at - EPOCH).total_seconds(), session.id])
    return base64.urlsafe_b64encode(place).decode().rstrip("=")


def _decode(cursor: str, order: Order) -> tuple[datetime, str]:
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        place: Any = orjson.loads(base64.urlsafe_b64decode(padded.encode("ascii")))
        named, seconds, session_id = place
        at = datetime.fromtimestamp(seconds, tz=EPOCH.tzinfo)
    except (ValueError, TypeError, OverflowError, OSError, binascii.Error) as error:
        raise InvalidInput(
            "cursor is not one that this list gave out; take it from the Link header",
            field="cursor",
        ) from error
    if named != order.value or not isinstance(session_id, str) or "\x00" in session_id:
        raise InvalidInput("cursor belongs to a list in another order", field="cursor")
    return at, session_id
