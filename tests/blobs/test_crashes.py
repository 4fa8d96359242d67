"""A process that works with blobs is killed: nothing acknowledged is lost, nothing is left over."""

from __future__ import annotations

import asyncio
import json
import random
import signal
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from quire.blobs.ledger import BlobLedger
from quire.blobs.objects import ObjectBlobStore, open_blobs
from quire.settings import BlobSettings
from quire.store.columns import now
from quire.store.database import Database
from quire.store.migrate import migrate
from tests.blobs import scribbler
from tests.blobs.test_ledger import LATER, NOTHING, referenced, rows, sound
from tests.contract.test_blobs import listed, multipart_uploads, objects, s3_settings


@dataclass
class House:
    """A database and a store that processes work on, and die on."""

    given: dict[str, Any]
    database: Database
    store: ObjectBlobStore
    bucket: Any = None

    async def work_and_die(self, seconds: float) -> list[list[str]]:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            scribbler.__file__,
            json.dumps(self.given),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        assert process.stdout is not None
        assert process.stderr is not None
        said = await asyncio.wait_for(process.stdout.readline(), 30)
        assert said == b"ready\n", await process.stderr.read()
        await asyncio.sleep(seconds)
        process.kill()
        out, err = await process.communicate()
        assert process.returncode == -signal.SIGKILL, err.decode()
        return [line.split() for line in out.decode().splitlines()]


@pytest.fixture(
    params=["sqlite and a folder", pytest.param("postgres and s3", marks=pytest.mark.postgres)]
)
async def house(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[House]:
    bucket = None
    if request.param == "sqlite and a folder":
        blob, postgres = BlobSettings(), None
        database = Database.sqlite(tmp_path / "quire.db")
    else:
        bucket = request.getfixturevalue("s3_bucket")
        blob, postgres = s3_settings(bucket), request.getfixturevalue("postgres_url")
        database = Database.postgres(postgres)
    await migrate(database)
    given = blob.model_dump()
    if blob.secret_key is not None:
        given["secret_key"] = blob.secret_key.get_secret_value()
    yield House(
        {"blob": given, "postgres": postgres, "data_dir": str(tmp_path)},
        database,
        open_blobs(blob, tmp_path),
        bucket,
    )
    await database.close()


def acknowledged(said: list[list[str]]) -> set[str]:
    """What must be there: referred to, and no release of it even begun."""
    held: dict[str, set[str]] = {}
    for kind, session, *rest in said:
        if kind == "+":
            held.setdefault(session, set()).add(rest[1])
        elif kind == "?":
            held.pop(session, None)
    return set().union(*held.values())


async def kill_and_look(house: House, times: int) -> None:
    ledger = BlobLedger(house.database, house.store, 60)
    promised: set[str] = set()
    referred = 0
    for _ in range(times):
        said = await house.work_and_die(random.uniform(0, 1.2))
        referred += sum(kind == "+" for kind, *_ in said)
        promised |= acknowledged(said)

        kept = await referenced(house.database)
        assert promised <= kept
        await sound(house.database, house.store)

        await ledger.sweep(now() + LATER)

        assert set(await rows(house.database)) == kept == await listed(house.store)
        assert len(await objects(house.store)) == len(kept)
        if house.bucket is not None:
            assert multipart_uploads(house.bucket) == []
        assert await ledger.sweep(now() + LATER) == NOTHING
    assert referred > times  # it did work before it died


async def test_killed_at_random_moments(house: House) -> None:
    await kill_and_look(house, 8)


@pytest.mark.soak
@pytest.mark.timeout(600)
async def test_killed_at_many_random_moments(house: House) -> None:
    await kill_and_look(house, 50)
