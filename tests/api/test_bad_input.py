"""Bad input gets a problem that names the field and what is valid: never a 500, nothing written."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.api.service import assert_problem, new_id

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.api.service import Service

pytestmark = pytest.mark.asyncio(loop_scope="module")

JSON = {"Content-Type": "application/json"}


def nested(depth: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(depth):
        value = {"a": value}
    return value


BODIES: dict[str, tuple[dict[str, Any], str]] = {
    "an unknown field": ({"nmae": "x"}, "nmae"),
    "a missing name": ({"name": None}, "name"),
    "a name of the wrong type": ({"name": 7}, "name"),
    "a blank name": ({"name": " \t"}, "name"),
    "a megabyte of a name": ({"name": "x" * 1_000_000}, "name"),
    "control characters in a name": ({"name": "bell\x07"}, "name"),
    "a C1 control character in a name": ({"name": "next\x85line"}, "name"),
    "NUL in a name": ({"name": "a\x00b"}, "name"),
    "NUL in a description": ({"description": "a\x00b"}, "description"),
    "an endless description": ({"description": "x" * 20_001}, "description"),
    "an id that climbs": ({"id": "../etc/passwd"}, "id"),
    "an id with two dots": ({"id": "a..b"}, "id"),
    "an id with a slash": ({"id": "a/b"}, "id"),
    "an id with NUL": ({"id": "a\x00"}, "id"),
    "an id that ends its line": ({"id": "a\n"}, "id"),
    "an empty id": ({"id": ""}, "id"),
    "an id that is too long": ({"id": "x" * 129}, "id"),
    "an id that begins with a dot": ({"id": ".hidden"}, "id"),
    "an id beyond ASCII": ({"id": "séance"}, "id"),
    "the name of an endpoint as an id": ({"id": "retention-policy"}, "id"),
    "an id of the wrong type": ({"id": 7}, "id"),
    "an owner with a newline": ({"owner_id": "a\nb"}, "owner_id"),
    "an empty owner": ({"owner_id": ""}, "owner_id"),
    "a group with NUL": ({"group": "\x00"}, "group"),
    "tags that are no list": ({"tags": "a,b"}, "tags"),
    "a tag with a comma": ({"tags": ["ok", "a,b"]}, "tags[1]"),
    "a tag with a control character": ({"tags": ["\x1b[31m"]}, "tags[0]"),
    "a blank tag": ({"tags": [""]}, "tags[0]"),
    "a tag of the wrong type": ({"tags": ["ok", 7]}, "tags[1]"),
    "too many tags": ({"tags": [f"t{n}" for n in range(101)]}, "tags"),
    "metadata that is a list": ({"metadata": []}, "metadata"),
    "metadata that is too deep": ({"metadata": nested(40)}, "metadata" + ".a" * 33),
    "metadata that is far too deep": ({"metadata": nested(700)}, "metadata" + ".a" * 33),
    "metadata that is too large": ({"metadata": {"k": "x" * 300_000}}, "metadata"),
    "NUL in metadata": ({"metadata": {"a": ["b\x00"]}}, "metadata.a[0]"),
    "NUL in a metadata key": ({"metadata": {"b\x00": 1}}, "metadata"),
    "an integer that JSON readers round": ({"metadata": {"n": 2**53 + 1}}, "metadata.n"),
    "an unknown field within": ({"configuration": {"llm": "x"}}, "configuration.llm"),
    "a deep configuration": (
        {"configuration": {"clustering_params": nested(400)}},
        "configuration.clustering_params" + ".a" * 33,
    ),
    "a dimension of nought": ({"embedding": {"dimension": 0}}, "embedding.dimension"),
    "a dimension beyond all": ({"embedding": {"dimension": 10**30}}, "embedding.dimension"),
    "an unknown distance": ({"embedding": {"distance": "taxi"}}, "embedding.distance"),
    "a lifetime of nought": ({"ttl_seconds": 0}, "ttl_seconds"),
    "a lifetime beyond reason": ({"ttl_seconds": 1e300}, "ttl_seconds"),
    "an expiry in the past": ({"expires_at": "2001-01-01T00:00:00Z"}, "expires_at"),
    "an expiry without a zone": ({"expires_at": "2100-01-01T00:00:00"}, "expires_at"),
    "an expiry that no calendar has": ({"expires_at": "9999-12-31T23:59:59-12:00"}, "expires_at"),
    "an expiry that is no time": ({"expires_at": "tomorrow"}, "expires_at"),
    "two expiries": (
        {"ttl_seconds": 60, "expires_at": "2100-01-01T00:00:00Z"},
        "expires_at",
    ),
    "a hold of the wrong type": ({"hold": "yes"}, "hold"),
}


@pytest.mark.parametrize("case", BODIES)
async def test_a_creation_is_refused_whole(local: Service, case: str) -> None:
    # given
    fields, named = BODIES[case]
    before = await local.quire.repository.count()
    # when
    body = {"name": "fine", **fields}
    response = await local.client.post("/sessions", content=json.dumps(body), headers=JSON)
    # then
    problem = assert_problem(response, 422, about=named)
    assert named in problem["detail"] or "session id" in problem["detail"]
    assert len(response.content) < 10_000
    assert await local.quire.repository.count() == before


CHANGES = {
    case: BODIES[case]
    for case in (
        "an unknown field",
        "a name of the wrong type",
        "a megabyte of a name",
        "NUL in a name",
        "too many tags",
        "metadata that is too deep",
        "metadata that is far too deep",
        "NUL in metadata",
        "a deep configuration",
    )
}


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
@pytest.mark.parametrize("case", CHANGES)
async def test_a_change_is_refused_whole(local: Service, method: str, case: str) -> None:
    # given
    fields, named = CHANGES[case]
    session_id = new_id()
    created = await local.client.post("/sessions", json={"id": session_id, "name": "before"})
    # when
    body = {"description": "a valid part", **fields}
    path = f"/sessions/{session_id}"
    response = await local.client.request(method, path, content=json.dumps(body), headers=JSON)
    # then
    assert_problem(response, 422, about=named)
    after = await local.client.get(path)
    assert after.json() == created.json()
    assert after.headers["etag"] == created.headers["etag"]


async def test_metadata_may_not_grow_over_the_limit_by_merging(local: Service) -> None:
    session_id = new_id()
    path = f"/sessions/{session_id}"
    await local.client.post(
        "/sessions", json={"id": session_id, "name": "s", "metadata": {"a": "x" * 200_000}}
    )
    response = await local.client.put(path, json={"metadata": {"b": "x" * 100_000}})
    assert_problem(response, 422, "limit_exceeded", about="metadata")
    response = await local.client.put(
        f"{path}/stats", json={"urls_processed": 1, "metadata": {"b": "x" * 100_000}}
    )
    assert_problem(response, 422, "limit_exceeded", about="metadata")
    stats = (await local.client.get(path)).json()["processing_stats"]
    assert stats["urls_processed"] == 0


RAW = {
    "a lone surrogate as a name": b'{"name": "\\ud800"}',
    "a lone surrogate as a field": b'{"name": "a", "\\udfff": 1}',
    "a lone surrogate in metadata": b'{"name": "a", "metadata": {"k": ["\\ud800"]}}',
    "a lone surrogate as a metadata key": b'{"name": "a", "metadata": {"\\ud800": 1}}',
    "a lone surrogate as an owner": b'{"name": "a", "owner_id": "\\ud800"}',
    "a lone surrogate as a tag": b'{"name": "a", "tags": ["\\ud800"]}',
    "a lone surrogate as a distance": b'{"name": "a", "embedding": {"distance": "\\ud800"}}',
    "NaN as a lifetime": b'{"name": "a", "ttl_seconds": NaN}',
    "NaN as an expiry": b'{"name": "a", "expires_at": NaN}',
    "infinity as an expiry": b'{"name": "a", "expires_at": 1e400}',
    "NaN in metadata": b'{"name": "a", "metadata": {"k": NaN}}',
    "infinity in metadata": b'{"name": "a", "metadata": {"k": -1e999}}',
    "a megabyte of an unknown field": json.dumps({"name": "a", "f" * 1_000_000: 1}).encode(),
    "null": b"null",
    "a list": b"[]",
    "nothing": b"",
}


@pytest.mark.parametrize("case", RAW)
async def test_what_json_can_carry_and_text_cannot_is_refused(local: Service, case: str) -> None:
    response = await local.client.post("/sessions", content=RAW[case], headers=JSON)
    assert_problem(response, 422)
    assert len(response.content) < 10_000


NOT_JSON = {
    "half an object": b'{"name": ',
    "invalid UTF-8": b'{"name": "\xff\xfe"}',
    "a hundred thousand brackets": b"[" * 100_000,
    "an integer of five thousand digits": b'{"name": ' + b"1" * 5_000 + b"}",
    "a form": b"name=fine",
}


@pytest.mark.parametrize("case", NOT_JSON)
async def test_what_is_not_json_is_a_bad_request(local: Service, case: str) -> None:
    response = await local.client.post("/sessions", content=NOT_JSON[case], headers=JSON)
    problem = assert_problem(response, 400, "bad_request")
    assert "JSON" in problem["detail"]


@pytest.mark.parametrize(
    "path",
    ["/sessions", "/sessions/cleanup", "/sessions/x/end", "/sessions/x/incremental-clustering"],
)
@pytest.mark.parametrize(
    "sent", ["text/plain", "application/x-www-form-urlencoded", "application/xml", None]
)
async def test_another_content_type_is_refused_by_name(
    local: Service, path: str, sent: str | None
) -> None:
    headers = {} if sent is None else {"Content-Type": sent}
    response = await local.client.post(path, content=b'{"name": "a"}', headers=headers)
    problem = assert_problem(response, 415, "unsupported_media_type")
    assert (sent or "none") in problem["detail"]
    assert "application/json" in problem["recovery"]


async def test_other_kinds_of_json_are_read(local: Service) -> None:
    response = await local.client.post(
        "/sessions",
        content=b'{"name": "a"}',
        headers={"Content-Type": "application/vnd.tabs+json; charset=utf-8"},
    )
    assert response.status_code == 200, response.text


async def test_a_body_that_says_it_is_too_large_is_refused_unread(local: Service) -> None:
    response = await local.client.post("/sessions", content=b"x" * 5_000_000, headers=JSON)
    problem = assert_problem(response, 413, "body_too_large")
    assert "QUIRE_LIMITS_BODY_BYTES" in problem["detail"]


@pytest.mark.parametrize("more", [{}, {"Idempotency-Key": "too-much"}])
@pytest.mark.parametrize("path", ["/sessions", "/sessions/x/end", "/sessions/cleanup"])
async def test_a_stream_is_cut_off_at_the_limit(
    local: Service, path: str, more: dict[str, str]
) -> None:
    # given a client that never says how much is coming
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while sent < 50_000_000:
            sent += 100_000
            yield b" " * 100_000

    # when
    response = await local.client.post(path, content=endless(), headers={**JSON, **more})
    # then it is stopped soon after the limit, long before its end
    assert_problem(response, 413, "body_too_large")
    assert sent < 5_000_000


@pytest.mark.parametrize("length", ["-1", "+5", "abc", "1e3", "9" * 5_000, "²"])
async def test_a_content_length_that_is_rubbish(local: Service, length: str) -> None:
    headers = [
        (b"Content-Type", b"application/json"),
        (b"Content-Length", length.encode("latin-1")),
    ]
    response = await local.client.post("/sessions", content=b"{}", headers=headers)
    assert response.status_code in {413, 422}
    assert_problem(response, response.status_code)


PATHS = {
    "a session that climbs": "/sessions/..%2f..%2fetc%2fpasswd",
    "a session with NUL": "/sessions/%00",
    "a session beyond UTF-8": "/sessions/%ff%fe",
    "a very long session": "/sessions/" + "x" * 5_000,
    "a job with NUL": "/jobs/%00",
    "a job that is none": "/jobs/nothing",
    "nothing that is here": "/nowhere/%00",
    "a slash too many": "/sessions/",
}


@pytest.mark.parametrize("case", PATHS)
async def test_addresses_of_nothing(local: Service, case: str) -> None:
    response = await local.client.get(PATHS[case])
    assert response.status_code in {400, 404}
    assert_problem(response, response.status_code)


QUERIES = {
    "a page of none": ("/sessions?limit=0", "query parameter limit"),
    "a page of less than none": ("/sessions?limit=-1", "query parameter limit"),
    "a page beyond the largest": ("/sessions?limit=1001", "query parameter limit"),
    "a page of astronomical size": ("/sessions?limit=1" + "0" * 40, "query parameter limit"),
    "a page of words": ("/sessions?limit=many", "query parameter limit"),
    "an unknown status": ("/sessions?status=open", "query parameter status"),
    "a state that is not shown": ("/sessions?status=purging", "query parameter status"),
    "an unknown order": ("/sessions?sort=name", "query parameter sort"),
    "an unknown outcome": ("/sessions?outcome=done", "query parameter outcome"),
    "an invented cursor": ("/sessions?cursor=abc", "cursor"),
    "a cursor that is no text": ("/sessions?cursor=%ff", "cursor"),
    "a cursor of numbers": ("/sessions?cursor=WzEsMiwzXQ", "cursor"),
    "a cursor outside of time": ("/sessions?cursor=WyJ1cGRhdGVkX2F0IiwxZTMwMCwieCJd", "cursor"),
    "a cursor with NUL": ("/sessions?cursor=WyJ1cGRhdGVkX2F0IiwxLCJcdTAwMDAiXQ", "cursor"),
    "an endless search": ("/sessions?q=" + "x" * 501, "query parameter q"),
    "an unknown job status": ("/jobs?status=stuck", "query parameter status"),
}


@pytest.mark.parametrize("case", QUERIES)
async def test_queries_that_mean_nothing(local: Service, case: str) -> None:
    path, named = QUERIES[case]
    assert_problem(await local.client.get(path), 422, about=named)


async def test_comparing_takes_two_to_fifty_different_sessions(local: Service) -> None:
    for ids in ("a", "a,a", ",,", ",".join(f"s{n}" for n in range(51))):
        response = await local.client.get("/sessions/compare", params={"session_ids": ids})
        assert_problem(response, 400, "bad_request", about="session_ids")
    response = await local.client.get("/sessions/compare")
    assert_problem(response, 422, about="query parameter session_ids")


STATS: dict[str, dict[str, Any]] = {
    "urls_processed": {"urls_processed": -1},
    "content_analyzed": {"content_analyzed": 1.5},
    "clusters_generated": {"clusters_generated": "3"},
    "embeddings_created": {"embeddings_created": 10**400},
    "metadata": {"metadata": 3},
    "documents": {"documents": 3},
}


@pytest.mark.parametrize("named", STATS)
async def test_statistics_count_up_in_whole_numbers(local: Service, named: str) -> None:
    session_id = new_id()
    await local.client.post("/sessions", json={"id": session_id, "name": "s"})
    path = f"/sessions/{session_id}/stats"
    body = json.dumps({"urls_processed": 1, **STATS[named]})
    assert_problem(await local.client.put(path, content=body, headers=JSON), 422, about=named)
    assert (await local.client.get(path)).json()["session_stats"]["urls_processed"] == 0


async def test_model_usage_names_a_kind_and_a_model(local: Service) -> None:
    session_id = new_id()
    await local.client.post("/sessions", json={"id": session_id, "name": "s"})
    path = f"/sessions/{session_id}/model-usage"
    for query, named in (
        ("model_type=gpu&model_name=x", "query parameter model_type"),
        ("model_type=llm", "query parameter model_name"),
        ("model_type=llm&model_name=", "model_name"),
        ("model_type=llm&model_name=%00", "model_name"),
        ("model_type=llm&model_name=" + "x" * 257, "query parameter model_name"),
    ):
        response = await local.client.put(f"{path}?{query}")
        assert response.status_code in {400, 422}, query
        if response.status_code == 422:
            assert_problem(response, 422, about=named)


SHARES: dict[str, tuple[dict[str, Any], str]] = {
    "nobody": ({"user_ids": []}, "user_ids"),
    "a nameless user": ({"user_ids": ["a", ""]}, "user_ids[1]"),
    "a user with a newline": ({"user_ids": ["a\nb"]}, "user_ids[0]"),
    "an unknown role": ({"user_ids": ["a"], "permissions": ["owner"]}, "permissions[0]"),
    "too many": ({"user_ids": [f"u{n}" for n in range(1_001)]}, "user_ids"),
}


@pytest.mark.parametrize("case", SHARES)
async def test_sharing_with_whom_it_cannot_be(local: Service, case: str) -> None:
    body, named = SHARES[case]
    session_id = new_id()
    await local.client.post("/sessions", json={"id": session_id, "name": "s"})
    response = await local.client.post(f"/sessions/{session_id}/share", json=body)
    assert_problem(response, 422, about=named)
    assert (await local.client.get(f"/sessions/{session_id}")).json()["shared_with"] == []


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({"max_age_days": 0}, "max_age_days"),
        ({"max_age_days": -3}, "max_age_days"),
        ({"max_age_days": 10**9}, "max_age_days"),
        ({"auto_archive_inactive_days": "soon"}, "auto_archive_inactive_days"),
        ({"max_age": 3}, "max_age"),
    ],
)
async def test_policies_that_cannot_be(local: Service, body: dict[str, Any], named: str) -> None:
    before = (await local.client.get("/sessions/retention-policy")).json()
    assert_problem(
        await local.client.put("/sessions/retention-policy", json=body), 422, about=named
    )
    assert_problem(await local.client.post("/sessions/cleanup", json=body), 422, about=named)
    assert (await local.client.get("/sessions/retention-policy")).json() == before


async def test_an_outcome_that_is_none(local: Service) -> None:
    session_id = new_id()
    await local.client.post("/sessions", json={"id": session_id, "name": "s"})
    path = f"/sessions/{session_id}/end"
    assert_problem(await local.client.post(path, json={"outcome": "won"}), 422, about="outcome")
    assert (await local.client.get(f"/sessions/{session_id}")).json()["outcome"] is None


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PATCH", "/sessions", {"GET", "POST"}),
        ("POST", "/sessions/x", {"GET", "PUT", "PATCH", "DELETE"}),
        ("POST", "/sessions/x/stats", {"GET", "PUT"}),
        ("GET", "/sessions/x/archive", {"POST"}),
        ("POST", "/sessions/retention-policy", {"GET", "PUT", "PATCH", "DELETE"}),
        ("POST", "/healthz", {"GET"}),
        ("OPTIONS", "/jobs", {"GET"}),
        ("BREW", "/jobs", {"GET"}),
    ],
)
@pytest.mark.parametrize("keyed", [False, True])
async def test_a_method_that_is_not_allowed_names_those_that_are(
    local: Service, method: str, path: str, allowed: set[str], keyed: bool
) -> None:
    headers = {"Idempotency-Key": new_id()} if keyed else {}
    response = await local.client.request(method, path, headers=headers)
    assert_problem(response, 405, "method_not_allowed")
    told = set(response.headers["allow"].split(", "))
    # A fixed path below /sessions is a path with an id in it too.
    assert told >= allowed if "retention" not in path else told >= {"GET", "PUT"}
    assert method not in told


async def test_several_things_wrong_are_all_told(local: Service) -> None:
    body = {"name": 1, "tags": "x", "hold": 3, "extra": 0}
    problem = assert_problem(await local.client.post("/sessions", json=body), 422)
    assert {error["field"] for error in problem["errors"]} == {"name", "tags", "hold", "extra"}


async def test_an_error_nobody_foresaw_tells_nothing_of_the_inside(
    local: Service, caplog: pytest.LogCaptureFixture
) -> None:
    # given a route with a mistake in it
    async def broken() -> None:
        secret = "swordfish"
        raise ValueError(f"the password is {secret}, says /etc/quire")

    local.app.add_api_route("/broken", broken, include_in_schema=False)
    # when
    response = await local.client.get("/broken")
    # then
    problem = assert_problem(response, 500, "internal")
    assert "swordfish" not in response.text
    assert "/etc" not in response.text
    assert "request id" in problem["recovery"]
