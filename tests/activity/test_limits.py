"""Limits are never overshot, however many come at once, and each names its setting."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa

from quire.errors import BodyTooLarge, LimitExceeded
from quire.settings import ActivitySettings, EmbeddingSettings
from quire.store.columns import now
from quire.store.tables import attachments
from tests.sessions.house import ADA, create, quire_in
from tests.sessions.servers import quire_on_servers

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from quire.app import Quire

SMALL: dict[str, Any] = {
    "activity": ActivitySettings(
        data_bytes=10, data_keys=3, attachment_bytes=100, attachments=3, attachments_bytes=250
    ),
    "embedding": EmbeddingSettings(provider="fake"),
}
ON_SERVERS = pytest.param("servers", marks=[pytest.mark.server, pytest.mark.postgres])


@pytest.fixture(params=["embedded", ON_SERVERS])
async def quire(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Quire]:
    if request.param == "embedded":
        opened = quire_in(tmp_path, **SMALL)
    else:
        url = request.getfixturevalue("postgres_url")
        opened = quire_on_servers(tmp_path, url, request.getfixturevalue("qdrant_server"), **SMALL)
    async with opened as quire:
        yield quire


async def content(*blocks: bytes) -> AsyncIterator[bytes]:
    for block in blocks:
        yield block


async def endless() -> AsyncIterator[bytes]:
    while True:
        yield b"x" * 40


async def test_of_data(quire: Quire) -> None:
    session = await create(quire, dimension=4)
    with pytest.raises(BodyTooLarge, match="QUIRE_ACTIVITY_DATA_BYTES"):
        await quire.activity.data.put(ADA, session.id, "k", b'"' + b"x" * 9 + b'"')

    results = await asyncio.gather(
        *(quire.activity.data.put(ADA, session.id, f"k{n}", b"1") for n in range(8)),
        return_exceptions=True,
    )

    assert sum(isinstance(result, tuple) for result in results) == 3
    (refused, *_) = [result for result in results if isinstance(result, LimitExceeded)]
    assert "QUIRE_ACTIVITY_DATA_KEYS" in refused.message
    page = await quire.activity.data.page(ADA, session.id)
    assert len(page.entries) == 3
    # What is there can still be changed.
    await quire.activity.data.put(ADA, session.id, page.entries[0].key, b"2")


async def test_of_attachments(quire: Quire) -> None:
    session = await create(quire, dimension=4)

    async def put(name: str, data: bytes, **more: Any) -> Any:
        return await quire.activity.attachments.put(ADA, session.id, name, content(data), **more)

    with pytest.raises(BodyTooLarge, match="QUIRE_ACTIVITY_ATTACHMENT_BYTES"):
        await quire.activity.attachments.put(ADA, session.id, "a", endless())

    results = await asyncio.gather(*(put(f"a{n}", b"x") for n in range(8)), return_exceptions=True)
    assert sum(isinstance(result, tuple) for result in results) == 3
    (refused, *_) = [result for result in results if isinstance(result, LimitExceeded)]
    assert "QUIRE_ACTIVITY_ATTACHMENTS)" in refused.message

    page = await quire.activity.attachments.page(ADA, session.id)
    names = [attachment.name for attachment in page.attachments]
    results = await asyncio.gather(
        *(put(name, name.encode() * 50) for name in names), return_exceptions=True
    )
    assert sum(isinstance(result, tuple) for result in results) == 2
    (refused,) = [result for result in results if isinstance(result, LimitExceeded)]
    assert "QUIRE_ACTIVITY_ATTACHMENTS_BYTES" in refused.message

    # What expired takes no room.
    await put(names[0], b"y", ttl_seconds=60)
    expired = sa.update(attachments).where(attachments.c.name == names[0])
    async with quire.database.write() as connection:
        await connection.execute(expired.values(expires_at=now() - timedelta(seconds=1)))
    await put("new", b"z")
