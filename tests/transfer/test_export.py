"""An export is of one moment: whole, or it visibly breaks off."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING

import orjson
import pytest
import pytest_asyncio

from quire.bundle.formats.models import Format
from quire.bundle.reading import BundleReader
from quire.errors import FileRefused
from quire.transfer.exporting import ExportBrokenOff, ExportRequest
from tests.sessions.house import ADA, create, quire_in
from tests.transfer.files import FAKE, exported, garden, put

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from quire.app import Quire
    from quire.sessions.models import Session
    from quire.transfer.exporting import Export

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def quire(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Quire]:
    async with quire_in(tmp_path_factory.mktemp("export"), **FAKE) as quire:
        yield quire


async def begun(quire: Quire, session: Session, format: Format) -> Export:
    """An export of which the first part is read, and the rest still to come."""
    request = ExportRequest(format=format)
    export = await quire.files.exporting.open(ADA, session.id, request, lambda _: {})
    assert export.size is None
    return export


async def read(export: Export, received: bytearray) -> None:
    async for block in export.blocks():
        received += block


async def removed(quire: Quire, session: Session, name: str) -> None:
    job = await quire.jobs.wait(await quire.documents.remove(ADA, session.id, [name]), 30)
    assert job.status == "succeeded"


async def test_what_is_taken_away_meanwhile_breaks_it_off(quire: Quire, tmp_path: Path) -> None:
    for format in (Format.JSONL, Format.BUNDLE):
        session = await garden(quire, points=1_000, chars=3_000)
        export = await begun(quire, session, format)
        await removed(quire, session, "leaves")
        received = bytearray()
        with pytest.raises(ExportBrokenOff):
            await read(export, received)
        if format is Format.BUNDLE:
            file = tmp_path / "broken.quire"
            file.write_bytes(received)
            with pytest.raises(FileRefused, match="truncated"):
                BundleReader.open(file, unpacked_max=10**9)


async def test_what_comes_meanwhile_is_not_in_it(quire: Quire) -> None:
    session = await garden(quire, points=1_000, chars=3_000)
    before = await exported(quire, session.id, Format.JSONL)
    export = await begun(quire, session, Format.JSONL)
    await put(quire, session, "later", "It came later. " * 100)
    assert b"".join([block async for block in export.blocks()]) == before


async def test_it_is_before_a_change_or_after_it(quire: Quire) -> None:
    session = await create(quire, name="s")
    await put(quire, session, "d", "one " * 2_000)
    done = asyncio.Event()

    async def change() -> None:
        for word in ("two", "three", "four", "five"):
            await put(quire, session, "d", f"{word} " * 2_000)
        done.set()

    changing = asyncio.create_task(change())
    seen = set()
    while not done.is_set():
        lines = (await exported(quire, session.id, Format.JSONL)).splitlines()
        words = {orjson.loads(line)["payload"]["text"].split()[0] for line in lines}
        assert len(words) == 1, words
        seen |= words
    await changing
    assert len(seen) > 1


async def test_who_leaves_early_leaves_nothing_behind(quire: Quire) -> None:
    session = await garden(quire, points=1_000, chars=3_000)
    export = await begun(quire, session, Format.BUNDLE)
    async with aclosing(export.blocks()) as blocks:  # type: ignore[type-var]
        await anext(blocks)
    await export.close()
    assert not list((quire.settings.data_dir / "scratch").iterdir())


async def test_a_cold_session_is_woken_for_it(quire: Quire) -> None:
    session = await garden(quire)
    before = await exported(quire, session.id)
    assert (await quire.sessions.sleep(ADA, session.id, pack=True)).pack is not None
    assert await exported(quire, session.id) == before
