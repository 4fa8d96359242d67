"""Sessions against a plain model: whatever is done in whatever order, both say the same.

The model is a dictionary and a few lines for each operation. Time passes by moving the past back
(see `house.let_pass`), so both sides read the same clock.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import count
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from quire.access.policy import Role
from quire.access.principal import Principal, Scope
from quire.errors import (
    Conflict,
    Expired,
    Forbidden,
    PreconditionFailed,
    QuireError,
    SessionNotFound,
    TransitionForbidden,
)
from quire.sessions.lifecycle import Action
from quire.sessions.listing import Order, SessionFilter
from quire.sessions.models import Outcome, Session, Status
from quire.sessions.requests import NewSession, SessionChange
from quire.sessions.retention_policy import RetentionPolicy
from tests.sessions.house import finish_purges, let_pass, person, quire_in

if TYPE_CHECKING:
    from quire.app import Quire

ROLES = list(Role)
TTL = 1_000
POLICY = RetentionPolicy(auto_archive_inactive_days=None, auto_delete_archived_days=None)


@dataclass
class Expected:
    """All that the model knows of a session."""

    id: str
    owner: str
    group: str | None
    name: str
    tags: tuple[str, ...]
    metadata: dict[str, Any]
    state: str = "active"
    roles: dict[str, Role] = field(default_factory=dict)
    outcome: Outcome | None = None
    version: int = 1
    ttl: int | None = None
    left: float | None = None  # seconds until it expires
    swept: bool = False

    @property
    def expired(self) -> bool:
        return self.left is not None and self.left <= 0

    @property
    def status(self) -> Status:
        return Status.SHARED if self.state == "active" and self.roles else Status(self.state)

    def role_of(self, who: Principal) -> Role | None:
        if who.is_operator or who.subject == self.owner:
            return Role.ADMIN
        roles = [self.roles[who.subject]] if who.subject in self.roles else []
        if self.group in who.groups:
            roles.append(Role.WRITE)
        return max(roles, key=ROLES.index, default=None)

    def used(self) -> None:
        if self.ttl is not None:
            self.left = self.ttl

    def changed(self) -> None:
        self.version += 1
        self.used()


class SessionMachine(RuleBasedStateMachine):
    """Operations in any order, by three people and an operator, on sessions in any state."""

    portal: ClassVar[BlockingPortal]
    quire: ClassVar[Quire]
    numbers: ClassVar[Iterator[int]] = count()

    sessions = Bundle("sessions")
    people = st.sampled_from(["owner", "member", "guest", "operator"])

    @initialize()
    def begin(self) -> None:
        # Names of this run alone, so that what earlier ones left is nobody's to see.
        self.run = next(self.numbers)
        self.group = f"group-{self.run}"
        self.who = {
            "owner": person(f"owner-{self.run}", self.group),
            "member": person(f"member-{self.run}", self.group),
            "guest": person(f"guest-{self.run}"),
            "operator": Principal(f"operator-{self.run}", scope=Scope.ADMIN),
        }
        self.model: dict[str, Expected] = {}

    def teardown(self) -> None:
        async def clear() -> None:
            operator = self.who["operator"]
            for expected in self.model.values():
                if not expected.expired:
                    await self.quire.sessions.delete_for_good(operator, expected.id)
            await self.quire.retention.sweep(POLICY)
            await finish_purges(self.quire)

        if hasattr(self, "model"):
            self.portal.call(clear)

    def do(
        self,
        who: str,
        session_id: str,
        needed: Role,
        act: Callable[[Principal], Any],
        refused: type[QuireError] | None = None,
    ) -> Any:
        """Do something that needs a role; everything but success is predicted here.

        Answers None when it was refused, as it should have been.
        """
        caller = self.who[who]
        expected = self.model.get(session_id)
        role = None if expected is None else expected.role_of(caller)
        if expected is None or role is None:
            refused = SessionNotFound
        elif expected.expired:
            refused = Expired
        elif ROLES.index(role) < ROLES.index(needed):
            refused = Forbidden
        if refused is None:
            return self.portal.call(act, caller)
        with pytest.raises(refused) as refusal:
            self.portal.call(act, caller)
        assert type(refusal.value) is refused
        return None

    def agree(self, expected: Expected, session: Session) -> None:
        assert session.id == expected.id
        assert session.owner_id == expected.owner
        assert session.status is expected.status
        assert session.name == expected.name
        assert session.tags == expected.tags
        assert dict(session.metadata) == expected.metadata
        assert session.outcome is expected.outcome
        assert {c.user_id: c.role for c in session.collaborators} == expected.roles
        assert session.etag == f'"{expected.version}"'
        assert (session.expires_at is None) == (expected.left is None)

    # Rules

    @rule(
        target=sessions,
        number=st.integers(0, 3),
        who=st.sampled_from(["owner", "member"]),
        grouped=st.booleans(),
        ttl=st.sampled_from([None, None, TTL]),
        tags=st.sets(st.sampled_from("ab")).map(lambda tags: tuple(sorted(tags))),
    )
    def create(
        self, number: int, who: str, grouped: bool, ttl: int | None, tags: tuple[str, ...]
    ) -> Any:
        session_id = f"machine-{self.run}-{number}"
        group = self.group if grouped else None
        caller = self.who[who]
        new = NewSession(name=f"by {who}", id=session_id, group=group, tags=tags, ttl_seconds=ttl)
        there = self.model.get(session_id)
        refused: type[QuireError] | None = None
        if there is not None and there.owner != caller.subject:
            refused = Conflict
        elif there is not None and there.expired and not there.swept:
            refused = Expired
        elif there is not None and not there.expired and there.state == "deleted":
            refused = Conflict
        if there is not None and there.swept:
            there = refused = None  # the id is free again
        if refused is not None:
            with pytest.raises(refused):
                self.portal.call(self.quire.creation.create, caller, new)
            return multiple()
        session, made = self.portal.call(self.quire.creation.create, caller, new)
        assert made == (there is None)
        if there is None:
            there = Expected(
                session_id, str(caller.subject), group, new.name, tags, {}, ttl=ttl, left=ttl
            )
            self.model[session_id] = there
        self.agree(there, session)
        return session_id

    @rule(session_id=sessions, who=people)
    def get(self, session_id: str, who: str) -> None:
        session = self.do(
            who, session_id, Role.READ, lambda caller: self.quire.sessions.get(caller, session_id)
        )
        if session is not None:
            expected = self.model[session_id]
            self.agree(expected, session)
            if expected.state != "deleted":
                expected.used()

    @rule(
        session_id=sessions,
        who=people,
        value=st.integers(0, 2),
        tags=st.none() | st.sampled_from([(), ("a",), ("b", "a")]),
        nulls=st.booleans(),
        stale=st.booleans(),
    )
    def update(
        self,
        session_id: str,
        who: str,
        value: int,
        tags: tuple[str, ...] | None,
        nulls: bool,
        stale: bool,
    ) -> None:
        expected = self.model.get(session_id)
        patch: dict[str, Any] = {"k": None if nulls and value == 0 else value}
        given: dict[str, Any] = {"metadata": patch, "nulls_remove": nulls, "name": f"n{value}"}
        if tags is not None:
            given["tags"] = tags
        version = 0 if expected is None else expected.version
        if_match = f'"{version - 1}"' if stale else f'"7000", "{version}"'
        refused: type[QuireError] | None = None
        if stale:
            refused = PreconditionFailed
        elif expected is not None and expected.state == "deleted":
            refused = Conflict
        session = self.do(
            who,
            session_id,
            Role.WRITE,
            lambda caller: self.quire.sessions.update(
                caller, session_id, SessionChange(**given), if_match=if_match
            ),
            refused,
        )
        if session is None or expected is None:
            return
        metadata = {**expected.metadata, **patch}
        if nulls:
            metadata = {key: held for key, held in metadata.items() if held is not None}
        after = (f"n{value}", expected.tags if tags is None else tags, metadata)
        if after != (expected.name, expected.tags, expected.metadata):
            expected.name, expected.tags, expected.metadata = after
            expected.changed()
        self.agree(expected, session)

    @rule(session_id=sessions, who=people, whom=people, role=st.sampled_from(ROLES))
    def share(self, session_id: str, who: str, whom: str, role: Role) -> None:
        expected = self.model.get(session_id)
        user = str(self.who[whom].subject)
        deleted = expected is not None and expected.state == "deleted"
        session = self.do(
            who,
            session_id,
            Role.ADMIN,
            lambda caller: self.quire.sharing.share(caller, session_id, [user], role),
            Conflict if deleted else None,
        )
        if session is not None and expected is not None:
            if user != expected.owner and expected.roles.get(user) is not role:
                expected.roles[user] = role
                expected.changed()
            self.agree(expected, session)

    @rule(session_id=sessions, who=people, whom=people)
    def unshare(self, session_id: str, who: str, whom: str) -> None:
        expected = self.model.get(session_id)
        user = str(self.who[whom].subject)
        session = self.do(
            who,
            session_id,
            Role.READ if who == whom else Role.ADMIN,
            lambda caller: self.quire.sharing.unshare(caller, session_id, user),
        )
        if session is not None and expected is not None:
            if expected.roles.pop(user, None) is not None:
                expected.changed()
            self.agree(expected, session)

    def move(self, session_id: str, who: str, action: Action, to: str, allowed: set[str]) -> None:
        expected = self.model.get(session_id)
        forbidden = expected is not None and expected.state not in allowed
        act = getattr(self.quire.sessions, action.value)
        session = self.do(
            who,
            session_id,
            Role.ADMIN,
            lambda caller: act(caller, session_id),
            TransitionForbidden if forbidden else None,
        )
        if session is not None and expected is not None:
            before = (expected.state, expected.outcome)
            expected.state = to
            if action is Action.RESTORE:
                expected.outcome = None
            if before != (expected.state, expected.outcome):
                expected.changed()
            self.agree(expected, session)

    @rule(session_id=sessions, who=people)
    def archive(self, session_id: str, who: str) -> None:
        self.move(session_id, who, Action.ARCHIVE, "archived", {"active", "archived"})

    @rule(session_id=sessions, who=people)
    def restore(self, session_id: str, who: str) -> None:
        self.move(session_id, who, Action.RESTORE, "active", {"active", "archived", "deleted"})

    @rule(session_id=sessions, who=people)
    def delete(self, session_id: str, who: str) -> None:
        self.move(session_id, who, Action.DELETE, "deleted", {"active", "archived", "deleted"})

    @rule(session_id=sessions, who=people, outcome=st.sampled_from(Outcome))
    def end(self, session_id: str, who: str, outcome: Outcome) -> None:
        expected = self.model.get(session_id)
        refused = None
        if (
            expected is not None
            and expected.outcome is not outcome
            and (expected.outcome is not None or expected.state == "deleted")
        ):
            refused = Conflict
        session = self.do(
            who,
            session_id,
            Role.WRITE,
            lambda caller: self.quire.sessions.end(caller, session_id, outcome),
            refused,
        )
        if session is not None and expected is not None:
            if expected.outcome is None:
                expected.outcome = outcome
                expected.changed()
            self.agree(expected, session)

    @rule(session_id=consumes(sessions), who=people)
    def purge(self, session_id: str, who: str) -> None:
        async def for_good(caller: Principal) -> str:
            job_id = await self.quire.sessions.delete_for_good(caller, session_id)
            return (await self.quire.jobs.wait(job_id, 30)).status.value

        if (done := self.do(who, session_id, Role.ADMIN, for_good)) is not None:
            assert done == "succeeded"
            del self.model[session_id]

    @rule(seconds=st.sampled_from([TTL // 2 + 1, TTL // 2 + 1, TTL + 1]))
    def time_passes(self, seconds: int) -> None:
        if self.model:
            self.portal.call(let_pass, self.quire, timedelta(seconds=seconds), *self.model)
        for expected in self.model.values():
            if expected.left is not None:
                expected.left -= seconds

    @rule()
    def sweep(self) -> None:
        async def sweep_all() -> None:
            await self.quire.retention.sweep(POLICY)
            await finish_purges(self.quire)

        self.portal.call(sweep_all)
        for expected in self.model.values():
            expected.swept = expected.swept or expected.expired

    # What always holds

    @invariant()
    def lists_hold_what_each_may_see(self) -> None:
        if not hasattr(self, "model"):
            return
        for caller in self.who.values():
            for status in (None, *Status):
                page = self.portal.call(self.listed, caller, status)
                found = {s.id for s in page if s.id.startswith(f"machine-{self.run}-")}
                assert found == {
                    expected.id
                    for expected in self.model.values()
                    if not expected.swept
                    and expected.role_of(caller) is not None
                    and (
                        expected.state in ("active", "archived")
                        if status is None
                        else expected.status is status
                    )
                }

    async def listed(self, caller: Principal, status: Status | None) -> list[Session]:
        page = await self.quire.listing.find(
            caller, SessionFilter(status=status), order=Order.CREATED, limit=1000
        )
        return list(page.sessions)


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[type[SessionMachine]]:
    """The machine over one Quire, whose loop runs beside Hypothesis, which knows no `await`."""
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(quire_in(tmp_path_factory.mktemp("machine"))) as quire,
    ):
        SessionMachine.portal = portal
        SessionMachine.quire = quire
        yield SessionMachine


def run(machine: type[SessionMachine], *, examples: int, steps: int) -> None:
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_sessions_are_as_the_model_says(machine: type[SessionMachine]) -> None:
    run(machine, examples=12, steps=30)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_sessions_are_as_the_model_says_for_long(machine: type[SessionMachine]) -> None:
    run(machine, examples=600, steps=80)
