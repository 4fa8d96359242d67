"""Connections to the store: what a transaction promises, and what its failures are called."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import subprocess
import sys
from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from quire.errors import Unavailable
from quire.store import Database
from quire.store.columns import EPOCH, Json, Moment
from quire.store.database import SQLITE_READERS
from tests.backends.ports import free_ports

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from sqlalchemy.ext.asyncio import AsyncConnection

metadata = sa.MetaData()
notes = sa.Table(
    "notes",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("at", Moment),
    sa.Column("value", Json),
    sa.Column("count", sa.Integer, nullable=False, server_default="0"),
)


@pytest_asyncio.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
async def database(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Database]:
    """A database of each kind, with one table."""
    if request.param == "sqlite":
        opened = Database.sqlite(tmp_path / "notes.db")
    else:
        opened = Database.postgres(request.getfixturevalue("postgres_url"))
    try:
        async with opened.write() as connection:
            await connection.run_sync(metadata.create_all)
        yield opened
    finally:
        await opened.close()


async def ids(database: Database) -> set[int]:
    async with database.read() as connection:
        return set((await connection.execute(sa.select(notes.c.id))).scalars())


# Transactions


async def test_what_is_written_is_there_after_the_block(database: Database) -> None:
    async with database.write() as connection:
        await connection.execute(sa.insert(notes).values(id=1))
    assert await ids(database) == {1}


@pytest.mark.parametrize("error", [ValueError, asyncio.CancelledError, KeyError])
async def test_an_exception_takes_back_the_whole_block(
    database: Database, error: type[BaseException]
) -> None:
    async def fail() -> None:
        async with database.write() as connection:
            await connection.execute(sa.insert(notes).values(id=1))
            await connection.execute(sa.insert(notes).values(id=2))
            raise error

    with pytest.raises(error):
        await fail()
    assert await ids(database) == set()
    async with database.write() as connection:  # and the next goes on as if nothing had been
        await connection.execute(sa.insert(notes).values(id=3))
    assert await ids(database) == {3}


async def test_a_statement_that_fails_takes_back_the_whole_block(database: Database) -> None:
    async def repeat() -> None:
        async with database.write() as connection:
            await connection.execute(sa.insert(notes).values(id=1))
            await connection.execute(sa.insert(notes).values(id=1))

    with pytest.raises(sa.exc.IntegrityError):
        await repeat()
    assert await ids(database) == set()


async def test_a_cancelled_writer_leaves_nothing_and_blocks_no_one(database: Database) -> None:
    inside = asyncio.Event()

    async def stuck() -> None:
        async with database.write() as connection:
            await connection.execute(sa.insert(notes).values(id=1))
            inside.set()
            await asyncio.sleep(60)

    task = asyncio.create_task(stuck())
    await inside.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    async with asyncio.timeout(5), database.write() as connection:
        await connection.execute(sa.insert(notes).values(id=2))
    assert await ids(database) == {2}


async def test_writers_wait_for_each_other_and_none_is_lost(database: Database) -> None:
    # given a counter that thirty writers read and raise, each with a pause between
    async with database.write() as connection:
        await connection.execute(sa.insert(notes).values(id=1, count=0))

    async def add() -> None:
        async with database.write() as connection:
            await database.lock_sessions(connection, ["the counter"])
            count = await connection.scalar(sa.select(notes.c.count).where(notes.c.id == 1))
            await asyncio.sleep(0.001)
            await connection.execute(
                sa.update(notes).where(notes.c.id == 1).values(count=(count or 0) + 1)
            )

    await asyncio.gather(*(add() for _ in range(30)))
    async with database.read() as connection:
        assert await connection.scalar(sa.select(notes.c.count)) == 30


async def test_locks_in_any_order_do_not_deadlock(database: Database) -> None:
    names = [f"s{n}" for n in range(5)]

    async def lock(turn: int) -> None:
        async with database.write() as connection:
            await database.lock_sessions(connection, names[turn % 5 :] + names[: turn % 5])
            await asyncio.sleep(0.001)

    async with asyncio.timeout(20):
        await asyncio.gather(*(lock(turn) for turn in range(20)))


async def test_readers_see_what_is_committed_and_nothing_else(database: Database) -> None:
    async with database.write() as connection:
        await connection.execute(sa.insert(notes).values(id=1))
        assert await ids(database) == set()  # nor does a writer keep a reader waiting
    assert await ids(database) == {1}
    async with database.read() as reader:
        query = sa.select(sa.func.count()).select_from(notes)
        assert await reader.scalar(query) == 1
        async with database.write() as connection:
            await connection.execute(sa.insert(notes).values(id=2))
        assert await reader.scalar(query) == 2  # each statement stands alone


async def test_it_tells_its_version(database: Database) -> None:
    version = await database.ping()
    assert version == (sqlite3.sqlite_version if database.is_sqlite else version)
    assert version[0].isdigit()


async def test_sqlite_survives_power_cuts_and_checks_references(tmp_path: Path) -> None:
    database = Database.sqlite(tmp_path / "quire.db")
    try:
        for opened in (database.read, database.write):
            async with opened() as connection:
                pragmas = [
                    (await connection.execute(sa.text(f"PRAGMA {name}"))).scalar_one()
                    for name in ("journal_mode", "synchronous", "foreign_keys")
                ]
                assert pragmas == ["wal", 2, 1]
    finally:
        await database.close()


# Columns


async def through(database: Database, column: str, value: Any) -> Any:
    async with database.write() as connection:
        await connection.execute(sa.delete(notes))
        await connection.execute(sa.insert(notes).values(id=1, **{column: value}))
    async with database.read() as connection:
        return (await connection.execute(sa.select(notes.c[column]))).scalar_one()


MOMENTS = [
    EPOCH,
    EPOCH - timedelta(microseconds=1),
    datetime(2026, 11, 20, 9, 30, 0, 123_457, tzinfo=UTC),
    datetime(2026, 11, 20, 9, 30, 0, 999_999, tzinfo=UTC),
    datetime(2038, 1, 19, 3, 14, 8, 1, tzinfo=UTC),
    datetime(1, 1, 1, tzinfo=UTC),
    datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
    datetime(2026, 6, 1, 1, 0, 0, 7, tzinfo=timezone(timedelta(hours=5, minutes=30))),
]


async def test_moments_are_kept_to_the_microsecond(database: Database) -> None:
    for moment in MOMENTS:
        kept = await through(database, "at", moment)
        assert kept == moment
        assert kept.utcoffset() == timedelta(0)
    assert await through(database, "at", None) is None


async def test_moments_sort_as_time_does(database: Database) -> None:
    async with database.write() as connection:
        await connection.execute(
            sa.insert(notes), [{"id": n, "at": moment} for n, moment in enumerate(MOMENTS)]
        )
    async with database.read() as connection:
        rows = (await connection.execute(sa.select(notes.c.at).order_by(notes.c.at))).scalars()
        assert list(rows) == sorted(MOMENTS)


@given(
    st.datetimes(
        min_value=datetime(2, 1, 1),  # noqa: DTZ001 - Hypothesis adds the zone
        max_value=datetime(9998, 1, 1),  # noqa: DTZ001
        timezones=st.timezones(),
    )
)
def test_every_moment_comes_back_as_it_went_in(moment: datetime) -> None:
    column = Moment()
    dialect: Any = None
    kept = column.process_bind_param(moment, dialect)
    assert isinstance(kept, int)
    assert column.process_result_value(kept, dialect) == moment.astimezone(UTC)


VALUES: list[Any] = [
    {},
    {"text": 'é \U0001f5c2 "quoted" \\ \n\t', "": {"deep": [[[]]]}},
    {"true": True, "null": None, "zero": 0, "minus": -1, "large": 2**53, "fraction": 0.1},
    {"tiny": 5e-324, "huge": 1.7976931348623157e308, "third": 1 / 3},
    {"b": 1, "a": 2},
]


@pytest.mark.parametrize("value", VALUES)
async def test_json_is_kept_unchanged(database: Database, value: Any) -> None:
    kept = await through(database, "value", value)
    assert kept == value
    assert {key: type(entry) for key, entry in kept.items()} == {
        key: type(entry) for key, entry in value.items()
    }


# Failures by name


async def ask(opened: Callable[[], AbstractAsyncContextManager[AsyncConnection]]) -> None:
    async with opened() as connection:
        await connection.execute(sa.text("SELECT 1"))


async def test_a_lock_that_another_process_holds_is_unavailable(tmp_path: Path) -> None:
    database = Database.sqlite(tmp_path / "notes.db", timeout_seconds=0.2)
    other = sqlite3.connect(tmp_path / "notes.db", isolation_level=None)
    try:
        async with database.write() as connection:
            await connection.run_sync(metadata.create_all)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(Unavailable, match="locked"):
            await ask(database.write)
        assert await ids(database) == set()  # reading goes on
        other.execute("ROLLBACK")
        async with database.write() as connection:
            await connection.execute(sa.insert(notes).values(id=1))
    finally:
        other.close()
        await database.close()


async def test_a_pool_that_is_used_up_is_unavailable(tmp_path: Path) -> None:
    database = Database.sqlite(tmp_path / "notes.db", timeout_seconds=0.2)
    try:
        async with contextlib.AsyncExitStack() as stack:
            for _ in range(SQLITE_READERS):
                await stack.enter_async_context(database.read())
            with pytest.raises(Unavailable, match="busy"):
                await ask(database.read)
        assert await database.ping()
    finally:
        await database.close()


@pytest.mark.parametrize("seconds", [1.0])
async def test_a_server_that_is_not_there_is_unavailable(seconds: float) -> None:
    (port,) = free_ports(1)
    url = f"postgresql+psycopg://quire:swordfish@127.0.0.1:{port}/quire"
    database = Database.postgres(url, timeout_seconds=seconds)
    try:
        for opened in (database.read, database.write):
            with pytest.raises(Unavailable) as refusal:
                await ask(opened)
            assert "swordfish" not in f"{refusal.value.message} {refusal.value.details}"
            assert refusal.value.retry_after
        with pytest.raises(Unavailable):
            await database.ping()
    finally:
        await database.close()


@pytest.mark.postgres
async def test_a_connection_that_is_cut_is_unavailable_and_the_next_is_not(
    postgres_url: str,
) -> None:
    database = Database.postgres(postgres_url)
    try:

        async def cut_off() -> None:
            async with database.write() as connection:
                own = (await connection.execute(sa.text("SELECT pg_backend_pid()"))).scalar_one()
                async with database.read() as other:
                    await other.execute(sa.text(f"SELECT pg_terminate_backend({own})"))
                await connection.execute(sa.text("SELECT 1"))

        with pytest.raises(Unavailable):
            await cut_off()
        assert await database.ping()
    finally:
        await database.close()


FILL = """
import asyncio, pathlib, resource, sys
import sqlalchemy as sa
from quire.errors import StorageFull
from quire.store import Database
from tests.store.test_database import metadata, notes

async def fill(path: str, limit: int) -> None:
    database = Database.sqlite(pathlib.Path(path))
    async with database.write() as connection:
        await connection.run_sync(metadata.create_all)
        await connection.execute(sa.insert(notes).values(id=0, value={}))
    if limit:
        hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    acknowledged = 0
    try:
        for number in range(1, 100_000):
            async with database.write() as connection:
                await connection.execute(
                    sa.insert(notes).values(id=number, value={"x": "y" * 20_000})
                )
            acknowledged = number
    except StorageFull as error:
        assert error.status == 507 and error.retry_after
        async with database.read() as connection:
            count = await connection.scalar(sa.select(sa.func.count()).select_from(notes))
        assert count == acknowledged + 1, (count, acknowledged)
        if limit:
            resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        else:
            (pathlib.Path(path).parent / "ballast").unlink()
        async with database.write() as connection:
            await connection.execute(sa.insert(notes).values(id=acknowledged + 1))
        print("full after", acknowledged)
    await database.close()

asyncio.run(fill(sys.argv[1], int(sys.argv[2])))
"""


def fill(path: Path, limit: int) -> int:
    """Write until there is no more room, in a process of its own; answers how often it could."""
    found = subprocess.run(
        [sys.executable, "-c", FILL, str(path), str(limit)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert found.returncode == 0, found.stderr
    assert found.stdout.startswith("full after"), found
    return int(found.stdout.split()[-1])


def may_mount() -> bool:
    """Whether a small disk can be had: that takes root, and more than a container's root."""
    if os.geteuid() != 0:
        return False
    probe = ["unshare", "--mount", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    return subprocess.run(probe, capture_output=True, check=False).returncode == 0


@contextlib.contextmanager
def small_disk(place: Path, *, megabytes: int = 2) -> Iterator[None]:
    """A file system of a few megabytes, some of it ballast."""
    mount = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(place)]
    subprocess.run(mount, check=True)
    try:
        (place / "ballast").write_bytes(b"x" * 500_000)
        yield
    finally:
        subprocess.run(["umount", str(place)], check=True)


@pytest.mark.parametrize("kind", ["a file that may not grow", *["a small disk"] * may_mount()])
def test_a_full_disk_loses_nothing_acknowledged_and_recovers(tmp_path: Path, kind: str) -> None:
    if kind == "a small disk":
        with small_disk(tmp_path):
            assert fill(tmp_path / "notes.db", 0) > 5
    else:
        assert fill(tmp_path / "notes.db", 1_000_000) > 5
