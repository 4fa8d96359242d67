"""Resumable uploads over HTTP: tus as its clients speak it, and as curl does."""

from __future__ import annotations

import base64
import hashlib
import io
import random
import socket
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import pytest_asyncio
from tusclient.client import TusClient

from quire.access.principal import LOCAL
from quire.blobs.ledger import BlobLedger
from quire.blobs.objects import open_blobs
from quire.settings import BlobSettings, LimitSettings, TransferSettings
from quire.store import Database
from quire.uploads.uploads import Uploads
from tests.api.live import LiveService, live_service, until
from tests.api.service import Service, assert_problem, guarded, new_id, serving, token
from tests.backends.ports import LOOPBACK

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

PIECES = "application/offset+octet-stream"
MEGABYTE = 1024 * 1024
here = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def service(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Service]:
    """A service that demands tokens; its client is ada."""
    settings = guarded(
        tmp_path_factory.mktemp("uploads"),
        limits=LimitSettings(body_bytes=1024, upload_bytes=1024),
        transfer=TransferSettings(upload_bytes=200_000),
    )
    async with serving(settings) as service:
        service.client.headers["Authorization"] = f"Bearer {token('ada')}"
        yield service


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveService]:
    with live_service(tmp_path_factory.mktemp("live")) as service:
        yield service


async def begun(service: Service, size: int = 10, **headers: str) -> str:
    answer = await service.client.post("/uploads", headers={"Upload-Length": f"{size}", **headers})
    assert answer.status_code == 201, answer.text
    return answer.headers["location"]


async def append(
    service: Service, at: str, offset: int, content: bytes, **headers: str
) -> httpx.Response:
    headers = {"Upload-Offset": f"{offset}", "Content-Type": PIECES, **headers}
    return await service.client.patch(at, content=content, headers=headers)


def checksum(algorithm: str, content: bytes) -> str:
    digest = hashlib.new(algorithm, content).digest()
    return f"{algorithm} {base64.b64encode(digest).decode()}"


async def content_of(service: Service, at: str) -> bytes:
    uploads = service.quire.uploads
    upload = await uploads.get(LOCAL, at.removeprefix("/uploads/"))
    return b"".join([block async for block in uploads.read(upload)])


@here
async def test_the_server_says_what_it_can_do(service: Service) -> None:
    answer = await service.client.options("/uploads")
    assert answer.status_code == 204
    assert answer.headers["tus-version"] == "1.0.0"
    assert answer.headers["tus-max-size"] == "200000"
    assert "sha1" in answer.headers["tus-checksum-algorithm"].split(",")
    assert {"creation", "expiration", "termination", "checksum"} <= set(
        answer.headers["tus-extension"].split(",")
    )


@here
async def test_from_its_beginning_to_its_end(service: Service) -> None:
    at = await begun(service, 10, **{"Upload-Metadata": "filename bWFyc2g=,final"})
    first = await append(service, at, 0, b"01234")
    assert (first.status_code, first.content) == (204, b"")
    assert first.headers["upload-offset"] == "5"
    assert first.headers["upload-expires"].endswith(" GMT")
    head = await service.client.head(at)
    assert head.status_code == 200
    assert head.headers["upload-offset"] == "5"
    assert head.headers["upload-length"] == "10"
    assert head.headers["upload-metadata"] == "filename bWFyc2g=,final"
    assert head.headers["cache-control"] == "no-store"
    assert head.headers["tus-resumable"] == "1.0.0"
    assert (await append(service, at, 5, b"56789")).headers["upload-offset"] == "10"
    assert await content_of(service, at) == b"0123456789"
    described = (await service.client.get(at)).json()
    assert set(described) == {"id", "size", "received", "metadata", "created_at", "expires_at"}
    assert (described["size"], described["received"]) == (10, 10)
    assert described["metadata"] == {"filename": "marsh", "final": ""}
    assert (await service.client.delete(at)).status_code == 204
    for answer in (await service.client.get(at), await append(service, at, 10, b"")):
        assert_problem(answer, 404, "upload_not_found")
    assert (await service.client.head(at)).status_code == 404


@here
async def test_the_first_bytes_may_come_with_the_beginning(service: Service) -> None:
    headers = {"Upload-Length": "5000", "Content-Type": PIECES}
    answer = await service.client.post("/uploads", content=bytes(4000), headers=headers)
    assert answer.status_code == 201
    assert answer.headers["upload-offset"] == "4000"
    known = (await service.client.get("/uploads")).json()
    # when they are not what they were said to be
    headers["Upload-Checksum"] = checksum("sha1", b"other")
    answer = await service.client.post("/uploads", content=bytes(4000), headers=headers)
    # then there is no upload that nobody knows of
    assert_problem(answer, 460, "checksum_mismatch")
    assert (await service.client.get("/uploads")).json() == known


@here
async def test_a_length_may_follow(service: Service) -> None:
    answer = await service.client.post("/uploads", headers={"Upload-Defer-Length": "1"})
    at = answer.headers["location"]
    await append(service, at, 0, b"01234")
    head = await service.client.head(at)
    assert head.headers["upload-defer-length"] == "1"
    assert "upload-length" not in head.headers
    await append(service, at, 5, b"", **{"Upload-Length": "5"})
    assert (await service.client.head(at)).headers["upload-length"] == "5"


@here
@pytest.mark.parametrize("algorithm", ["sha1", "sha256"])
async def test_bytes_with_a_wrong_checksum_are_not_kept(service: Service, algorithm: str) -> None:
    at = await begun(service)
    right = {"Upload-Checksum": checksum(algorithm, b"01234")}
    answer = await append(service, at, 0, b"01x34", **right)
    assert_problem(answer, 460, "checksum_mismatch")
    assert answer.headers["tus-resumable"] == "1.0.0"
    assert (await service.client.head(at)).headers["upload-offset"] == "0"
    assert (await append(service, at, 0, b"01234", **right)).headers["upload-offset"] == "5"


@here
@pytest.mark.parametrize(
    ("headers", "content", "status", "told"),
    [
        ({"Upload-Offset": "4"}, b"x", 409, "has received 0 bytes"),
        ({"Upload-Offset": "-1"}, b"x", 422, "upload-offset"),
        ({"Upload-Offset": "x"}, b"x", 422, "upload-offset"),
        ({}, b"01234567890", 413, "10 bytes"),
        ({}, bytes(200_001), 413, "QUIRE_TRANSFER_UPLOAD_BYTES"),
        ({"Content-Type": "text/plain"}, b"x", 415, PIECES),
        ({"Upload-Checksum": "md5 AAAA"}, b"x", 400, "sha256"),
        ({"Upload-Checksum": "sha1 ?"}, b"x", 400, "base64"),
        ({"Upload-Length": "11"}, b"x", 409, "10 bytes, and not 11"),
        ({"Tus-Resumable": "0.2.2"}, b"x", 412, "1.0.0"),
    ],
)
async def test_what_cannot_be_appended(
    service: Service, headers: dict[str, str], content: bytes, status: int, told: str
) -> None:
    at = await begun(service)
    answer = await append(service, at, 0, content, **headers)
    assert told in assert_problem(answer, status)["detail"]
    assert (await service.client.get(at)).json()["received"] == 0
    if status == 412:
        assert answer.headers["tus-version"] == "1.0.0"


@here
@pytest.mark.parametrize(
    ("headers", "content", "status", "told"),
    [
        ({}, b"", 422, "Upload-Length"),
        ({"Upload-Length": "1", "Upload-Defer-Length": "1"}, b"", 422, "Upload-Length"),
        ({"Upload-Defer-Length": "2"}, b"", 422, "Upload-Defer-Length"),
        ({"Upload-Length": "200001"}, b"", 413, "QUIRE_TRANSFER_UPLOAD_BYTES"),
        ({"Upload-Length": "1", "Upload-Metadata": "a ?"}, b"", 422, "base64"),
        ({"Upload-Length": "1", "Upload-Metadata": "a /w=="}, b"", 422, "UTF-8"),
        ({"Upload-Length": "1", "Upload-Metadata": "a,a"}, b"", 422, "twice"),
        ({"Upload-Length": "1", "Upload-Metadata": ",a"}, b"", 422, "name"),
        ({"Upload-Length": "1", "Content-Type": "text/plain"}, b"x", 415, PIECES),
        ({"Upload-Length": "1", "Content-Type": PIECES, "Idempotency-Key": "k"}, b"x", 422, "key"),
    ],
)
async def test_what_cannot_be_begun(
    service: Service, headers: dict[str, str], content: bytes, status: int, told: str
) -> None:
    known = (await service.client.get("/uploads")).json()
    answer = await service.client.post("/uploads", content=content, headers=headers)
    assert told.lower() in assert_problem(answer, status)["detail"].lower()
    assert (await service.client.get("/uploads")).json() == known


@here
async def test_the_same_key_begins_one_upload(service: Service) -> None:
    key = {"Idempotency-Key": new_id()}
    assert await begun(service, **key) == await begun(service, **key)


@here
async def test_clients_that_can_send_no_patch_say_what_they_mean(service: Service) -> None:
    at = await begun(service, 5000)
    meaning = {"Upload-Offset": "0", "Content-Type": PIECES, "X-HTTP-Method-Override": "PATCH"}
    answer = await service.client.post(at, content=bytes(5000), headers=meaning)
    assert answer.status_code == 204
    # and no other address listens to it
    path = "/sessions/none"
    answer = await service.client.post(path, headers={"X-HTTP-Method-Override": "DELETE"})
    assert_problem(answer, 405)


@here
async def test_the_list_leads_to_its_next_page(service: Service) -> None:
    made = [await begun(service) for _ in range(3)]
    answer = await service.client.get("/uploads", params={"limit": 2})
    first = [f"/uploads/{upload['id']}" for upload in answer.json()]
    answer = await service.client.get(answer.links["next"]["url"])
    assert [*first, f"/uploads/{answer.json()[0]['id']}"] == made[::-1]


@here
async def test_an_upload_is_its_owners(service: Service) -> None:
    at, grace = await begun(service), service.as_("grace")
    for method, headers in (("GET", {}), ("PATCH", {"Upload-Offset": "0"}), ("DELETE", {})):
        answer = await grace.request(method, at, headers=headers)
        assert_problem(answer, 404, "upload_not_found")
    assert (await grace.get("/uploads")).json() == []
    reader = service.as_("ada", scope="read")
    assert (await reader.get(at)).status_code == 200
    answer = await reader.request("PATCH", at, headers={"Upload-Offset": "0"})
    assert_problem(answer, 403, "forbidden")
    operator = service.as_("root", scope="admin")
    assert (await operator.delete(at)).status_code == 204


@pytest.mark.parametrize("with_checksum", [False, True])
def test_the_official_client_uploads_and_resumes(live: LiveService, with_checksum: bool) -> None:
    content = random.Random(6).randbytes(700_001)
    options: dict[str, Any] = {"chunk_size": 200_000, "upload_checksum": with_checksum}
    client = TusClient(f"{live.url}/uploads")
    uploader = client.uploader(
        file_stream=io.BytesIO(content), metadata={"filename": "bündle.quire"}, **options
    )
    uploader.upload_chunk()
    # when it is another that goes on
    another = client.uploader(file_stream=io.BytesIO(content), url=uploader.url, **options)
    assert another.offset == 200_000
    another.upload()
    described = httpx.get(another.url).json()
    assert described["received"] == described["size"] == len(content)
    assert described["metadata"] == {"filename": "bündle.quire"}


def broken_off(live: LiveService, at: str, offset: int, size: int, content: bytes) -> socket.socket:
    """A PATCH of which more is promised than comes."""
    connection = socket.create_connection((LOOPBACK, live.port), timeout=10)
    head = f"PATCH {at} HTTP/1.1\r\nHost: localhost\r\nUpload-Offset: {offset}\r\n"
    head += f"Content-Type: {PIECES}\r\nContent-Length: {size}\r\n\r\n"
    connection.sendall(head.encode() + content)
    return connection


def received(live: LiveService, at: str) -> int:
    return int(httpx.head(f"{live.url}{at}").headers["upload-offset"])


def test_what_came_before_the_connection_broke_is_kept(live: LiveService) -> None:
    content = random.Random(8).randbytes(2 * MEGABYTE)
    length = {"Upload-Length": f"{len(content)}"}
    at = httpx.post(f"{live.url}/uploads", headers=length).headers["location"]
    broken_off(live, at, 0, len(content), content[:-1000]).close()
    # but for what the server had in its own buffer
    until(lambda: received(live, at) > MEGABYTE)
    offset = received(live, at)
    # nor does one that only hangs keep others from going on
    with broken_off(live, at, offset, len(content) - offset, b"hanging"):
        headers = {"Upload-Offset": f"{offset}", "Content-Type": PIECES}
        done = httpx.patch(f"{live.url}{at}", content=content[offset:], headers=headers)
        assert done.headers["upload-offset"] == f"{len(content)}"
    assert "Traceback" not in live.log()


async def test_after_a_kill_it_goes_on_with_what_was_there(tmp_path: Path) -> None:
    content = random.Random(7).randbytes(30 * MEGABYTE)
    with live_service(tmp_path) as live:
        length = {"Upload-Length": f"{len(content)}"}
        at = httpx.post(f"{live.url}/uploads", headers=length).headers["location"]
        # given a server that is killed in the middle of a PATCH
        with broken_off(live, at, 0, len(content), content[: 20 * MEGABYTE]):
            until(lambda: received(live, at) >= 8 * MEGABYTE)
            live.process.kill()
        live.start()
        # then what it had entered is there, and the rest may follow
        kept = received(live, at)
        assert kept in (8 * MEGABYTE, 16 * MEGABYTE)
        headers = {"Upload-Offset": f"{kept}", "Content-Type": PIECES}
        done = httpx.patch(f"{live.url}{at}", content=content[kept:], headers=headers, timeout=30)
        assert done.status_code == 204
    database = Database.sqlite(tmp_path / "data" / "quire.db")
    blobs = open_blobs(BlobSettings(), tmp_path / "data")
    uploads = Uploads(database, blobs, BlobLedger(database, blobs, 60), TransferSettings())
    upload = await uploads.whole(LOCAL, at.removeprefix("/uploads/"))
    assert b"".join([block async for block in uploads.read(upload)]) == content
    await database.close()
