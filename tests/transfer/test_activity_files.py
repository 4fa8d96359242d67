"""Activity in bundles: all of it comes back, the same bytes each time, and no row is believed."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio
import sqlalchemy as sa

from quire.access.principal import Principal, Scope
from quire.activity.message_models import MessageMode
from quire.activity.message_words import MessageWords
from quire.bundle.contents import AttachmentEntry, Body, BundleContents, nothing
from quire.bundle.formats.models import Format
from quire.bundle.reading import BundleReader
from quire.bundle.writing import write_bundle
from quire.errors import FileRefused
from quire.settings import ActivitySettings
from quire.store.columns import now
from quire.store.tables import attachments, blob_references, sessions
from quire.transfer.activity_checked import ActivityChecks
from quire.transfer.activity_plan import Kind
from quire.transfer.import_request import ImportRequest, Restored
from tests.bundle.samples import taken_apart
from tests.sessions.house import ADA, create, finish_purges, quire_in, row_count
from tests.transfer.activity import (
    TABLES,
    attach,
    bytes_of,
    contents,
    is_held_right,
    kept,
    remember,
    say,
    value_of,
    work,
)
from tests.transfer.files import FAKE, exported, imported, in_blocks, put

if TYPE_CHECKING:
    from pathlib import Path

    from quire.app import Quire

pytestmark = pytest.mark.asyncio(loop_scope="module")

ATTACHMENT_BYTES = 1000
AT = "2026-01-01T00:00:00+00:00"
MESSAGE = {
    "id": "m", "role": "user", "content": "Hello.", "tool": None, "invocation_id": None,
    "tokens_in": 1, "tokens_out": None, "cost": 0.5, "metadata": {}, "author": "eve",
    "created_at": AT,
}  # fmt: skip
INVOCATION = {
    "id": "i", "tool": "draw", "status": "succeeded", "started_at": AT, "finished_at": AT,
    "duration_ms": None, "input_sha256": "0" * 64, "output_sha256": None, "attachments": ["a"],
    "tokens_in": None, "tokens_out": 3, "cost": None, "error": None, "metadata": {"a": 1},
    "author": None, "created_at": AT,
}  # fmt: skip
DATA = {"key": "k", "value": '{ "a": 1 }', "created_at": AT, "updated_at": AT}
ATTACHMENT = {
    "name": "a", "sha256": hashlib.sha256(b"bytes of a").hexdigest(), "media_type": "text/plain",
    "metadata": {}, "author": None, "created_at": AT, "updated_at": AT, "expires_at": None,
}  # fmt: skip
PLACE = {"pack": 0, "start": 0, "end": 10}
SETTINGS = {"name": "conversation", "semantic": True}
GOOD: Mapping[str, list[dict[str, Any]]] = {
    "messages": [MESSAGE],
    "invocations": [INVOCATION],
    "data": [DATA],
    "attachments": [ATTACHMENT],
    "settings": [SETTINGS],
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def quire(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Quire]:
    limits = ActivitySettings(attachment_bytes=ATTACHMENT_BYTES)
    async with quire_in(tmp_path_factory.mktemp("files"), activity=limits, **FAKE) as quire:
        yield quire


async def crafted(
    folder: Path, content: bytes = b"bytes of a", **tables: list[dict[str, Any]]
) -> bytes:
    """A bundle without points, whose checksums are right, and these rows in it."""

    async def rows(of: list[dict[str, Any]]) -> AsyncIterator[Mapping[str, Any]]:
        for row in of:
            yield row

    async def attached() -> AsyncIterator[AttachmentEntry]:
        for row in tables.get("attachments", []):
            yield AttachmentEntry(row, Body(len(content), "", lambda: in_blocks(content)))

    embedding = {
        "provider": "external", "model": "external", "revision": "", "dimension": 2,
        "distance": "cosine", "chunker": "",
    }  # fmt: skip
    told = BundleContents(
        {"name": "s"},
        embedding,
        points=nothing(),
        documents=nothing(),
        tables={name: rows(of) for name, of in tables.items() if name != "attachments"},
        attachments=attached(),
    )
    return b"".join([block async for block in write_bundle(told, folder)])


async def taken_in(quire: Quire, file: bytes, **request: Any) -> str:
    job = await imported(quire, file, **request)
    assert job.status == "succeeded", job.error
    assert job.session_id is not None
    return job.session_id


async def test_everything_comes_back_and_makes_the_same_bytes(quire: Quire) -> None:
    session_id = (await create(quire)).id
    await work(quire, session_id)
    await put(quire, await quire.sessions.get(ADA, session_id), "leaves", "Leaves are sewn.")
    await say(quire, session_id, *(f"line {n}" for n in range(120)))
    await attach(quire, session_id, "none", b"", metadata={"why": "empty"})
    await quire.activity.messages.set_semantic(ADA, session_id, True)
    file = await exported(quire, session_id)
    assert await exported(quire, session_id) == file
    made = await taken_in(quire, file)
    before, after = await kept(quire, session_id), await kept(quire, made)
    for rows in before.values():  # a file does not say who somebody is
        for row in rows:
            row.update({"author": None} if "author" in row else {})
    assert after == before
    assert await is_held_right(quire, made)
    assert await bytes_of(quire, made, "plots/chart.png") == b"chart of moss"
    parts = [
        {
            name: part
            for name, part in taken_apart(await exported(quire, one)).items()
            if name not in ("session.json.zst", "lineage.jsonl.zst", "manifest.json")
            and not name.startswith("points")
        }
        for one in (made, await taken_in(quire, await exported(quire, made)))
    ]
    assert parts[0] == parts[1]
    found = await quire.activity.messages.search(
        ADA, made, "line 77", mode=MessageMode.HYBRID, limit=1
    )
    assert [hit.message.content for hit in found.hits] == ["line 77"]
    # the conversation goes on, and repeated ids are known
    await say(quire, made, "And on.")
    assert (await kept(quire, made))["messages"][-1]["ordinal"] == 122


async def test_who_said_it_is_believed_to_an_operator_alone(quire: Quire, tmp_path: Path) -> None:
    file = await crafted(tmp_path, **GOOD)
    made = await taken_in(quire, file)
    assert [row["author"] for row in (await kept(quire, made))["messages"]] == [None]
    restored = Restored(owner_id="ada", group=None, collaborators={}, hold=False)
    begun = await quire.files.importing.begin(
        Principal("root", scope=Scope.ADMIN), ImportRequest(), in_blocks(file), restored
    )
    job = await quire.jobs.wait(begun.job_id, 30)
    assert job.status == "succeeded", job.error
    told = await kept(quire, begun.session_id)
    assert [row["author"] for row in told["messages"]] == ["eve"]
    # vectors from elsewhere cannot be asked for by meaning
    assert told["conversations"][0]["is_semantic"] is False
    assert await value_of(quire, made, "k") == {"a": 1}
    _, value = await quire.activity.data.get(ADA, made, "k")
    assert value == b'{ "a": 1 }'


async def test_what_a_file_calls_an_image_is_served_as_what_it_is(
    quire: Quire, tmp_path: Path
) -> None:
    made = await taken_in(
        quire, await crafted(tmp_path, attachments=[{**ATTACHMENT, "media_type": "image/png"}])
    )
    assert (await quire.activity.attachments.get(ADA, made, "a")).media_type != "image/png"


async def test_what_is_selected_or_not_a_bundle_has_no_activity(quire: Quire) -> None:
    session_id = (await create(quire)).id
    await work(quire, session_id)
    await put(quire, await quire.sessions.get(ADA, session_id), "leaves", "Leaves.")
    for format in (Format.JSONL, Format.CSV, Format.SESSION_JSON):
        assert b"Draw moss" not in await exported(quire, session_id, format)


async def test_what_has_expired_is_in_no_bundle(quire: Quire, tmp_path: Path) -> None:
    session_id = (await create(quire)).id
    await attach(quire, session_id, "gone", b"x")
    await attach(quire, session_id, "there", b"x")
    async with quire.database.write() as connection:
        await connection.execute(
            sa.update(attachments)
            .where(attachments.c.session_id == session_id, attachments.c.name == "gone")
            .values(expires_at=now() - timedelta(seconds=1))
        )
    path = tmp_path / "file"
    path.write_bytes(await exported(quire, session_id))
    with BundleReader.open(path, unpacked_max=10**9) as reader:
        assert [row["name"] for row in reader.table("attachments")] == ["there"]


async def test_a_backup_is_made_anew_when_something_was_said(quire: Quire) -> None:
    session_id = (await create(quire)).id
    session = await quire.sessions.get(ADA, session_id)
    first = await quire.files.backups.back_up(session)
    assert await quire.files.backups.back_up(session) == first
    await say(quire, session_id, "Since then.")
    second = await quire.files.backups.back_up(await quire.sessions.get(ADA, session_id))
    assert second.bundle_sha256 != first.bundle_sha256
    file = b"".join([block async for block in quire.blobs.get(second.bundle_sha256)])
    assert await contents(quire, await taken_in(quire, file)) == ["Since then."]
    # the chore finds it too, and finds nothing where nothing was said since
    await remember(quire, session_id, found="a bittern")
    await quire.files.backups.run()
    assert await quire.files.backups.newest(session_id) != second
    assert await quire.files.backups.run() == 0


BAD_ROWS: dict[str, tuple[Kind, dict[str, Any]]] = {
    "a role that there is not": (Kind.MESSAGES, {"role": "root"}),
    "an id with a space": (Kind.MESSAGES, {"id": "a b"}),
    "no id": (Kind.MESSAGES, {"id": None}),
    "the name of an endpoint": (Kind.MESSAGES, {"id": "search"}),
    "a count that is none": (Kind.MESSAGES, {"tokens_in": True}),
    "a count below nothing": (Kind.MESSAGES, {"tokens_in": -1}),
    "a price that is a text": (Kind.MESSAGES, {"cost": "1"}),
    "a time that is none": (Kind.MESSAGES, {"created_at": "yesterday"}),
    "a time without a zone": (Kind.MESSAGES, {"created_at": "2026-01-01T00:00:00"}),
    "a time before all time": (Kind.MESSAGES, {"created_at": "0001-01-01T00:00:00+14:00"}),
    "content that is none": (Kind.MESSAGES, {"content": {"text": "x"}}),
    "a part of no kind": (Kind.MESSAGES, {"content": [{"type": "script"}]}),
    "a part that is none": (Kind.MESSAGES, {"content": ["x"]}),
    "a message that is too large": (Kind.MESSAGES, {"content": "x" * 1_100_000}),
    "text that no database takes": (Kind.MESSAGES, {"metadata": {"a": "\0"}}),
    "metadata that are a list": (Kind.MESSAGES, {"metadata": []}),
    "an author that is none": (Kind.MESSAGES, {"author": "a\nb"}),
    "a status that there is not": (Kind.INVOCATIONS, {"status": "good"}),
    "an end before the beginning": (
        Kind.INVOCATIONS,
        {"finished_at": "2025-01-01T00:00:00+00:00"},
    ),
    "over, and never finished": (Kind.INVOCATIONS, {"finished_at": None}),
    "running, and finished": (Kind.INVOCATIONS, {"status": "running"}),
    "a digest that is none": (Kind.INVOCATIONS, {"input_sha256": "x"}),
    "an error that is none": (Kind.INVOCATIONS, {"error": []}),
    "a tool that is none": (Kind.INVOCATIONS, {"tool": 7}),
    "a name among attachments that leads out": (Kind.INVOCATIONS, {"attachments": ["../x"]}),
    "attachments that are a text": (Kind.INVOCATIONS, {"attachments": "abc"}),
    "a key that leads out": (Kind.DATA, {"key": "a/../b"}),
    "a value that is no JSON": (Kind.DATA, {"value": "{"}),
    "a value that is no text": (Kind.DATA, {"value": {}}),
    "a value that is too large": (Kind.DATA, {"value": f'"{"x" * 300_000}"'}),
    "a name that leads out": (Kind.ATTACHMENTS, {"name": "../../etc/passwd"}),
    "a name without end": (Kind.ATTACHMENTS, {"name": "a" * 201}),
    "a media type that is none": (Kind.ATTACHMENTS, {"media_type": 7}),
}


@pytest.mark.parametrize("wrong", BAD_ROWS)
async def test_rows_that_no_client_could_have_written_are_refused(quire: Quire, wrong: str) -> None:
    kind, changed = BAD_ROWS[wrong]
    good = {**GOOD[kind][0], "content": PLACE} if kind is Kind.ATTACHMENTS else GOOD[kind][0]
    checks = ActivityChecks(quire.settings, MessageWords(quire.database))
    assert checks.row(kind, good, 7, with_author=True)
    with pytest.raises(FileRefused, match=rf"Line 7 of {kind}\.jsonl\.zst") as refused:
        checks.row(kind, {**good, **changed}, 7, with_author=True)
    assert refused.value.details["part"] == f"{kind}.jsonl.zst"
    for name in good:
        if name != "content" or kind is not Kind.ATTACHMENTS:
            with pytest.raises(FileRefused):
                checks.row(kind, {k: v for k, v in good.items() if k != name}, 7, with_author=True)


BAD: dict[str, dict[str, Any]] = {
    "a row that is wrong": {"messages": [MESSAGE, {**MESSAGE, "id": "n", "role": "root"}]},
    "messages twice": {"messages": [MESSAGE, {**MESSAGE, "content": "Else."}]},
    "invocations twice": {"invocations": [INVOCATION, INVOCATION]},
    "keys twice": {"data": [DATA, DATA]},
    "names twice": {"attachments": [ATTACHMENT, ATTACHMENT]},
    "bytes of something else": {"attachments": [{**ATTACHMENT, "sha256": "0" * 64}]},
    "an attachment too large": {"attachments": [ATTACHMENT], "content": b"x" * 1001},
    "settings that say nothing": {"settings": [{"name": "conversation", "semantic": "yes"}]},
}


async def test_a_bundle_with_such_rows_leaves_nothing_behind(quire: Quire, tmp_path: Path) -> None:
    await taken_in(quire, await crafted(tmp_path, **GOOD))
    before = await _everything(quire)
    files = [await crafted(tmp_path, **tables) for tables in BAD.values()]
    jobs = await asyncio.gather(*(imported(quire, file) for file in files))
    for wrong, job in zip(BAD, jobs, strict=True):
        assert job.status == "failed", wrong
        assert job.error is not None
        assert job.error["code"] == "file_refused", job.error
    await finish_purges(quire)
    assert await _everything(quire) == before


async def _everything(quire: Quire) -> list[int]:
    """How much there is of all that an import could leave behind."""
    tables = [*TABLES, sessions, blob_references]
    async with quire.database.read() as connection:
        counts = [sa.select(sa.func.count()).select_from(table) for table in tables]
        return [int(await connection.scalar(count) or 0) for count in counts]


async def test_a_part_that_is_not_there_is_nothing_that_is_missed(
    quire: Quire, tmp_path: Path
) -> None:
    """Bundles of the time before there was any activity."""
    made = await taken_in(quire, await crafted(tmp_path))
    for table in TABLES:
        assert await row_count(quire, table, made) == 0
