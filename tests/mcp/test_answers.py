"""No answer is longer than it may be, and what is larger can be read to its end."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio

from quire.access.principal import LOCAL
from quire.settings import McpSettings
from quire_mcp.budget import BYTES_PER_TOKEN, Budget
from tests.content.house import ingest, text
from tests.mcp.agents import Agent, prose
from tests.mcp.house import agent_of, quire_for
from tests.sessions.house import create

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from quire.app import Quire

LONG = "ä🙂\n\"'" * 200
TIGHT = 500


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def tight(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Quire]:
    """As short as answers can be set to be, over a session of which all is long."""
    mcp = McpSettings(answer_tokens=TIGHT)
    async with quire_for(tmp_path_factory.mktemp("tight"), mcp=mcp) as quire:
        tags = [f"tag-{n}" * 9 for n in range(20)]
        notes = {"notes": LONG * 5}
        await create(quire, LOCAL, id="long", description=LONG[:900], tags=tags, metadata=notes)
        sources = [
            text(prose(40, LONG[:100]), id=f"d{n}", title=LONG[:500], metadata={"m": LONG[:700]})
            for n in range(12)
        ]
        await ingest(quire, "long", *sources, who=LOCAL, chunk_size=1_000)
        items = [{"deep": [{"more": LONG * 3}]}, [LONG], LONG, 7, None] * 3
        page = await quire.pages.post(LOCAL, "long", items, {})
        quire.posted = page.query_id
        yield quire


CALLS: list[tuple[str, dict[str, Any]]] = [
    ("get_instructions", {}),
    ("list_sessions", {}),
    ("get_session_info", {"session_id": "long"}),
    ("get_session_chunk", {"session_id": "long", "chunk_index": 1, "before": 3, "after": 3}),
    ("get_session", {"session_id": "long"}),
    ("get_session", {"session_id": "long", "start": 3, "offset": 50, "max_bytes": 100_000}),
    ("get_session_urls", {"session_id": "long", "limit": 500}),
    ("list_documents", {"session_id": "long"}),
    ("search_session", {"session_id": "long", "query": "leaves", "limit": 30, "after": 2}),
    ("search_by_kql", {"session_id": "long", "query": "*", "page_size": 100}),
    ("get_context", {"session_id": "long", "query": "leaves"}),
    ("export_session", {"session_id": "long"}),
    ("get_session_info", {"session_id": LONG}),
    (LONG, {}),
    ("get_session_chunk", {LONG: 1, "session_id": 4, "chunk_index": LONG}),
]


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(("tool", "arguments"), CALLS)
async def test_no_answer_is_over_the_budget(
    tight: Quire, tool: str, arguments: dict[str, Any]
) -> None:
    async with agent_of(tight) as agent:
        result = await agent.ask(tool, **arguments)
    told = result.structured_content or {}
    assert told.get("code") != "answer_too_long"
    sent = {
        "content": [block.model_dump(exclude_none=True) for block in result.content],
        "structuredContent": told,
    }
    size = len(json.dumps(sent, ensure_ascii=False).encode())
    assert size <= TIGHT * BYTES_PER_TOKEN, size


@pytest.mark.asyncio(loop_scope="module")
async def test_what_was_posted_is_paged_whatever_it_is(tight: Quire) -> None:
    async with agent_of(tight) as agent:
        for index in (0, 1):
            page = await agent.done("get_nth_page", query_id=tight.posted, page_index=index)
            assert page["is_cut"]
            assert page["items"]


@pytest.mark.asyncio(loop_scope="module")
async def test_what_is_cut_is_read_on_to_its_end(tight: Quire) -> None:
    async with agent_of(tight) as agent:
        found = await tight.chunks.get(LOCAL, "long", 2)
        read, offset = "", 0
        while True:
            part = await agent.done(
                "get_session_chunk", session_id="long", chunk_index=2, offset=offset
            )
            read += part["text"]
            offset = len(read)
            if not part["is_cut"]:
                break
            assert f"offset={offset}" in part["next"]
        assert read == found.chunk.text
        assert await _listed(agent) == [f"d{n}" for n in range(12)]


async def _listed(agent: Agent) -> list[str]:
    names, cursor = [], None
    while True:
        page = await agent.done("list_documents", session_id="long", cursor=cursor)
        names += [document["document_id"] for document in page["documents"]]
        cursor = page["next_cursor"]
        if cursor is None:
            return names


def test_as_much_as_fits_is_in_an_answer() -> None:
    budget = Budget(500)
    answer = budget.fit(10_000, lambda n: {"text": "x" * n})
    assert budget.holds(answer)
    assert not budget.holds({"text": answer["text"] + "x"})
    assert budget.fit(3, lambda n: {"text": "x" * n}) == {"text": "xxx"}
