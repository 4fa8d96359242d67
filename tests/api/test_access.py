"""With authentication configured, nothing but health answers without a token that allows it."""

from __future__ import annotations

import base64
import json
import re
import time
from typing import TYPE_CHECKING, Any

import jwt
import pytest

from quire.errors import ConfigurationError
from quire.settings import AuthSettings
from quire_api.app import create_app
from tests.api.service import SECRET, Service, assert_problem, new_id, settings_for, token

if TYPE_CHECKING:
    from pathlib import Path

    from fastapi import FastAPI

    from tests.api.service import Caller

pytestmark = pytest.mark.asyncio(loop_scope="module")

OPEN = {"/healthz", "/readyz"}


def endpoints(app: FastAPI) -> list[tuple[str, str]]:
    """Every operation of the document, at a path that a caller could ask for."""
    return [
        (method.upper(), re.sub(r"\{\w+\}", "0", path))
        for path, operations in app.openapi()["paths"].items()
        for method in operations
    ]


async def create(caller: Caller, **fields: Any) -> str:
    session_id = new_id()
    response = await caller.post("/sessions", {"id": session_id, "name": "s", **fields})
    assert response.status_code == 200, response.text
    return session_id


async def test_every_endpoint_but_health_demands_a_token(strict: Service) -> None:
    operations = endpoints(strict.app)
    assert len(operations) > 20
    for method, path in operations:
        response = await strict.client.request(method, path)
        if path in OPEN:
            assert response.status_code == 200, path
        else:
            if method == "HEAD":  # which has no body
                assert response.status_code == 401
            else:
                assert_problem(response, 401, "unauthenticated")
            assert response.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize(
    "path",
    ["/docs", "/redoc", "/openapi.json", "/metrics", "/", "/nowhere", "/healthz/", "/HEALTHZ"],
)
async def test_even_what_is_not_there_demands_a_token(strict: Service, path: str) -> None:
    assert_problem(await strict.client.get(path), 401, "unauthenticated")
    # nor does the size of a body, or a method, tell anything before that
    assert_problem(await strict.client.post(path, content=b"x" * 5_000_000), 401)
    assert_problem(await strict.client.request("BREW", path), 401)


async def test_health_needs_no_token_and_no_part(strict: Service) -> None:
    assert (await strict.client.get("/healthz")).json() == {"status": "healthy", "service": "quire"}


async def test_readiness_without_a_token_tells_no_more_than_it_must(strict: Service) -> None:
    response = await strict.client.get("/readyz")
    assert response.json()["ready"] is True
    assert str(strict.quire.settings.data_dir) not in response.text


def forged(header: dict[str, Any], claims: dict[str, Any], signature: bytes = b"") -> str:
    parts = [json.dumps(part).encode() for part in (header, claims)]
    return ".".join(
        base64.urlsafe_b64encode(part).decode().rstrip("=") for part in [*parts, signature]
    )


def claims(**more: Any) -> dict[str, Any]:
    at = int(time.time())
    return {"sub": "ada", "groups": [], "scope": "admin", "iat": at, "exp": at + 600, **more}


BAD_TOKENS = {
    "none at all": "",
    "no JWT": "swordfish",
    "expired": token("ada", lifetime=-120),
    "expired beyond the leeway": token("ada", lifetime=-31),
    "without an expiry": jwt.encode({"sub": "ada", "scope": "write"}, SECRET, algorithm="HS256"),
    "signed with another secret": token("ada", secret="another-secret-of-at-least-32-bytes!"),
    "signed with another algorithm": token("ada", algorithm="HS512"),
    "alg=none": forged({"alg": "none", "typ": "JWT"}, claims()),
    "alg=None": forged({"alg": "None", "typ": "JWT"}, claims()),
    "alg=none with a signature": forged({"alg": "none"}, claims(), b"x"),
    "no alg": forged({"typ": "JWT"}, claims()),
    "not yet valid": token("ada", nbf=int(time.time()) + 3600),
    "without a subject": jwt.encode(
        {"scope": "write", "exp": int(time.time()) + 600}, SECRET, algorithm="HS256"
    ),
    "with its payload changed": ".".join(
        [
            token("ada").split(".")[0],
            forged({}, claims()).split(".")[1],
            token("ada").split(".")[2],
        ]
    ),
    "for another audience": token("ada", aud="another-service"),
    "far too long": "x" * 20_000,
}


@pytest.mark.parametrize("case", BAD_TOKENS)
async def test_a_token_that_proves_nothing_is_refused(strict: Service, case: str) -> None:
    response = await strict.client.get(
        "/sessions", headers={"Authorization": f"Bearer {BAD_TOKENS[case]}"}
    )
    problem = assert_problem(response, 401, "unauthenticated")
    assert BAD_TOKENS[case][:20] not in response.text or not BAD_TOKENS[case]
    assert SECRET not in response.text
    assert problem["recovery"]


@pytest.mark.parametrize(
    "header",
    [
        "Basic YWRhOnN3b3JkZmlzaA==",
        "Bearer",
        "bearer",
        "Token abc",
        f"Bearer{token('ada')}",
        "\xff",
    ],
)
async def test_another_authorization_is_refused(strict: Service, header: str) -> None:
    response = await strict.client.get(
        "/sessions", headers=[(b"Authorization", header.encode("latin-1"))]
    )
    assert_problem(response, 401, "unauthenticated")


async def test_two_authorizations_are_none(strict: Service) -> None:
    good = f"Bearer {token('ada')}"
    response = await strict.client.get(
        "/sessions", headers=[("Authorization", good), ("Authorization", good)]
    )
    assert_problem(response, 401, "unauthenticated")


async def test_a_token_does_not_count_in_the_query(strict: Service) -> None:
    response = await strict.client.get("/sessions", params={"access_token": token("ada")})
    assert_problem(response, 401, "unauthenticated")


async def test_a_scope_that_quire_does_not_know_is_forbidden(strict: Service) -> None:
    assert_problem(await strict.as_("ada", scope="email").get("/sessions"), 403, "forbidden")


OF_ONE_SESSION: list[tuple[str, str, Any]] = [
    ("GET", "", None),
    ("PUT", "", {"name": "mine"}),
    ("PATCH", "", {"name": "mine"}),
    ("DELETE", "", None),
    ("DELETE", "?permanent=true", None),
    ("POST", "/archive", None),
    ("POST", "/restore", None),
    ("POST", "/end", None),
    ("POST", "/share", {"user_ids": ["mallory"], "permissions": ["admin"]}),
    ("DELETE", "/share/grace", None),
    ("DELETE", "/share/mallory", None),
    ("GET", "/collaborators", None),
    ("GET", "/stats", None),
    ("PUT", "/stats", {"urls_processed": 1}),
    ("PUT", "/model-usage?model_type=llm&model_name=x", None),
    ("POST", "/incremental-clustering", ["a"]),
]


async def test_a_session_one_may_not_see_does_not_exist(strict: Service) -> None:
    # given a session of ada's in the group garden
    session_id = await create(strict.as_("ada", "garden"), group="garden")
    strangers = [
        strict.as_("mallory"),
        strict.as_("mallory", "kitchen"),
        strict.as_("garden"),  # a subject is no group
        strict.as_("mallory", scope="read"),
    ]
    for stranger in strangers:
        for method, path, body in OF_ONE_SESSION:
            there = await stranger.request(method, f"/sessions/{session_id}{path}", json=body)
            nowhere = await stranger.request(method, f"/sessions/{new_id()}{path}", json=body)
            # then it answers just as one that never was, but for the id and the request
            problem = assert_problem(there, 404, "session_not_found")
            other = assert_problem(nowhere, 404, "session_not_found")
            assert set(problem) == set(other)
        found = await stranger.get("/sessions", params={"group": "garden"})
        assert found.json() == []
        compared = await stranger.get(f"/sessions/compare?session_ids={session_id},{new_id()}")
        assert_problem(compared, 404)
        jobs = await stranger.get("/jobs", params={"session_id": session_id})
        assert_problem(jobs, 404, "session_not_found")


async def test_a_token_to_read_changes_nothing(strict: Service) -> None:
    # given a session of ada's and one that she shares in
    own = await create(strict.as_("ada"))
    shared = await create(strict.as_("grace"))
    await strict.as_("grace").post(
        f"/sessions/{shared}/share", {"user_ids": ["ada"], "permissions": ["admin"]}
    )
    reader = strict.as_("ada", scope="read")
    # when she comes with a token to read
    for session_id in (own, shared):
        before = (await reader.get(f"/sessions/{session_id}")).json()
        for method, path, body in OF_ONE_SESSION:
            if method == "GET":
                assert (await reader.get(f"/sessions/{session_id}{path}")).status_code == 200
                continue
            response = await reader.request(method, f"/sessions/{session_id}{path}", json=body)
            assert_problem(response, 403, "forbidden")
        leaving = await reader.delete(f"/sessions/{session_id}/share/ada")
        assert_problem(leaving, 403, "forbidden")
        # then nothing has changed
        assert (await reader.get(f"/sessions/{session_id}")).json() == before
    assert_problem(await reader.post("/sessions", {"name": "s"}), 403, "forbidden")


@pytest.mark.parametrize(
    ("role", "may"),
    [
        ("read", {"GET"}),
        ("write", {"GET", "write"}),
        ("admin", {"GET", "write", "admin"}),
    ],
)
async def test_collaborators_may_do_what_their_role_says(
    strict: Service, role: str, may: set[str]
) -> None:
    needs_admin = {"/archive", "/restore", "/share", "/share/grace", "?permanent=true"}
    for method, path, body in OF_ONE_SESSION:
        # given a session in which alan has the role
        session_id = await create(strict.as_("ada"))
        await strict.as_("ada").post(
            f"/sessions/{session_id}/share", {"user_ids": ["alan"], "permissions": [role]}
        )
        alan = strict.as_("alan")
        needed = (
            "GET"
            if method == "GET"
            else "admin"
            if path in needs_admin or "/share" in path or method == "DELETE"
            else "write"
        )
        # when
        response = await alan.request(method, f"/sessions/{session_id}{path}", json=body)
        # then
        if needed in may:
            assert response.status_code == 200, (method, path, response.text)
        else:
            assert_problem(response, 403, "forbidden")


@pytest.mark.parametrize(
    "change", [{"hold": True}, {"ttl_seconds": 60}, {"expires_at": None}, {"group": None}]
)
async def test_who_sees_it_and_how_long_it_lasts_is_for_admins(
    strict: Service, change: dict[str, Any]
) -> None:
    session_id = await create(strict.as_("ada"))
    await strict.as_("ada").post(
        f"/sessions/{session_id}/share", {"user_ids": ["alan"], "permissions": ["write"]}
    )
    path = f"/sessions/{session_id}"
    assert_problem(await strict.as_("alan").patch(path, change), 403, "forbidden")
    assert (await strict.as_("ada").patch(path, change)).status_code == 200


async def test_a_writer_may_not_archive_by_setting_the_status(strict: Service) -> None:
    session_id = await create(strict.as_("ada"))
    await strict.as_("ada").post(
        f"/sessions/{session_id}/share", {"user_ids": ["alan"], "permissions": ["write"]}
    )
    path = f"/sessions/{session_id}"
    for status in ("archived", "deleted"):
        response = await strict.as_("alan").put(path, {"status": status, "name": "changed"})
        assert_problem(response, 403, "forbidden")
    assert (await strict.as_("ada").get(path)).json()["name"] == "s"


async def test_members_of_the_group_write_and_no_more(strict: Service) -> None:
    session_id = await create(strict.as_("ada", "garden"), group="garden")
    member = strict.as_("barbara", "kitchen", "garden")
    path = f"/sessions/{session_id}"
    assert (await member.put(path, {"description": "weeded"})).status_code == 200
    assert_problem(await member.post(f"{path}/archive"), 403, "forbidden")
    (listed,) = (await member.get("/sessions", params={"group": "garden", "q": "weeded"})).json()
    assert listed["id"] == session_id


async def test_one_may_always_leave(strict: Service) -> None:
    session_id = await create(strict.as_("ada"))
    await strict.as_("ada").post(f"/sessions/{session_id}/share", {"user_ids": ["alan", "grace"]})
    alan = strict.as_("alan")
    assert_problem(await alan.delete(f"/sessions/{session_id}/share/grace"), 403)
    assert (await alan.delete(f"/sessions/{session_id}/share/alan")).status_code == 200
    assert_problem(await alan.get(f"/sessions/{session_id}"), 404, "session_not_found")


async def test_sessions_are_made_for_oneself_and_ones_own_groups(strict: Service) -> None:
    ada = strict.as_("ada", "garden")
    made = await ada.post("/sessions", {"name": "s"})
    assert made.json()["owner_id"] == "ada"
    for fields in ({"owner_id": "grace"}, {"group": "kitchen"}):
        assert_problem(await ada.post("/sessions", {"name": "s", **fields}), 403, "forbidden")
    operator = strict.as_("root", scope="admin")
    for fields in ({"owner_id": "grace"}, {"group": "kitchen"}):
        assert (await operator.post("/sessions", {"name": "s", **fields})).status_code == 200
    path = f"/sessions/{made.json()['id']}"
    assert_problem(await ada.patch(path, {"group": "kitchen"}), 403, "forbidden")
    assert (await ada.patch(path, {"group": "garden"})).json()["group"] == "garden"


async def test_a_chosen_id_belongs_to_its_owner(strict: Service) -> None:
    ada, mallory = strict.as_("ada"), strict.as_("mallory")
    session_id = await create(ada)
    again = await ada.post("/sessions", {"id": session_id, "name": "s"})
    assert again.status_code == 200
    assert again.json() == (await ada.get(f"/sessions/{session_id}")).json()
    taken = await mallory.post("/sessions", {"id": session_id, "name": "s"})
    assert_problem(taken, 409, "conflict", about="id")
    # not even one who may administer it, or everything, is its owner
    await ada.post(
        f"/sessions/{session_id}/share", {"user_ids": ["mallory"], "permissions": ["admin"]}
    )
    for other in (mallory, strict.as_("root", scope="admin")):
        taken = await other.post("/sessions", {"id": session_id, "name": "s"})
        assert_problem(taken, 409, "conflict", about="id")


async def test_what_concerns_everyone_is_for_operators(strict: Service) -> None:
    ada, operator = strict.as_("ada"), strict.as_("root", scope="admin")
    policy = (await ada.get("/sessions/retention-policy")).json()["retention_policy"]
    assert_problem(await ada.put("/sessions/retention-policy", policy), 403, "forbidden")
    assert_problem(await ada.post("/sessions/cleanup?dry_run=true"), 403, "forbidden")
    assert (await operator.put("/sessions/retention-policy", policy)).status_code == 200
    assert (await operator.post("/sessions/cleanup?dry_run=true")).status_code == 200
    session_id = await create(ada)
    assert (await operator.post(f"/sessions/{session_id}/archive")).status_code == 200


async def test_jobs_are_seen_by_those_whose_they_are(strict: Service) -> None:
    # given a purge that ada asked for
    ada, mallory = strict.as_("ada-of-jobs"), strict.as_("mallory")
    session_id = await create(ada)
    await ada.delete(f"/sessions/{session_id}?permanent=true")
    # then she sees its job, and nobody else but an operator does
    (job,) = (await ada.get("/jobs", params={"kind": "purge"})).json()
    assert job["session_id"] == session_id
    assert (await ada.get(f"/jobs/{job['id']}")).json()["status"] == "succeeded"
    assert_problem(await mallory.get(f"/jobs/{job['id']}"), 404, "job_not_found")
    assert_problem(await mallory.post(f"/jobs/{job['id']}/cancel"), 404, "job_not_found")
    assert job["id"] not in {seen["id"] for seen in (await mallory.get("/jobs")).json()}
    operator = strict.as_("root", scope="admin")
    assert job["id"] in {seen["id"] for seen in (await operator.get("/jobs")).json()}


async def test_idempotency_keys_are_each_callers_own(strict: Service) -> None:
    key = {"Idempotency-Key": new_id()}
    ada = await strict.as_("ada").post("/sessions", {"name": "s"}, headers=key)
    grace = await strict.as_("grace").post("/sessions", {"name": "s"}, headers=key)
    assert ada.json()["owner_id"] == "ada"
    assert grace.json()["owner_id"] == "grace"
    assert ada.json()["id"] != grace.json()["id"]


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.7", "quire.example.org"])
async def test_without_authentication_only_this_machine_is_served(
    tmp_path: Path, host: str
) -> None:
    with pytest.raises(ConfigurationError, match="QUIRE_HOST") as refusal:
        create_app(settings_for(tmp_path, host=host))
    assert "QUIRE_AUTH_SECRET" in refusal.value.recovery
    assert create_app(settings_for(tmp_path, host=host, auth=AuthSettings(secret=SECRET)))


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
async def test_this_machine_needs_no_authentication(tmp_path: Path, host: str) -> None:
    assert create_app(settings_for(tmp_path, host=host))
