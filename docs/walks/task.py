"""Walk 4: a task across three tools leaves its trail; a second agent finds it and goes on.

make serve
.venv/bin/python docs/walks/task.py http://127.0.0.1:8087
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import httpx
from mcp import Client

TOOLS = {"git_tool": 120.5, "log_analysis": 340.0, "knowledge_indexer": 80.25}


async def call(agent: Client, name: str, /, **arguments: Any) -> dict[str, Any]:
    answer = await agent.call_tool(name, arguments)
    assert not answer.is_error, answer.content
    return answer.structured_content or {}


async def first_agent(address: str) -> str:
    async with Client(f"{address}/mcp") as agent:
        session = await call(
            agent,
            "create_session",
            name="Checkout is slow",
            tags=["production", "urgent"],
            metadata={"purpose": "Investigate production issue"},
        )
        session_id: str = session["session_id"]
        await call(
            agent, "add_message", session_id=session_id, role="user", content="Why is it slow?"
        )
        for tool, milliseconds in TOOLS.items():
            await call(
                agent,
                "link_invocation",
                session_id=session_id,
                invocation_id=f"run-{tool}",
                tool_name=tool,
                status="succeeded",
                duration_ms=milliseconds,
            )
            await call(
                agent,
                "add_message",
                session_id=session_id,
                role="tool",
                tool_name=tool,
                invocation_id=f"run-{tool}",
                content="Analysis complete",
            )
        finding = "A new index is missing since yesterday's release."
        await call(agent, "add_message", session_id=session_id, role="assistant", content=finding)
    return session_id


async def walk(address: str) -> None:
    session_id = await first_agent(address)
    with httpx.Client(base_url=f"{address}/sessions/{session_id}", timeout=30) as http:
        told = http.get("/statistics").raise_for_status().json()
        print(f"tools used: {', '.join(told['tools_used'])}")
        runs, milliseconds = told["total_invocations"], told["total_duration_ms"]
        print(f"in all: {runs} runs, {milliseconds} ms")
        ended = http.post("/end", json={"outcome": "completed"}).raise_for_status().json()
        print(f"ended: {ended['session']['outcome']}")

    # A second agent knows no more than a tag.
    async with Client(f"{address}/mcp") as agent:
        listed = await call(agent, "list_sessions", tags=["urgent"])
        found = [entry for entry in listed["sessions"] if entry["session_id"] == session_id]
        print(f"found by its tag: {found[0]['name']}")
        messages = httpx.get(f"{address}/sessions/{session_id}/messages", timeout=30).json()
        print(f"it reads: {messages[-1]['content']}")
        httpx.post(f"{address}/sessions/{session_id}/restore", timeout=30).raise_for_status()
        added = await call(
            agent,
            "add_message",
            session_id=session_id,
            role="assistant",
            content="I have added the index.",
        )
        print(f"and goes on with message {added['ordinal']}")


if __name__ == "__main__":
    asyncio.run(walk(sys.argv[1]))
