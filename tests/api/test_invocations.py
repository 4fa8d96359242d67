"""Invocations over HTTP: record, update, list, across sessions; and what they come to."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import pytest

from tests.api.service import assert_problem, new_id

if TYPE_CHECKING:
    from tests.api.service import Service

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def create(service: Service, **fields: Any) -> str:
    session_id = new_id()
    body = {"id": session_id, "name": "s", **fields}
    assert (await service.client.post("/sessions", json=body)).status_code == 200
    return session_id


async def test_a_task_across_three_tools_leaves_its_trail(local: Service) -> None:
    client = local.client
    tag = new_id("tag")
    session_id = await create(
        local, tags=["production", tag], metadata={"purpose": "Investigate production issue"}
    )
    path = f"/sessions/{session_id}"
    tools = ["git_tool", "log_analysis", "knowledge_indexer"]
    for tool in tools:
        body = {"id": f"inv_{tool}", "tool": tool, "duration_ms": 100.0, "tokens_in": 7}
        recorded = await client.post(f"{path}/invocations", json=body)
        assert recorded.status_code == 201
        assert recorded.headers["location"] == f"{path}/invocations/inv_{tool}"
        assert (await client.get(recorded.headers["location"])).json() == recorded.json()
        message = {"role": "tool", "content": "Analysis complete", "tool": tool}
        said = await client.post(f"{path}/messages", json={"messages": [message]})
        assert said.is_success, said.text

    statistics = (await client.get(f"{path}/statistics")).json()
    assert sorted(statistics["tools_used"]) == sorted(tools)
    assert statistics["total_duration_ms"] == 300.0
    assert (statistics["total_invocations"], statistics["total_messages"]) == (3, 3)
    assert statistics["messages"]["roles"]["tool"]["count"] == 3
    assert statistics["token_usage"]["tokens_in"] == 21
    assert statistics["invocations"]["durations"]["p95_ms"] == 100.0
    assert [entry["invocations"] for entry in statistics["timeline"]] == [3]
    assert (await client.get(f"{path}/statistics?bucket=week")).status_code == 422

    ended = await client.post(f"{path}/end", json={"outcome": "completed"})
    assert ended.json()["session"]["outcome"] == "completed"
    for query in (
        {"tags": tag},
        {"tags": tag, "tool": "git_tool", "outcome": "completed"},
        {"purpose": "Investigate production issue", "tags": tag, "status": "active"},
        {"tags": tag, "since": "2026-01-01T00:00:00Z", "sort": "created_at"},
    ):
        found = (await client.get("/sessions", params=query)).json()
        assert [session["id"] for session in found] == [session_id], query
    for query in ({"tool": "nothing", "tags": tag}, {"until": "2001-01-01T00:00:00Z"}):
        assert (await client.get("/sessions", params=query)).json() == []


async def test_recording_is_idempotent_and_what_is_over_stays(local: Service) -> None:
    client = local.client
    path = f"/sessions/{await create(local)}/invocations"
    begun = {"id": "i", "tool": "t", "status": "running"}
    assert (await client.post(path, json=begun)).status_code == 201
    done = {
        "id": "i",
        "tool": "t",
        "input": {"b": 1, "a": None},
        "output": None,
        "duration_ms": 12.5,
    }
    first = await client.post(path, json=done)
    again = await client.post(path, json=done)
    assert (first.status_code, again.status_code) == (200, 200)
    assert again.json() == first.json()
    assert first.json()["status"] == "succeeded"
    assert first.json()["input_sha256"] == hashlib.sha256(b'{"a":null,"b":1}').hexdigest()
    assert first.json()["output_sha256"] == hashlib.sha256(b"null").hexdigest()

    changed = await client.post(path, json={**done, "output": "else"})
    assert_problem(changed, 409, "conflict")
    both = {"tool": "t", "input": 1, "input_sha256": "0" * 64}
    assert_problem(await client.post(path, json=both), 422, about="input_sha256")
    naive = {"tool": "t", "started_at": "2026-01-01T00:00:00"}
    assert_problem(await client.post(path, json=naive), 422, about="started_at")
    assert_problem(await client.get(f"{path}/j"), 404, "invocation_not_found")

    # Without an id, a key for the request does the same.
    key = {"Idempotency-Key": new_id("key")}
    made = [await client.post(path, json={"tool": "t"}, headers=key) for _ in range(2)]
    assert made[0].json() == made[1].json()
    assert len((await client.get(path)).json()) == 2


async def test_lists_lead_to_their_next_page(local: Service) -> None:
    client = local.client
    session_id = await create(local)
    tool = new_id("tool")
    for n in range(5):
        body = {"id": f"i{n}", "tool": tool, "started_at": f"2026-01-0{n + 1}T00:00:00+02:00"}
        await client.post(f"/sessions/{session_id}/invocations", json=body)

    async def ids(path: str) -> list[str]:
        found: list[str] = []
        while path:
            page = await client.get(path)
            assert page.status_code == 200, page.text
            found += [invocation["id"] for invocation in page.json()]
            path = page.links.get("next", {}).get("url", "")
        return found

    own = f"/sessions/{session_id}/invocations"
    assert await ids(f"{own}?limit=2") == ["i0", "i1", "i2", "i3", "i4"]
    assert await ids(f"{own}?limit=2&newest_first=true") == ["i4", "i3", "i2", "i1", "i0"]
    assert await ids(f"/invocations?limit=2&tool={tool}") == ["i4", "i3", "i2", "i1", "i0"]
    assert await ids(f"/invocations?tool={tool}&until=2026-01-02T12:00:00Z") == ["i1", "i0"]
    assert await ids(f"/invocations?tool={tool}&status=failed") == []
    assert_problem(await client.get("/invocations?cursor=x"), 422, about="cursor")
