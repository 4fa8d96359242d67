"""A process that puts, refers, releases and sweeps until it is killed, and says what it is sure of.

`+ session holder sha256` when a reference is committed; `? session` before its release is tried.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

from quire.blobs.ledger import BlobLedger
from quire.blobs.objects import open_blobs
from quire.errors import BlobNotFound, Unavailable
from quire.settings import BlobSettings
from quire.store.columns import now
from quire.store.database import Database


def say(*words: str) -> None:
    # One write, so that a kill cannot cut a line that has been said.
    os.write(1, (" ".join(words) + "\n").encode())


async def content(seed: int) -> AsyncIterator[bytes]:
    generator = random.Random(seed)
    size = generator.choice([0, 1, 1_000, 70_000, 2_000_000, 9_500_000])
    while size > 0:
        yield generator.randbytes(min(size, 300_000))
        size -= 300_000


async def scribble(database: Database, ledger: BlobLedger, session_id: str) -> None:
    for step in range(10_000):
        seed = random.randrange(60)  # few enough that processes and steps meet on the same content
        blob = await ledger.put(content(seed))
        try:
            async with database.write() as connection:
                await ledger.refer(connection, session_id, f"{step}", blob.sha256)
        except BlobNotFound:
            continue  # swept before it was referred to: the sweep below knows no grace
        say("+", session_id, f"{step}", blob.sha256)
        if step % 5 == 4:
            say("?", session_id)
            async with database.write() as connection:
                await ledger.release(connection, session_id)


async def sweep(ledger: BlobLedger) -> None:
    while True:
        await ledger.sweep(now() + timedelta(days=1))
        await asyncio.sleep(0.01)


async def put_patiently(database: Database, ledger: BlobLedger, session_id: str) -> None:
    while True:
        try:
            await scribble(database, ledger, session_id)
        except Unavailable:
            continue


async def main() -> None:
    given = json.loads(sys.argv[1])
    store = open_blobs(BlobSettings(**given["blob"]), Path(given["data_dir"]))
    if given["postgres"]:
        database = Database.postgres(given["postgres"])
    else:
        database = Database.sqlite(Path(given["data_dir"]) / "quire.db")
    ledger = BlobLedger(database, store, 60)
    say("ready")
    writers = (put_patiently(database, ledger, f"{os.getpid()}-{n}") for n in range(3))
    await asyncio.gather(*writers, sweep(ledger))


if __name__ == "__main__":
    asyncio.run(main())
