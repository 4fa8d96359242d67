"""Backups: what changed is kept again, the newest few stay, what is gone is not kept for ever."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa

from quire.settings import BackupSettings
from quire.store.tables import backups, blob_references
from quire.transfer.import_request import ImportRequest, Restored
from quire_cli.backing_up import back_up, restore
from quire_cli.existing import Existing
from tests.sessions.house import ADA, OPERATOR, create, purged, quire_in, settings_for
from tests.sessions.house import let_pass as sessions_let_pass
from tests.store.template import migrated
from tests.transfer.files import FAKE, digest, exported, garden, in_blocks

if TYPE_CHECKING:
    from pathlib import Path

    from quire.app import Quire

DAILY = BackupSettings(every_hours=24, keep=2)


async def kept(quire: Quire) -> list[tuple[str, int]]:
    query = sa.select(backups.c.session_id, backups.c.version).order_by(
        backups.c.session_id, backups.c.created_at
    )
    async with quire.database.read() as connection:
        found = [(row[0], row[1]) for row in await connection.execute(query)]
        held = sa.select(sa.func.count()).where(blob_references.c.holder == "backup")
        assert await connection.scalar(held) == len(found)
    return found


async def let_pass(quire: Quire, time: timedelta) -> None:
    earlier = sa.type_coerce(backups.c.created_at, sa.BigInteger) - int(time.total_seconds() * 1e6)
    async with quire.database.write() as connection:
        await connection.execute(sa.update(backups).values(created_at=earlier))


async def test_what_changed_is_backed_up_and_the_newest_are_kept(tmp_path: Path) -> None:
    settings = {**FAKE, "backup": BackupSettings(every_hours=0, keep=2)}
    async with quire_in(tmp_path, **settings) as quire:
        quire.files.backups._every = timedelta(hours=24)  # without its chore, which is not awaited
        one, two = await garden(quire, points=5), await create(quire, name="two")
        await sessions_let_pass(quire, timedelta(days=30))
        run = quire.files.backups.run
        assert await run() == 2
        assert await run() == 0
        # a change is not due before its time
        await quire.points.upsert(ADA, two.id, [{"id": 1, "text": "a"}])
        assert await run() == 0
        versions = [two.version]
        for number in range(3):
            await let_pass(quire, timedelta(days=1.5))
            await quire.points.upsert(ADA, two.id, [{"id": number + 10, "text": "a"}])
            versions.append((await quire.sessions.get(ADA, two.id)).version)
            # the other did not change, and its age was not used
            assert await run() == 1
        expected = {(one.id, one.version), (two.id, versions[-2]), (two.id, versions[-1])}
        assert set(await kept(quire)) == expected

        # when a session goes for good, its backups stay for as long as they would have
        await purged(quire, ADA, two.id)
        await run()
        assert set(await kept(quire)) == expected
        await let_pass(quire, timedelta(days=3))
        await run()
        assert await kept(quire) == [(one.id, one.version)]


async def test_it_is_a_chore(tmp_path: Path) -> None:
    async with quire_in(tmp_path, **FAKE) as quire:
        session = await garden(quire, points=5)
    async with quire_in(tmp_path, **FAKE, backup=DAILY) as quire:
        async with asyncio.timeout(20):
            while not await kept(quire):
                await asyncio.sleep(0.05)
        backup = await quire.files.backups.required(session.id)
        stored = [block async for block in quire.blobs.get(backup.bundle_sha256)]
        assert b"".join(stored) == await exported(quire, session.id)


async def test_only_an_operator_restores(tmp_path: Path) -> None:
    async with quire_in(tmp_path, **FAKE) as quire:
        bundle = await exported(quire, (await garden(quire)).id)
        was = Restored(owner_id="grace", group=None, collaborators={}, hold=False)
        begin = quire.files.importing.begin
        with pytest.raises(Exception, match="scope admin"):
            await begin(ADA, ImportRequest(), in_blocks(bundle), was)
        begun = await begin(OPERATOR, ImportRequest(), in_blocks(bundle), was)
        assert (await quire.jobs.wait(begun.job_id, 30)).status == "succeeded"
        session = await quire.sessions.get(OPERATOR, begun.session_id)
        assert (session.owner_id, session.tags, session.metadata) == ("grace", ("spring",), {})


async def test_the_command_keeps_in_a_folder_or_in_the_store(tmp_path: Path) -> None:
    data, other, folder = tmp_path / "data", tmp_path / "other", tmp_path / "folder"
    async with quire_in(data, **FAKE) as quire:
        session = await garden(quire)
        expected = await digest(quire, session.id)
    settings = settings_for(data, **FAKE)

    # out of a folder, elsewhere
    assert (await back_up(settings, [], folder)).done == [session.id]
    migrated(other)
    elsewhere = settings_for(other, **FAKE)
    assert (await restore(elsewhere, folder, [], Existing.FAIL)).done == [session.id]
    with pytest.raises(Exception, match="is there already"):
        await restore(elsewhere, folder, [], Existing.FAIL)
    assert (await restore(elsewhere, folder, [], Existing.SKIP)).skipped == [session.id]

    # out of the blob store, after the session was deleted for good
    assert (await back_up(settings, [session.id], None)).done == [session.id]
    async with quire_in(data, **FAKE) as quire:
        await purged(quire, ADA, session.id)
    assert (await restore(settings, None, [session.id], Existing.FAIL)).done == [session.id]
    async with quire_in(data, **FAKE) as quire:
        assert await digest(quire, session.id) == expected
        assert (await quire.sessions.get(ADA, session.id)).owner_id == "ada"

    # a damaged bundle fails alone
    bundle = folder / f"{session.id}.quire"
    bundle.write_bytes(bundle.read_bytes()[:-1000])
    report = await restore(elsewhere, folder, [], Existing.NEW_ID)
    assert not report.done
    assert "is not what index.jsonl says" in report.failed[session.id]
