"""Checkpoints, undoing and lineage over HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio

from tests.api.service import Caller, assert_problem, guarded, new_id, serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.api.service import Service

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def service(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Service]:
    async with serving(guarded(tmp_path_factory.mktemp("checkpoints"))) as service:
        yield service


@pytest.fixture
def ada(service: Service) -> Caller:
    return service.as_("ada")


async def filled(ada: Caller, count: int = 3) -> str:
    """A session of four dimensions with some points."""
    session_id = new_id()
    body = {"id": session_id, "name": 'A "name"', "embedding": {"dimension": 4}}
    assert (await ada.post("/sessions", body)).status_code == 200
    await write(ada, session_id, *range(count))
    return session_id


async def write(ada: Caller, session_id: str, *ids: int) -> None:
    points = [{"id": n, "vector": [1.0, n, 0.0, 0.0], "payload": {"n": n}} for n in ids]
    response = await ada.put(f"/sessions/{session_id}/points", {"points": points})
    assert response.status_code == 200, response.text


async def points_of(ada: Caller, session_id: str) -> list[Any]:
    found: list[dict[str, Any]] = (await ada.get(f"/sessions/{session_id}/points")).json()
    return [point["id"] for point in found]


async def test_a_checkpoint_is_made_listed_and_deleted(ada: Caller) -> None:
    session_id = await filled(ada)
    at = f"/sessions/{session_id}/checkpoints"
    made = await ada.post(at, {"name": "before now"})
    assert made.status_code == 201, made.text
    assert made.headers["location"] == f"{at}/before%20now"
    told = made.json()
    assert (told["name"], told["points_count"], told["documents_count"]) == ("before now", 3, 0)
    assert told["embedding"]["dimension"] == 4
    assert (await ada.get(made.headers["location"])).json() == told
    assert_problem(await ada.post(at, {"name": "before now"}), 409, "conflict")
    assert_problem(await ada.post(at, {"name": "now"}), 422, about="name")
    await ada.post(at, {"name": "two"})
    first = await ada.get(at, params={"limit": 1})
    assert [one["name"] for one in first.json()] == ["two"]
    rest = await ada.get(first.headers["link"].partition(">")[0].removeprefix("<"))
    assert [one["name"] for one in rest.json()] == ["before now"]
    assert "link" not in rest.headers
    assert (await ada.delete(made.headers["location"])).json()["message"]
    assert_problem(await ada.get(made.headers["location"]), 404, "checkpoint_not_found")
    assert_problem(await ada.post(f"{at}/gone/restore"), 404, "checkpoint_not_found")


async def test_going_back_and_forth(service: Service, ada: Caller) -> None:
    session_id = await filled(ada)
    at = f"/sessions/{session_id}/checkpoints"
    await ada.post(at, {"name": "three"})
    await write(ada, session_id, 9)
    diff = (await ada.get(f"{at}/three/diff", params={"limit": 5})).json()
    assert (diff["from"], diff["to"], diff["points"]["unchanged"]) == ("three", "now", 3)
    assert diff["points"]["ids"] == {"added": [9], "removed": [], "changed": []}
    assert_problem(await ada.get(f"{at}/three/diff?to=four"), 404, "checkpoint_not_found")

    restored = (await ada.post(f"{at}/three/restore")).json()
    assert (restored["session"]["points_count"], restored["checkpoint"]) == (3, "three")
    assert await points_of(ada, session_id) == [0, 1, 2]
    undo = f"/jobs/{restored['job_id']}/undo"
    assert_problem(await service.as_("alan").post(undo), 404, "job_not_found")
    undone = await ada.post(undo)
    assert undone.status_code == 200, undone.text
    assert undone.json()["result"]["changed_sessions"] == [session_id]
    assert await points_of(ada, session_id) == [0, 1, 2, 9]
    assert_problem(await ada.post(undo), 409, "conflict")


async def test_what_takes_long_is_answered_with_its_job(ada: Caller) -> None:
    session_id = await filled(ada)
    at = f"/sessions/{session_id}/checkpoints"
    begun = await ada.post(at, {"name": "later"}, headers={"Prefer": "wait=0"})
    assert begun.status_code == 202
    assert begun.headers["location"] == f"/jobs/{begun.json()['id']}"
    assert begun.json()["kind"] == "checkpoint"


async def test_lineage_as_json_and_as_a_diagram(service: Service, ada: Caller) -> None:
    session_id = await filled(ada)
    at = f"/sessions/{session_id}"
    await ada.post(f"{at}/checkpoints", {"name": "one"})
    job_id = (await ada.post(f"{at}/checkpoints/one/restore")).json()["job_id"]
    graph = (await ada.get(f"{at}/lineage", params={"depth": 1})).json()
    assert graph["session_id"] == session_id
    assert [node["id"] for node in graph["nodes"]] == [session_id]
    (edge,) = graph["edges"]
    assert (edge["from"], edge["to"], edge["kind"]) == (session_id, session_id, "restored_from")
    assert (edge["points"], edge["job_id"], edge["undone"]) == (3, job_id, False)
    for asked in (
        await ada.get(f"{at}/lineage?format=mermaid"),
        await ada.get(f"{at}/lineage", headers={"Accept": "text/vnd.mermaid, */*;q=0.1"}),
        await ada.get(f"{at}/lineage", headers={"Accept": "text/plain"}),
    ):
        assert asked.headers["content-type"].startswith("text/vnd.mermaid")
        assert 'n0["A #34;name#34;<br/>3 points, active"]' in asked.text
    assert_problem(await service.as_("alan").get(f"{at}/lineage"), 404, "session_not_found")
    assert_problem(await ada.get(f"{at}/lineage?depth=0"), 422, "invalid_input")
