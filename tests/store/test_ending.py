"""What a transaction does last, and who hears that it is over."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from quire.store import Database
from quire.store.ending import ending_of
from quire.store.feed import say

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


async def test_what_is_to_be_last_is_written_once_after_everything_else(tmp_path: Path) -> None:
    done: list[Any] = []

    async def write(connection: object, items: Sequence[int]) -> None:
        done.append(list(items))

    database = Database.sqlite(tmp_path / "quire.db")
    async with database.write() as connection:
        ending_of(connection).write_last(write, [1])
        done.append("first")
        ending_of(connection).write_last(write, [2, 3])
        ending_of(connection).afterwards(lambda: done.append("over"))
    assert done == ["first", [1, 2, 3], "over"]
    # and nothing of it is left to the next transaction on the same connection
    async with database.write():
        pass
    assert len(done) == 3
    with pytest.raises(RuntimeError, match="fails"):
        await _fail(database, write)
    assert len(done) == 3
    await database.close()


async def _fail(database: Database, write: Any) -> None:
    async with database.write() as connection:
        ending_of(connection).write_last(write, [4])
        raise RuntimeError("it fails")


async def test_outside_a_transaction_there_is_no_end_to_wait_for(tmp_path: Path) -> None:
    database = Database.sqlite(tmp_path / "quire.db")
    async with database.read() as connection:
        with pytest.raises(RuntimeError, match=r"Database\.write"):
            ending_of(connection)
    await database.close()


async def test_word_is_heard_when_the_transaction_is_over(tmp_path: Path) -> None:
    heard: list[str | None] = []
    database = Database.sqlite(tmp_path / "quire.db")
    feed = database.feed("test", heard.append)
    assert not feed.is_sure
    feed.open()
    assert feed.is_sure
    async with database.write() as connection:
        await say(connection, "test", {"one"})
        await say(connection, "other", {"two"})
        assert heard == []
    assert heard == ["one"]
    await feed.close()
    async with database.write() as connection:
        await say(connection, "test", {"three"})
    assert heard == ["one"]
    await database.close()
