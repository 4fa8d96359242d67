"""Merge, split and fork over HTTP: what is told, to whom, and what is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.api.service import assert_problem, new_id

if TYPE_CHECKING:
    from tests.api.service import Caller, Service

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def made(caller: Caller, ids: list[Any], **payload: Any) -> str:
    """A session with these points, of two numbers each."""
    session_id = new_id()
    body = {"id": session_id, "name": session_id, "embedding": {"dimension": 2}}
    assert (await caller.post("/sessions", body)).status_code == 200
    if ids:
        points = [
            {"id": i, "vector": [1.0, n + 1.0], "payload": payload} for n, i in enumerate(ids)
        ]
        answer = await caller.put(f"/sessions/{session_id}/points", {"points": points})
        assert answer.status_code == 200, answer.text
    return session_id


async def count(caller: Caller, session_id: str) -> int:
    return int((await caller.get(f"/sessions/{session_id}")).json()["points_count"])


async def test_a_merge_answers_the_new_session_and_its_job(strict: Service) -> None:
    ada = strict.as_("ada")
    one, two = await made(ada, [1, 2]), await made(ada, [3])
    answer = await ada.post(
        "/sessions/merge", {"source_session_ids": [one, two], "target_name": "both", "tags": ["x"]}
    )
    assert answer.status_code == 200, answer.text
    session = answer.json()
    assert session["metadata"] == {"merged_from": [one, two], "merged_point_count": 3}
    assert (session["owner_id"], session["tags"], session["points_count"]) == ("ada", ["x"], 3)
    job = (await ada.get(f"/jobs/{answer.headers['x-quire-job']}")).json()
    assert (job["kind"], job["status"]) == ("merge", "succeeded")
    for source in (one, two):
        assert (await ada.get(f"/sessions/{source}")).json()["status"] == "archived"


async def test_who_does_not_wait_gets_the_job(strict: Service) -> None:
    ada = strict.as_("ada")
    one, two = await made(ada, [1, 2]), await made(ada, [3])
    body = {"source_session_ids": [one, two], "target_name": "both"}
    answer = await ada.post("/sessions/merge", body, headers={"Prefer": "wait=0"})
    assert answer.status_code == 202
    job = answer.json()
    assert answer.headers["location"] == f"/jobs/{job['id']}"
    done = await strict.quire.jobs.wait(job["id"], 20)
    assert done.result is not None
    assert await count(ada, done.result["session_id"]) == 3


async def test_a_repeated_merge_with_one_key_is_one_merge(strict: Service) -> None:
    ada = strict.as_("ada")
    one, two = await made(ada, [1]), await made(ada, [2])
    body = {"source_session_ids": [one, two], "target_name": "once"}
    answers = [
        await ada.post("/sessions/merge", body, headers={"Idempotency-Key": one}) for _ in range(2)
    ]
    assert answers[0].json()["id"] == answers[1].json()["id"]


async def test_a_dry_run_reports_and_does_nothing(strict: Service) -> None:
    ada = strict.as_("ada")
    one, two = await made(ada, [1, 2]), await made(ada, [2, 3])
    body = {"source_session_ids": [one, two], "target_name": "both"}
    report = (await ada.post("/sessions/merge", {**body, "dry_run": True})).json()
    assert report["would_succeed"] is False
    assert [(s["points"], s["conflicts"]) for s in report["sources"]] == [(2, 0), (2, 1)]
    assert_problem(await ada.post("/sessions/merge", body), 409, "point_conflict")
    parts = [{"name": "p", "point_ids": [1, 9]}]
    told = (await ada.post(f"/sessions/{one}/split", {"parts": parts, "dry_run": True})).json()
    assert (told["unknown_ids"], told["assigned_points"], told["remaining_points"]) == ([9], 1, 1)
    assert await count(ada, one) == 2


async def test_a_split_by_a_field_makes_a_session_for_each_value(strict: Service) -> None:
    ada = strict.as_("ada")
    session_id = await made(ada, [1, 2, 3, 4])
    assignments = [{"ids": [1, 2], "payload": {"c": "a"}}, {"ids": [3], "payload": {"c": "b"}}]
    path = f"/sessions/{session_id}"
    await ada.post(f"{path}/points/payload", {"assignments": assignments})
    answer = await ada.post(f"{path}/split", {"by": {"field": "c", "names": "cluster {value}"}})
    assert answer.status_code == 200, answer.text
    told = answer.json()
    assert [(s["name"], s["points_count"]) for s in told["new_sessions"]] == [
        ("cluster a", 2),
        ("cluster b", 1),
    ]
    assert (told["assigned_points"], told["removed_points"]) == (3, 3)
    assert [part["session_id"] for part in told["parts"]] == [s["id"] for s in told["new_sessions"]]
    assert await count(ada, session_id) == 1


async def test_a_fork_takes_what_is_not_given_from_the_session(strict: Service) -> None:
    ada, grace = strict.as_("ada"), strict.as_("grace")
    session_id = await made(ada, [1, 2])
    path = f"/sessions/{session_id}"
    await ada.patch(path, {"description": "first", "tags": ["t"], "metadata": {"k": 1}})
    fork = (await ada.post(f"{path}/fork")).json()
    assert (fork["name"], fork["description"]) == (f"{session_id} (fork)", "first")
    assert fork["metadata"] == {"k": 1, "forked_from": session_id}
    assert fork["lineage"] == {"forked_from": session_id}
    # whoever may read it may fork it, and owns the fork
    assert_problem(await grace.post(f"{path}/fork"), 404)
    await ada.post(f"{path}/share", {"user_ids": ["grace"], "permissions": ["read"]})
    theirs = (await grace.post(f"{path}/fork", {"name": "mine", "description": None})).json()
    assert (theirs["owner_id"], theirs["name"], theirs["description"]) == ("grace", "mine", None)
    assert theirs["points_count"] == 2


async def test_roles_decide_whether_points_are_copied_moved_or_archived(strict: Service) -> None:
    ada, grace = strict.as_("ada"), strict.as_("grace")
    session_id, other = await made(ada, [1, 2]), await made(grace, [7])
    path = f"/sessions/{session_id}"
    body: dict[str, Any] = {"parts": [{"name": "p", "point_ids": [1]}], "remove_points": False}
    await ada.post(f"{path}/share", {"user_ids": ["grace"], "permissions": ["read"]})
    assert (await grace.post(f"{path}/split", body)).json()["removed_points"] == 0
    moving = {**body, "remove_points": True}
    assert_problem(await grace.post(f"{path}/split", moving), 403, "forbidden")
    await ada.post(f"{path}/share", {"user_ids": ["grace"], "permissions": ["write"]})
    archiving = {**body, "archive_original": True}
    assert_problem(await grace.post(f"{path}/split", archiving), 403, "forbidden")
    merge = {"source_session_ids": [session_id, other], "target_name": "m"}
    assert_problem(await grace.post("/sessions/merge", merge), 403, "forbidden")
    merged = await grace.post("/sessions/merge", {**merge, "archive_sources": False})
    assert merged.json()["points_count"] == 3
    reader = strict.as_("grace", scope="read")
    assert_problem(await reader.post(f"{path}/split", body), 403, "forbidden")
    assert (await grace.post(f"{path}/split", moving)).json()["removed_points"] == 1
    assert await count(ada, session_id) == 1


@pytest.mark.parametrize(
    ("body", "about"),
    [
        ({"source_session_ids": ["a"], "target_name": "m"}, "source_session_ids"),
        ({"source_session_ids": ["a", "a"], "target_name": "m"}, "source_session_ids"),
        ({"source_session_ids": ["a", "b"]}, "target_name"),
        ({"source_session_ids": ["a", "b"], "target_session_id": "a"}, "target_session_id"),
        ({"source_session_ids": [f"s{n}" for n in range(51)], "target_name": "m"}, None),
    ],
)
async def test_a_merge_that_makes_no_sense_is_refused(
    strict: Service, body: dict[str, Any], about: str | None
) -> None:
    assert_problem(
        await strict.as_("ada").post("/sessions/merge", body),
        422,
        about=about or "source_session_ids",
    )


@pytest.mark.parametrize(
    ("body", "about"),
    [
        ({}, "parts"),
        ({"parts": []}, "parts"),
        ({"parts": [{"name": "p"}]}, "parts[0]"),
        ({"parts": [{"name": "p", "point_ids": [1], "filter": {"a": 1}}]}, "parts[0]"),
        ({"parts": [{"name": "p", "point_ids": ["x"]}]}, "parts[0].point_ids[0]"),
        ({"parts": [{"name": "p", "point_ids": [[]]}]}, "parts[0].point_ids[0]"),
        ({"parts": [{"name": "p", "filter": {}}]}, "parts[0].filter"),
        ({"parts": [{"name": "p", "seq": {"start": 2, "end": 1}}]}, "parts[0].seq"),
        ({"parts": [{"name": "", "point_ids": [1]}]}, "name"),
        ({"by": {"field": "c"}, "fractions": [{"name": "a", "fraction": 1}]}, "fractions"),
        ({"by": {"field": "c", "names": "x"}}, "by.names"),
        ({"by": {"field": "c d"}}, "key"),
        ({"fractions": [{"name": "a", "fraction": 0.6}] * 2}, "fractions"),
        ({"parts": [{"name": "p", "point_ids": [1]}] * 201}, "parts"),
    ],
)
async def test_a_split_that_makes_no_sense_is_refused(
    strict: Service, body: dict[str, Any], about: str
) -> None:
    ada = strict.as_("ada")
    session_id = await made(ada, [])
    assert_problem(await ada.post(f"/sessions/{session_id}/split", body), 422, about=about)


async def test_a_strict_split_says_all_that_is_wrong_before_anything_is_made(
    strict: Service,
) -> None:
    ada = strict.as_("ada")
    session_id = await made(ada, [1, 2])
    parts = [
        {"name": "a", "point_ids": [1, 9]},
        {"name": "b", "point_ids": [1]},
        {"name": "c", "document_ids": ["gone"]},
    ]
    answer = await ada.post(f"/sessions/{session_id}/split", {"parts": parts, "strict": True})
    problem = assert_problem(answer, 422, "invalid_input")
    assert (problem["unknown_ids"], problem["repeated_ids"]) == ([9], [1])
    assert (problem["empty_parts"], problem["unknown_document_ids"]) == (["b", "c"], ["gone"])
    # what of them is there can be split in the ordinary way
    told = (await ada.post(f"/sessions/{session_id}/split", {"parts": parts})).json()
    assert [s["points_count"] for s in told["new_sessions"]] == [1, 0, 0]
    assert told["empty_parts"] == ["b", "c"]
    assert await count(ada, session_id) == 1
