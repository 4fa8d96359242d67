"""Points over HTTP: shapes, pages, and what is said about bad requests."""

from __future__ import annotations

import json
import uuid
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio

from quire.settings import EmbeddingSettings
from tests.api.service import assert_problem, new_id, serving, settings_for

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import httpx

    from tests.api.service import Service

pytestmark = pytest.mark.asyncio(loop_scope="module")

JSON = {"Content-Type": "application/json"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def service(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Service]:
    settings = settings_for(
        tmp_path_factory.mktemp("points"), embedding=EmbeddingSettings(provider="fake")
    )
    async with serving(settings) as opened:
        yield opened


@pytest_asyncio.fixture(loop_scope="module")
async def client(service: Service) -> httpx.AsyncClient:
    return service.client


async def session_of(client: httpx.AsyncClient, dimension: int | None = 2) -> str:
    """The path of a new session's points."""
    session_id = new_id()
    body: dict[str, Any] = {"name": "s", "id": session_id}
    if dimension is not None:
        body["embedding"] = {"dimension": dimension}
    assert (await client.post("/sessions", json=body)).status_code == 200
    return f"/sessions/{session_id}/points"


async def filled(client: httpx.AsyncClient, count: int = 5) -> str:
    path = await session_of(client)
    points = [
        {"id": n, "vector": [1, n / 10], "payload": {"n": n, "kind": "ab"[n % 2]}}
        for n in range(count)
    ]
    assert (await client.put(path, json={"points": points})).status_code == 200
    return path


async def test_points_are_written_and_read(client: httpx.AsyncClient) -> None:
    path = await session_of(client)
    identity, largest = str(uuid.uuid4()), 2**64 - 1
    points = [
        {"id": identity, "vector": [3, 4], "payload": {"url": "https://a.example", "n": 2**53 + 1}},
        {"id": largest, "vector": [1, 0], "sparse": {"indices": [2**32 - 1], "values": [0.5]}},
        {"vector": [0, 1]},
    ]
    response = await client.put(path, json={"points": points})
    answer = response.json()
    assert response.status_code == 200
    assert (answer["upserted"], answer["points_count"]) == (3, 3)
    assert answer["ids"][:2] == [identity, largest]
    one = (await client.get(f"{path}/{identity}?with_vectors=true")).json()
    assert one["payload"] == {"url": "https://a.example", "n": 2**53 + 1}
    assert one["vector"] == pytest.approx([0.6, 0.8])
    assert one["sparse"] is None
    other = (await client.get(f"{path}/{largest}?with_vectors=true")).json()
    assert other["sparse"] == {"indices": [2**32 - 1], "values": [0.5]}
    assert (await client.get(f"{path}/{largest}")).json() == {"id": largest, "payload": {}}
    session = (await client.get(path.removesuffix("/points"))).json()
    assert session["points_count"] == 3


async def test_texts_are_embedded(client: httpx.AsyncClient) -> None:
    path = await session_of(client, None)
    points = [{"id": n, "text": text} for n, text in enumerate(["a red boat", "a green hill"])]
    assert (await client.put(path, json={"points": points})).status_code == 200
    found = (await client.post(f"{path}/query", json={"text": "a green hill", "limit": 1})).json()
    assert found[0]["payload"] == {"text": "a green hill"}
    assert found[0]["score"] == pytest.approx(1, abs=1e-3)


async def test_a_list_goes_on_where_the_link_leads(client: httpx.AsyncClient) -> None:
    path = await filled(client, 5)
    condition = json.dumps({"kind": "a"})
    response = await client.get(path, params={"limit": 2, "filter": condition})
    assert [point["id"] for point in response.json()] == [0, 2]
    following = await client.get(response.links["next"]["url"])
    assert following.json() == [{"id": 4, "payload": {"n": 4, "kind": "a"}}]
    assert "link" not in following.headers


async def test_queries_counts_and_facets(client: httpx.AsyncClient) -> None:
    path = await filled(client, 5)
    query = {"vector": [1, 0], "filter": {"kind": "b"}, "with_vectors": True}
    found = (await client.post(f"{path}/query", json=query)).json()
    assert [point["id"] for point in found] == [1, 3]
    assert set(found[0]) == {"id", "payload", "score", "vector", "sparse"}
    like = (await client.post(f"{path}/query", json={"id": 0, "limit": 2})).json()
    assert [point["id"] for point in like] == [1, 2]
    count = await client.post(f"{path}/count", json={"filter": {"n": {"gte": 3}}})
    assert count.json() == {"count": 2}
    facets = await client.post(f"{path}/facets", json={"key": "kind"})
    assert facets.json() == [{"value": "a", "count": 3}, {"value": "b", "count": 2}]


async def test_labels_are_written_and_points_removed(client: httpx.AsyncClient) -> None:
    path = await filled(client, 5)
    labels = [
        {"ids": [0, 1, 9], "payload": {"cluster": 0}},
        {"ids": [2], "payload": {"cluster": 1}},
    ]
    response = await client.post(f"{path}/payload", json={"assignments": labels})
    assert response.json() == {"updated": 3}
    body = {"payload": {"cluster": -1}, "filter": {"cluster": None}}
    assert (await client.post(f"{path}/payload", json=body)).json() == {"updated": 2}
    noise = {"filter": {"cluster": -1}}
    assert (await client.post(f"{path}/delete", json=noise)).json() == {"deleted": 2}
    assert (await client.post(f"{path}/delete", json={"ids": [0]})).json() == {"deleted": 1}
    assert [point["id"] for point in (await client.get(path)).json()] == [1, 2]
    rest = await client.post(f"{path}/delete", json={"all": True, "filter": {}})
    assert rest.json() == {"deleted": 2}


BODIES: dict[str, tuple[str, str, str | bytes, str, str]] = {
    "NaN": ("PUT", "", '{"points": [{"vector": [1, NaN]}]}', "points[0].vector", "finite"),
    "1e400": ("PUT", "", '{"points": [{"vector": [1, 1e400]}]}', "points[0].vector", "finite"),
    "a huge id": (
        "PUT",
        "",
        '{"points": [{"id": 18446744073709551616, "vector": [1, 0]}]}',
        "points[0].id",
        "18446744073709551616",
    ),
    "a huge integer": (
        "PUT",
        "",
        '{"points": [{"vector": [1, 0], "payload": {"n": 123456789012345678901234567890}}]}',
        "points[0].payload.n",
        "123456789012345678901234567890",
    ),
    "half a surrogate pair": (
        "PUT",
        "",
        r'{"points": [{"vector": [1, 0], "payload": {"a": "\ud800"}}]}',
        "points[0].payload.a",
        "surrogate",
    ),
    "no points": ("PUT", "", "{}", "points", "required"),
    "points that are no list": ("PUT", "", '{"points": {}}', "points", "list"),
    "too many points": (
        "PUT",
        "",
        json.dumps({"points": [{}] * 1_001}),
        "points",
        "QUIRE_LIMITS_POINTS",
    ),
    "an empty filter": ("POST", "/delete", '{"filter": {}}', "filter", "every point"),
    "a filter in error": ("POST", "/delete", '{"filter": {"a": {"gtt": 1}}}', "filter.a.gtt", ""),
    "ids and a filter": ("POST", "/delete", '{"ids": [1], "filter": {}}', "ids", "not both"),
    "all that is no boolean": ("POST", "/delete", '{"all": "true"}', "all", "boolean"),
    "assignments and more": (
        "POST",
        "/payload",
        '{"assignments": [], "payload": {}}',
        "assignments",
        "alone",
    ),
    "no payload": ("POST", "/payload", '{"ids": [1]}', "payload", "object"),
    "a query of nothing": ("POST", "/query", "{}", "vector", "exactly one"),
    "a limit beyond all": ("POST", "/query", '{"id": 1, "limit": 1000000000}', "limit", "1000"),
    "an unknown field": ("POST", "/query", '{"id": 1, "lmit": 1}', "lmit", "no such field"),
    "a facet of no field": ("POST", "/facets", '{"key": ""}', "key", "names no payload field"),
}


@pytest.mark.parametrize("case", BODIES)
async def test_a_bad_request_is_refused_whole(client: httpx.AsyncClient, case: str) -> None:
    path = await filled(client, 2)
    method, below, body, field, told = BODIES[case]
    response = await client.request(method, path + below, content=body, headers=JSON)
    problem = assert_problem(response, 422, about=field)
    assert told in problem["detail"]
    assert len(response.content) < 2_000
    assert (await client.post(f"{path}/count", json={})).json() == {"count": 2}


UNREADABLE: dict[str, tuple[bytes, str]] = {
    "not JSON": (b'{"points": [1,}', "at character 14"),
    "not UTF-8": (b'{"points": ["\xff"]}', "not UTF-8"),
    "endlessly deep": (b"[" * 100_000, "nested without measure"),
    "an integer without end": (b'{"points": [' + b"1" * 5_000 + b"]}", "number without measure"),
}


@pytest.mark.parametrize("case", UNREADABLE)
async def test_a_body_that_cannot_be_read_is_said_to_be_so(
    client: httpx.AsyncClient, case: str
) -> None:
    body, told = UNREADABLE[case]
    response = await client.put(await session_of(client), content=body, headers=JSON)
    assert told in assert_problem(response, 400, "bad_request")["detail"]


async def test_only_json_is_read(client: httpx.AsyncClient) -> None:
    path = await session_of(client)
    response = await client.put(path, content=b"{}", headers={"Content-Type": "text/plain"})
    assert_problem(response, 415, "unsupported_media_type")


QUERIES = {
    "a filter that is not JSON": ("filter={", "query parameter filter"),
    "a filter in error": ('filter={"a":{"gtt":1}}', "query parameter filter.a.gtt"),
    "a cursor that is none": ("cursor=x", "query parameter cursor"),
    "a limit beyond all": ("limit=1000000000", "query parameter limit"),
    "a slip": ("with_vector=true", "query parameter with_vector"),
}


@pytest.mark.parametrize("case", QUERIES)
async def test_a_list_that_makes_no_sense_is_refused(client: httpx.AsyncClient, case: str) -> None:
    query, field = QUERIES[case]
    assert_problem(await client.get(f"{await session_of(client)}?{query}"), 422, about=field)


async def test_what_is_not_there_is_not_found(client: httpx.AsyncClient) -> None:
    path = await session_of(client)
    assert_problem(await client.get(f"{path}/7"), 404, "point_not_found")
    assert_problem(await client.get(f"{path}/seven"), 422, about="path point_id")
    nowhere = await client.put(f"/sessions/{new_id()}/points", json={"points": []})
    assert_problem(nowhere, 404, "session_not_found")
