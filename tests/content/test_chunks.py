"""Chunks by their address."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from quire.errors import ChunkNotFound, DocumentNotFound, InvalidInput
from tests.content.house import chunks, filled_quire, ingest, paragraphs, remove, text
from tests.sessions.house import ADA, create

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from quire.app import Quire


@pytest.fixture
async def filled(tmp_path: Path) -> AsyncIterator[tuple[Quire, str]]:
    """Three documents of ten chunks each: 0 to 9, 10 to 19, 20 to 29."""
    async with filled_quire(tmp_path) as quire:
        session = await create(quire)
        sources = [text(paragraphs(10, f"topic {n}"), id=f"d{n}") for n in range(3)]
        await ingest(quire, session.id, *sources, chunk_size=60)
        assert [chunk.seq for chunk in await chunks(quire, session.id)] == list(range(30))
        yield quire, session.id


async def test_a_chunk_by_its_number(filled: tuple[Quire, str]) -> None:
    quire, session_id = filled
    found = await quire.chunks.get(ADA, session_id, 12)
    assert (found.chunk.seq, found.chunk.document_id, found.chunk.index) == (12, "d1", 2)
    assert (found.previous_seq, found.next_seq) == (11, 13)
    assert (found.before, found.after) == ([], [])
    again = await quire.chunks.by_index(ADA, session_id, "d1", 2)
    assert again == found


async def test_neighbours_are_of_the_same_document(filled: tuple[Quire, str]) -> None:
    quire, session_id = filled
    found = await quire.chunks.get(ADA, session_id, 11, before=5, after=3)
    assert [chunk.seq for chunk in found.before] == [10]
    assert [chunk.seq for chunk in found.after] == [12, 13, 14]


async def test_the_first_has_none_before_it_and_the_last_none_after(
    filled: tuple[Quire, str],
) -> None:
    quire, session_id = filled
    assert (await quire.chunks.get(ADA, session_id, 0)).previous_seq is None
    assert (await quire.chunks.get(ADA, session_id, 29)).next_seq is None


async def test_pages_lead_to_each_other(filled: tuple[Quire, str]) -> None:
    quire, session_id = filled
    seqs: list[int] = []
    start: int | None = 0
    while start is not None:
        page = await quire.chunks.page(ADA, session_id, start=start, limit=7)
        seqs += [chunk.seq for chunk in page.chunks]
        start = page.next_start
    assert seqs == list(range(30))
    page = await quire.chunks.page(ADA, session_id, start=8, limit=5, document_id="d1")
    assert [chunk.index for chunk in page.chunks] == [8, 9]
    assert page.next_start is None


async def test_what_was_removed_is_passed_over_and_said_to_be_gone(
    filled: tuple[Quire, str],
) -> None:
    quire, session_id = filled
    await remove(quire, session_id, "d1")
    page = await quire.chunks.page(ADA, session_id, start=5, limit=10)
    assert [chunk.seq for chunk in page.chunks] == [5, 6, 7, 8, 9, 20, 21, 22, 23, 24]
    assert page.next_start == 25
    assert (await quire.chunks.get(ADA, session_id, 9)).next_seq == 20
    assert (await quire.chunks.get(ADA, session_id, 20)).previous_seq == 9
    with pytest.raises(ChunkNotFound, match="gone") as gone:
        await quire.chunks.get(ADA, session_id, 12)
    assert gone.value.details["gone"] is True


async def test_what_never_was_is_told_from_what_is_gone(filled: tuple[Quire, str]) -> None:
    quire, session_id = filled
    with pytest.raises(ChunkNotFound, match="valid range: 0–29"):
        await quire.chunks.get(ADA, session_id, 30)
    with pytest.raises(ChunkNotFound, match="valid: 0 to 9"):
        await quire.chunks.by_index(ADA, session_id, "d0", 10)
    with pytest.raises(DocumentNotFound):
        await quire.chunks.by_index(ADA, session_id, "none", 0)
    with pytest.raises(InvalidInput, match="0 to 100"):
        await quire.chunks.get(ADA, session_id, 1, before=101)
    empty = await create(quire)
    with pytest.raises(ChunkNotFound, match="none yet"):
        await quire.chunks.get(ADA, empty.id, 0)
    assert (await quire.chunks.page(ADA, empty.id)).chunks == []


async def test_a_stream_holds_everything_in_order(filled: tuple[Quire, str]) -> None:
    quire, session_id = filled
    assert [chunk.index for chunk in await chunks(quire, session_id, "d2")] == list(range(10))
    joined = "".join(chunk.text for chunk in await chunks(quire, session_id, "d2"))
    assert joined == paragraphs(10, "topic 2")
