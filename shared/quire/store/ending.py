"""How a transaction ends: what is written last of all, and who is told when it is over."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from sqlalchemy.ext.asyncio import AsyncConnection

T = TypeVar("T")
Write = Callable[[AsyncConnection, Sequence[T]], Awaitable[None]]

KEY = "quire.ending"


class Ending:
    """Of one transaction that `Database.write` began."""

    def __init__(self) -> None:
        self._last: dict[Write[Any], list[Any]] = {}
        self._afterwards: dict[Callable[[], None], None] = {}
        self.said: dict[str, set[str]] = {}

    def write_last(self, write: Write[T], items: Sequence[T]) -> None:
        """Have `write` called once, with all its items, after every other statement."""
        self._last.setdefault(write, []).extend(items)

    def afterwards(self, do: Callable[[], None]) -> None:
        """Have this called once when the transaction is over; earlier there is nothing to see."""
        self._afterwards[do] = None

    def say(self, channel: str, names: Iterable[str]) -> None:
        """Have the listeners of this process hear these names when the transaction is over."""
        self.said.setdefault(channel, set()).update(names)

    async def write(self, connection: AsyncConnection) -> None:
        for write, items in self._last.items():
            await write(connection, items)

    def over(self) -> None:
        for do in self._afterwards:
            do()


def ending_of(connection: AsyncConnection) -> Ending:
    """The ending of the transaction that is open on this connection."""
    ending = connection.info.get(KEY)
    if not isinstance(ending, Ending):
        raise RuntimeError("This belongs in a transaction of Database.write")  # noqa: TRY004
    return ending


@asynccontextmanager
async def with_ending(connection: AsyncConnection, ending: Ending) -> AsyncIterator[None]:
    """The block that is the transaction, without its commit."""
    # It is the pool's dictionary, which outlives the transaction, as the connection may not.
    info = connection.info
    info[KEY] = ending
    try:
        yield
        await ending.write(connection)
    finally:
        del info[KEY]
