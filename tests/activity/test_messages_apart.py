"""Conversations of Quires of their own: limits, stopping, two processes."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from quire.activity.message_models import MessageMode
from quire.activity.message_vectors import MessageVectors
from quire.activity.message_words import MessageWords
from quire.errors import LimitExceeded, Unavailable
from quire.settings import ActivitySettings, DatabaseSettings
from quire.store import Database
from quire.store.message_words import GIN_INDEX, INDEXED
from tests.activity.conversing import conversing, said, say, user
from tests.sessions.house import ADA, create
from tests.store.template import prepare_postgres

if TYPE_CHECKING:
    from pathlib import Path

    from quire.app import Quire


async def test_limits_are_named(tmp_path: Path) -> None:
    limits = ActivitySettings(message_bytes=100, messages=2)
    async with conversing(tmp_path, activity=limits) as quire:
        session = await create(quire)
        with pytest.raises(LimitExceeded, match="QUIRE_ACTIVITY_MESSAGE_BYTES"):
            await say(quire, session.id, "x" * 100)
        with pytest.raises(LimitExceeded, match="QUIRE_ACTIVITY_MESSAGES"):
            await say(quire, session.id, "1", "2", "3")


async def test_who_waits_no_longer_disturbs_nobody(tmp_path: Path) -> None:
    async with conversing(tmp_path) as quire:
        session = await create(quire)
        tasks = [asyncio.create_task(say(quire, session.id, str(n))) for n in range(50)]
        await asyncio.sleep(0)
        for task in tasks[::2]:
            task.cancel()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)

        assert all(isinstance(outcome, asyncio.CancelledError) for outcome in outcomes[::2])
        kept = {outcome[0].id for outcome in outcomes[1::2] if isinstance(outcome, list)}
        found = await said(quire, session.id)
        assert len(kept) == 25
        assert kept <= {message.id for message in found}
        assert [message.ordinal for message in found] == list(range(len(found)))


async def test_what_waits_is_written_before_quire_stops_and_nothing_after(tmp_path: Path) -> None:
    async with conversing(tmp_path) as quire:
        session = await create(quire)
        saying = [asyncio.create_task(say(quire, session.id, str(n))) for n in range(20)]
        await asyncio.sleep(0.01)
        await quire.activity.close()
        outcomes = await asyncio.gather(*saying, return_exceptions=True)
        written = [outcome for outcome in outcomes if isinstance(outcome, list)]
        assert len(written) == len(await said(quire, session.id))
        assert all(isinstance(o, list | Unavailable) for o in outcomes)
        with pytest.raises(Unavailable):
            await say(quire, session.id, "too late")
        assert not [t for t in asyncio.all_tasks() if t.get_name().endswith("messages")]


@pytest.mark.postgres
async def test_two_processes_append_in_one_order(tmp_path: Path, postgres_url: str) -> None:
    await prepare_postgres(postgres_url)
    database = DatabaseSettings(url=postgres_url)
    async with (
        conversing(tmp_path / "one", database=database) as one,
        conversing(tmp_path / "two", database=database, runs_jobs=False) as two,
    ):
        session = await create(one)
        turn = user("the same", id="turn")

        async def speak(quire: Quire, name: str) -> None:
            for n in range(15):
                await say(quire, session.id, f"{name} {n}")
                await quire.activity.messages.append(ADA, session.id, [turn])

        await asyncio.gather(*(speak(q, f"{who}") for who in range(4) for q in (one, two)))
        found = await said(two, session.id)
    assert [message.ordinal for message in found] == list(range(8 * 15 + 1))
    assert sum(message.id == "turn" for message in found) == 1


@pytest.mark.postgres
async def test_postgres_finds_words_by_their_index(postgres_url: str) -> None:
    await prepare_postgres(postgres_url)
    database = Database.postgres(postgres_url)
    explain = f"EXPLAIN SELECT seq FROM messages WHERE {INDEXED} @> '{{x}}'"
    try:
        async with database.write() as connection:
            # The table is empty; what is asked is whether the index could serve.
            await connection.execute(sa.text("SET LOCAL enable_seqscan = off"))
            plan = "\n".join((await connection.execute(sa.text(explain))).scalars())
    finally:
        await database.close()
    assert GIN_INDEX in plan


async def test_what_takes_too_long_is_told_as_pending(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("quire.activity.message_vectors.PATIENCE_SECONDS", 0.0)
    monkeypatch.setattr(MessageVectors, "embed_soon", lambda *_: None)
    async with conversing(tmp_path) as quire:
        session = await create(quire)
        await say(quire, session.id, *map(str, range(70)))
        await quire.activity.messages.set_semantic(ADA, session.id, on=True)
        answer = await quire.activity.messages.search(
            ADA, session.id, "69", mode=MessageMode.SEMANTIC
        )
        assert (answer.hits, answer.pending) == ([], 70)

        monkeypatch.undo()
        answer = await quire.activity.messages.search(
            ADA, session.id, "69", mode=MessageMode.SEMANTIC
        )
        assert (answer.hits[0].message.content, answer.pending) == ("69", 0)


@given(texts=st.lists(st.text(max_size=40), min_size=1, max_size=5))
@settings(
    max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_the_words_of_any_text_can_be_kept_and_asked_for(texts: list[str], tmp_path: Path) -> None:
    words = MessageWords(Database.sqlite(tmp_path / "unused.db"))
    for text in texts:
        kept = words.of(text)
        assert kept.isascii()
        assert "\x00" not in kept
        assert set(words.of(f"{text} {text}").split()) == set(kept.split())
