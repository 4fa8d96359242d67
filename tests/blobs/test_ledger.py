"""References, the sweep, and the races between them, on both databases."""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from quire.blobs import ledger as ledger_module
from quire.blobs import sweep as sweep_module
from quire.blobs.ledger import BlobLedger
from quire.blobs.objects import ObjectBlobStore, open_blobs
from quire.blobs.port import Blob, StagedBlob
from quire.blobs.sweep import Sweep, SweepReport
from quire.errors import BlobNotFound, InvalidInput, Unavailable
from quire.settings import BlobSettings
from quire.store.columns import now
from quire.store.database import Database
from quire.store.migrate import migrate
from quire.store.tables import blob_references, blobs
from tests.contract.test_blobs import listed, objects, stream

GRACE = 60.0
LATER = timedelta(hours=1)
NOTHING = SweepReport(deleted=0, freed_bytes=0, orphans=0, unfinished=0, missing=())
NOBODY = hashlib.sha256(b"nobody put this").hexdigest()


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
async def database(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Database]:
    if request.param == "sqlite":
        database = Database.sqlite(tmp_path / "quire.db")
    else:
        database = Database.postgres(request.getfixturevalue("postgres_url"))
    await migrate(database)
    yield database
    await database.close()


@pytest.fixture
def store(tmp_path: Path) -> ObjectBlobStore:
    return open_blobs(BlobSettings(), tmp_path)


@pytest.fixture
def ledger(database: Database, store: ObjectBlobStore) -> BlobLedger:
    return BlobLedger(database, store, GRACE)


async def refer(
    ledger: BlobLedger, database: Database, blob: Blob, holder: str = "holder", session: str = "s"
) -> Blob:
    async with database.write() as connection:
        return await ledger.refer(connection, session, holder, blob.sha256)


async def release(
    ledger: BlobLedger, database: Database, holder: str | None = None, session: str = "s"
) -> int:
    async with database.write() as connection:
        return await ledger.release(connection, session, holder)


async def rows(database: Database) -> dict[str, bool]:
    """The addresses in the ledger, and whether they are condemned."""
    async with database.read() as connection:
        found = await connection.execute(sa.select(blobs.c.sha256, blobs.c.condemned))
        return {row.sha256: row.condemned for row in found}


async def referenced(database: Database) -> set[str]:
    async with database.read() as connection:
        return set((await connection.execute(sa.select(blob_references.c.sha256))).scalars())


class Tampered(ObjectBlobStore):
    """A store in which a test can do something at a chosen moment."""

    before_delete: Callable[[str], Awaitable[None]] | None = None
    after_delete: Callable[[str], Awaitable[None]] | None = None
    after_promote: Callable[[], Awaitable[None]] | None = None

    async def delete(self, sha256: str) -> None:
        if self.before_delete is not None:
            await self.before_delete(sha256)
        await super().delete(sha256)
        if self.after_delete is not None:
            await self.after_delete(sha256)

    @asynccontextmanager
    async def stage(self, content: AsyncIterable[bytes]) -> AsyncIterator[StagedBlob]:
        outer = self

        class Staged:
            def __init__(self, staged: StagedBlob) -> None:
                self.blob = staged.blob
                self._staged = staged

            async def promote(self) -> None:
                await self._staged.promote()
                if outer.after_promote is not None:
                    await outer.after_promote()

        async with super().stage(content) as staged:
            yield Staged(staged)


@pytest.fixture
def tampered(store: ObjectBlobStore) -> Tampered:
    return Tampered(store._store, store.place, store._begin)


# Counting


async def test_a_put_blob_is_there_and_entered(
    ledger: BlobLedger, database: Database, store: ObjectBlobStore
) -> None:
    blob = await ledger.put(stream(b"content"))

    assert blob == Blob(hashlib.sha256(b"content").hexdigest(), 7)
    assert await store.verify(blob.sha256)
    assert await rows(database) == {blob.sha256: False}
    assert await ledger.put(stream(b"content")) == blob
    assert await rows(database) == {blob.sha256: False}


async def test_a_blob_stays_until_its_last_holder_lets_go(
    ledger: BlobLedger, database: Database, store: ObjectBlobStore
) -> None:
    blob = await ledger.put(stream(b"content"))
    assert await refer(ledger, database, blob, "a") == blob
    await refer(ledger, database, blob, "a")  # again is the same reference
    await refer(ledger, database, blob, "b")
    await refer(ledger, database, blob, "a", session="another")

    assert await release(ledger, database, "a") == 1
    assert await release(ledger, database) == 1
    assert await release(ledger, database) == 0
    assert await ledger.sweep(now() + LATER) == NOTHING
    assert await store.verify(blob.sha256)

    assert await release(ledger, database, session="another") == 1
    report = await ledger.sweep(now() + LATER)

    assert (report.deleted, report.freed_bytes) == (1, 7)
    assert await rows(database) == {}
    assert await objects(store) == []


async def test_a_reference_is_the_callers_transactions(
    ledger: BlobLedger, database: Database
) -> None:
    blob = await ledger.put(stream(b"content"))

    async def refer_and_fail() -> None:
        async with database.write() as connection:
            await ledger.refer(connection, "s", "holder", blob.sha256)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await refer_and_fail()

    assert await referenced(database) == set()


async def test_what_is_not_there_cannot_be_referred_to(
    ledger: BlobLedger, database: Database, store: ObjectBlobStore
) -> None:
    with pytest.raises(BlobNotFound):
        await refer(ledger, database, Blob(NOBODY, 1))
    unentered = await store.put(stream(b"in the store, not in the ledger"))
    with pytest.raises(BlobNotFound):
        await refer(ledger, database, unentered)
    with pytest.raises(InvalidInput):
        await refer(ledger, database, Blob("../../etc/passwd", 1))


# Sweeping


async def test_the_sweep_waits_for_the_grace(ledger: BlobLedger, database: Database) -> None:
    blob = await ledger.put(stream(b"content"))

    assert await ledger.sweep(now() + timedelta(seconds=GRACE - 5)) == NOTHING
    assert await rows(database) == {blob.sha256: False}
    assert (await ledger.sweep(now() + timedelta(seconds=GRACE + 1))).deleted == 1


async def test_putting_again_begins_the_grace_anew(ledger: BlobLedger, database: Database) -> None:
    blob = await ledger.put(stream(b"content"))
    async with database.write() as connection:
        await connection.execute(sa.update(blobs).values(touched_at=now() - LATER))

    await ledger.put(stream(b"content"))

    assert await ledger.sweep(now()) == NOTHING
    assert await rows(database) == {blob.sha256: False}


async def test_objects_without_a_row_are_swept_when_they_are_old(
    ledger: BlobLedger, database: Database, store: ObjectBlobStore
) -> None:
    kept = await ledger.put(stream(b"kept"))
    await refer(ledger, database, kept)
    for number in range(120):
        await store.put(stream(f"orphan {number}".encode()))

    assert await ledger.sweep(now()) == NOTHING
    report = await ledger.sweep(now() + LATER)

    assert (report.orphans, report.deleted) == (120, 120)
    assert await listed(store) == {kept.sha256}
    assert await rows(database) == {kept.sha256: False}
    assert await ledger.sweep(now() + LATER) == NOTHING


async def test_a_large_ledger_is_swept_shard_by_shard(
    ledger: BlobLedger,
    database: Database,
    store: ObjectBlobStore,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sweep_module, "ROWS_AT_ONCE", 10)
    monkeypatch.setattr(sweep_module, "BATCH", 7)
    monkeypatch.setattr(sweep_module, "ADOPTED_AT_ONCE", 3)
    kept, dropped, lost = [
        [await ledger.put(stream(f"{kind} {number}".encode())) for number in range(20)]
        for kind in ("kept", "dropped", "lost")
    ]
    for blob in kept + lost:
        await refer(ledger, database, blob, holder=blob.sha256[:8])
    for blob in lost:
        await store.delete(blob.sha256)
    for number in range(20):
        await store.put(stream(f"orphan {number}".encode()))

    report = await ledger.sweep(now() + LATER)

    assert (report.orphans, report.deleted) == (20, 20 + len(dropped))
    assert set(report.missing) == {blob.sha256 for blob in lost}
    assert await listed(store) == {blob.sha256 for blob in kept}
    assert set(await rows(database)) == {blob.sha256 for blob in kept + lost}


async def test_unfinished_uploads_are_swept_when_they_are_old(
    ledger: BlobLedger, store: ObjectBlobStore
) -> None:
    await store._store.put_async("staging/of-a-dead-process", b"half")

    assert await ledger.sweep(now()) == NOTHING
    assert (await ledger.sweep(now() + LATER)).unfinished == 1
    assert await objects(store) == []


async def test_a_lost_object_is_reported_and_its_row_kept(
    ledger: BlobLedger, database: Database, store: ObjectBlobStore
) -> None:
    blob = await ledger.put(stream(b"content"))
    await refer(ledger, database, blob)
    await store.delete(blob.sha256)

    assert (await ledger.sweep(now() + LATER)).missing == (blob.sha256,)
    assert await rows(database) == {blob.sha256: False}

    await ledger.put(stream(b"content"))
    assert (await ledger.sweep(now() + LATER)).missing == ()


async def test_a_store_that_does_not_answer_loses_nothing(
    database: Database, tampered: Tampered
) -> None:
    ledger = BlobLedger(database, tampered, GRACE)
    kept = await ledger.put(stream(b"kept"))
    await refer(ledger, database, kept)
    await ledger.put(stream(b"dropped"))

    async def fail(sha256: str) -> None:
        raise Unavailable("The blob store does not answer")

    tampered.before_delete = fail
    with pytest.raises(Unavailable):
        await ledger.sweep(now() + LATER)
    tampered.before_delete = None

    assert (await ledger.sweep(now() + LATER)).deleted == 1
    assert await rows(database) == {kept.sha256: False}


# Races


async def sound(database: Database, store: ObjectBlobStore) -> None:
    """What must hold at any moment: nothing that can be referred to is without its object."""
    entered = await rows(database)
    for sha256, condemned in entered.items():
        assert condemned or await store.verify(sha256), sha256
    assert not any(entered[sha256] for sha256 in await referenced(database))


async def test_a_put_during_the_deletion_of_the_same_content(
    database: Database, tampered: Tampered
) -> None:
    ledger = BlobLedger(database, tampered, GRACE)
    content = os.urandom(10_000)
    blob = await ledger.put(stream(content))
    deleting, go_on = asyncio.Event(), asyncio.Event()

    async def hold(sha256: str) -> None:
        deleting.set()
        await go_on.wait()

    tampered.before_delete = hold
    sweep = asyncio.create_task(ledger.sweep(now() + LATER))
    await deleting.wait()
    # The object is still there, so this upload is dropped: the row's lock must save it.
    put = asyncio.create_task(ledger.put(stream(content)))
    await asyncio.sleep(0.2)
    assert not put.done()
    go_on.set()

    assert (await sweep).deleted == 1
    assert await put == blob
    await sound(database, tampered)
    assert await refer(ledger, database, blob) == blob


async def test_a_put_after_the_object_went_and_before_the_row_did(
    database: Database, tampered: Tampered
) -> None:
    ledger = BlobLedger(database, tampered, GRACE)
    content = os.urandom(10_000)
    blob = await ledger.put(stream(content))
    deleted, go_on = asyncio.Event(), asyncio.Event()

    async def hold(sha256: str) -> None:
        deleted.set()
        await go_on.wait()

    tampered.after_delete = hold
    sweep = asyncio.create_task(ledger.sweep(now() + LATER))
    await deleted.wait()
    put = asyncio.create_task(ledger.put(stream(content)))
    await asyncio.sleep(0.2)
    go_on.set()

    await sweep
    assert await put == blob
    await sound(database, tampered)


async def test_a_put_between_condemnation_and_deletion(
    database: Database, store: ObjectBlobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = BlobLedger(database, store, GRACE)
    content = os.urandom(10_000)
    blob = await ledger.put(stream(content))
    condemned, go_on = asyncio.Event(), asyncio.Event()
    execute = Sweep._execute

    async def hold(self: Sweep, *arguments: object) -> list[Blob]:
        condemned.set()
        await go_on.wait()
        return await execute(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Sweep, "_execute", hold)
    sweep = asyncio.create_task(ledger.sweep(now() + LATER))
    await condemned.wait()
    with pytest.raises(BlobNotFound):
        await refer(ledger, database, blob)
    put = asyncio.create_task(ledger.put(stream(content)))
    await asyncio.sleep(0.1)
    go_on.set()

    await sweep
    assert await put == blob
    await sound(database, store)
    assert await refer(ledger, database, blob) == blob


async def test_a_sweep_does_not_pass_over_a_row_that_a_waiting_put_looks_at(
    ledger: BlobLedger, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    blob = await ledger.put(stream(b"content"))
    execute = Sweep._execute

    async def while_locked(self: Sweep, *arguments: object) -> list[Blob]:
        async with database.write() as connection:
            row = sa.select(blobs).where(blobs.c.sha256 == blob.sha256).with_for_update()
            await connection.execute(row)
            deletion = asyncio.create_task(execute(self, *arguments))  # type: ignore[arg-type]
            await asyncio.sleep(0.2)
        return await deletion

    monkeypatch.setattr(Sweep, "_execute", while_locked)

    assert (await ledger.sweep(now() + LATER)).deleted == 1
    assert await rows(database) == {}


async def test_a_put_saves_what_a_stalled_sweep_condemned(
    database: Database, store: ObjectBlobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = BlobLedger(database, store, GRACE)
    blob = await ledger.put(stream(b"content"))
    execute = Sweep._execute

    async def stall(self: Sweep, *arguments: object) -> list[Blob]:
        async with database.write() as connection:
            long_ago = now() - timedelta(seconds=31)
            await connection.execute(sa.update(blobs).values(touched_at=long_ago))
        await ledger.put(stream(b"content"))
        await refer(ledger, database, blob)
        return await execute(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Sweep, "_execute", stall)

    assert (await ledger.sweep(now() + LATER)).deleted == 0
    assert await rows(database) == {blob.sha256: False}
    assert await store.verify(blob.sha256)


async def test_a_reference_committed_while_the_sweep_is_looking(
    ledger: BlobLedger,
    database: Database,
    store: ObjectBlobStore,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The sweep's first look is at a snapshot without the reference, its lock comes after."""
    blob = await ledger.put(stream(b"content"))
    if not database.is_sqlite:  # there, nobody can write while a sweep looks
        slowly = sa.cast(sa.func.pg_sleep(0.7), sa.Text).is_not(None)
        monkeypatch.setattr(
            sweep_module, "_unreferenced", sa.and_(sweep_module._unreferenced, slowly)
        )
    asleep = sa.text("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'")

    sweep = asyncio.create_task(ledger.sweep(now() + LATER))
    if not database.is_sqlite:
        async with database.read() as connection:
            while not (await connection.execute(asleep)).scalar_one():
                await asyncio.sleep(0.01)
        await refer(ledger, database, blob)
        assert not sweep.done()

    report = await sweep

    assert report.deleted == (1 if database.is_sqlite else 0)
    assert not any((await rows(database)).values())
    await sound(database, store)


async def test_a_sweep_between_promotion_and_row(database: Database, tampered: Tampered) -> None:
    """The upload is dropped in favour of an old orphan, which then is swept."""
    ledger = BlobLedger(database, tampered, GRACE)
    content = os.urandom(10_000)
    orphan = await tampered.put(stream(content))
    reports = []

    async def sweep() -> None:
        tampered.after_promote = None
        reports.append(await ledger.sweep(now() + LATER))

    tampered.after_promote = sweep
    blob = await ledger.put(stream(content))

    assert blob == orphan
    assert [report.deleted for report in reports] == [1]
    assert await rows(database) == {blob.sha256: False}
    assert await tampered.verify(blob.sha256)


async def test_a_sweep_beside_an_uncommitted_reference(
    ledger: BlobLedger, database: Database, store: ObjectBlobStore
) -> None:
    blob = await ledger.put(stream(b"content"))

    async with database.write() as connection:
        await ledger.refer(connection, "s", "holder", blob.sha256)
        sweep = asyncio.create_task(ledger.sweep(now() + LATER))
        await asyncio.sleep(0.2)

    assert await sweep == NOTHING
    assert await store.verify(blob.sha256)
    assert await referenced(database) == {blob.sha256}


async def test_references_in_another_order_do_not_deadlock(
    ledger: BlobLedger, database: Database
) -> None:
    first, second = [await ledger.put(stream(content)) for content in (b"1", b"2")]
    met = asyncio.Barrier(1 if database.is_sqlite else 2)

    async def hold(session: str, *held: Blob) -> None:
        async with database.write() as connection:
            await ledger.refer(connection, session, "holder", held[0].sha256)
            await met.wait()
            await ledger.refer(connection, session, "holder", held[1].sha256)

    await asyncio.wait_for(
        asyncio.gather(hold("a", first, second), hold("b", second, first)), timeout=10
    )


async def test_a_sweep_that_dies_between_object_and_row(
    database: Database, tampered: Tampered, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger_module, "PAUSES", (0.01, 0.01))
    ledger = BlobLedger(database, tampered, GRACE)
    blob = await ledger.put(stream(b"content"))

    async def die(sha256: str) -> None:
        raise ZeroDivisionError

    tampered.after_delete = die
    with pytest.raises(ZeroDivisionError):
        await ledger.sweep(now() + LATER)
    tampered.after_delete = None

    # The object is gone and the row is not, but nobody can be misled by it.
    assert await rows(database) == {blob.sha256: True}
    with pytest.raises(BlobNotFound):
        await refer(ledger, database, blob)
    # What the dead sweep sent last may yet arrive, so the address is not given out again at once,
    with pytest.raises(Unavailable) as failed:
        await ledger.put(stream(b"content"))
    assert failed.value.retry_after == 30
    # and after that time is.
    async with database.write() as connection:
        await connection.execute(sa.update(blobs).values(touched_at=now() - timedelta(seconds=31)))
    await ledger.put(stream(b"content"))
    await sound(database, tampered)


async def test_what_a_dead_sweep_left_goes_with_the_next(
    database: Database, tampered: Tampered
) -> None:
    ledger = BlobLedger(database, tampered, GRACE)
    await ledger.put(stream(b"content"))

    async def die(sha256: str) -> None:
        raise ZeroDivisionError

    tampered.before_delete = die
    with pytest.raises(ZeroDivisionError):
        await ledger.sweep(now() + LATER)
    tampered.before_delete = None

    await ledger.sweep(now() + timedelta(seconds=31))

    assert await rows(database) == {}
    assert await objects(tampered) == []


async def test_a_cancelled_sweep_waits_for_what_it_has_sent(
    database: Database, tampered: Tampered
) -> None:
    ledger = BlobLedger(database, tampered, GRACE)
    await ledger.put(stream(b"content"))
    deleting, go_on = asyncio.Event(), asyncio.Event()

    async def hold(sha256: str) -> None:
        deleting.set()
        await go_on.wait()

    tampered.before_delete = hold
    sweep = asyncio.create_task(ledger.sweep(now() + LATER))
    await deleting.wait()
    sweep.cancel()
    await asyncio.sleep(0.1)
    assert not sweep.done()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await sweep

    assert await rows(database) == {}
    assert await objects(tampered) == []


async def test_puts_references_and_ruthless_sweeps_at_once(
    ledger: BlobLedger, database: Database, store: ObjectBlobStore
) -> None:
    contents = [os.urandom(random.choice([10, 3_000, 200_000])) for _ in range(4)]
    done = asyncio.Event()
    swept = 0

    async def work(session: str) -> None:
        for step in range(12):
            blob = await ledger.put(stream(random.choice(contents)))
            try:
                await refer(ledger, database, blob, holder=f"{step}", session=session)
            except BlobNotFound:
                continue
            assert await store.verify(blob.sha256)
            if random.random() < 0.7:
                await release(ledger, database, session=session)

    async def sweep() -> None:
        nonlocal swept
        while not done.is_set():
            swept += (await ledger.sweep(now() + LATER)).deleted
            await asyncio.sleep(0)

    sweeping = [asyncio.create_task(sweep()) for _ in range(2)]
    await asyncio.gather(*(work(f"session {number}") for number in range(4)))
    done.set()
    await asyncio.gather(*sweeping)

    await sound(database, store)
    assert swept > 0
    await ledger.sweep(now() + LATER)
    assert set(await rows(database)) == await referenced(database) == await listed(store)
