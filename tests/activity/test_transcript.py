"""Transcripts: all of a conversation, as lines for machines or as Markdown that nothing escapes."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from quire.activity.message_models import MessageRole, NewMessage, TranscriptFormat
from quire.activity.transcript import code, fenced
from quire.errors import SessionNotFound
from tests.activity.conversing import say, user
from tests.sessions.house import ADA, GRACE, create

if TYPE_CHECKING:
    from quire.app import Quire

JSONL, MARKDOWN = TranscriptFormat.JSONL, TranscriptFormat.MARKDOWN


async def export(quire: Quire, session_id: str, format: TranscriptFormat) -> bytes:
    stream = await quire.activity.messages.transcript(ADA, session_id, format)
    return b"".join([piece async for piece in stream])


@pytest.mark.asyncio(loop_scope="module")
class TestTranscripts:
    async def test_a_line_a_message_with_all_that_is_known(self, quire: Quire) -> None:
        session = await create(quire)
        await say(quire, session.id, *map(str, range(250)))
        lines = (await export(quire, session.id, JSONL)).splitlines()
        first, *_, last = found = [orjson.loads(line) for line in lines]
        assert [message["content"] for message in found] == [str(n) for n in range(250)]
        assert (first["role"], first["ordinal"], last["author"]) == ("user", 0, "ada")
        assert set(first) >= {"id", "metadata", "tool", "cost", "created_at"}

    async def test_it_ends_where_the_conversation_ended_when_it_was_asked_for(
        self, quire: Quire
    ) -> None:
        session = await create(quire)
        await say(quire, session.id, "before")
        stream = await quire.activity.messages.transcript(ADA, session.id, JSONL)
        await say(quire, session.id, "after")
        assert len([line async for line in stream]) == 1

    async def test_markdown_shows_who_said_what(self, quire: Quire) -> None:
        session = await create(quire, name="A talk <b>of</b> two")
        parts = [
            {"type": "text", "text": "Noon.\n```\ncode\n```"},
            {"type": "data", "data": {"hour": 12}},
            {"type": "image", "attachment": "clock `face`.png", "media_type": "image/png"},
        ]
        answer = NewMessage(
            role=MessageRole.TOOL, content=parts, tool="clock", invocation_id="call-1"
        )
        question = user("# What time\n</div> is it?")
        await quire.activity.messages.append(ADA, session.id, [question, answer])

        shown = (await export(quire, session.id, MARKDOWN)).decode()
        shown = re.sub(r"\d{4}-\d\d-\d\dT[\d:]{8}Z", "THEN", shown)
        assert shown == (
            "# A talk \\<b\\>of\\</b\\> two\n"
            "\n## 0. user, THEN\n\n"
            "```text\n# What time\n</div> is it?\n```\n"
            "\n## 1. tool, THEN\n\n"
            "tool `clock`, invocation `call-1`\n\n"
            "````text\nNoon.\n```\ncode\n```\n````\n\n"
            '```json\n{\n  "hour": 12\n}\n```\n\n'
            "image: attachment `` clock `face`.png `` (`image/png`)\n"
        )

    async def test_strangers_get_none(self, quire: Quire) -> None:
        session = await create(quire)
        with pytest.raises(SessionNotFound):
            await quire.activity.messages.transcript(GRACE, session.id, MARKDOWN)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(text=st.text(alphabet="`~\n\r ab#<", max_size=60))
def test_no_text_ends_its_block(text: str) -> None:
    block = fenced(text, "text")
    opening, rest = block.split("\n", 1)
    fence = opening.removesuffix("text")
    # Any line ending counts, and up to three spaces may stand before what closes a block.
    lines = re.split(r"\r\n|\n|\r", rest)
    closing = [n for n, line in enumerate(lines) if re.fullmatch(f" {{0,3}}{fence}`*[ \t]*", line)]
    assert closing == [len(lines) - 2]
    assert rest == f"{text}\n{fence}\n"


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(text=st.text(alphabet="` ab\n", min_size=1, max_size=30))
def test_no_text_ends_its_span(text: str) -> None:
    span = code(text)
    fence = re.match("`+", span)
    assert fence is not None
    inside = span[fence.end() : -fence.end()]
    assert span.endswith(fence[0])
    assert "\n" not in span
    assert fence[0] not in re.findall("`+", inside)
