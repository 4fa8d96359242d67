"""The policy says the same in Python and in SQL, for whatever sessions and callers there are."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from quire.access import policy
from quire.access.policy import Role, role_of, visible_to
from quire.access.principal import LOCAL, Principal, Scope
from quire.errors import Forbidden, SessionNotFound
from quire.sessions.lifecycle import State
from quire.sessions.models import Collaborator, Embedding, Session
from quire.sessions.repository import SessionRepository
from quire.sessions.rows import SELECT_SESSIONS
from quire.store import Database
from quire.store.columns import now
from quire.store.tables import sessions
from tests.store.template import migrated

if TYPE_CHECKING:
    from pathlib import Path

# Names that are like one another, so that one taken for another shows.
NAMES = ["ada", "Ada", "ada ", "garden", "a%", "_da", "é", ""]
PEOPLE = st.sampled_from([name for name in NAMES if name])
GROUPS = st.frozensets(PEOPLE, max_size=3)
PRINCIPALS = st.builds(Principal, st.none() | PEOPLE, GROUPS, st.sampled_from(Scope)) | st.just(
    LOCAL
)


@dataclass(frozen=True)
class Shown:
    id: str
    owner_id: str | None
    group: str | None
    collaborators: tuple[Collaborator, ...]


SHOWN = st.builds(
    Shown,
    st.just("s"),
    st.none() | PEOPLE,
    st.none() | PEOPLE,
    st.lists(
        st.builds(Collaborator, PEOPLE, st.sampled_from(Role)),
        max_size=3,
        unique_by=lambda collaborator: collaborator.user_id,
    ).map(tuple),
)


def as_session(shown: Shown, number: int) -> Session:
    at = now()
    return Session(
        id=f"s{number}",
        collection=f"c{number}",
        state=State.ACTIVE,
        name="s",
        owner_id=shown.owner_id,
        group=shown.group,
        collaborators=shown.collaborators,
        embedding=Embedding("p", "m", 4),
        created_at=at,
        updated_at=at,
        last_activity_at=at,
    )


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return migrated(tmp_path_factory.mktemp("policy"))


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(SHOWN, min_size=1, max_size=6), st.lists(PRINCIPALS, min_size=1, max_size=6))
def test_what_sql_finds_is_what_the_role_shows(
    database: Path, shown: list[Shown], principals: list[Principal]
) -> None:
    kept = [as_session(each, number) for number, each in enumerate(shown)]
    found = asyncio.run(seen_by(database, kept, principals))
    for principal, ids in zip(principals, found, strict=True):
        expected = {session.id for session in kept if role_of(principal, session) is not None}
        assert ids == expected, principal


async def seen_by(
    directory: Path, kept: list[Session], principals: list[Principal]
) -> list[set[str]]:
    store = Database.sqlite(directory / "quire.db")
    try:
        repository = SessionRepository(store)
        async with repository.transaction() as connection:
            await connection.execute(sa.delete(sessions))
            for session in kept:
                await repository.insert(connection, session)
        return [
            {s.id for s in await repository.select(SELECT_SESSIONS.where(visible_to(each)))}
            for each in principals
        ]
    finally:
        await store.close()


@given(SHOWN, PRINCIPALS, st.sampled_from(Role))
def test_no_role_and_too_small_a_role_are_different_refusals(
    shown: Shown, principal: Principal, needed: Role
) -> None:
    role = role_of(principal, shown)
    cap = Scope.READ if needed is Role.READ else Scope.WRITE
    if role is None:
        with pytest.raises(SessionNotFound):
            policy.require(principal, shown, needed)
    elif role.reach < needed.reach or principal.scope.reach < cap.reach:
        with pytest.raises(Forbidden):
            policy.require(principal, shown, needed)
    else:
        policy.require(principal, shown, needed)


@given(SHOWN, PRINCIPALS)
def test_roles_come_from_owning_operating_the_group_and_being_invited(
    shown: Shown, principal: Principal
) -> None:
    role = role_of(principal, shown)
    if principal.scope is Scope.ADMIN:
        assert role is Role.ADMIN
        return
    invited = {c.user_id: c.role for c in shown.collaborators}
    if principal.subject is None:
        assert role is None
    elif principal.subject == shown.owner_id:
        assert role is Role.ADMIN
    else:
        own = invited.get(principal.subject)
        grouped = Role.WRITE if shown.group in principal.groups else None
        given_roles = [each for each in (own, grouped) if each is not None]
        assert role == (max(given_roles, key=list(Role).index) if given_roles else None)


@given(SHOWN, PEOPLE, GROUPS, st.sampled_from(Role))
def test_a_scope_only_ever_takes_away(
    shown: Shown, subject: str, groups: frozenset[str], needed: Role
) -> None:
    def may(scope: Scope) -> bool:
        try:
            policy.require(Principal(subject, groups, scope), shown, needed)
        except (Forbidden, SessionNotFound):
            return False
        return True

    allowed = [may(scope) for scope in Scope]
    assert allowed == sorted(allowed)


def test_a_group_of_nobody_is_not_the_group_of_someone_without_groups() -> None:
    ungrouped = Shown("s", "ada", None, ())
    assert role_of(Principal("grace", frozenset(), Scope.WRITE), ungrouped) is None
    # whoever has no name owns nothing, not even what has no owner
    assert role_of(Principal(None, frozenset(), Scope.WRITE), Shown("s", None, None, ())) is None
