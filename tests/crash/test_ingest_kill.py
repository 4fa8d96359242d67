"""Killed in mid-ingest, Quire goes on: no chunk is missing, none is there twice, none is half."""

from __future__ import annotations

from pathlib import Path

import pytest

from quire.access.principal import Principal, Scope
from quire.app import Quire
from quire.content.models import Chunk
from quire.errors import NotFound
from tests.crash.ingest_child import content
from tests.crash.journal import History, read_journal
from tests.crash.killing import check_blobs, kill_again_and_again

OPERATOR = Principal("operator", scope=Scope.ADMIN)
KILLS = 4
SOAK_KILLS = 40

EMBEDDING = {"QUIRE_EMBEDDING_PROVIDER": "fake", "QUIRE_EMBEDDING_DIMENSION": "16"}


@pytest.mark.timeout(300)
async def test_embedded(embedded: dict[str, str], tmp_path: Path) -> None:
    await _kill_ingests(embedded, tmp_path / "journal", KILLS)


@pytest.mark.server
@pytest.mark.postgres
@pytest.mark.timeout(300)
async def test_on_servers(on_servers: dict[str, str], tmp_path: Path) -> None:
    await _kill_ingests(on_servers, tmp_path / "journal", KILLS)


@pytest.mark.soak
async def test_embedded_for_long(embedded: dict[str, str], tmp_path: Path) -> None:
    await _kill_ingests(embedded, tmp_path / "journal", SOAK_KILLS)


@pytest.mark.soak
@pytest.mark.server
@pytest.mark.postgres
async def test_on_servers_for_long(on_servers: dict[str, str], tmp_path: Path) -> None:
    await _kill_ingests(on_servers, tmp_path / "journal", SOAK_KILLS)


async def _kill_ingests(environment: dict[str, str], journal: Path, kills: int) -> None:
    async def check(quire: Quire) -> None:
        for session_id, history in read_journal(journal).items():
            await _check_session(quire, session_id, history)
        findings = await quire.reconciliation.run()
        assert findings.is_clean, findings
        await check_blobs(quire)

    settings = {**environment, **EMBEDDING}
    await kill_again_and_again(
        "tests.crash.ingest_child", settings, journal, kills, check, longest=2.5
    )
    brought = [
        operation
        for history in read_journal(journal).values()
        for operation in history.acknowledged
        if operation.startswith("bring")
    ]
    assert brought, "the children did next to nothing before they were killed"


async def _check_session(quire: Quire, session_id: str, history: History) -> None:
    try:
        session = await quire.sessions.peek(OPERATOR, session_id)
    except NotFound:
        assert history.last is None, f"{session_id} was acknowledged and is lost"
        return
    assert session.hidden_stages == ()
    expected = _versions(history.acknowledged)
    or_else = _versions([*history.acknowledged, history.pending or ""])
    batches = quire.chunks.stream(OPERATOR, session_id)
    found = [chunk async for batch in batches for chunk in batch]
    texts = {document_id: _joined(chunks) for document_id, chunks in _by_document(found).items()}
    possible = [{name: content(v) for name, v in these.items()} for these in (expected, or_else)]
    assert texts in possible, f"{session_id}: {sorted(texts)} after {history}"
    assert await quire.engine.count(session.collection) == len(found) == session.chunks_count
    page = await quire.documents.page(OPERATOR, session_id)
    assert {document.id for document in page.documents} == set(texts)


def _versions(operations: list[str]) -> dict[str, int]:
    """Which version of which document there is after these operations."""
    versions: dict[str, int] = {}
    for operation in operations:
        verb, *names = operation.split(" ")
        if verb == "bring":
            versions |= {name: int(version) for name, version in (n.split("=") for n in names)}
        elif verb == "remove":
            versions.pop(names[0], None)
    return versions


def _by_document(chunks: list[Chunk]) -> dict[str, list[Chunk]]:
    documents: dict[str, list[Chunk]] = {}
    for chunk in chunks:
        documents.setdefault(chunk.document_id, []).append(chunk)
    return documents


def _joined(chunks: list[Chunk]) -> str:
    """The document's text; its chunks are numbered without a gap and without a repetition."""
    assert [chunk.index for chunk in chunks] == list(range(len(chunks)))
    assert [chunk.seq - chunk.index for chunk in chunks] == [chunks[0].seq] * len(chunks)
    return "".join(chunk.text for chunk in chunks)
