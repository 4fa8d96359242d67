"""Conversations: one order however many append, nothing twice, nothing changed."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio
import sqlalchemy as sa

from quire.access.policy import Role
from quire.activity.message_models import MessageFilter, MessageRole, NewMessage
from quire.errors import (
    Conflict,
    Forbidden,
    InvalidInput,
    MessageNotFound,
    SessionNotFound,
)
from quire.store.tables import events
from tests.activity.conversing import assistant, over, said, say, user
from tests.sessions.house import ADA, GRACE, create, purged

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from quire.app import Quire

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(
    scope="module",
    loop_scope="module",
    params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)],
)
async def quire(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Quire]:
    async with over(request.param, tmp_path_factory.mktemp("quire"), request) as opened:
        yield opened


@pytest_asyncio.fixture(loop_scope="module")
async def session_id(quire: Quire) -> str:
    return (await create(quire)).id


class TestOrder:
    async def test_many_at_once_get_one_order_without_gaps(
        self, quire: Quire, session_id: str
    ) -> None:
        async def speak(who: int) -> list[int]:
            return [(await say(quire, session_id, f"{who} says {n}"))[0].ordinal for n in range(10)]

        ordinals = await asyncio.gather(*map(speak, range(20)))

        found = await said(quire, session_id)
        assert [message.ordinal for message in found] == list(range(200))
        assert sorted(n for own in ordinals for n in own) == list(range(200))
        for who, own in enumerate(ordinals):
            assert own == sorted(own)
            assert [found[n].content for n in own] == [f"{who} says {n}" for n in range(10)]

    async def test_what_comes_together_stays_together(self, quire: Quire, session_id: str) -> None:
        await asyncio.gather(
            *(say(quire, session_id, *(f"{who} {n}" for n in range(5))) for who in range(10))
        )

        texts = [str(message.content) for message in await said(quire, session_id)]
        for start in range(0, 50, 5):
            who = texts[start].split()[0]
            assert texts[start : start + 5] == [f"{who} {n}" for n in range(5)]

    async def test_each_is_told_in_that_order_and_without_its_content(
        self, quire: Quire, session_id: str
    ) -> None:
        await asyncio.gather(*(say(quire, session_id, f"secret {n}") for n in range(20)))

        query = sa.select(events.c.data).where(
            events.c.session_id == session_id, events.c.kind == "message.added"
        )
        async with quire.database.read() as connection:
            told = (await connection.execute(query.order_by(events.c.seq))).scalars().all()
        assert told == [
            {"message_id": message.id, "ordinal": message.ordinal, "role": "user"}
            for message in await said(quire, session_id)
        ]

    async def test_the_session_keeps_its_version(self, quire: Quire, session_id: str) -> None:
        before = await quire.sessions.peek(ADA, session_id)
        await say(quire, session_id, "hello")
        assert (await quire.repository.latest(session_id)).etag == before.etag


class TestIdempotency:
    async def test_the_same_id_again_is_the_same_message(
        self, quire: Quire, session_id: str
    ) -> None:
        turn = user("hello", id="turn-1", metadata={"b": 1, "a": [2]})
        first = await quire.activity.messages.append(ADA, session_id, [turn])
        again = user("hello", id="turn-1", metadata={"a": [2], "b": 1})
        assert await quire.activity.messages.append(ADA, session_id, [again]) == first
        assert await said(quire, session_id) == first

    async def test_many_times_at_once_too(self, quire: Quire, session_id: str) -> None:
        turn = [user("hello", id="turn-1"), assistant("hi", id="turn-2")]
        answers = await asyncio.gather(
            *(quire.activity.messages.append(ADA, session_id, turn) for _ in range(20))
        )
        assert all(answer == answers[0] for answer in answers)
        assert await said(quire, session_id) == answers[0]

    @pytest.mark.parametrize(
        "other",
        [
            user("something else", id="turn-1"),
            assistant("hello", id="turn-1"),
            user("hello", id="turn-1", cost=1.0),
            user("hello", id="turn-1", metadata={"a": 1}),
            user("hello", id="turn-1", tool="clock"),
        ],
    )
    async def test_another_message_under_that_id_is_refused_by_name(
        self, quire: Quire, session_id: str, other: NewMessage
    ) -> None:
        turn = user("hello", id="turn-1")
        await quire.activity.messages.append(ADA, session_id, [turn])
        with pytest.raises(Conflict, match="turn-1"):
            await quire.activity.messages.append(ADA, session_id, [user("new"), other])
        assert len(await said(quire, session_id)) == 1

    async def test_one_who_is_refused_does_not_hinder_the_others(
        self, quire: Quire, session_id: str
    ) -> None:
        await quire.activity.messages.append(ADA, session_id, [user("hello", id="turn-1")])
        outcomes = await asyncio.gather(
            *(
                quire.activity.messages.append(who, session_id, [message])
                for who, message in [
                    (ADA, user("one")),
                    (ADA, user("clashing", id="turn-1")),
                    (ADA, user("two")),
                ]
            ),
            return_exceptions=True,
        )
        assert isinstance(outcomes[1], Conflict)
        assert [m.content for m in await said(quire, session_id)] == ["hello", "one", "two"]


class TestReading:
    async def test_either_way_page_by_page(self, quire: Quire, session_id: str) -> None:
        await say(quire, session_id, *map(str, range(7)))
        for newest_first in (False, True):
            found, cursor = [], None
            while True:
                page = await quire.activity.messages.page(
                    ADA, session_id, cursor=cursor, limit=3, newest_first=newest_first
                )
                found.append([m.content for m in page.messages])
                if (cursor := page.next_cursor) is None:
                    break
            expected = [["6", "5", "4"], ["3", "2", "1"], ["0"]]
            if not newest_first:
                expected = [["0", "1", "2"], ["3", "4", "5"], ["6"]]
            assert found == expected

    async def test_a_cursor_is_of_one_list_in_one_order(
        self, quire: Quire, session_id: str
    ) -> None:
        await say(quire, session_id, "a", "b")
        page = await quire.activity.messages.page(ADA, session_id, limit=1)
        for cursor, newest_first in [(page.next_cursor, True), ("nonsense", False), ("", False)]:
            with pytest.raises(InvalidInput, match="cursor"):
                await quire.activity.messages.page(
                    ADA, session_id, cursor=cursor, newest_first=newest_first
                )

    async def test_by_role_tool_and_invocation(self, quire: Quire, session_id: str) -> None:
        await quire.activity.messages.append(
            ADA,
            session_id,
            [
                user("what time is it?"),
                assistant("", tool="clock", invocation_id="call-1"),
                NewMessage(role=MessageRole.TOOL, content="noon", tool="clock"),
            ],
        )
        for wanted, ordinals in [
            (MessageFilter(role=MessageRole.USER), [0]),
            (MessageFilter(tool="clock"), [1, 2]),
            (MessageFilter(tool="clock", role=MessageRole.TOOL), [2]),
            (MessageFilter(invocation_id="call-1"), [1]),
        ]:
            page = await quire.activity.messages.page(ADA, session_id, wanted=wanted)
            assert [message.ordinal for message in page.messages] == ordinals

    async def test_large_messages_make_short_pages_and_none_is_left_out(
        self, quire: Quire, session_id: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("quire.activity.message_rows.PAGE_BYTES", 250)
        await say(quire, session_id, *("x" * 100 for _ in range(5)))
        page = await quire.activity.messages.page(ADA, session_id, limit=5)
        assert len(page.messages) == 2
        assert [message.ordinal for message in await said(quire, session_id)] == list(range(5))

    async def test_everything_comes_back_as_it_was_said(
        self, quire: Quire, session_id: str
    ) -> None:
        content: list[dict[str, Any]] = [
            {"type": "text", "text": "a NUL \x00, \U0001f4d6 and   spaces \r\n"},
            {"type": "image", "attachment": "shots/one.png", "media_type": "image/png"},
            {"type": "file", "url": "https://example.org/a.pdf"},
            {"type": "data", "data": {"z": 1, "a": [None, 1.5, {"deep": []}], "": ""}},
        ]
        new = NewMessage(
            role=MessageRole.TOOL,
            content=content,
            tool="browser",
            invocation_id="call_1:2",
            tokens_in=0,
            tokens_out=2**40,
            cost=0.25,
            metadata={"é": [1, {"b": None}]},
        )
        (appended,) = await quire.activity.messages.append(ADA, session_id, [new])
        kept = await quire.activity.messages.get(ADA, session_id, appended.id)
        assert kept == appended
        assert list(kept.content) == content
        assert list(kept.content[3]["data"]) == ["z", "a", ""]
        assert (kept.author, kept.cost, kept.tokens_out) == ("ada", 0.25, 2**40)

    async def test_an_unknown_one_is_not_found(self, quire: Quire, session_id: str) -> None:
        with pytest.raises(MessageNotFound, match="turn-9"):
            await quire.activity.messages.get(ADA, session_id, "turn-9")


class TestRefusals:
    @pytest.mark.parametrize(
        ("message", "field"),
        [
            (user("x", id="a b"), "id"),
            (user("x", id="export"), "id"),
            (user("x", invocation_id=""), "invocation_id"),
            (user("x", tool="two\nlines"), "tool"),
            (user("x", tokens_in=-1), "tokens_in"),
            (user("x", cost=float("nan")), "cost"),
            (user("x", cost=-0.1), "cost"),
            (user("x", metadata={"a": "\x00"}), "metadata.a"),
            (user("half \ud800"), "content"),
            (NewMessage(role=MessageRole.USER, content=[]), "content"),
            (NewMessage(role=MessageRole.USER, content=[{"type": "video"}]), "content[0].type"),
            (NewMessage(role=MessageRole.USER, content=[{"text": "x"}]), "content[0].type"),
            (NewMessage(role=MessageRole.USER, content=[{"type": ["text"]}]), "content[0].type"),
            (
                NewMessage(role=MessageRole.USER, content=[{"type": "text", "text": 1}]),
                "content[0].text",
            ),
            (
                NewMessage(
                    role=MessageRole.USER, content=[{"type": "data", "data": {"a": [1e999]}}]
                ),
                "content[0].data",
            ),
            (NewMessage(role=MessageRole.USER, content=[{"type": "image"}]), "content[0]"),
            (
                NewMessage(
                    role=MessageRole.USER,
                    content=[{"type": "file", "url": "https://a.b", "attachment": "c"}],
                ),
                "content[0]",
            ),
            (
                NewMessage(role=MessageRole.USER, content=[{"type": "text", "text": "", "x": 1}]),
                "content[0]",
            ),
        ],
    )
    async def test_what_is_wrong_is_named_and_nothing_is_kept(
        self, quire: Quire, session_id: str, message: NewMessage, field: str
    ) -> None:
        with pytest.raises(InvalidInput) as refused:
            await quire.activity.messages.append(ADA, session_id, [message])
        assert refused.value.field == field
        with pytest.raises(InvalidInput) as refused:
            await quire.activity.messages.append(ADA, session_id, [user("fine"), message])
        assert refused.value.field == f"messages[1].{field}"
        assert await said(quire, session_id) == []

    async def test_the_valid_types_of_parts_are_named(self, quire: Quire, session_id: str) -> None:
        message = NewMessage(role=MessageRole.USER, content=[{"type": "video"}])
        with pytest.raises(InvalidInput, match="valid: text, image, file, data"):
            await quire.activity.messages.append(ADA, session_id, [message])

    async def test_readers_may_not_speak_and_strangers_hear_nothing(
        self, quire: Quire, session_id: str
    ) -> None:
        with pytest.raises(SessionNotFound):
            await quire.activity.messages.append(GRACE, session_id, [user("hello")])
        await quire.sharing.share(ADA, session_id, ["grace"], Role.READ)
        outcomes = await asyncio.gather(
            say(quire, session_id, "mine"),
            quire.activity.messages.append(GRACE, session_id, [user("hers")]),
            return_exceptions=True,
        )
        assert isinstance(outcomes[1], Forbidden)
        page = await quire.activity.messages.page(GRACE, session_id)
        assert [message.content for message in page.messages] == ["mine"]

    async def test_a_deleted_session_takes_no_more(self, quire: Quire, session_id: str) -> None:
        await say(quire, session_id, "before")
        await quire.sessions.delete(ADA, session_id)
        with pytest.raises(Conflict, match="deleted"):
            await say(quire, session_id, "after")
        assert len(await said(quire, session_id)) == 1

    async def test_a_purged_session_leaves_no_word(self, quire: Quire, session_id: str) -> None:
        await say(quire, session_id, "a very rare zymurgy")
        await purged(quire, ADA, session_id)
        again = await create(quire, id=session_id)
        found = await quire.activity.messages.search(ADA, again.id, "zymurgy")
        assert found.hits == []
