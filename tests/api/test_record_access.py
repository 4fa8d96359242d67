"""Invocations, data and attachments of a session are its own people's business."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.api.service import assert_problem, new_id

if TYPE_CHECKING:
    from tests.api.service import Service

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_others_do_not_see_what_was_invoked(strict: Service) -> None:
    ada, grace = strict.as_("ada"), strict.as_("grace")
    session_id, tool = new_id(), new_id("tool")
    await ada.post("/sessions", {"id": session_id, "name": "s"})
    path = f"/sessions/{session_id}/invocations"
    assert (await ada.post(path, {"id": "i", "tool": tool})).status_code == 201
    for hidden in (path, f"{path}/i", f"/sessions/{session_id}/statistics"):
        assert_problem(await grace.get(hidden), 404, "session_not_found")
    assert (await grace.get(f"/invocations?tool={tool}")).json() == []
    await ada.post(f"/sessions/{session_id}/share", {"user_ids": ["grace"]})
    assert len((await grace.get(f"/invocations?tool={tool}")).json()) == 1
    assert_problem(await grace.post(path, {"tool": tool}), 403, "forbidden")


async def test_any_session_can_be_removed_by_ending_it(strict: Service) -> None:
    ada, grace, session_id = strict.as_("ada"), strict.as_("grace"), new_id()
    await ada.post("/sessions", {"id": session_id, "name": "s"})
    await ada.post(
        f"/sessions/{session_id}/share", {"user_ids": ["grace"], "permissions": ["write"]}
    )
    end = f"/sessions/{session_id}/end"
    assert_problem(await grace.post(f"{end}?delete=true"), 403, "forbidden")
    kept = await grace.post(end, {"outcome": "abandoned"})
    assert kept.json()["session"]["outcome"] == "abandoned"
    for _ in range(2):
        gone = await ada.post(f"{end}?delete=true")
        assert (gone.status_code, gone.json()["session"]) == (200, None)
    assert_problem(await strict.as_("alan").post(end), 404, "session_not_found")


async def test_who_may_read_may_not_write(strict: Service) -> None:
    ada, grace, session_id = strict.as_("ada"), strict.as_("grace"), new_id()
    await ada.post("/sessions", {"id": session_id, "name": "s"})
    paths = [f"/sessions/{session_id}/{name}" for name in ("data/k", "attachments/k")]
    for path in paths:
        assert (await ada.put(path, content=b"1")).status_code == 201
        assert_problem(await grace.get(path), 404, "session_not_found")
    await ada.post(f"/sessions/{session_id}/share", {"user_ids": ["grace"]})
    for path in paths:
        assert (await grace.get(path)).content == b"1"
        assert_problem(await grace.put(path, content=b"2"), 403, "forbidden")
        assert_problem(await grace.delete(path), 403, "forbidden")
        reading = strict.as_("ada", scope="read")
        assert_problem(await reading.delete(path), 403, "forbidden")
