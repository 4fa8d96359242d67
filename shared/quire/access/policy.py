"""The one policy: who may see and do what. Every interface asks here, and nowhere else.

A session's owner and an operator have the role `admin` in it; members of its group `write`;
a collaborator the role they were given; everyone else none, and for them it does not exist.
A token's scope caps what its holder may do, whatever their role.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Protocol

import sqlalchemy as sa

from quire.access.principal import Principal, Scope
from quire.errors import Forbidden, NotFound, SessionNotFound
from quire.store.tables import session_collaborators, sessions


class Role(StrEnum):
    """What someone may do in a session. Each includes those before it."""

    READ = "read"
    WRITE = "write"
    ADMIN = "admin"

    @property
    def reach(self) -> int:
        return list(Role).index(self)


class Collaborator(Protocol):
    @property
    def user_id(self) -> str: ...
    @property
    def role(self) -> Role: ...


class Shared(Protocol):
    """What the policy needs to know of a session."""

    @property
    def id(self) -> str: ...
    @property
    def owner_id(self) -> str | None: ...
    @property
    def group(self) -> str | None: ...
    @property
    def collaborators(self) -> Iterable[Collaborator]: ...


def role_of(principal: Principal, session: Shared) -> Role | None:
    """The caller's role in a session; None where it must not exist for them."""
    if principal.is_operator:
        return Role.ADMIN
    if principal.subject is None:
        return None
    if session.owner_id == principal.subject:
        return Role.ADMIN
    roles = [c.role for c in session.collaborators if c.user_id == principal.subject]
    if session.group is not None and session.group in principal.groups:
        roles.append(Role.WRITE)
    return max(roles, key=lambda role: role.reach, default=None)


def visible_to(principal: Principal) -> sa.ColumnElement[bool]:
    """`role_of(principal, session) is not None`, as SQL over the table of sessions."""
    if principal.is_operator:
        return sa.true()
    if principal.subject is None:
        return sa.false()
    shared = (
        sa.select(session_collaborators.c.session_id)
        .where(session_collaborators.c.user_id == principal.subject)
        .scalar_subquery()
    )
    reasons = [sessions.c.owner_id == principal.subject, sessions.c.id.in_(shared)]
    if principal.groups:
        reasons.append(sessions.c.group_name.in_(sorted(principal.groups)))
    return sa.or_(*reasons)


def require(principal: Principal, session: Shared, needed: Role) -> None:
    """Raise unless the caller may do what `needed` stands for in this session."""
    role = role_of(principal, session)
    if role is None:
        raise session_not_found(session.id)
    if role.reach < needed.reach:
        raise Forbidden(
            f"Your role in session {session.id} is {role}; this needs {needed}", role=role
        )
    _require_scope(principal, needed)


def require_create(principal: Principal, owner_id: str | None, group: str | None) -> None:
    """Raise unless the caller may make a session for this owner and group."""
    _require_scope(principal, Role.WRITE)
    if principal.is_operator:
        return
    if owner_id != principal.subject:
        raise Forbidden("Only an operator may create sessions for someone else", field="owner_id")
    require_group(principal, group)


def require_group(principal: Principal, group: str | None) -> None:
    """Raise unless the caller may hand a session to this group."""
    if group is not None and group not in principal.groups and not principal.is_operator:
        raise Forbidden(f"You are not in the group {group}", field="group")


def require_writer(principal: Principal) -> None:
    """Raise unless the caller's token lets them change anything at all."""
    _require_scope(principal, Role.WRITE)


def require_operator(principal: Principal) -> None:
    """Raise unless the caller may do what concerns everyone's sessions."""
    if not principal.is_operator:
        raise Forbidden(
            "This concerns everyone's sessions and needs a token with the scope admin",
            recovery="Have an operator do it, or use a token with the scope admin.",
        )


def may_see_job(principal: Principal, owner_id: str | None, session: Shared | None) -> bool:
    """Jobs are seen by who submitted them and by who sees their session."""
    if principal.is_operator or (principal.subject is not None and owner_id == principal.subject):
        return True
    return session is not None and role_of(principal, session) is not None


def session_not_found(session_id: str) -> NotFound:
    """The same words whether it is not there or not theirs to see."""
    return SessionNotFound(f"There is no session {session_id}, or you may not see it")


def _require_scope(principal: Principal, needed: Role) -> None:
    cap = Scope.READ if needed is Role.READ else Scope.WRITE
    if principal.scope.reach < cap.reach:
        raise Forbidden(
            f"Your token has the scope {principal.scope}; this needs {cap}",
            recovery=f"Use a token with the scope {cap}.",
        )
