"""Every state, every action: the table says what follows, and everything else is refused."""

from __future__ import annotations

import pytest

from quire.errors import TransitionForbidden
from quire.sessions.lifecycle import Action, State, after

A, R, D, P, PROVISION = (
    Action.ARCHIVE,
    Action.RESTORE,
    Action.DELETE,
    Action.PURGE,
    Action.PROVISION,
)

# Written out a second time, by hand, from the issue: what is None is forbidden.
EXPECTED: dict[State, dict[Action, State | None]] = {
    State.PROVISIONING: {PROVISION: State.ACTIVE, A: None, R: None, D: None, P: State.PURGING},
    State.ACTIVE: {
        PROVISION: None, A: State.ARCHIVED, R: State.ACTIVE, D: State.DELETED, P: State.PURGING,
    },
    State.ARCHIVED: {
        PROVISION: None, A: State.ARCHIVED, R: State.ACTIVE, D: State.DELETED, P: State.PURGING,
    },
    State.DELETED: {
        PROVISION: None, A: None, R: State.ACTIVE, D: State.DELETED, P: State.PURGING,
    },
    State.PURGING: {PROVISION: None, A: None, R: None, D: None, P: State.PURGING},
}  # fmt: skip

CASES = [(state, action) for state in State for action in Action]


@pytest.mark.parametrize(("state", "action"), CASES)
def test_every_action_in_every_state(state: State, action: Action) -> None:
    expected = EXPECTED[state][action]
    if expected is not None:
        assert after(state, action) is expected
        return
    with pytest.raises(TransitionForbidden) as refusal:
        after(state, action)
    allowed = {a.value for a, follows in EXPECTED[state].items() if follows is not None}
    assert refusal.value.status == 409
    assert set(refusal.value.details["allowed"]) == allowed
    assert refusal.value.details["status_now"] == state.value
    for name in allowed:
        assert name in refusal.value.message


def test_only_what_is_whole_is_shown() -> None:
    assert {state for state in State if state.is_visible} == {
        State.ACTIVE,
        State.ARCHIVED,
        State.DELETED,
    }
