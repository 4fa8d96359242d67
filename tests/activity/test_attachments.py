"""Attachments: the bytes that were put, for as long as was asked, within the limits."""

from __future__ import annotations

import asyncio
import base64
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa

from quire.access.policy import Role
from quire.access.principal import Scope
from quire.activity.attachment_arrival import from_data_url
from quire.activity.media_sniffing import media_type_of
from quire.activity.preconditions import Precondition
from quire.errors import (
    AttachmentExpired,
    AttachmentNotFound,
    BlobNotFound,
    Conflict,
    Forbidden,
    InvalidInput,
    PreconditionFailed,
    SessionNotFound,
)
from quire.sessions.requests import NewSession
from quire.store.columns import now
from quire.store.tables import attachments, blob_references, events
from tests.sessions.house import ADA, GRACE, create, new_id, purged, row_count

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from quire.activity.attachment_models import Attachment
    from quire.app import Quire

pytestmark = pytest.mark.asyncio(loop_scope="module")

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256))
DAY = timedelta(days=1)


async def content(*blocks: bytes) -> AsyncIterator[bytes]:
    for block in blocks:
        yield block


async def put(
    quire: Quire, session_id: str, name: str, data: bytes = PNG, **more: Any
) -> tuple[Attachment, bool]:
    return await quire.activity.attachments.put(ADA, session_id, name, content(data), **more)


async def read(quire: Quire, attachment: Attachment, start: int = 0, end: int = 2**40) -> bytes:
    blocks = quire.activity.attachments.read(attachment, start, end)
    return b"".join([block async for block in blocks])


async def references(quire: Quire, session_id: str) -> set[tuple[str, str]]:
    query = sa.select(blob_references.c.holder, blob_references.c.sha256).where(
        blob_references.c.session_id == session_id
    )
    async with quire.database.read() as connection:
        return {(row.holder, row.sha256) for row in await connection.execute(query)}


async def changes(quire: Quire, session_id: str) -> list[tuple[str, str]]:
    query = sa.select(events.c.data).where(
        events.c.session_id == session_id, events.c.kind == "attachment.changed"
    )
    async with quire.database.read() as connection:
        told = (await connection.execute(query.order_by(events.c.seq))).scalars()
        return [(data["name"], data["change"]) for data in told]


async def test_what_was_put_is_what_is_read(quire: Quire) -> None:
    session = await create(quire)
    made, is_new = await quire.activity.attachments.put(
        ADA, session.id, "shots/one.png", content(PNG[:3], b"", PNG[3:]), metadata={"page": 1}
    )
    assert is_new
    assert (made.media_type, made.size, made.author) == ("image/png", len(PNG), "ada")
    assert await quire.activity.attachments.get(ADA, session.id, "shots/one.png") == made
    assert await read(quire, made) == PNG
    assert await read(quire, made, 3, 10) == PNG[3:10]
    assert await references(quire, session.id) == {("attachment:shots/one.png", made.sha256)}

    empty, _ = await put(quire, session.id, "empty", b"")
    assert (empty.size, await read(quire, empty)) == (0, b"")


async def test_the_same_again_is_the_same_and_other_bytes_take_its_place(quire: Quire) -> None:
    session = await create(quire)
    first, _ = await put(quire, session.id, "a.png")
    again, is_new = await put(quire, session.id, "a.png")
    assert (again.etag, again.created_at, is_new) == (first.etag, first.created_at, False)

    other, is_new = await put(quire, session.id, "a.png", b"GIF89a...")
    assert not is_new
    assert (other.media_type, await read(quire, other)) == ("image/gif", b"GIF89a...")
    assert await references(quire, session.id) == {("attachment:a.png", other.sha256)}
    assert await changes(quire, session.id) == [("a.png", "put"), ("a.png", "put")]

    for precondition in (Precondition(if_none_match="*"), Precondition(if_match=first.etag)):
        with pytest.raises(PreconditionFailed):
            await put(quire, session.id, "a.png", PNG, precondition=precondition)
    await put(quire, session.id, "a.png", PNG, precondition=Precondition(if_match=other.etag))


async def test_what_is_removed_is_as_if_it_had_never_been(quire: Quire) -> None:
    session = await create(quire)
    await put(quire, session.id, "a.png")
    await quire.activity.attachments.remove(ADA, session.id, "a.png")
    for again in (
        quire.activity.attachments.get(ADA, session.id, "a.png"),
        quire.activity.attachments.remove(ADA, session.id, "a.png"),
    ):
        with pytest.raises(AttachmentNotFound):
            await again
    assert await references(quire, session.id) == set()
    assert (await changes(quire, session.id))[-1] == ("a.png", "deleted")


async def test_expired_and_never_there_are_different(quire: Quire) -> None:
    session = await create(quire)
    kept, _ = await put(quire, session.id, "kept.png")
    put_at = now()
    made, _ = await put(quire, session.id, "gone.png", ephemeral=True)
    assert kept.expires_at is None
    assert made.expires_at is not None
    assert timedelta(0) <= made.expires_at - put_at - timedelta(minutes=30) < timedelta(seconds=30)
    await let_expire(quire, session.id, "gone.png")

    # Before anything is swept, and after it: the answers are the same.
    for swept in (0, 1):
        with pytest.raises(AttachmentExpired):
            await quire.activity.attachments.get(ADA, session.id, "gone.png")
        with pytest.raises(AttachmentNotFound):
            await quire.activity.attachments.get(ADA, session.id, "never.png")
        page = await quire.activity.attachments.page(ADA, session.id)
        assert [attachment.name for attachment in page.attachments] == ["kept.png"]
        if not swept:
            assert await quire.activity.attachments.sweep(now()) == 1
    assert await references(quire, session.id) == {("attachment:kept.png", kept.sha256)}
    assert (await changes(quire, session.id))[-1] == ("gone.png", "expired")
    assert await quire.activity.attachments.sweep(now()) == 0

    # A day later it is forgotten; put again it is there again.
    await quire.activity.attachments.sweep(now() + 2 * DAY)
    with pytest.raises(AttachmentNotFound):
        await quire.activity.attachments.get(ADA, session.id, "gone.png")
    assert (await put(quire, session.id, "gone.png", ttl_seconds=60))[1]


async def test_putting_it_again_begins_its_time_anew(quire: Quire) -> None:
    session = await create(quire)
    await put(quire, session.id, "a.png", ttl_seconds=60)
    await let_expire(quire, session.id, "a.png")
    again, is_new = await put(quire, session.id, "a.png", ttl_seconds=60)
    assert is_new
    assert await quire.activity.attachments.get(ADA, session.id, "a.png") == again
    for ttl_seconds in (0, -1, float("nan"), 1e12):
        with pytest.raises(InvalidInput, match="ttl_seconds"):
            await put(quire, session.id, "a.png", ttl_seconds=ttl_seconds)


async def let_expire(quire: Quire, session_id: str, name: str) -> None:
    change = sa.update(attachments).where(
        attachments.c.session_id == session_id, attachments.c.name == name
    )
    async with quire.database.write() as connection:
        await connection.execute(change.values(expires_at=now() - timedelta(seconds=1)))


async def test_names_are_paged_in_their_order(quire: Quire) -> None:
    session = await create(quire)
    for name in ("shots/2.png", "log.txt", "shots/1.png", "Übersicht.pdf"):
        await put(quire, session.id, name, name.encode())
    page = await quire.activity.attachments.page(ADA, session.id, prefix="shots/", limit=1)
    assert [attachment.name for attachment in page.attachments] == ["shots/1.png"]
    page = await quire.activity.attachments.page(
        ADA, session.id, prefix="shots/", cursor=page.next_cursor, limit=1
    )
    assert [attachment.name for attachment in page.attachments] == ["shots/2.png"]
    assert page.next_cursor is None
    for impossible in ("", "a//b", "../a", "a" * 201, "a\x7f"):
        with pytest.raises(InvalidInput):
            await put(quire, session.id, impossible)


async def test_roles_and_states_are_heeded_before_anything_is_read(quire: Quire) -> None:
    session = await create(quire)
    made, _ = await put(quire, session.id, "a.png")

    async def unread() -> AsyncIterator[bytes]:
        pytest.fail("it was read")
        yield b""

    reader = replace(ADA, scope=Scope.READ)
    assert await quire.activity.attachments.get(reader, session.id, "a.png") == made
    with pytest.raises(Forbidden):
        await quire.activity.attachments.put(reader, session.id, "b.png", unread())
    with pytest.raises(SessionNotFound):
        await quire.activity.attachments.put(GRACE, session.id, "b.png", unread())
    await quire.sessions.delete(ADA, session.id)
    with pytest.raises(Conflict, match="is deleted"):
        await quire.activity.attachments.put(ADA, session.id, "b.png", unread())
    await purged(quire, ADA, session.id)
    assert await references(quire, session.id) == set()


async def test_ending_an_ephemeral_session_takes_everything_away(quire: Quire) -> None:
    session_id = new_id("pause")
    new = NewSession(id=session_id, name="shot", ephemeral=True)
    session, _ = await quire.creation.create(ADA, new)
    assert session.ttl_seconds == 1800
    made, _ = await put(quire, session_id, "screenshot.png", PNG + session_id.encode())

    ended = await asyncio.gather(*(quire.conclusion.end(ADA, session_id) for _ in range(4)))

    assert all(one.session is None for one in ended)
    (job_id,) = [one.job_id for one in ended if one.job_id is not None]
    assert (await quire.jobs.wait(job_id, 30)).status == "succeeded"
    assert (await quire.conclusion.end(ADA, session_id)).session is None
    for look in (
        quire.sessions.get(ADA, session_id),
        quire.activity.attachments.get(ADA, session_id, "screenshot.png"),
        quire.conclusion.end(GRACE, session_id),
    ):
        with pytest.raises(SessionNotFound):
            await look
    assert await row_count(quire, attachments, session_id) == 0
    assert await references(quire, session_id) == set()
    await quire.ledger.sweep(now() + 2 * DAY)
    with pytest.raises(BlobNotFound):
        await read(quire, made)

    # The id is free again, and then its end is another one.
    await quire.creation.create(ADA, NewSession(id=session_id, name="shot", ephemeral=False))
    ended_again = await quire.conclusion.end(ADA, session_id)
    assert ended_again.session is not None
    assert ended_again.session.outcome == "completed"


async def test_removing_another_session_by_ending_it_takes_an_admin(quire: Quire) -> None:
    session = await create(quire, group="garden")
    await quire.sharing.share(ADA, session.id, ["grace"], Role.WRITE)
    with pytest.raises(Forbidden):
        await quire.conclusion.end(GRACE, session.id, remove=True)
    assert (await quire.conclusion.end(GRACE, session.id)).session is not None
    ended = await quire.conclusion.end(ADA, session.id, remove=True)
    assert ended.session is None
    assert ended.job_id is not None
    await quire.jobs.wait(ended.job_id, 30)


def _box(brand: bytes) -> bytes:
    return b"\0\0\0\x18ftyp" + brand + b"\0\0\0\0" + b"mif1" + b"\0" * 8


@pytest.mark.parametrize(
    ("head", "declared", "expected"),
    [
        (PNG, None, "image/png"),
        (PNG, "text/html", "image/png"),
        (PNG, "image/jpeg", "image/png"),
        (b"\xff\xd8\xff\xe0", "application/octet-stream", "image/jpeg"),
        (b"GIF87a", "", "image/gif"),
        (b"RIFF\x10\0\0\0WEBPVP8 ", None, "image/webp"),
        (b"RIFF\x10\0\0\0WAVEfmt ", "audio/x-wav", "audio/wav"),
        (_box(b"avif"), None, "image/avif"),
        (_box(b"isom"), None, "video/mp4"),
        (_box(b"M4A "), "audio/mp4", "audio/mp4"),
        (b"\x1a\x45\xdf\xa3...", "audio/webm", "audio/webm"),
        (b"BM\x46\0\0\0\0\0\0\0\x36", None, "image/bmp"),
        (b"%PDF-1.7\n", "text/plain", "application/pdf"),
        (b"PK\x03\x04...", None, "application/zip"),
        (b"PK\x03\x04...", "application/epub+zip", "application/epub+zip"),
        (b"PK\x03\x04...", "text/html", "application/zip"),
        (b"ID3\x04", None, "audio/mpeg"),
        (b"\xff\xfb\x90\x44", "audio/mp3", "audio/mpeg"),
        (b'{"a": 1}', None, "application/json"),
        (b"[1, 2]", "application/json", "application/json"),
        (b"a,b\n1,2\n", "text/csv", "text/csv"),
        (b"a,b\n1,2\n", "application/x-www-form-urlencoded", "text/plain; charset=utf-8"),
        ("ä\n".encode(), "text/plain", "text/plain"),
        (
            "ä\n".encode("latin-1"),
            "text/plain; charset=ISO-8859-1",
            "text/plain; charset=iso-8859-1",
        ),
        # Markup is markup, whatever it is said to be, where it would be shown.
        (b"<!DOCTYPE html><p>", None, "text/html; charset=utf-8"),
        (b"\xef\xbb\xbf \n<script>alert(1)</script>", "image/png", "text/html; charset=utf-8"),
        (b"<!-- x --><html>", "text/plain", "text/html; charset=utf-8"),
        (b"<b>x", "application/json", "text/html; charset=utf-8"),
        (b"<h1>Read me</h1>", "text/markdown", "text/markdown"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "image/png", "image/svg+xml; charset=utf-8"),
        (b"<?xml version='1.0'?>\n<!-- a --><svg/>", "image/svg+xml", "image/svg+xml"),
        (b"no svg at all", "image/svg+xml", "text/plain; charset=utf-8"),
        # What would have shown itself and did not is not it.
        (b"\x00\x01\x02", "image/png", "application/octet-stream"),
        (b"\x00\x01\x02", "text/html", "application/octet-stream"),
        (b"plain", "application/pdf", "text/plain; charset=utf-8"),
        (b"\x00\x01\x02", "application/x-sqlite3", "application/x-sqlite3"),
        (b"\x00\x01\x02", "no type\r\nX-Evil: 1", "application/octet-stream"),
        (b"x", 'text/plain; charset="a\r\nX-Evil: 1"', "text/plain"),
        (b"", "image/png", "text/plain; charset=utf-8"),
    ],
)
async def test_the_bytes_say_what_it_is(head: bytes, declared: str | None, expected: str) -> None:
    assert media_type_of(declared, head) == expected


async def test_data_urls_are_read_as_browsers_do() -> None:
    encoded = base64.b64encode(PNG).decode()
    assert from_data_url(f"data:image/png;base64,{encoded}") == ("image/png", PNG)
    assert from_data_url(f"DATA:image/png ; BASE64,{encoded.rstrip('=')}") == ("image/png", PNG)
    assert from_data_url("data:,a%20b") == (None, b"a b")
    assert from_data_url("data:text/plain;charset=utf-8,%C3%A4") == (
        "text/plain;charset=utf-8",
        "ä".encode(),
    )
    for impossible in ("", "http://a", "data:image/png;base64", "data:;base64,a", "data:;base64,*"):
        with pytest.raises(InvalidInput, match="data_url"):
            from_data_url(impossible)
