"""What agents have to do first, what a read-only server offers, and what time does to a query."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import sqlalchemy as sa
from mcp.shared.exceptions import MCPError

from quire.access.principal import LOCAL
from quire.activity.agents import Agent as Recognised
from quire.activity.agents import Agents
from quire.errors import SessionNotFound
from quire.settings import McpSettings
from quire.store.columns import now
from quire.store.tables import agents, queries
from tests.api.service import serving as api_serving
from tests.api.service import settings_for
from tests.content.house import ingest, text
from tests.mcp.agents import READERS
from tests.mcp.house import agent_of, quire_for
from tests.sessions.house import create

if TYPE_CHECKING:
    from pathlib import Path

    from quire.app import Quire


async def _earlier(quire: Quire, column: sa.Column[Any], time: timedelta) -> None:
    """Move what is written back in time."""
    earlier = sa.type_coerce(column, sa.BigInteger) - int(time.total_seconds() * 1e6)
    async with quire.database.write() as connection:
        await connection.execute(sa.update(column.table).values({column.name: earlier}))


async def test_queries_and_agents_expire_in_their_own_words(tmp_path: Path) -> None:
    async with quire_for(tmp_path) as quire:
        await create(quire, LOCAL, id="logs")
        await ingest(quire, "logs", *(text(f"entry {n}") for n in range(25)), who=LOCAL)
        async with agent_of(quire) as agent:
            await agent.done("search_by_kql", session_id="logs", query="*")
            await _earlier(quire, agents.c.used_at, timedelta(minutes=59))
            assert (await agent.done("get_nth_page", page_index=2))["PageNumber"] == 3
            await _earlier(quire, agents.c.used_at, timedelta(minutes=61))
            gone = await agent.refused("get_nth_page", page_index=2)
            assert gone["message"] == "Session expired. Please run a new query."
            assert gone["code"] == "expired"
            await agent.done("list_sessions")
            assert (await agent.refused("get_nth_page", page_index=2)) == gone, "it stays so"

            found = await agent.done("search_by_kql", session_id="logs", query="*")
            assert (await agent.done("get_nth_page", page_index=1))["PageNumber"] == 2
            await quire.pages.close()  # written, so that it can be aged
            quire.pages.open()
            await _earlier(quire, queries.c.expires_at, timedelta(minutes=31))
            quire.pages._memory.drop(found["query_id"])
            for named in ({}, {"query_id": found["query_id"]}):
                gone = await agent.refused("get_nth_page", page_index=1, **named)
                assert gone["message"] == "Query results expired. Please run a new query."
                assert gone["code"] == "query_expired"
            assert await quire.agents.forget(now() + timedelta(days=2)) == 1
            gone = await agent.refused("get_nth_page", page_index=1)
            assert gone["message"] == "Session not found. Please run a query first."


async def test_instructions_come_first_where_that_is_set(tmp_path: Path) -> None:
    mcp = McpSettings(require_instructions=True, idle_seconds=60)
    async with quire_for(tmp_path, mcp=mcp) as quire:
        await create(quire, LOCAL, id="s")
        async with agent_of(quire, "one") as one, agent_of(quire, "other") as other:
            first = await one.refused("list_sessions")
            assert first["code"] == "instructions_needed"
            assert first["message"].startswith("Please call get_instructions() first")
            with pytest.raises(MCPError, match="Please call get_instructions"):
                await one.read("quire://sessions/s")
            assert "next" in (await one.done("get_instructions"))
            await one.done("list_sessions")
            await one.read("quire://sessions/s")
            assert (await other.refused("list_sessions"))["code"] == "instructions_needed"
            # Neither results that expire nor an agent that rests undo it.
            await one.done("search_session", session_id="s", query="x")
            await _earlier(quire, agents.c.used_at, timedelta(hours=2))
            await one.done("list_sessions")
            assert (await one.refused("get_nth_page", page_index=0))["message"] == (
                "Session expired. Please run a new query."
            )


async def test_a_read_only_server_has_no_tool_that_writes(tmp_path: Path) -> None:
    read_only = McpSettings(read_only=True)
    async with quire_for(tmp_path, mcp=read_only) as quire, agent_of(quire) as agent:
        assert await agent.tools() == READERS
        assert all(tool.annotations.read_only_hint for tool in await agent.listed())
        refused = await agent.refused("create_session", name="No")
        assert refused["code"] == "tool_not_found"
        assert "read-only" in refused["message"]
        kept = await agent.refused("get_content", url="http://127.0.0.1/", session=True)
        assert kept["code"] == "forbidden"


async def test_what_breaks_is_logged_and_not_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with quire_for(tmp_path) as quire:

        async def broken(*_: object, **__: object) -> None:
            raise RuntimeError("a secret of the inside")

        monkeypatch.setattr(quire.sessions, "get", broken)
        async with agent_of(quire) as agent:
            result = await agent.ask("get_session_info", session_id="s")
            assert result.is_error
            assert result.structured_content["code"] == "internal"
            assert "secret" not in str(result)
            with pytest.raises(MCPError) as refused:
                await agent.read("quire://sessions/s")
            assert "secret" not in str(refused.value.error)


async def test_agents_are_known_by_their_first_name_and_never_by_anothers(tmp_path: Path) -> None:
    async with quire_for(tmp_path) as quire:
        known = Agents(quire.database, quire.settings.mcp)
        # Who came without being recognised is known by what they were given, or by their kind.
        await known.remember(Recognised(("cookie 1", "like x"), "ada"), "q1")
        await known.remember(Recognised(("cookie 2",), "ada"), "q2")
        assert await known.latest_query(Recognised(("cookie 1",), "ada")) == "q1"
        assert await known.latest_query(Recognised(("cookie 2", "like x"), "ada")) == "q2"
        assert await known.latest_query(Recognised(("cookie 3", "like x"), "ada")) == "q1"
        for owner in ("grace", None):
            with pytest.raises(SessionNotFound):
                await known.latest_query(Recognised(("cookie 1", "like x"), owner))
        await known.end(Recognised(("cookie 1",), "ada"))
        with pytest.raises(SessionNotFound):
            await known.latest_query(Recognised(("cookie 1",), "ada"))


async def test_without_tokens_no_page_of_another_site_may_ask(tmp_path: Path) -> None:
    listing = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
    accepts = {"Accept": "application/json, text/event-stream"}
    async with api_serving(settings_for(tmp_path)) as service:

        async def ask(**headers: str) -> httpx.Response:
            return await service.client.post("/mcp", json=listing, headers={**accepts, **headers})

        refused = await ask(Origin="http://rebound.example:8087")
        assert refused.status_code == 403
        assert refused.json()["code"] == "forbidden"
        for here in ("http://localhost:6274", "http://127.0.0.1:8087", "http://[::1]"):
            assert (await ask(Origin=here)).status_code == 200
        told = await ask()
        assert told.status_code == 200
        assert told.headers["mcp-session-id"]
        assert len(told.json()["result"]["tools"]) > 20
