"""A session's data over HTTP: JSON in, the same bytes out, ETags in between."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest

from tests.api.service import assert_problem, new_id

if TYPE_CHECKING:
    from tests.api.service import Service

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def data_of(service: Service) -> str:
    session_id = new_id()
    await service.client.post("/sessions", json={"id": session_id, "name": "s"})
    return f"/sessions/{session_id}/data"


async def test_a_value_is_put_read_changed_and_deleted(local: Service) -> None:
    client, path = local.client, await data_of(local)
    value = b'{ "step": 3,  "done": false }'
    put = await client.put(f"{path}/plan", content=value)
    assert put.status_code == 201
    assert put.json()["size_bytes"] == len(value)

    got = await client.get(f"{path}/plan")
    assert (got.content, got.headers["content-type"]) == (value, "application/json")
    assert got.headers["etag"] == put.headers["etag"]
    known = {"If-None-Match": got.headers["etag"]}
    assert (await client.get(f"{path}/plan", headers=known)).status_code == 304

    match = {"If-Match": got.headers["etag"]}
    changed = await client.put(f"{path}/plan", content=b"4", headers=match)
    assert changed.status_code == 200
    stale = await client.put(f"{path}/plan", content=b"5", headers=match)
    assert_problem(stale, 412, "precondition_failed")
    assert_problem(await client.delete(f"{path}/plan", headers=match), 412)
    fresh = {"If-None-Match": "*"}
    assert_problem(await client.put(f"{path}/plan", content=b"6", headers=fresh), 412)
    assert (await client.put(f"{path}/other", content=b"6", headers=fresh)).status_code == 201

    assert (await client.delete(f"{path}/plan")).status_code == 204
    assert_problem(await client.get(f"{path}/plan"), 404, "data_not_found")
    assert_problem(await client.delete(f"{path}/plan"), 404, "data_not_found")


async def test_keys_may_hold_slashes_encoded_or_not(local: Service) -> None:
    client, path = local.client, await data_of(local)
    put = await client.put(f"{path}/notes/{quote('Übersicht 1', safe='')}", content=b'"x"')
    assert put.status_code == 201
    assert put.json()["key"] == "notes/Übersicht 1"
    for written in (put.headers["location"], f"{path}/notes%2F{quote('Übersicht 1')}"):
        assert (await client.get(written)).content == b'"x"', written
    assert_problem(await client.put(f"{path}/a//b", content=b"1"), 422, about="key")
    assert_problem(await client.put(f"{path}/{'k' * 257}", content=b"1"), 422, about="key")


async def test_keys_are_listed_page_by_page(local: Service) -> None:
    client, path = local.client, await data_of(local)
    for key in ("b/2", "a", "b/1&x", "c"):
        await client.put(f"{path}/{key}", content=b"1")
    found, next_page = [], f"{path}?limit=1&prefix=b/"
    while next_page:
        page = await client.get(next_page)
        found += [entry["key"] for entry in page.json()]
        next_page = page.links.get("next", {}).get("url", "")
    assert found == ["b/1&x", "b/2"]
    assert [entry["key"] for entry in (await client.get(path)).json()] == ["a", *found, "c"]


async def test_what_cannot_be_kept_is_refused(local: Service) -> None:
    client, path = local.client, await data_of(local)
    assert_problem(await client.put(f"{path}/k", content=b"{"), 400, "bad_request")
    large = b'"' + b"x" * 256 * 1024 + b'"'
    problem = assert_problem(await client.put(f"{path}/k", content=large), 413, "body_too_large")
    assert "QUIRE_ACTIVITY_DATA_BYTES" in problem["detail"]
    assert (await client.get(path)).json() == []
