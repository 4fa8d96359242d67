"""What a change of a session's row is to those who follow the session."""

from __future__ import annotations

from collections.abc import Sequence

from quire.events.log import EventKind, NewEvent
from quire.sessions.lifecycle import State
from quire.sessions.models import Session


def events_of_creation(session: Session) -> Sequence[NewEvent]:
    """Nothing yet, while it is still being made."""
    return [_created(session)] if session.state.is_visible else []


def events_of_change(old: Session, new: Session) -> Sequence[NewEvent]:
    """That it is there, or is another, or is seen by others; that it goes is told by the purge."""
    if not new.state.is_visible:
        return []
    if old.state is State.PROVISIONING:
        return [_created(new)]
    data = {"version": new.version, "status": new.status.value, "points_count": new.points_count}
    events = [NewEvent(new.id, EventKind.SESSION_CHANGED, data)]
    if _access(old) != _access(new):
        shared = {
            "version": new.version,
            "owner_id": new.owner_id,
            "group": new.group,
            "shared_with": [collaborator.user_id for collaborator in new.collaborators],
        }
        events.append(NewEvent(new.id, EventKind.SESSION_SHARED, shared))
    return events


def _created(session: Session) -> NewEvent:
    return NewEvent(session.id, EventKind.SESSION_CREATED, {"version": session.version})


def _access(session: Session) -> tuple[object, ...]:
    return session.owner_id, session.group, session.collaborators
