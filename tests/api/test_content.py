"""Documents, chunks and searches over HTTP."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio

from quire.settings import EmbeddingSettings, LimitSettings
from tests.api.service import Service, serving, settings_for

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import httpx

pytestmark = pytest.mark.asyncio(loop_scope="module")

FAKE = {"embedding": EmbeddingSettings(provider="fake", dimension=32)}
BODY = "# Binding\n\nLeaves are sewn.\n\n# Paper\n\nRags are beaten — to a pulp.\n"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def service(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Service]:
    limits = LimitSettings(document_bytes=300_000, upload_bytes=2_000_000, body_bytes=500_000)
    settings = settings_for(tmp_path_factory.mktemp("content"), limits=limits, **FAKE)
    async with serving(settings) as service:
        yield service


@pytest_asyncio.fixture(loop_scope="module")
async def at(service: Service) -> str:
    session = (await service.client.post("/sessions", json={"name": "s"})).json()
    return f"/sessions/{session['id']}"


async def brought(service: Service, at: str, *documents: dict[str, Any], **more: Any) -> Any:
    answer = await service.client.post(f"{at}/documents", json={"documents": documents, **more})
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_text_and_json_go_in_and_come_back(service: Service, at: str) -> None:
    records = [{"name": "Ada", "born": 1815}, {"name": "Grace", "born": 1906}]
    answer = await brought(
        service, at, {"text": BODY, "content_type": "text/markdown", "id": "md"},
        {"json": records, "id": "people", "metadata": {"source": "list"}},
    )  # fmt: skip
    assert [document["status"] for document in answer["documents"]] == ["ready", "ready"]
    assert {"id", "title", "status", "chunks_count", "size_bytes", "content_sha256"} <= set(
        answer["documents"][0]
    )
    text = await service.client.get(f"{at}/documents/md/text")
    assert text.text == BODY
    assert text.headers["content-type"] == "text/plain; charset=utf-8"
    assert (await service.client.get(f"{at}/documents/people/content")).json() == records
    listed = (await service.client.get(f"{at}/documents")).json()
    assert [document["id"] for document in listed] == ["md", "people"]
    assert listed[1]["metadata"] == {"source": "list"}


async def test_files_keep_their_bytes(service: Service, at: str) -> None:
    content = BODY.encode() * 50
    answer = await service.client.post(
        f"{at}/documents",
        files=[("a", ("one.md", content)), ("b", ("two.csv", b"a,b\n1,2\n3,4\n"))],
        data={
            "documents": json.dumps([{"id": "one", "metadata": {"n": 1}}, {"title": "Two"}]),
            "chunk_size": "200",
        },
    )
    assert answer.status_code == 200, answer.text
    one, two = answer.json()["documents"]
    assert (one["id"], one["media_type"], one["metadata"]) == ("one", "text/markdown", {"n": 1})
    assert (two["title"], two["media_type"]) == ("Two", "text/csv")
    assert one["chunking"]["chunk_size"] == 200
    path = f"{at}/documents/one/content"
    whole = await service.client.get(path)
    assert whole.content == content
    assert whole.headers["content-type"].startswith("text/markdown")
    assert whole.headers["content-security-policy"] == "sandbox"
    etag = whole.headers["etag"]
    same = await service.client.get(path, headers={"If-None-Match": etag})
    assert (same.status_code, same.content) == (304, b"")


@pytest.mark.parametrize(
    ("asked", "start", "end"),
    [
        ("bytes=0-9", 0, 10),
        ("bytes=5-", 5, None),
        ("bytes=-7", -7, None),
        ("bytes=3-99999", 3, None),
    ],
)
async def test_a_range_of_a_document(
    service: Service, at: str, asked: str, start: int, end: int | None
) -> None:
    content = bytes(range(33, 126)) * 3
    await service.client.put(f"{at}/documents/x/content", content=content, headers={
        "Content-Type": "text/plain"
    })  # fmt: skip
    part = await service.client.get(f"{at}/documents/x/content", headers={"Range": asked})
    assert part.status_code == 206
    assert part.content == content[start:end]
    first = start % len(content)
    last = first + len(part.content) - 1
    assert part.headers["content-range"] == f"bytes {first}-{last}/{len(content)}"


async def test_ranges_that_are_not_there_and_those_of_an_older_version(
    service: Service, at: str
) -> None:
    path = f"{at}/documents/x/content"
    await service.client.put(path, content=b"0123456789", headers={"Content-Type": "text/plain"})
    beyond = await service.client.get(path, headers={"Range": "bytes=10-"})
    assert beyond.status_code == 416
    assert beyond.json()["code"] == "range_not_satisfiable"
    for header in ("bytes=2-1", "lines=1-2", "bytes=-", "bytes=0-1,3-4"):
        assert (await service.client.get(path, headers={"Range": header})).status_code == 200
    headers = {"Range": "bytes=0-3", "If-Range": '"an-older-one"'}
    assert (await service.client.get(path, headers=headers)).content == b"0123456789"


async def test_chunks_by_number_with_links_to_follow(service: Service, at: str) -> None:
    text = "\n\n".join(f"Paragraph {n}." for n in range(10))
    await brought(service, at, {"text": text, "id": "a"}, chunk_size=16)
    response = await service.client.get(f"{at}/chunks", params={"limit": 4})
    numbers = [chunk["seq"] for chunk in response.json()]
    while "next" in response.links:
        response = await service.client.get(response.links["next"]["url"])
        numbers += [chunk["seq"] for chunk in response.json()]
    assert numbers == list(range(10))
    chunk = (await service.client.get(f"{at}/chunks/3?before=1&after=2")).json()
    assert [c["seq"] for c in chunk["before"]] == [2]
    assert [c["seq"] for c in chunk["after"]] == [4, 5]
    following = (await service.client.get(chunk["links"]["next"])).json()
    assert following["seq"] == 4
    same = (await service.client.get(f"{at}/documents/a/chunks/3")).json()
    assert same["id"] == chunk["id"]
    by_index = await service.client.get(f"{at}/documents/a/chunks?start=8")
    assert [c["index"] for c in by_index.json()] == [8, 9]


async def test_the_stream_is_a_line_a_chunk(service: Service, at: str) -> None:
    text = "\n\n".join(f"Paragraph {n}." for n in range(700))
    await brought(service, at, {"text": text, "id": "a"}, {"text": "b"}, chunk_size=20)
    streamed = await service.client.get(f"{at}/stream")
    assert streamed.headers["content-type"] == "application/x-ndjson"
    chunks = [json.loads(line) for line in streamed.text.splitlines()]
    assert [chunk["seq"] for chunk in chunks] == list(range(len(chunks)))
    assert "".join(c["text"] for c in chunks if c["document_id"] == "a") == text
    one = await service.client.get(f"{at}/stream?document_id=a")
    assert len(one.text.splitlines()) == len(chunks) - 1


async def test_search_and_its_pages(service: Service, at: str) -> None:
    await brought(service, at, *({"text": f"Leaf {n} of the quire."} for n in range(25)))
    answer = await service.client.post(f"{at}/search", json={"query": "leaf quire", "limit": 25})
    page = answer.json()
    assert answer.status_code == 200
    assert (len(page["items"]), page["num_total_items"], page["num_total_pages"]) == (10, 25, 3)
    second = (await service.client.get(answer.links["next"]["url"])).json()
    assert second["page_index"] == 1
    assert not {i["id"] for i in second["items"]} & {i["id"] for i in page["items"]}
    across = await service.client.post(
        "/search", json={"session_ids": [at.removeprefix("/sessions/")], "query": "leaf"}
    )
    assert across.json()["items"]
    kql = await service.client.post(f"{at}/search", json={"kql": "leaf AND quire"})
    assert kql.json()["num_total_items"] == 10


async def test_removing_a_document(service: Service, at: str) -> None:
    await brought(service, at, {"text": "x", "id": "a"})
    assert (await service.client.delete(f"{at}/documents/a")).status_code == 200
    assert (await service.client.get(f"{at}/documents/a")).status_code == 404
    await brought(service, at, {"text": "y", "id": "b"})
    listed = await service.client.get(f"{at}/chunks")
    assert [chunk["seq"] for chunk in listed.json()] == [1]
    assert listed.headers["x-quire-gone"] == "0-0"
    gone = await service.client.get(f"{at}/chunks/0")
    assert gone.status_code == 404
    assert gone.json()["gone"] is True


async def test_who_does_not_wait_gets_the_job(service: Service, at: str) -> None:
    text = "\n\n".join(f"Paragraph {n}." for n in range(2000))
    answer = await service.client.post(
        f"{at}/documents",
        json={"documents": [{"text": text}], "chunk_size": 20},
        headers={"Prefer": "wait=0"},
    )
    assert answer.status_code == 202
    job_id = answer.json()["job_id"]
    assert answer.headers["location"] == f"/jobs/{job_id}"
    await service.quire.jobs.wait(job_id, 30)
    job = (await service.client.get(answer.headers["location"])).json()
    assert job["status"] == "succeeded"
    assert job["progress"]["details"]["chunks"] == job["result"]["chunks"] > 100


async def test_the_same_key_takes_files_in_once(service: Service, at: str) -> None:
    async def send() -> httpx.Response:
        return await service.client.post(
            f"{at}/documents",
            files=[("f", ("f.txt", b"content " * 30_000))],
            headers={"Idempotency-Key": f"k{at}"},
        )

    first, second = await send(), await send()
    assert first.status_code == second.status_code == 200
    assert first.json() == second.json()
    assert len((await service.client.get(f"{at}/documents")).json()) == 1


async def test_a_session_is_moved_to_the_model_it_has(service: Service, at: str) -> None:
    answer = await service.client.post(f"{at}/reembed", json={})
    assert answer.status_code == 409


@pytest.mark.parametrize(
    ("request_", "status", "told"),
    [
        ({"json": {"documents": []}}, 422, "documents"),
        ({"json": {"documents": [{"text": ""}]}}, 422, "documents[0] is empty"),
        ({"json": {"documents": [{"url": "http://localhost/"}]}}, 422, "no public address"),
        ({"json": {"documents": [{"text": "a", "json": 1}]}}, 422, "both text and json"),
        ({"json": {"documents": [{"text": "a", "txt": 1}]}}, 422, "there is no such field"),
        ({"json": {"documents": [{"text": "a"}], "chunk_size": 0}}, 422, "chunk_size"),
        ({"content": b'{"documents":[{"text":"a\\ud800"}]}'}, 422, "Character 1 of"),
        ({"json": {"documents": [{"text": "a\x00b"}]}}, 422, "NUL"),
        ({"content": b'{"documents":[{"text":"a"'}, 400, "JSON"),
        ({"content": b"[" * 100_000}, 400, "JSON"),
        ({"json": {"documents": [{"text": "x", "content_type": "image/png"}]}}, 415, "text/csv"),
        ({"content": b"x", "headers": {"content-type": "text/plain"}}, 415, "multipart"),
        ({"files": [("f", ("a.png", b"\x89PNG\r\n\x1a\n"))]}, 415, "application/pdf"),
        ({"files": [("f", ("a.txt", b"ab\xffcd"))]}, 422, "Byte 2"),
        ({"files": [("f", ("a.txt", b"ab\x00cd"))]}, 422, "Byte 2"),
        ({"files": [("f", ("a.txt", b""))]}, 422, "empty"),
        ({"files": [("f", ("a.txt", b"x" * 400_000))]}, 413, "QUIRE_LIMITS_DOCUMENT_BYTES"),
        ({"files": [("f", ("a.txt", b"x" * 2_100_000))]}, 413, "QUIRE_LIMITS_UPLOAD_BYTES"),
        ({"json": {"documents": [{"text": "x" * 600_000}]}}, 413, "QUIRE_LIMITS_BODY_BYTES"),
        ({"files": [("f", ("a.txt", b"x"))], "data": {"documents": "[1,2]"}}, 422, "documents"),
        ({"files": [("f", ("a.txt", b"x"))], "data": {"colour": "red"}}, 422, "colour"),
        ({"data": {"a": "b"}, "files": []}, 415, "multipart"),
    ],
)
async def test_bad_documents_are_refused_with_the_reason(
    service: Service, at: str, request_: dict[str, Any], status: int, told: str
) -> None:
    headers = {"content-type": "application/json"} if "content" in request_ else {}
    answer = await service.client.post(f"{at}/documents", **{"headers": headers, **request_})
    assert answer.status_code == status, answer.text
    assert told in answer.text
    assert (await service.client.get(f"{at}/documents")).json() == []


async def test_invalid_bytes_may_be_replaced(service: Service, at: str) -> None:
    answer = await service.client.put(
        f"{at}/documents/x/content?errors=replace",
        content=b"ab\xffcd",
        headers={"Content-Type": "text/plain"},
    )
    assert answer.status_code == 200, answer.text
    assert (await service.client.get(f"{at}/documents/x/text")).text == "ab\ufffdcd"
    assert (await service.client.get(f"{at}/documents/x/content")).content == b"ab\xffcd"
