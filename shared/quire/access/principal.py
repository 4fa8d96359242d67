"""The one who calls."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Scope(StrEnum):
    """How far a token reaches, whatever the roles of its holder. Each includes those before it."""

    READ = "read"
    WRITE = "write"
    ADMIN = "admin"

    @property
    def reach(self) -> int:
        return list(Scope).index(self)


@dataclass(frozen=True, slots=True)
class Principal:
    """A verified caller: who they are, their groups, how far their token reaches.

    `admin` makes an operator: all sessions, the retention policy, reconciling.
    """

    subject: str | None
    groups: frozenset[str] = frozenset()
    scope: Scope = Scope.READ

    @property
    def is_operator(self) -> bool:
        return self.scope is Scope.ADMIN


LOCAL = Principal(subject=None, scope=Scope.ADMIN)
"""Whoever sits at this machine, where no authentication is configured."""
