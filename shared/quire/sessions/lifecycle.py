"""The states of a session and every way from one to another."""

from __future__ import annotations

from enum import StrEnum

from quire.errors import TransitionForbidden


class State(StrEnum):
    """Where a session is in its life. Only the middle three are ever shown."""

    PROVISIONING = "provisioning"  # its row is there, its collection not yet surely
    ACTIVE = "active"
    ARCHIVED = "archived"
    DELETED = "deleted"  # restorable until it is purged
    PURGING = "purging"  # going for good; nobody sees it any more

    @property
    def is_visible(self) -> bool:
        return self in (State.ACTIVE, State.ARCHIVED, State.DELETED)


class Action(StrEnum):
    PROVISION = "provision"
    ARCHIVE = "archive"
    RESTORE = "restore"
    DELETE = "delete"
    PURGE = "purge"


TRANSITIONS: dict[tuple[State, Action], State] = {
    (State.PROVISIONING, Action.PROVISION): State.ACTIVE,
    (State.PROVISIONING, Action.PURGE): State.PURGING,
    (State.ACTIVE, Action.ARCHIVE): State.ARCHIVED,
    (State.ACTIVE, Action.RESTORE): State.ACTIVE,
    (State.ACTIVE, Action.DELETE): State.DELETED,
    (State.ACTIVE, Action.PURGE): State.PURGING,
    (State.ARCHIVED, Action.ARCHIVE): State.ARCHIVED,
    (State.ARCHIVED, Action.RESTORE): State.ACTIVE,
    (State.ARCHIVED, Action.DELETE): State.DELETED,
    (State.ARCHIVED, Action.PURGE): State.PURGING,
    (State.DELETED, Action.RESTORE): State.ACTIVE,
    (State.DELETED, Action.DELETE): State.DELETED,
    (State.DELETED, Action.PURGE): State.PURGING,
    (State.PURGING, Action.PURGE): State.PURGING,
}
"""What is not here is forbidden. An action that leads back to its own state changes nothing."""


def after(state: State, action: Action) -> State:
    """The state that an action leads to; a forbidden one says which are allowed."""
    try:
        return TRANSITIONS[state, action]
    except KeyError:
        allowed = sorted(a for (s, a) in TRANSITIONS if s is state)
        raise TransitionForbidden(
            f"A session that is {state} cannot {action}; allowed from here: {', '.join(allowed)}",
            status_now=state.value,
            allowed=[str(a) for a in allowed],
        ) from None
