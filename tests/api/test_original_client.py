"""A client that was written for the session service of Tab Organizer works unchanged.

The client below sends what that service took and reads what it answered; it knows nothing of
what came with Quire.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import pytest

from tests.api.service import assert_problem

if TYPE_CHECKING:
    import httpx

    from tests.api.service import Service

pytestmark = pytest.mark.asyncio(loop_scope="module")

SESSION_FIELDS = {
    "id": str,
    "name": str,
    "description": (str, type(None)),
    "status": str,
    "created_at": str,
    "updated_at": str,
    "owner_id": (str, type(None)),
    "shared_with": list,
    "qdrant_collection_name": str,
    "configuration": dict,
    "processing_stats": dict,
    "model_usage_history": dict,
    "tags": list,
    "metadata": dict,
}
OURS = {
    "group",
    "outcome",
    "ended_at",
    "hold",
    "ttl_seconds",
    "expires_at",
    "last_activity_at",
    "residency",
    "woke_at",
    "pinned",
    "ephemeral",
    "embedding",
    "points_count",
    "chunks_count",
    "lineage",
}


class OriginalClient:
    """The original service's client: plain JSON over HTTP, no headers of ours."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http

    async def call(self, method: str, path: str, **options: Any) -> Any:
        response = await self._http.request(method, path, **options)
        assert response.status_code == 200, response.text
        return response.json()

    async def create(self, name: str, **fields: Any) -> dict[str, Any]:
        made: dict[str, Any] = await self.call("POST", "/sessions", json={"name": name, **fields})
        return made

    async def session(self, session_id: str) -> dict[str, Any]:
        found: dict[str, Any] = await self.call("GET", f"/sessions/{session_id}")
        return found


@pytest.fixture
def client(local: Service) -> OriginalClient:
    return OriginalClient(local.client)


def assert_session(session: dict[str, Any]) -> None:
    assert set(session) == set(SESSION_FIELDS) | OURS
    for name, kind in SESSION_FIELDS.items():
        assert isinstance(session[name], kind), (name, session[name])
    for name in ("created_at", "updated_at"):
        assert datetime.fromisoformat(session[name]).tzinfo is not None
    assert set(session["configuration"]) == {
        "clustering_params",
        "embedding_model",
        "llm_model",
        "processing_options",
    }
    assert set(session["processing_stats"]) == {
        "urls_processed",
        "content_analyzed",
        "clusters_generated",
        "embeddings_created",
        "last_processing_time",
    }
    assert set(session["model_usage_history"]) == {
        "llm_models_used",
        "embedding_models_used",
        "model_switches",
        "last_model_switch",
    }


async def test_a_created_session_is_told_field_by_field(client: OriginalClient) -> None:
    # given everything that the original creation took
    configuration = {
        "clustering_params": {"min_cluster_size": 5},
        "embedding_model": "all-MiniLM-L6-v2",
        "llm_model": "llama3",
        "processing_options": {"deduplicate": True},
    }
    # when
    session = await client.create(
        "Research",
        description="Tabs about gardens",
        owner_id="ada",
        configuration=configuration,
        tags=["a", "b"],
        metadata={"origin": "extension", "nothing": None},
    )
    # then
    assert_session(session)
    assert session["name"] == "Research"
    assert session["description"] == "Tabs about gardens"
    assert session["owner_id"] == "ada"
    assert session["status"] == "active"
    assert session["configuration"] == configuration
    assert session["tags"] == ["a", "b"]
    assert session["metadata"] == {"origin": "extension", "nothing": None}
    assert session["shared_with"] == []
    assert session["qdrant_collection_name"].startswith("session_")
    assert session["processing_stats"] == {
        "urls_processed": 0,
        "content_analyzed": 0,
        "clusters_generated": 0,
        "embeddings_created": 0,
        "last_processing_time": None,
    }
    assert session["model_usage_history"] == {
        "llm_models_used": [],
        "embedding_models_used": [],
        "model_switches": 0,
        "last_model_switch": None,
    }
    # and reading it tells the same
    assert await client.session(session["id"]) == session


async def test_a_name_is_enough(client: OriginalClient) -> None:
    session = await client.create("Bare")
    assert_session(session)
    assert session["description"] is None
    assert session["owner_id"] is None
    assert session["tags"] == []
    assert session["metadata"] == {}
    assert session["configuration"] == {
        "clustering_params": {},
        "embedding_model": None,
        "llm_model": None,
        "processing_options": {},
    }


async def test_lists_are_arrays_filtered_as_before(client: OriginalClient) -> None:
    # given sessions of two owners, one with tags, one archived
    one = await client.create("One", owner_id="lister", tags=["red", "big"])
    two = await client.create("Two", owner_id="lister", tags=["blue"])
    await client.create("Three", owner_id="someone-else", tags=["red"])
    await client.call("POST", f"/sessions/{two['id']}/archive")
    # when
    everyone = await client.call("GET", "/sessions", params={"owner_id": "lister"})
    archived = await client.call(
        "GET", "/sessions", params={"owner_id": "lister", "status": "archived"}
    )
    tagged = await client.call("GET", "/sessions", params={"owner_id": "lister", "tags": "red,x"})
    # then
    assert [session["id"] for session in everyone] == [two["id"], one["id"]]  # latest change first
    assert [session["id"] for session in archived] == [two["id"]]
    assert [session["id"] for session in tagged] == [one["id"]]
    for session in everyone:
        assert_session(session)


async def test_deleted_sessions_are_listed_only_when_asked_for(client: OriginalClient) -> None:
    gone = await client.create("Gone", owner_id="deleter")
    await client.call("DELETE", f"/sessions/{gone['id']}")
    assert await client.call("GET", "/sessions", params={"owner_id": "deleter"}) == []
    (listed,) = await client.call(
        "GET", "/sessions", params={"owner_id": "deleter", "status": "deleted"}
    )
    assert listed["id"] == gone["id"]
    assert listed["status"] == "deleted"


async def test_put_changes_what_is_given_and_merges_metadata(client: OriginalClient) -> None:
    session = await client.create("Before", metadata={"kept": 1, "changed": 1}, tags=["old"])
    changed = await client.call(
        "PUT",
        f"/sessions/{session['id']}",
        json={
            "name": "After",
            "description": None,
            "configuration": {"llm_model": "mistral"},
            "tags": ["new"],
            "metadata": {"changed": 2, "empty": None},
        },
    )
    assert_session(changed)
    assert changed["name"] == "After"
    assert changed["configuration"]["llm_model"] == "mistral"
    assert changed["tags"] == ["new"]
    assert changed["metadata"] == {"kept": 1, "changed": 2, "empty": None}
    assert changed["updated_at"] > session["updated_at"]
    assert changed["created_at"] == session["created_at"]


async def test_put_sets_the_status_too(client: OriginalClient) -> None:
    session = await client.create("Set")
    path = f"/sessions/{session['id']}"
    assert (await client.call("PUT", path, json={"status": "archived"}))["status"] == "archived"
    assert (await client.call("PUT", path, json={"status": "active"}))["status"] == "active"


async def test_delete_says_whether_it_was_for_good(client: OriginalClient) -> None:
    session = await client.create("Short")
    path = f"/sessions/{session['id']}"
    soft = await client.call("DELETE", path)
    assert soft == {"message": "Session deleted successfully", "permanent": False}
    hard = await client.call("DELETE", path, params={"permanent": "true"})
    assert hard == {"message": "Session deleted successfully", "permanent": True}


async def test_what_was_deleted_for_good_is_gone(client: OriginalClient, local: Service) -> None:
    session = await client.create("Gone")
    await client.call("DELETE", f"/sessions/{session['id']}", params={"permanent": True})
    response = await local.client.get(f"/sessions/{session['id']}")
    assert_problem(response, 404, "session_not_found")
    # the original service's errors were read by their `detail`
    assert session["id"] in response.json()["detail"]


async def test_archive_and_restore_answer_a_message_and_the_session(
    client: OriginalClient,
) -> None:
    session = await client.create("Aside")
    archived = await client.call("POST", f"/sessions/{session['id']}/archive")
    assert archived["message"] == "Session archived successfully"
    assert_session(archived["session"])
    assert archived["session"]["status"] == "archived"
    restored = await client.call("POST", f"/sessions/{session['id']}/restore")
    assert restored["message"] == "Session restored successfully"
    assert_session(restored["session"])
    assert restored["session"]["status"] == "active"


async def test_sharing_answers_the_session(client: OriginalClient) -> None:
    session = await client.create("Shared", owner_id="ada")
    path = f"/sessions/{session['id']}"
    shared = await client.call(
        "POST", f"{path}/share", json={"user_ids": ["grace", "alan"], "permissions": ["read"]}
    )
    assert_session(shared)
    assert shared["status"] == "shared"
    assert shared["shared_with"] == ["grace", "alan"]

    collaborators = await client.call("GET", f"{path}/collaborators")
    fixed = {"session_id", "owner_id", "shared_with", "total_collaborators"}
    assert {name: collaborators[name] for name in fixed} == {
        "session_id": session["id"],
        "owner_id": "ada",
        "shared_with": ["grace", "alan"],
        "total_collaborators": 3,
    }

    message = await client.call("DELETE", f"{path}/share/grace")
    assert message == {"message": "Session unshared successfully"}
    assert (await client.session(session["id"]))["shared_with"] == ["alan"]
    await client.call("DELETE", f"{path}/share/alan")
    assert (await client.session(session["id"]))["status"] == "active"


async def test_sharing_needs_no_permissions_named(client: OriginalClient) -> None:
    session = await client.create("Shared", owner_id="ada")
    path = f"/sessions/{session['id']}/share"
    assert (await client.call("POST", path, json={"user_ids": ["u"]}))["shared_with"] == ["u"]


async def test_an_archived_session_stays_archived_when_shared(client: OriginalClient) -> None:
    session = await client.create("Both", owner_id="ada")
    path = f"/sessions/{session['id']}"
    await client.call("POST", f"{path}/archive")
    shared = await client.call("POST", f"{path}/share", json={"user_ids": ["grace"]})
    assert shared["status"] == "archived"
    restored = await client.call("POST", f"{path}/restore")
    assert restored["session"]["status"] == "shared"


async def test_statistics_add_up(client: OriginalClient) -> None:
    session = await client.create("Counted", metadata={"kept": True})
    path = f"/sessions/{session['id']}/stats"
    for _ in range(2):
        answer = await client.call(
            "PUT",
            path,
            json={"urls_processed": 3, "embeddings_created": 7, "metadata": {"run": "nightly"}},
        )
        assert answer == {"message": "Session statistics updated successfully"}
    stats = await client.call("GET", path)
    assert set(stats) == {
        "session_id",
        "session_stats",
        "model_usage",
        "collection_stats",
        "session_age_days",
        "last_activity",
        "collaboration_info",
    }
    assert stats["session_id"] == session["id"]
    assert stats["session_stats"]["urls_processed"] == 6
    assert stats["session_stats"]["embeddings_created"] == 14
    assert stats["session_stats"]["content_analyzed"] == 0
    assert datetime.fromisoformat(stats["session_stats"]["last_processing_time"])
    assert stats["collection_stats"]["points_count"] == 0
    assert stats["session_age_days"] == 0
    assert datetime.fromisoformat(stats["last_activity"])
    assert stats["collaboration_info"] == {"is_shared": False, "collaborator_count": 0}
    metadata = (await client.session(session["id"]))["metadata"]
    assert metadata["kept"] is True
    assert metadata["run"] == "nightly"


async def test_model_usage_is_noted(client: OriginalClient) -> None:
    session = await client.create("Models")
    path = f"/sessions/{session['id']}/model-usage"
    for kind, name in (("llm", "llama3"), ("llm", "llama3"), ("embedding", "minilm")):
        answer = await client.call("PUT", path, params={"model_type": kind, "model_name": name})
        assert answer == {"message": "Session model usage updated successfully"}
    usage = (await client.session(session["id"]))["model_usage_history"]
    assert usage["llm_models_used"] == ["llama3"]
    assert usage["embedding_models_used"] == ["minilm"]
    assert usage["model_switches"] == 3
    assert datetime.fromisoformat(usage["last_model_switch"])


async def test_incremental_clustering_takes_a_plain_list_of_ids(client: OriginalClient) -> None:
    session = await client.create("Clustered")
    answer = await client.call(
        "POST", f"/sessions/{session['id']}/incremental-clustering", json=["c1", "c2", "c3"]
    )
    assert answer == {
        "message": "Incremental clustering triggered successfully",
        "session_id": session["id"],
        "new_content_count": 3,
        "total_content_analyzed": 3,
    }


async def test_comparison(client: OriginalClient) -> None:
    one = await client.create("One", tags=["x"])
    two = await client.create("Two")
    await client.call("PUT", f"/sessions/{one['id']}/stats", json={"urls_processed": 5})
    for session in (one, two):
        await client.call(
            "PUT",
            f"/sessions/{session['id']}/model-usage",
            params={"model_type": "llm", "model_name": "llama3"},
        )
    await client.call("POST", f"/sessions/{two['id']}/archive")
    compared = await client.call(
        "GET", "/sessions/compare", params={"session_ids": f"{one['id']},{two['id']}"}
    )
    assert set(compared) == {"sessions", "comparison_summary"}
    assert [session["id"] for session in compared["sessions"]] == [one["id"], two["id"]]
    assert set(compared["sessions"][0]) >= {
        "id",
        "name",
        "created_at",
        "status",
        "processing_stats",
        "model_usage",
        "tags",
    }
    summary = compared["comparison_summary"]
    assert set(summary) == {
        "total_sessions",
        "status_distribution",
        "model_usage_overlap",
        "processing_differences",
    }
    assert summary["total_sessions"] == 2
    assert summary["status_distribution"] == {"active": 1, "archived": 1}
    assert summary["model_usage_overlap"]["common_models"] == ["llama3"]
    assert summary["processing_differences"]["urls_processed"]["most"] == 5


async def test_retention_policy_and_cleanup(client: OriginalClient) -> None:
    policy = await client.call("GET", "/sessions/retention-policy")
    assert policy["retention_policy"] == {
        "max_age_days": None,
        "max_sessions_per_user": None,
        "auto_archive_inactive_days": 30,
        "auto_delete_archived_days": 90,
    }
    wanted = {
        "max_age_days": 365,
        "max_sessions_per_user": 50,
        "auto_archive_inactive_days": 10,
        "auto_delete_archived_days": 20,
    }
    changed = await client.call("PUT", "/sessions/retention-policy", json=wanted)
    try:
        assert changed["new_policy"] == wanted
        read = await client.call("GET", "/sessions/retention-policy")
        assert read["retention_policy"] == wanted

        cleanup = await client.call("POST", "/sessions/cleanup")
        assert set(cleanup) >= {"message", "cleanup_stats", "policy_applied"}
        assert cleanup["message"] == "Session cleanup completed successfully"
        assert set(cleanup["cleanup_stats"]) >= {
            "archived_count",
            "deleted_count",
            "processed_count",
        }
        assert cleanup["policy_applied"] == wanted
        # and with a policy of its own, the original's defaults in what is left out
        given = await client.call("POST", "/sessions/cleanup", json={"max_age_days": 1000})
        assert given["policy_applied"] == {
            "max_age_days": 1000,
            "max_sessions_per_user": None,
            "auto_archive_inactive_days": 30,
            "auto_delete_archived_days": 90,
        }
    finally:
        await client.call("PUT", "/sessions/retention-policy", json=policy["retention_policy"])


async def test_a_session_is_exported_and_imported(client: OriginalClient) -> None:
    # given a session whose collection the original's pipelines filled
    session = await client.create("Gardens", owner_id="ada", tags=["garden"], metadata={"a": 1})
    points = [{"id": n, "vector": [1.0] + [0.0] * 383, "payload": {"url": f"u{n}"}} for n in (1, 2)]
    await client.call("PUT", f"/sessions/{session['id']}/points", json={"points": points})

    # when
    export = await client.call("GET", f"/sessions/{session['id']}/export")

    # then
    assert set(export) == {"session", "collection_data", "export_timestamp"}
    assert datetime.fromisoformat(export["export_timestamp"]).tzinfo is not None
    assert_session(export["session"])
    assert export["session"]["id"] == session["id"]
    data = export["collection_data"]
    assert set(data) == {"collection_name", "exported_points", "points"}
    assert data["collection_name"] == session["qdrant_collection_name"]
    assert data["exported_points"] == 2
    assert data["points"] == points

    # and back under another name, as the original's client sent it
    back = await client.call("POST", "/sessions/import", params={"new_name": "Again"}, json=export)
    assert_session(back)
    assert back["name"] == "Again"
    assert back["id"] != session["id"]
    assert back["tags"] == ["garden", "imported"]
    assert back["metadata"] == {"a": 1, "imported_from": session["id"]}
    again = await client.call("GET", f"/sessions/{back['id']}/export")
    assert again["collection_data"]["points"] == points


async def test_metadata_alone_is_exported_and_imported(client: OriginalClient) -> None:
    session = await client.create("Bare", description="Only words", tags=["garden"])
    path = f"/sessions/{session['id']}/export"
    export = await client.call("GET", path, params={"include_data": "false"})
    assert export["collection_data"] is None
    # what the original service wrote has none of our fields
    export["session"] = {name: export["session"][name] for name in SESSION_FIELDS}
    back = await client.call("POST", "/sessions/import", json=export)
    assert (back["name"], back["description"]) == ("Bare", "Only words")
    assert (back["tags"], back["points_count"]) == (["garden", "imported"], 0)


async def test_the_service_says_what_it_is(client: OriginalClient) -> None:
    assert (await client.call("GET", "/"))["status"] == "running"
    assert await client.call("GET", "/health") == {"status": "healthy", "service": "quire"}


async def filled(client: OriginalClient, name: str, ids: list[int | str]) -> dict[str, Any]:
    """A session with points, which pipelines wrote to Qdrant."""
    session = await client.create(name, owner_id="ada", tags=["t"], embedding={"dimension": 2})
    points = [{"id": identity, "vector": [1.0, n + 1.0]} for n, identity in enumerate(ids)]
    await client.call("PUT", f"/sessions/{session['id']}/points", json={"points": points})
    return session


async def test_a_merge_answers_the_new_session(client: OriginalClient) -> None:
    one, two = await filled(client, "One", [1, 2]), await filled(client, "Two", [3])
    merged = await client.call(
        "POST",
        "/sessions/merge",
        json={
            "source_session_ids": [one["id"], two["id"]],
            "target_name": "Both",
            "target_description": "of spring",
            "owner_id": "ada",
            "tags": ["all"],
            "metadata": {"why": "tidy"},
            "archive_sources": True,
        },
    )
    assert_session(merged)
    assert (merged["name"], merged["description"], merged["owner_id"]) == (
        "Both",
        "of spring",
        "ada",
    )
    assert merged["tags"] == ["all"]
    assert merged["metadata"] == {
        "why": "tidy",
        "merged_from": [one["id"], two["id"]],
        "merged_point_count": 3,
    }
    assert (await client.session(one["id"]))["status"] == "archived"


async def test_a_split_moves_the_points_that_are_named(client: OriginalClient) -> None:
    uuid = "5c56c793-69f3-4fbf-87e6-c4bf54c28c26"
    session = await filled(client, "Mixed", [1, 2, 3, uuid])
    answer = await client.call(
        "POST",
        f"/sessions/{session['id']}/split",
        json={
            "parts": [
                {
                    "name": "First",
                    "point_ids": ["1", uuid.upper().replace("-", "")],
                    "description": "two of them",
                    "tags": ["part"],
                    "metadata": {"cluster": 1},
                },
                {"name": "Second", "point_ids": [2]},
            ],
            "archive_original": False,
            "remove_points": True,
        },
    )
    assert (answer["assigned_points"], answer["removed_points"]) == (3, 3)
    first, second = answer["new_sessions"]
    for part in (first, second):
        assert_session(part)
        assert part["owner_id"] == "ada"
        assert part["metadata"]["split_from"] == session["id"]
    assert (first["name"], first["description"], first["tags"]) == (
        "First",
        "two of them",
        ["part"],
    )
    assert first["metadata"]["cluster"] == 1
    stats = await client.call("GET", f"/sessions/{session['id']}/stats")
    assert stats["collection_stats"]["points_count"] == 1
