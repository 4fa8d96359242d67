"""What every request may rely on: keys against repetition, ETags, pages, waiting, ids, metrics."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from quire.errors import Unavailable
from quire.vectors.port import CollectionSpec
from tests.api.service import assert_problem, new_id

if TYPE_CHECKING:
    import httpx
    from prometheus_client.samples import Sample

    from tests.api.service import Service

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def create(service: Service, **fields: Any) -> str:
    session_id = new_id()
    response = await service.client.post(
        "/sessions", json={"id": session_id, "name": "s", **fields}
    )
    assert response.status_code == 200, response.text
    return session_id


# Idempotency-Key


async def test_a_repeated_request_gets_the_first_answer(local: Service) -> None:
    key = {"Idempotency-Key": new_id()}
    first = await local.client.post("/sessions", json={"name": "once"}, headers=key)
    session_id = first.json()["id"]
    await local.client.patch(f"/sessions/{session_id}", json={"name": "changed since"})
    again = await local.client.post("/sessions", json={"name": "once"}, headers=key)
    assert again.status_code == first.status_code == 200
    assert again.content == first.content
    for name in ("content-type", "etag", "location"):
        assert again.headers[name] == first.headers[name]
    assert again.headers["x-request-id"] != first.headers["x-request-id"]


async def test_a_counter_is_raised_once_however_often_it_is_sent(local: Service) -> None:
    session_id = await create(local)
    key = {"Idempotency-Key": new_id()}
    path = f"/sessions/{session_id}/incremental-clustering"
    for _ in range(3):
        answer = await local.client.post(path, json=["a", "b"], headers=key)
        assert answer.json()["total_content_analyzed"] == 2


async def test_a_key_belongs_to_one_request(local: Service) -> None:
    key = {"Idempotency-Key": new_id()}
    await local.client.post("/sessions", json={"name": "one"}, headers=key)
    other = await local.client.post("/sessions", json={"name": "two"}, headers=key)
    assert_problem(other, 422, "idempotency_key_reused")
    elsewhere = await local.client.post("/sessions/cleanup?dry_run=true", headers=key)
    assert_problem(elsewhere, 422, "idempotency_key_reused")


async def test_refusals_are_repeated_too(local: Service) -> None:
    key = {"Idempotency-Key": new_id()}
    first = await local.client.post("/sessions", json={"name": ""}, headers=key)
    again = await local.client.post("/sessions", json={"name": ""}, headers=key)
    assert_problem(first, 422)
    assert again.status_code == 422
    assert again.json()["detail"] == first.json()["detail"]


async def test_of_requests_at_the_same_time_one_is_carried_out(local: Service) -> None:
    # given ten that are sent at once under one key
    key = {"Idempotency-Key": new_id()}
    name = new_id("name")
    answers = await asyncio.gather(
        *(local.client.post("/sessions", json={"name": name}, headers=key) for _ in range(10))
    )
    # then one made a session, and the others heard of it or were told to come again
    for answer in answers:
        if answer.status_code != 200:
            assert_problem(answer, 409, "idempotent_request_running")
            assert int(answer.headers["retry-after"]) >= 1
    made = {answer.json()["id"] for answer in answers if answer.status_code == 200}
    assert len(made) == 1
    (found,) = (await local.client.get("/sessions", params={"q": name})).json()
    assert {found["id"]} == made
    late = await local.client.post("/sessions", json={"name": name}, headers=key)
    assert {late.json()["id"]} == made


class BrokenOnce:
    """The running engine, whose next creation fails as if the server had gone."""

    def __init__(self, engine: Any) -> None:
        self._engine = engine
        self.failed = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    async def create(self, collection: str, spec: CollectionSpec) -> None:
        if not self.failed:
            self.failed += 1
            raise Unavailable("The engine does not answer", retry_after=7)
        await self._engine.create(collection, spec)


async def test_after_a_failure_of_ours_the_key_may_be_used_again(
    local: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given an engine that fails once
    engine = BrokenOnce(local.quire.engine)
    monkeypatch.setattr(local.quire.creation, "_engine", engine)
    key = {"Idempotency-Key": new_id()}
    first = await local.client.post("/sessions", json={"name": "s"}, headers=key)
    assert_problem(first, 503, "unavailable")
    assert first.headers["retry-after"] == "7"

    # when the same is sent until the failed attempt is cleared away
    async def try_again() -> httpx.Response:
        return await local.client.post("/sessions", json={"name": "s"}, headers=key)

    again = await try_again()
    for _ in range(50):
        if again.status_code == 200:
            break
        assert again.status_code == 503
        await asyncio.sleep(0.05)
        again = await try_again()
    # then it is carried out
    assert again.status_code == 200, again.text
    assert (await try_again()).content == again.content


@pytest.mark.parametrize("key", ["", "two words", "x" * 256, "café"])
async def test_a_key_that_is_none(local: Service, key: str) -> None:
    response = await local.client.post(
        "/sessions", json={"name": "s"}, headers=[(b"Idempotency-Key", key.encode())]
    )
    assert_problem(response, 422, about="Idempotency-Key")


# ETag, If-None-Match, If-Match


async def test_an_etag_stands_for_a_version(local: Service) -> None:
    session_id = await create(local)
    path = f"/sessions/{session_id}"
    first = (await local.client.get(path)).headers["etag"]
    assert (await local.client.get(path)).headers["etag"] == first
    changed = await local.client.patch(path, json={"name": "other"})
    assert changed.headers["etag"] != first
    assert (await local.client.get(path)).headers["etag"] == changed.headers["etag"]
    same = await local.client.patch(path, json={"name": "other"})
    assert same.headers["etag"] == changed.headers["etag"]


async def test_what_is_known_is_not_sent_again(local: Service) -> None:
    session_id = await create(local)
    path = f"/sessions/{session_id}"
    etag = (await local.client.get(path)).headers["etag"]
    for known in (etag, f"W/{etag}", f'"other", {etag}', "*"):
        response = await local.client.get(path, headers={"If-None-Match": known})
        assert response.status_code == 304, known
        assert response.content == b""
        assert response.headers["etag"] == etag
    for unknown in ('"other"', "W/", etag.strip('"')):
        response = await local.client.get(path, headers={"If-None-Match": unknown})
        assert response.status_code == 200, unknown


@pytest.mark.parametrize(
    ("method", "suffix", "body"),
    [
        ("PUT", "", {"name": "new"}),
        ("PATCH", "", {"name": "new"}),
        ("POST", "/archive", None),
        ("POST", "/restore", None),
        ("DELETE", "", None),
        ("DELETE", "?permanent=true", None),
    ],
)
async def test_a_change_may_demand_the_version_it_was_made_for(
    local: Service, method: str, suffix: str, body: Any
) -> None:
    # given a session that was changed since
    session_id = await create(local)
    path = f"/sessions/{session_id}"
    stale = (await local.client.get(path)).headers["etag"]
    fresh = (await local.client.patch(path, json={"name": "since"})).headers["etag"]
    # when the change is for the old version
    response = await local.client.request(
        method, path + suffix, json=body, headers={"If-Match": stale}
    )
    # then it is refused, the problem tells the version there is, and nothing has changed
    problem = assert_problem(response, 412, "precondition_failed")
    assert problem["etag"] == fresh
    now = await local.client.get(path)
    assert (now.headers["etag"], now.json()["name"]) == (fresh, "since")
    # and for the present one it is made
    response = await local.client.request(
        method, path + suffix, json=body, headers={"If-Match": f'"0", {fresh}'}
    )
    assert response.status_code == 200


# Pages


async def pages(service: Service, path: str) -> list[list[dict[str, Any]]]:
    found: list[list[dict[str, Any]]] = []
    following: str | None = path
    while following is not None:
        response = await service.client.get(following)
        assert response.status_code == 200, response.text
        found.append(response.json())
        link = response.headers.get("link")
        match = re.fullmatch(r'<([^>]+)>; rel="next"', link) if link else None
        assert (link is None) == (match is None)
        following = match[1] if match else None
    return found


@pytest.mark.parametrize("size", [1, 3, 7, 8])
async def test_the_links_lead_through_every_session_once(local: Service, size: int) -> None:
    owner = new_id("owner")
    made = [await create(local, owner_id=owner) for _ in range(7)]
    found = await pages(local, f"/sessions?owner_id={owner}&limit={size}&sort=created_at")
    assert [len(page) for page in found[:-1]] == [size] * (len(found) - 1)
    assert [session["id"] for page in found for session in page] == made[::-1]


async def test_the_links_keep_what_was_asked_for(local: Service) -> None:
    owner = "o & ü / " + new_id()
    wanted = [await create(local, owner_id=owner, tags=["a b+c"]) for _ in range(3)]
    await create(local, owner_id=owner)
    found = await local.client.get(
        "/sessions",
        params={"owner_id": owner, "tags": "a b+c", "limit": 1, "sort": "created_at"},
    )
    ids = [found.json()[0]["id"]]
    while link := found.headers.get("link"):
        found = await local.client.get(link[1 : link.index(">")])
        ids += [session["id"] for session in found.json()]
    assert ids == wanted[::-1]


async def test_by_creation_no_page_misses_or_repeats_a_session(local: Service) -> None:
    # given sessions that are made, changed and taken away while somebody pages through
    owner = new_id("owner")
    made = [await create(local, owner_id=owner) for _ in range(12)]
    gone, kept = made[1], made[:1] + made[2:]
    seen: list[str] = []
    following: str | None = f"/sessions?owner_id={owner}&limit=2&sort=created_at"
    turn = 0
    while following:
        response = await local.client.get(following)
        seen += [session["id"] for session in response.json()]
        link = response.headers.get("link")
        following = link[1 : link.index(">")] if link else None
        await create(local, owner_id=owner)
        await local.client.patch(f"/sessions/{kept[turn % 11]}", json={"name": f"turn {turn}"})
        if turn == 2:
            await local.client.delete(f"/sessions/{gone}?permanent=true")
        turn += 1
    # then those that were there all along are each seen once
    assert [session_id for session_id in seen if session_id in kept] == kept[::-1]


async def test_jobs_come_in_pages_too(local: Service) -> None:
    deleted = [await create(local) for _ in range(5)]
    for session_id in deleted:
        await local.client.delete(f"/sessions/{session_id}?permanent=true")
    found = await pages(local, "/jobs?kind=purge&limit=2")
    ids = [job["session_id"] for page in found for job in page]
    assert ids[:5] == deleted[::-1]
    assert len(ids) == len(set(ids))


# Filters


async def test_filters_narrow_and_tags_widen(local: Service) -> None:
    owner = new_id("owner")
    one = await create(local, owner_id=owner, name="Garden of 100% _roses_", tags=["a", "b"])
    two = await create(local, owner_id=owner, description="a garden too", tags=["c"])
    ended = await create(local, owner_id=owner, name="done")
    await local.client.post(f"/sessions/{ended}/end", json={"outcome": "failed"})
    await local.client.post(f"/sessions/{two}/share", json={"user_ids": ["grace"]})

    async def ids(query: str) -> set[str]:
        response = await local.client.get(f"/sessions?owner_id={owner}&{query}")
        return {session["id"] for session in response.json()}

    assert await ids("") == {one, two, ended}
    assert await ids("tags=a,c") == {one, two}
    assert await ids("tags=%20a%20,") == {one}
    assert await ids("tags=a&q=too") == set()
    assert await ids("q=GARDEN") == {one, two}
    assert await ids("q=100%25") == {one}
    assert await ids("q=_") == {one}
    assert await ids("q=%25") == {one}
    assert await ids("q=%5C") == set()
    assert await ids("outcome=failed") == {ended}
    assert await ids("status=active") == {one, ended}
    assert await ids("status=shared") == {two}
    assert await ids("status=deleted") == set()


# Prefer: wait


@pytest.mark.parametrize("prefer", ["wait=0", "respond-async, wait=0", 'wait=0; x="y"', "WAIT = 0"])
async def test_long_work_is_waited_for_as_long_as_preferred(local: Service, prefer: str) -> None:
    # given a session whose purge has to wait for a job before it
    session_id = await create(local)
    response = await local.client.delete(
        f"/sessions/{session_id}?permanent=true", headers={"Prefer": prefer}
    )
    if response.status_code == 202:
        body = response.json()
        assert body["permanent"] is True
        assert response.headers["location"] == f"/jobs/{body['job']['id']}"
        job = body["job"]
        for _ in range(100):
            job = (await local.client.get(response.headers["location"])).json()
            if job["status"] == "succeeded":
                break
            await asyncio.sleep(0.05)
        assert job["status"] == "succeeded"
    else:  # it was done before anybody could wait
        assert response.status_code == 200
    assert_problem(await local.client.get(f"/sessions/{session_id}"), 404)


@pytest.mark.parametrize("prefer", ["wait=-1", "wait=x", "", "wait=99999999999", "handling=strict"])
async def test_a_preference_that_means_nothing_is_passed_over(local: Service, prefer: str) -> None:
    session_id = await create(local)
    response = await local.client.delete(
        f"/sessions/{session_id}?permanent=true", headers={"Prefer": prefer}
    )
    assert response.status_code == 200


# Request ids


async def test_a_request_id_comes_back(local: Service) -> None:
    given = {"X-Request-Id": "trace-7.of_3"}
    assert (await local.client.get("/healthz", headers=given)).headers[
        "x-request-id"
    ] == "trace-7.of_3"
    response = await local.client.get("/nowhere", headers=given)
    assert assert_problem(response, 404)["request_id"] == "trace-7.of_3"


@pytest.mark.parametrize("given", ["", "x" * 65, "two words", "a\tb", "<script>", "ünique"])
async def test_a_request_id_that_could_do_harm_is_replaced(local: Service, given: str) -> None:
    response = await local.client.get(
        "/healthz", headers=[(b"X-Request-Id", given.encode("latin-1"))]
    )
    told = response.headers["x-request-id"]
    assert told != given
    assert re.fullmatch(r"[0-9a-f]{16}", told)


async def test_each_request_has_an_id_of_its_own(local: Service) -> None:
    ids = {(await local.client.get("/healthz")).headers["x-request-id"] for _ in range(5)}
    assert len(ids) == 5


# Metrics and readiness


async def scrape(service: Service) -> dict[str, list[Sample]]:
    response = await service.client.get("/metrics")
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/plain")
    return {family.name: family.samples for family in text_string_to_metric_families(response.text)}


def value(samples: list[Sample], **labels: str) -> float:
    return sum(s.value for s in samples if labels.items() <= s.labels.items())


async def test_metrics_tell_what_the_service_holds_and_does(local: Service) -> None:
    # given
    before = await scrape(local)
    session_id = await create(local)
    await local.client.post(f"/sessions/{session_id}/archive")
    gone = await create(local)
    await local.client.delete(f"/sessions/{gone}?permanent=true")
    await local.client.get(f"/sessions/{new_id()}")
    # when
    after = await scrape(local)

    # then
    def grown(family: str, **labels: str) -> float:
        return value(after[family], **labels) - value(before.get(family, []), **labels)

    # put aside, it is on its way to being cold
    archived = [grown("quire_sessions", status="archived", residency=it) for it in ("hot", "cold")]
    assert sum(archived) == 1
    assert grown("quire_jobs", kind="purge", state="succeeded") == 1
    latency = "quire_http_request_duration_seconds"
    samples = [s for s in after[latency] if s.name.endswith("_count")]
    routes = {s.labels["route"] for s in samples}
    assert "/sessions/{session_id}" in routes
    assert not any(session_id in route or gone in route for route in routes)
    assert value(samples, method="GET", route="/sessions/{session_id}", status="4xx") >= 1
    engine = [
        s
        for s in after["quire_engine_operation_duration_seconds"]
        if s.name.endswith("_count") and s.labels["operation"] == "drop"
    ]
    assert value(engine, outcome="ok") >= 1
    assert "quire_expirations" in after
    assert value(after["quire_hot_collections"]) >= 0


async def test_expirations_are_counted(local: Service) -> None:
    reasons = {s.labels["reason"] for s in (await scrape(local))["quire_expirations"]}
    assert {"expired", "retention-archived", "retention-deleted", "purged"} <= reasons


async def test_unknown_routes_and_methods_make_no_series(local: Service) -> None:
    for n in range(5):
        await local.client.get(f"/nowhere/{n}")
        await local.client.request(f"BREW{n}", "/sessions")
    latency = (await scrape(local))["quire_http_request_duration_seconds"]
    routes = {s.labels["route"] for s in latency}
    assert "unmatched" in routes
    assert not any(route.startswith("/nowhere") for route in routes)
    assert not any(s.labels["method"].startswith("BREW") for s in latency)


async def test_readiness_names_every_part(local: Service) -> None:
    response = await local.client.get("/readyz")
    assert response.status_code == 200
    body = response.json()
    assert body["ready"] is True
    assert set(body["parts"]) == {"database", "engine", "blobs", "jobs"}
    assert body["failures"] == {}


@pytest.mark.parametrize(
    ("header", "here", "elsewhere"),
    [
        ("Host", "localhost:8087", "rebound.example:8087"),
        ("Host", "127.9.9.9", "192.168.1.7"),
        ("Host", "[::1]:8087", "localhost.example"),
        ("Origin", "http://localhost:3000", "https://evil.example"),
        ("Origin", "http://[::1]", "null"),
    ],
)
async def test_without_tokens_only_this_machine_is_served(
    local: Service, header: str, here: str, elsewhere: str
) -> None:
    assert (await local.client.get("/sessions", headers={header: here})).status_code == 200
    refused = await local.client.get("/sessions", headers={header: elsewhere})
    assert_problem(refused, 403, "forbidden")
    # Those who watch over it may call it what they like.
    assert (await local.client.get("/healthz", headers={header: elsewhere})).is_success
