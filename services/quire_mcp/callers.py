"""Who calls a tool: the same principal as over REST, and the agent that it is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from quire.access.principal import Principal
from quire.activity.agents import Agent


@dataclass(frozen=True, slots=True)
class Caller:
    """The one who makes this call, and where the API is for them."""

    principal: Principal
    agent: Agent
    url: str
    """The API's own, without a slash at its end."""


_CALLER: ContextVar[Caller] = ContextVar("quire_caller")


def caller() -> Caller:
    """The caller of the tool that runs."""
    return _CALLER.get()


@contextmanager
def calling(who: Caller) -> Iterator[None]:
    """What is begun within it is begun by this caller."""
    token = _CALLER.set(who)
    try:
        yield
    finally:
        _CALLER.reset(token)
