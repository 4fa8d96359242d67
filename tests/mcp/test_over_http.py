"""`/mcp` of a served process, by the official client."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from mcp.shared.exceptions import MCPError

from tests.mcp.agents import (
    BOTH,
    HANDSHAKE,
    NAMES,
    READERS,
    STATELESS,
    over_http,
    prose,
    token,
    website,
)
from tests.sessions.house import new_id

if TYPE_CHECKING:
    from tests.cli.command import Serving

ADA = token("ada")
EXPIRED_FIRST = "Session not found. Please run a query first."


@pytest.mark.parametrize("mode", BOTH)
async def test_every_tool_says_what_it_takes_answers_and_does(served: Serving, mode: str) -> None:
    async with over_http(served.url, ADA, mode) as ada:
        tools = {tool.name: tool for tool in (await ada.client.list_tools()).tools}
    assert tools.keys() >= NAMES
    for tool in tools.values():
        assert tool.description
        assert tool.annotations is not None
        assert tool.annotations.title
        assert tool.annotations.read_only_hint == (
            tool.name in READERS - {"get_content", "get_structure"}
        )
        assert tool.annotations.destructive_hint is not None
        assert tool.annotations.idempotent_hint is not None
        opens = tool.name in {"crawl", "get_content", "get_structure"}
        assert tool.annotations.open_world_hint == opens
        for name, schema in tool.input_schema["properties"].items():
            assert schema.get("description"), f"{tool.name}: {name}"
        assert tool.output_schema is not None
        assert "next" in tool.output_schema["required"]
    assert tools["merge_sessions"].annotations.destructive_hint is True
    assert tools["get_session_chunk"].input_schema["required"] == ["session_id", "chunk_index"]
    kql = tools["search_by_kql"].input_schema
    assert {"query", "session_id", "from", "to"} <= kql["properties"].keys()
    assert kql["properties"]["query"]["examples"]


async def test_a_session_is_filled_and_read_by_number(served: Serving) -> None:
    async with over_http(served.url, ADA) as ada:
        made = await ada.done("create_session", name="Leaves", tags=["paper"])
        session_id = made["session_id"]
        heard: list[float] = []

        async def hear(done: float, total: float | None, message: str | None) -> None:
            heard.append(done)

        document = {"text": prose(60), "title": "On leaves", "metadata": {"service": "api"}}
        result = await ada.client.call_tool(
            "ingest",
            {"session_id": session_id, "documents": [document], "chunk_size": 400},
            progress_callback=hear,
        )
        assert result.structured_content["status"] == "success", result
        assert heard, "no word of how far it was"
        info = await ada.done("get_session_info", session_id=session_id)
        total = info["total_chunks"]
        assert total > 5
        assert info["total_size_bytes"] == len(prose(60))
        assert info["source_url"] is None

        read = [
            (await ada.done("get_session_chunk", session_id=session_id, chunk_index=n))["text"]
            for n in range(total)
        ]
        assert "".join(read) == prose(60)
        refused = await ada.refused("get_session_chunk", session_id=session_id, chunk_index=99)
        assert refused["message"] == f"Invalid chunk index 99. Valid range: 0–{total - 1}"
        assert refused["code"] == "chunk_not_found"

        joined, following = "", {"session_id": session_id, "max_bytes": 700}
        while True:
            part = await ada.done("get_session", **following)
            joined += part["text"]
            assert part["size_bytes"] <= 700
            if part["is_complete"]:
                break
            following |= called(part["next"])
        assert joined == prose(60)

        listed = await ada.done("list_documents", session_id=session_id)
        assert listed["documents"][0]["title"] == "On leaves"
        urls = (await ada.done("get_session_urls", session_id=session_id))["urls"]
        assert len(urls) == total
    answer = httpx.get(urls[3], headers={"Authorization": f"Bearer {ADA}"}, trust_env=False)
    assert answer.json()["text"] == read[3]


@pytest.mark.parametrize("mode", BOTH)
async def test_two_agents_of_one_owner_page_through_queries_of_their_own(
    served: Serving, mode: str
) -> None:
    session_id = new_id()
    async with over_http(served.url, ADA, mode) as one, over_http(served.url, ADA, mode) as other:
        await one.done("create_session", name="Logs", id=session_id)
        entries = [
            {"text": f"error {n} at {when}", "metadata": {"level": level, "timestamp": when}}
            for n, (level, when) in enumerate(
                [("error", "2024-02-01T08:00:00Z"), ("info", "2024-02-02T08:00:00Z")] * 12
            )
        ]
        await one.done("ingest", session_id=session_id, documents=entries)
        await one.tools()
        await other.tools()
        for agent in (one, other):
            assert (await agent.refused("get_nth_page", page_index=0))["message"] == EXPIRED_FIRST

        first, second = await asyncio.gather(
            one.done("search_by_kql", session_id=session_id, query="level:error"),
            other.done("search_by_kql", session_id=session_id, query="*", page_size=5),
        )
        assert (first["NumPages"], first["TotalResults"]) == (2, 12)
        assert first["Page0"] == first["items"]
        assert first["has_next"]
        assert second["num_total_items"] == 24
        page = await one.done("get_nth_page", page_index=1)
        assert (page["PageNumber"], page["TotalPages"]) == (2, 2)
        assert len(page["Page"]) == 2
        assert page["query_id"] == first["query_id"]
        page = await other.done("get_nth_page", page_index=4)
        assert page["query_id"] == second["query_id"]
        assert not page["has_next"]
        told = (await other.refused("get_nth_page", page_index=5))["message"]
        assert told == "Invalid page index. Valid range: 0-4"
        # Whose it is not, to them it is not there; whose it is may name it.
        named = await other.done("get_nth_page", page_index=1, query_id=first["query_id"])
        assert named["num_total_items"] == 12

        within = {"from": "2024-02-02", "to": "2024-02-02"}
        found = await one.done("search_by_kql", session_id=session_id, query="*", **within)
        assert {item["metadata"]["level"] for item in found["items"]} == {"info"}
        assert found["TotalResults"] == 12
    async with over_http(served.url, token("grace"), mode) as grace:
        unseen = await grace.refused("get_nth_page", page_index=0, query_id=first["query_id"])
        assert unseen["code"] == "query_not_found"
        unseen = await grace.refused("get_session_info", session_id=session_id)
        assert unseen["code"] == "session_not_found"


async def test_a_reader_sees_no_tool_that_writes_and_cannot_call_one(served: Serving) -> None:
    async with over_http(served.url, token("ada", "read")) as reader:
        assert await reader.tools() == READERS
        refused = await reader.refused("create_session", name="No")
        assert refused["code"] == "forbidden"
        assert "read" in refused["message"]
        kept = await reader.refused("get_content", url="http://127.0.0.1:1/", session=True)
        assert kept["code"] == "forbidden"
        told = await reader.done("get_instructions")
        assert set(told["tools"]) == READERS


@pytest.mark.parametrize("sent", [None, "nonsense"])
async def test_without_a_token_there_is_nothing(served: Serving, sent: str | None) -> None:
    answer = httpx.post(
        f"{served.url}/mcp",
        json={"jsonrpc": "2.0", "id": 1, "method": "tools/list"},
        headers={} if sent is None else {"Authorization": f"Bearer {sent}"},
        trust_env=False,
    )
    assert answer.status_code == 401
    assert answer.json()["code"] == "unauthenticated"


async def test_wrong_calls_are_told_what_is_right(served: Serving) -> None:
    async with over_http(served.url, ADA) as ada:
        unknown = await ada.refused("get_sesion_info", session_id="x")
        assert unknown["code"] == "tool_not_found"
        assert "get_session_info" in unknown["message"]
        wrong = await ada.refused("get_session_chunk", session_id="x", chunk_index="one", chunk=1)
        assert wrong["code"] == "invalid_input"
        assert wrong["field"] == "chunk_index"
        assert "valid integer" in wrong["message"]
        assert "there are: session_id, chunk_index" in wrong["message"]
        missing = await ada.refused("get_session_chunk", session_id="x")
        assert missing["message"] == "get_session_chunk: chunk_index: is missing"
        kql = await ada.refused("search_by_kql", session_id="x", query="(open")
        assert kql["code"] == "invalid_input"
        absent = await ada.refused("get_session_info", session_id="nowhere")
        assert absent["code"] == "session_not_found"
        assert "list_sessions()" in absent["recovery"]


@pytest.mark.parametrize("mode", BOTH)
async def test_sessions_chunks_and_documents_are_resources(served: Serving, mode: str) -> None:
    session_id = new_id()
    odd = "a b?c#d%e é"
    async with over_http(served.url, ADA, mode) as ada:
        await ada.done("create_session", name="Résumé", id=session_id)
        await ada.done(
            "ingest", session_id=session_id, documents=[{"text": "Leaves of gold", "id": odd}]
        )
        templates = (await ada.client.list_resource_templates()).resource_templates
        assert {template.uri_template for template in templates} == {
            "quire://sessions/{session_id}",
            "quire://sessions/{session_id}/chunks/{seq}",
            "quire://sessions/{session_id}/documents/{document_id}",
        }
        for path, expected in (
            ("", "Résumé"),
            ("/chunks/0", "Leaves of gold"),
            ("/documents/a%20b%3Fc%23d%25e%20%C3%A9", "Leaves of gold"),
        ):
            read = await ada.client.read_resource(f"quire://sessions/{session_id}{path}")
            assert expected in read.contents[0].text
        for path, code in (
            ("/chunks/7", "chunk_not_found"),
            ("/documents/x", "document_not_found"),
        ):
            with pytest.raises(MCPError) as refused:
                await ada.client.read_resource(f"quire://sessions/{session_id}{path}")
            assert refused.value.error.data["code"] == code
            assert refused.value.error.data["recovery"]


async def test_prompts_lead_through_whole_tasks(served: Serving) -> None:
    async with over_http(served.url, ADA) as ada:
        prompts = {prompt.name for prompt in (await ada.client.list_prompts()).prompts}
        assert prompts == {"summarise_session", "answer_from_session"}
        given = {"session_id": "s", "question": "How are leaves bound?"}
        (message,) = (await ada.client.get_prompt("answer_from_session", given)).messages
        assert "How are leaves bound?" in message.content.text
        assert "[s#chunk_index]" in message.content.text
        (message,) = (
            await ada.client.get_prompt("summarise_session", {"session_id": "s"})
        ).messages
        assert "get_session_info" in message.content.text


async def test_pages_and_sites_are_kept_where_they_are_large(served: Serving) -> None:
    async with website() as site, over_http(served.url, ADA) as ada:
        site.page("/", "/one", "/two", text=f"All of it. {prose(500)}")
        site.page("/one", text="The binding of quires is done with thread and with patience.")
        site.page("/two", text="Gold is laid on the edges of leaves once they are cut.")

        plain = await ada.done("get_content", url=site.url("/one"))
        assert "with thread" in plain["text"]
        assert not plain["is_cut"]
        large = await ada.done("get_content", url=site.url("/"))
        assert large["is_cut"]
        assert "session=true" in large["next"]
        built = await ada.done("get_structure", url=site.url("/"))
        assert built["headings"][0]["text"] == "Page /"

        for tool in ("get_content", "get_structure"):
            kept = await ada.done(tool, url=site.url("/"), session=True, chunk_size=300)
            assert kept.keys() == {"session_id", "status", "summary", "preview", "next"}
            assert kept["status"] == "success"
            assert kept["summary"].keys() == {
                "url", "total_size_bytes", "total_chunks", "chunk_size",
            }  # fmt: skip
            assert kept["summary"]["chunk_size"] == 300
            info = await ada.done("get_session_info", session_id=kept["session_id"])
            assert info["total_chunks"] == kept["summary"]["total_chunks"] > 0
            assert info["source_url"] == site.url("/")

        crawled = await ada.done("crawl", url=site.url("/"), depth=1, max_pages=10)
        assert crawled.keys() == {"session_id", "status", "summary", "preview", "next"}
        assert crawled["status"] == "success"
        assert crawled["summary"]["total_chunks"] > 3
        assert "3 pages" in crawled["next"]
        found = await ada.done(
            "search_session", session_id=crawled["session_id"], query="gold edges", mode="keyword"
        )
        best = found["items"][0]
        assert best["source_url"] == site.url("/two")
        read = await ada.done(
            "get_session_chunk",
            session_id=crawled["session_id"],
            chunk_index=best["chunk_index"],
        )
        assert "Gold is laid" in read["text"]
        inside = await ada.refused("get_content", url="http://169.254.169.254/latest/meta-data")
        assert inside["code"] == "address_refused"


async def test_the_work_leaves_a_trail(served: Serving) -> None:
    session_id = new_id()
    async with over_http(served.url, ADA) as ada:
        await ada.done("create_session", name="A bug", id=session_id)
        said = {"session_id": session_id, "role": "user", "content": "What was changed?", "id": "m"}
        first = await ada.done("add_message", **said)
        assert first["ordinal"] == 0
        assert (await ada.done("add_message", **said))["ordinal"] == 0, "the same id, once"
        used = {"session_id": session_id, "tool_name": "git", "invocation_id": "inv_1"}
        linked = await ada.done("link_invocation", **used, duration_ms=150.5)
        assert (linked["status"], linked["created"]) == ("succeeded", True)
        parts = [{"type": "text", "text": "Two files."}]
        await ada.done(
            "add_message",
            session_id=session_id,
            role="tool",
            content=parts,
            tool_name="git",
            invocation_id="inv_1",
        )
        listed = await ada.done("list_messages", session_id=session_id, newest_first=False)
        assert [m["text"] for m in listed["messages"]] == ["What was changed?", "Two files."]
        context = await ada.done("get_context", session_id=session_id)
        assert "Two files." in context["text"]


async def test_sessions_are_merged_split_forked_and_carried_away(served: Serving) -> None:
    one, two = new_id(), new_id()
    async with over_http(served.url, ADA) as ada:
        for session_id, label in ((one, "a"), (two, "b")):
            await ada.done("create_session", name=session_id, id=session_id)
            documents = [{"text": f"{label} {n}", "metadata": {"kind": label}} for n in range(4)]
            await ada.done("ingest", session_id=session_id, documents=documents)
        merged = await ada.done("merge_sessions", source_session_ids=[one, two], target_name="Both")
        (target,) = merged["sessions"]
        assert target["total_chunks"] == 8
        forked = await ada.done("fork_session", session_id=target["session_id"])
        assert forked["sessions"][0]["name"] == "Both (fork)"
        parts = [
            {"name": "A", "filter": {"kind": "a"}},
            {"name": "rest", "first_chunk": 4, "last_chunk": 7},
        ]
        split = await ada.done("split_session", session_id=target["session_id"], parts=parts)
        assert [made["total_chunks"] for made in split["sessions"]] == [4, 4]
        job = await ada.done("get_job", job_id=split["job_id"])
        assert job["status"] == "succeeded"
        part = split["sessions"][0]["session_id"]
        exported = await ada.done("export_session", session_id=part, format="jsonl")
        wrong = await ada.refused("split_session", session_id=part)
        assert wrong["field"] == "parts"
    file = httpx.get(exported["url"], headers={"Authorization": f"Bearer {ADA}"}, trust_env=False)
    assert len(file.text.splitlines()) == 4


def test_what_the_protocol_does_not_need_is_refused(served: Serving) -> None:
    with httpx.Client(
        base_url=served.url, headers={"Authorization": f"Bearer {ADA}"}, trust_env=False
    ) as client:
        assert client.get("/mcp").status_code == 405
        assert client.delete("/mcp", headers={"mcp-session-id": "gone"}).status_code == 204
        large = client.post("/mcp", content=b" " * 1_000_001)
        assert large.status_code == 413
        assert large.json()["code"] == "body_too_large"


async def test_agents_of_both_protocols_work_side_by_side(served: Serving) -> None:
    session_id = new_id()
    async with over_http(served.url, ADA) as ada:
        await ada.done("create_session", name="Crowd", id=session_id)
        await ada.done("ingest", session_id=session_id, documents=[{"text": prose(3)}])

    async def work(number: int) -> None:
        mode = HANDSHAKE if number % 2 else STATELESS
        async with over_http(served.url, ADA, mode) as agent:
            found = await agent.done("search_session", session_id=session_id, query=f"q {number}")
            page = await agent.done("get_nth_page", page_index=0)
            assert page["query_id"] == found["query_id"]

    await asyncio.gather(*map(work, range(12)))


def called(text: str) -> dict[str, Any]:
    """The arguments of the call that `next` names."""
    inside = text[text.index("(") + 1 : text.index(")")]
    pairs = (pair.split("=", 1) for pair in inside.split(", "))
    return {
        name: value.strip('"') if value.startswith('"') else int(value) for name, value in pairs
    }
