"""What sessions ask of residency, which lies above them: that a collection is there to be used."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Protocol

from quire.errors import Unavailable
from quire.sessions.models import Session

RETRY_SECONDS = 1.0
BRIEFLY = 0.05
"""A moment that nobody minds: most wake in it, and what cannot wake says so."""

_may_wait: ContextVar[bool] = ContextVar("may_wait", default=True)


class StillCold(Unavailable):
    """The session is being woken, and the caller did not want to wait for it."""

    code = "session_waking"
    recovery = "Send the request again in a moment; nothing of it was done."


class Waker(Protocol):
    """Brings collections into the engine when they are used, and out of it when they are not."""

    async def awake(self, session: Session, *, patience: float | None = None) -> Session:
        """The session with its collection in the engine: at once if it is hot, else woken.

        Any number of callers wait for one waking, and none of them can call it off. It counts as a
        use. Raises `StorageDamaged` when what was put away cannot be had again, and `StillCold`
        when it takes longer than so many seconds.
        """
        ...

    async def sleep(self, session_id: str, *, pack: bool | None = None) -> Session:
        """Let the session go cold; `Conflict` says what stands against it.

        With `pack` its points go into the blob store and out of the engine, without it the engine
        only closes them; None is the engine's own way. It returns when that is done.
        """
        ...

    def wake_soon(self, session: Session) -> None:
        """Begin to wake it, in the background: somebody will want it."""
        ...

    def sleep_soon(self, session: Session) -> None:
        """Begin to let it go cold, in the background, unless it is used meanwhile."""
        ...

    async def room(self) -> None:
        """Before one more session is hot: wait a little where far too many are."""
        ...

    def made(self, session: Session) -> None:
        """Told of every session that came to be: one more is hot."""
        ...


def patience() -> float | None:
    """How long who is being served waits for a session to wake; None: until it is awake."""
    return None if _may_wait.get() else BRIEFLY


@contextmanager
def without_waiting() -> Iterator[None]:
    """In this block a session that takes its time to wake goes on waking, and is `StillCold`."""
    token = _may_wait.set(False)
    try:
        yield
    finally:
        _may_wait.reset(token)


def still_cold(session: Session) -> StillCold:
    """What to say to who does not wait."""
    return StillCold(
        f"Session {session.id} is cold, and is being woken",
        retry_after=RETRY_SECONDS,
        session_id=session.id,
        residency=session.residency.value,
    )
