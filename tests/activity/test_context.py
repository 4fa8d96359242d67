"""Contexts: the newest turns and the best passages, cited, and never over the budget."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import pytest

from quire.activity.context import ContextRequest
from quire.activity.message_models import MessageRole, NewMessage
from quire.content.sources import IngestOptions, Source
from quire.errors import InvalidInput, SessionNotFound
from tests.activity.conversing import assistant, say, user
from tests.sessions.house import ADA, GRACE, create

if TYPE_CHECKING:
    from quire.activity.context import AssembledContext
    from quire.app import Quire

pytestmark = pytest.mark.asyncio(loop_scope="module")

CHAPTERS = [
    f"Chapter {n} is about subject{n}. It has some words of its own.\n\n" for n in range(20)
]


async def ingest(quire: Quire, session_id: str, *texts: str, size: int = 60) -> None:
    """Documents doc-0, doc-1, …, cut into chunks of so many characters."""
    sources = [
        Source(
            content=text.encode(),
            content_type="text/plain",
            id=f"doc-{n}",
            title=f"Book\n{n}",
            source_url=f"https://example.org/{n}",
        )
        for n, text in enumerate(texts)
    ]
    options = IngestOptions(chunk_size=size)
    admitted = await quire.admission.admit(ADA, session_id, sources, options)
    assert admitted.job_id is not None
    assert (await quire.jobs.wait(admitted.job_id, 30)).status == "succeeded"


async def assemble(quire: Quire, session_id: str, **asked: Any) -> AssembledContext:
    context = await quire.activity.context.assemble(ADA, session_id, ContextRequest(**asked))
    embedder = await quire.embedders.of(await quire.embedders.default())
    assert embedder.count_tokens([context.text]) == [context.tokens]
    assert context.tokens <= context.budget
    return context


async def test_recent_turns_and_cited_passages(quire: Quire) -> None:
    session = await create(quire)
    await ingest(quire, session.id, "".join(CHAPTERS))
    await quire.activity.messages.append(
        ADA, session.id, [user("Hello"), assistant("Hi!"), user("What is subject7 about?")]
    )
    context = await assemble(quire, session.id, passages=1)

    assert context.query == "What is subject7 about?"
    assert [message.ordinal for message in context.messages] == [0, 1, 2]
    (passage,) = context.passages
    assert passage.citation == 1
    assert (passage.document_id, passage.title) == ("doc-0", "Book\n0")
    assert passage.source_url == "https://example.org/0"
    assert "subject7" in passage.text
    assert passage.seq_start is not None
    assert passage.seq_end is not None
    assert passage.seq_end - passage.seq_start == 2  # with a neighbour on either side
    assert passage.text in "".join(CHAPTERS)
    chunk = await quire.chunks.get(ADA, session.id, int(passage.url.rsplit("/", 1)[1]))
    assert "subject7" in chunk.chunk.text
    assert context.text == (
        "Sources:\n\n"
        f"[1] Book 0 · document doc-0 · chunks {passage.seq_start}–{passage.seq_end} · "
        f"{passage.url}\n{passage.text}\n\n"
        "Conversation:\n\n"
        "user: Hello\nassistant: Hi!\nuser: What is subject7 about?\n"
    )
    assert (context.messages_left_out, context.passages_left_out) == (0, 0)


async def test_a_question_of_ones_own(quire: Quire) -> None:
    session = await create(quire)
    await ingest(quire, session.id, "".join(CHAPTERS))
    await say(quire, session.id, "Let us talk about subject7")
    context = await assemble(quire, session.id, query="subject12", passages=2, neighbours=0)
    assert "subject12" in context.passages[0].text
    assert context.passages[0].citation == 1


async def test_a_session_without_words_or_documents_has_an_empty_context(quire: Quire) -> None:
    session = await create(quire)
    context = await assemble(quire, session.id)
    assert (context.query, context.text, context.tokens) == (None, "", 0)


async def test_the_newest_turns_come_first_and_without_gaps(quire: Quire) -> None:
    session = await create(quire)
    await say(quire, session.id, *(f"turn number {n}" for n in range(100)))
    context = await assemble(quire, session.id, tokens=54, passages=0)
    # the heading has two tokens, and so has "user:" in each turn's five
    assert [message.ordinal for message in context.messages] == list(range(90, 100))
    assert context.messages_left_out == 90


async def test_what_alone_is_too_long_does_not_keep_out_what_is_older(quire: Quire) -> None:
    session = await create(quire)
    await say(quire, session.id, "before", "long " * 500, "after")
    context = await assemble(quire, session.id, tokens=100)
    assert [message.ordinal for message in context.messages] == [0, 2]
    assert context.messages_left_out == 1


async def test_what_one_side_does_not_need_the_other_has(quire: Quire) -> None:
    session = await create(quire)
    await ingest(quire, session.id, "".join(CHAPTERS))
    await say(quire, session.id, *(f"turn number {n} of many" for n in range(40)))
    # no passages: all of the budget is for messages
    alone = await assemble(quire, session.id, tokens=200, passages=0)
    assert alone.tokens > 190
    # passages take what their share is, and messages no more than theirs
    both = await assemble(quire, session.id, tokens=200, messages_share=0.3, query="subject3")
    assert both.tokens > 170
    turns = len(both.messages) * 7  # tokens each
    assert 40 < turns < 80


async def test_a_passage_has_as_much_around_it_as_there_is_room_for(quire: Quire) -> None:
    session = await create(quire)
    await ingest(quire, session.id, "".join(CHAPTERS))
    spans = []
    for tokens in (50, 90, 400):
        context = await assemble(
            quire, session.id, query="subject9", tokens=tokens, passages=1, neighbours=3
        )
        (passage,) = context.passages
        assert "subject9" in passage.text
        assert passage.seq_start is not None
        assert passage.seq_end is not None
        spans.append(passage.seq_end - passage.seq_start)
    assert spans[0] == 0
    assert 0 < spans[1] < spans[2] == 6


async def test_neighbours_that_touch_are_one_passage_and_overlaps_stand_once(quire: Quire) -> None:
    session = await create(quire)
    text = "".join(CHAPTERS[:3])
    sources = [Source(content=text.encode(), content_type="text/plain", id="doc")]
    options = IngestOptions(chunk_size=60, chunk_overlap=20)
    admitted = await quire.admission.admit(ADA, session.id, sources, options)
    await quire.jobs.wait(admitted.job_id or "", 30)
    context = await assemble(quire, session.id, query="chapter", neighbours=3)
    assert [passage.text for passage in context.passages] == [text]


async def test_points_of_a_pipeline_are_cited_too(quire: Quire) -> None:
    session = await create(quire)
    point = {"id": 7, "text": "A quire is a gathering of leaves"}
    await quire.points.upsert(ADA, session.id, [point])
    context = await assemble(quire, session.id, query="gathering leaves")
    (passage,) = context.passages
    assert passage.url == f"/sessions/{session.id}/points/7"
    assert passage.text == "A quire is a gathering of leaves"
    assert (passage.document_id, passage.seq_start) == (None, None)


async def test_a_session_of_vectors_from_elsewhere_is_searched_by_words(quire: Quire) -> None:
    session = await create(quire, provider="external", dimension=4)
    vector = [1.0, 0.0, 0.0, 0.0]
    point = {"id": 7, "vector": vector, "payload": {"text": "gathering of leaves"}}
    await quire.points.upsert(ADA, session.id, [point])
    await say(quire, session.id, "leaves")
    context = await assemble(quire, session.id)
    assert [message.content for message in context.messages] == ["leaves"]


async def test_tools_are_named_and_data_is_shown(quire: Quire) -> None:
    session = await create(quire)
    content = [{"type": "data", "data": {"hour": 12}}, {"type": "text", "text": "noon"}]
    message = NewMessage(role=MessageRole.TOOL, content=content, tool="clock")
    await quire.activity.messages.append(ADA, session.id, [message])
    context = await assemble(quire, session.id)
    assert context.text == 'Conversation:\n\ntool clock: {"hour":12}\nnoon\n'


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({"tokens": 0}, "tokens"),
        ({"tokens": 200_001}, "tokens"),
        ({"messages_share": 1.1}, "messages_share"),
        ({"messages_share": float("nan")}, "messages_share"),
        ({"passages": 101}, "passages"),
        ({"neighbours": -1}, "neighbours"),
        ({"query": " "}, "query"),
    ],
)
async def test_what_cannot_be_is_named(quire: Quire, asked: dict[str, Any], field: str) -> None:
    session = await create(quire)
    with pytest.raises(InvalidInput) as refused:
        await assemble(quire, session.id, **asked)
    assert refused.value.field == field


async def test_strangers_get_none(quire: Quire) -> None:
    session = await create(quire)
    with pytest.raises(SessionNotFound):
        await quire.activity.context.assemble(GRACE, session.id, ContextRequest())


async def test_the_budget_holds_whatever_is_asked(quire: Quire) -> None:
    session = await create(quire)
    await ingest(quire, session.id, "".join(CHAPTERS))
    await say(quire, session.id, *(f"turn {n} {'word ' * n}" for n in range(30)))
    chance = random.Random(3)
    for _ in range(40):
        tokens, share = chance.randint(1, 400), chance.choice([0.0, chance.random(), 1.0])
        passages, neighbours = chance.randint(0, 20), chance.randint(0, 3)
        context = await assemble(
            quire,
            session.id,
            query="subject3 words",
            tokens=tokens,
            messages_share=share,
            passages=passages,
            neighbours=neighbours,
        )
        assert len(context.messages) + context.messages_left_out == 30
        assert [passage.citation for passage in context.passages] == [
            *range(1, len(context.passages) + 1)
        ]
