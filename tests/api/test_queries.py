"""Queries over HTTP: a list is posted once and read page by page."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from quire.settings import EmbeddingSettings
from tests.api.service import Service, assert_problem, guarded, new_id, serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.api.service import Caller

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def service(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Service]:
    vectors = EmbeddingSettings(provider="fake", dimension=8)
    async with serving(guarded(tmp_path_factory.mktemp("queries"), embedding=vectors)) as opened:
        yield opened


async def create(caller: Caller) -> str:
    session_id = new_id()
    response = await caller.post("/sessions", {"id": session_id, "name": "s"})
    assert response.status_code == 200, response.text
    return session_id


async def test_a_posted_list_is_read_page_by_page(service: Service) -> None:
    ada = service.as_("ada")
    session_id = await create(ada)
    items = [{"n": n, "text": "Füße \x00"} for n in range(5)]
    body = {"items": items, "page_size": 2, "request": {"from": "crawl"}}
    posted = await ada.post(f"/sessions/{session_id}/queries", body)
    assert posted.status_code == 200
    first = posted.json()
    query_id = first["query_id"]
    assert first == {
        "query_id": query_id,
        "items": items[:2],
        "page_index": 0,
        "num_items_per_page": 2,
        "num_total_pages": 3,
        "num_total_items": 5,
        "has_next": True,
        "has_previous": False,
        "expires_at": first["expires_at"],
    }
    path = f"/sessions/{session_id}/queries/{query_id}"
    assert posted.headers["location"] == f"{path}/pages/0"
    page = await ada.get(posted.headers["location"])
    assert page.json() == first
    seen = page.json()["items"]
    while "next" in page.links:
        page = await ada.get(page.links["next"]["url"])
        seen += page.json()["items"]
    assert seen == items
    assert page.links["prev"]["url"] == f"{path}/pages/1"
    assert (await ada.get(f"/queries/{query_id}/pages/2")).json() == page.json()
    told = (await ada.get(path)).json()
    assert told["request"] == {"from": "crawl"}
    assert told["num_total_items"] == 5
    assert (await ada.get(f"/sessions/{session_id}/queries")).json() == [told]


async def test_the_list_of_queries_is_paged(service: Service) -> None:
    ada = service.as_("ada")
    session_id = await create(ada)
    posted = [
        (await ada.post(f"/sessions/{session_id}/queries", {"items": [n]})).json()["query_id"]
        for n in range(3)
    ]
    page = await ada.get(f"/sessions/{session_id}/queries?limit=2")
    rest = await ada.get(page.links["next"]["url"])
    listed = [query["query_id"] for query in page.json() + rest.json()]
    assert listed == posted[::-1]
    assert "next" not in rest.links
    wrong = await ada.get(f"/sessions/{session_id}/queries?cursor=x")
    assert_problem(wrong, 422, "invalid_input", about="cursor")


async def test_errors_are_told_apart(service: Service) -> None:
    ada, alan = service.as_("ada"), service.as_("alan")
    session_id = await create(ada)
    posted = (await ada.post(f"/sessions/{session_id}/queries", {"items": [1]})).json()
    path = f"/sessions/{session_id}/queries/{posted['query_id']}"
    outside = assert_problem(await ada.get(f"{path}/pages/7"), 422, "invalid_input")
    assert outside["detail"] == "Invalid page index. Valid range: 0-0"
    assert_problem(await ada.get(f"{path}/pages/-1"), 422, "invalid_input")
    assert_problem(await ada.get(f"{path}/pages/first"), 422, "invalid_input")
    assert_problem(await alan.get(f"{path}/pages/0"), 404, "session_not_found")
    assert_problem(await alan.get(f"/queries/{posted['query_id']}/pages/0"), 404, "query_not_found")
    deleted = await ada.delete(path)
    assert deleted.status_code == 200
    for gone in (path, f"{path}/pages/0"):
        assert_problem(await ada.get(gone), 404, "query_not_found")
    assert_problem(await ada.delete(path), 404, "query_not_found")


async def test_what_cannot_be_kept_is_refused(service: Service) -> None:
    ada = service.as_("ada")
    session_id = await create(ada)
    path = f"/sessions/{session_id}/queries"
    for body, about in (
        ({"items": [1], "page_size": 0}, "page_size"),
        ({"items": [1], "page_size": 1001}, "page_size"),
        ({"items": {"a": 1}}, "items"),
        ({"items": [2**64]}, "items[0]"),
        ({"items": [], "request": 1}, "request"),
        ({"items": [], "size": 1}, "size"),
        ({}, "items"),
    ):
        assert_problem(await ada.post(path, body), 422, "invalid_input", about=about)
    headers = {"content-type": "application/json"}
    for text, status in (
        ('{"items": [NaN]}', 422),
        ('{"items": [1e999]}', 422),
        ('{"items": ["\\ud800"]}', 422),
        ('{"items": ' + "[" * 600 + "]" * 600 + "}", 422),
    ):
        assert_problem(await ada.request("POST", path, content=text, headers=headers), status)
    over = await ada.post(path, {"items": list(range(1001))})
    assert_problem(over, 422, "limit_exceeded", about="items")
    reader = service.as_("ada", scope="read")
    assert_problem(await reader.post(path, {"items": [1]}), 403, "forbidden")
    assert (await ada.get(path)).json() == []


async def test_the_same_key_makes_one_query(service: Service) -> None:
    ada = service.as_("ada")
    session_id = await create(ada)
    path, headers = f"/sessions/{session_id}/queries", {"idempotency-key": new_id()}
    first = await ada.post(path, {"items": [1]}, headers=headers)
    again = await ada.post(path, {"items": [1]}, headers=headers)
    assert first.json() == again.json()
    assert first.headers["location"] == again.headers["location"]
    assert len((await ada.get(path)).json()) == 1
