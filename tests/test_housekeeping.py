"""Chores are done again and again, by one process at a time, whatever one of them meets."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from quire.directory import LOCK_NAME, DataDirectory
from quire.errors import ConfigurationError, Unavailable
from quire.housekeeping import Chore, Housekeeping
from quire.idempotency import Answer, IdempotencyKeys, KeyReused, StillRunning, derived_id
from quire.store import Database
from tests.store.template import migrated, prepare_database

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    opened = Database.sqlite(migrated(tmp_path) / "quire.db")
    try:
        yield opened
    finally:
        await opened.close()


async def until(happened: asyncio.Event) -> None:
    await asyncio.wait_for(happened.wait(), 10)


class Work:
    """A chore that counts how often it is done, and fails as it is told."""

    def __init__(self, *failures: Exception, enough: int = 3) -> None:
        self.failures = list(failures)
        self.done = 0
        self.enough = asyncio.Event()
        self._wanted = enough

    async def __call__(self) -> None:
        self.done += 1
        if self.done >= self._wanted:
            self.enough.set()
        if self.failures:
            raise self.failures.pop(0)


async def test_a_chore_is_done_at_once_and_again(database: Database) -> None:
    work = Work()
    house = Housekeeping(database, [Chore("work", 0.01, work)])
    house.start()
    await until(work.enough)
    await house.stop()
    done = work.done
    await asyncio.sleep(0.05)
    assert work.done == done


async def test_a_chore_that_fails_is_done_again_and_stops_no_other(database: Database) -> None:
    failing = Work(Unavailable("down"), ValueError("a mistake"), enough=4)
    other = Work()
    chores = [Chore("failing", 0.01, failing), Chore("other", 0.01, other)]
    house = Housekeeping(database, chores)
    house.start()
    await until(failing.enough)
    await until(other.enough)
    await house.stop()


async def test_stopping_ends_a_chore_that_is_under_way(database: Database) -> None:
    begun, ended = asyncio.Event(), asyncio.Event()

    async def endless() -> None:
        begun.set()
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()

    house = Housekeeping(database, [Chore("endless", 1, endless)])
    house.start()
    await until(begun)
    await asyncio.wait_for(house.stop(), 5)
    assert ended.is_set()


@pytest.mark.postgres
async def test_of_several_processes_one_does_a_chore(postgres_url: str) -> None:
    stores = [Database.postgres(postgres_url) for _ in range(3)]
    at_once = most = done = 0
    enough = asyncio.Event()

    async def work() -> None:
        nonlocal at_once, most, done
        at_once += 1
        most = max(most, at_once)
        await asyncio.sleep(0.02)
        at_once -= 1
        done += 1
        if done >= 10:
            enough.set()

    houses = [Housekeeping(store, [Chore("work", 0.005, work)]) for store in stores]
    try:
        for house in houses:
            house.start()
        await until(enough)
    finally:
        for house in houses:
            await house.stop()
        for store in stores:
            await store.close()
    assert most == 1


@pytest.mark.postgres
async def test_a_chore_whose_process_died_is_anothers(postgres_url: str) -> None:
    first, second = Database.postgres(postgres_url), Database.postgres(postgres_url)
    begun = asyncio.Event()

    async def hold() -> None:
        begun.set()
        await asyncio.sleep(60)

    work = Work(enough=1)
    dying = Housekeeping(first, [Chore("work", 1, hold)])
    living = Housekeeping(second, [Chore("work", 0.02, work)])
    try:
        dying.start()
        await until(begun)
        living.start()
        await asyncio.sleep(0.2)
        assert work.done == 0
        await dying.stop()
        await until(work.enough)
    finally:
        await living.stop()
        await first.close()
        await second.close()


@pytest.mark.postgres
async def test_many_chores_leave_connections_to_others(postgres_url: str) -> None:
    # given a pool of two, and more chores than that, each of which asks the database
    store = Database.postgres(postgres_url, pool_size=2, timeout_seconds=2)
    works = [Work(enough=2) for _ in range(5)]

    def asking(work: Work) -> Chore:
        async def run() -> None:
            await store.ping()
            await asyncio.sleep(0.02)
            await work()

        return Chore(f"chore {id(work)}", 0.02, run)

    house = Housekeeping(store, [asking(work) for work in works])
    try:
        house.start()
        for work in works:
            await until(work.enough)
        assert await store.ping()
    finally:
        await house.stop()
        await store.close()


# The data directory


def test_a_data_directory_has_one_owner(tmp_path: Path) -> None:
    owner = DataDirectory.open(tmp_path / "data")
    with pytest.raises(ConfigurationError, match=f"process {os.getpid()}"):
        DataDirectory.open(tmp_path / "data")
    owner.close()
    DataDirectory.open(tmp_path / "data").close()


def test_a_killed_owner_owns_nothing(tmp_path: Path) -> None:
    program = (
        "import pathlib, sys, time; from quire.directory import DataDirectory; "
        "held = DataDirectory.open(pathlib.Path(sys.argv[1])); print('held', flush=True); "
        "time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"held\n"
        with pytest.raises(ConfigurationError, match=str(child.pid)):
            DataDirectory.open(tmp_path)
        child.kill()
        child.wait()
    DataDirectory.open(tmp_path).close()
    assert (tmp_path / LOCK_NAME).exists()


def test_a_directory_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match="QUIRE_DATA_DIR") as refusal:
        DataDirectory.open(tmp_path / "file" / "data")
    assert "QUIRE_DATA_DIR" in refusal.value.recovery


# Idempotency keys

ANSWER = Answer(200, {"content-type": "application/json"}, b'{"\xff": 1}')


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
async def keys(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[IdempotencyKeys]:
    if request.param == "sqlite":
        store = Database.sqlite(migrated(tmp_path) / "quire.db")
    else:
        store = Database.postgres(request.getfixturevalue("postgres_url"))
        await prepare_database(store)
    try:
        yield IdempotencyKeys(store)
    finally:
        await store.close()


async def test_the_first_answer_is_kept_byte_for_byte(keys: IdempotencyKeys) -> None:
    assert await keys.claim("ada", "k", "f") is None
    await keys.settle("ada", "k", ANSWER)
    assert await keys.claim("ada", "k", "f") == ANSWER
    assert await keys.claim("grace", "k", "f") is None
    with pytest.raises(KeyReused):
        await keys.claim("ada", "k", "another")


async def test_of_claims_at_the_same_time_one_is_granted(keys: IdempotencyKeys) -> None:
    claims = await asyncio.gather(
        *(keys.claim("ada", "k", "f") for _ in range(8)), return_exceptions=True
    )
    assert claims.count(None) == 1
    assert sum(isinstance(claim, StillRunning) for claim in claims) == 7
    await keys.release("ada", "k")
    assert await keys.claim("ada", "k", "f") is None


def test_what_a_request_makes_has_the_same_id_when_it_is_repeated() -> None:
    assert derived_id("ada", "k") == derived_id("ada", "k")
    assert len({derived_id(*of) for of in (("ada", "k"), ("ada", "l"), ("grace", "k"))}) == 3
