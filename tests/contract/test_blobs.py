"""The blob port, on every store."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import json
import os
import resource
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from obstore.store import LocalStore, S3Store
from pydantic import SecretStr

from quire.blobs import local_upload, object_upload
from quire.blobs.address import object_path
from quire.blobs.objects import ObjectBlobStore, open_blobs
from quire.blobs.port import Blob, BlobStore
from quire.errors import BlobNotFound, InvalidInput, QuireError, StorageFull, Unavailable
from quire.settings import BlobSettings
from tests.backends.s3 import S3Bucket

MEGABYTE = 1024 * 1024
LATER = timedelta(hours=1)
NOBODY = hashlib.sha256(b"nobody put this").hexdigest()


def s3_settings(bucket: S3Bucket, prefix: str = "/some/prefix") -> BlobSettings:
    return BlobSettings(
        url=bucket.url + prefix,
        endpoint=bucket.endpoint,
        region=bucket.region,
        access_key=bucket.access_key,
        secret_key=SecretStr(bucket.secret_key),
    )


@pytest.fixture(params=["local", "memory", "s3"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def settings(kind: str, request: pytest.FixtureRequest) -> BlobSettings:
    if kind == "s3":
        return s3_settings(request.getfixturevalue("s3_bucket"))
    return BlobSettings(url="memory:" if kind == "memory" else None)


@pytest.fixture
def store(settings: BlobSettings, tmp_path: Path) -> ObjectBlobStore:
    return open_blobs(settings, tmp_path)


async def stream(content: bytes, size: int = 100_003) -> AsyncIterator[bytes]:
    for start in range(0, len(content), size):
        yield content[start : start + size]


async def read(store: BlobStore, sha256: str, start: int = 0, end: int | None = None) -> bytes:
    return b"".join([chunk async for chunk in store.get(sha256, start=start, end=end)])


async def listed(store: BlobStore, prefix: str = "") -> set[str]:
    return {blob.sha256 async for blob in store.blobs(prefix)}


async def objects(store: ObjectBlobStore) -> list[str]:
    """Everything there is, blobs or not."""
    return [found["path"] async for page in store._store.list() for found in page]


def test_a_store_is_a_blob_store(store: ObjectBlobStore) -> None:
    port: BlobStore = store
    assert port is store


@pytest.mark.parametrize(
    "size",
    [0, 1, MEGABYTE, 8 * MEGABYTE, 8 * MEGABYTE + 1, 8 * MEGABYTE + 12_345, 21 * MEGABYTE + 7],
)
async def test_what_is_put_comes_back(store: ObjectBlobStore, size: int) -> None:
    content = os.urandom(size)

    blob = await store.put(stream(content))

    assert blob == Blob(hashlib.sha256(content).hexdigest(), size)
    assert await read(store, blob.sha256) == content
    assert await store.stat(blob.sha256) == blob
    assert await store.verify(blob.sha256)
    assert await objects(store) == [object_path(blob.sha256)]


@pytest.mark.parametrize("size", [1, 3 * MEGABYTE, 12 * MEGABYTE])
async def test_chunks_may_be_of_any_size(store: ObjectBlobStore, size: int) -> None:
    content = os.urandom(12 * MEGABYTE if size > 1 else 5_000)

    blob = await store.put(stream(content, size))

    assert blob.sha256 == hashlib.sha256(content).hexdigest()
    assert await store.verify(blob.sha256)


async def test_chunks_may_be_empty(store: ObjectBlobStore) -> None:
    async def content() -> AsyncIterator[bytes]:
        for chunk in (b"", b"a", b"", b"b", b""):
            yield chunk

    assert await read(store, (await store.put(content())).sha256) == b"ab"


@pytest.mark.parametrize(
    ("start", "end"),
    [
        (0, 10),
        (5, 6),
        (5, 5),
        (0, 0),
        (7, None),
        (999_990, 2_000_000),
        (3_000_000, None),
        (3_000_000, 4_000_000),
        (100, 900_000),
    ],
)
async def test_a_range_is_cut_as_a_slice_is(
    store: ObjectBlobStore, start: int, end: int | None
) -> None:
    content = os.urandom(1_000_000)
    blob = await store.put(stream(content))

    assert await read(store, blob.sha256, start, end) == content[start:end]


async def test_ranges_of_an_empty_blob_are_empty(store: ObjectBlobStore) -> None:
    blob = await store.put(stream(b""))

    assert await read(store, blob.sha256, 0, 10) == b""
    assert await read(store, blob.sha256, 5) == b""


@pytest.mark.parametrize(("start", "end"), [(-1, None), (0, -1), (5, 4)])
async def test_a_range_that_is_none_is_refused(
    store: ObjectBlobStore, start: int, end: int | None
) -> None:
    blob = await store.put(stream(b"content"))

    with pytest.raises(InvalidInput):
        await read(store, blob.sha256, start, end)


async def test_the_same_content_is_kept_once(store: ObjectBlobStore) -> None:
    content = os.urandom(9 * MEGABYTE)
    first = await store.put(stream(content))
    (before,) = [blob async for blob in store.blobs()]

    assert await store.put(stream(content, 77_777)) == first

    assert await objects(store) == [object_path(first.sha256)]
    assert [blob async for blob in store.blobs()] == [before]  # and was not written again


@pytest.mark.parametrize("size", [1_000, 9 * MEGABYTE])
async def test_the_same_content_may_be_put_at_once(store: ObjectBlobStore, size: int) -> None:
    content = os.urandom(size)

    blobs = await asyncio.gather(*(store.put(stream(content)) for _ in range(6)))

    assert len(set(blobs)) == 1
    assert await store.verify(blobs[0].sha256)
    assert await objects(store) == [object_path(blobs[0].sha256)]


async def test_a_damaged_blob_is_seen_and_mended_by_putting_it_again(
    store: ObjectBlobStore,
) -> None:
    content = os.urandom(50_000)
    blob = await store.put(stream(content))
    await store._store.put_async(object_path(blob.sha256), content[:-1])
    assert not await store.verify(blob.sha256)

    await store.put(stream(content))

    assert await store.verify(blob.sha256)


@pytest.mark.parametrize("fails_after", [0, 10, 9 * MEGABYTE, 20 * MEGABYTE])
async def test_content_that_fails_leaves_nothing(store: ObjectBlobStore, fails_after: int) -> None:
    async def content() -> AsyncIterator[bytes]:
        async for chunk in stream(os.urandom(fails_after)):
            yield chunk
        raise ConnectionResetError(errno.ECONNRESET, "the client went away")

    # The failure is the content's own, not one of the store.
    with pytest.raises(ConnectionResetError, match="the client went away"):
        await store.put(content())

    assert await objects(store) == []
    assert await store.sweep_unfinished(datetime.now(UTC) + LATER) == 0


@pytest.mark.parametrize("size", [10, 9 * MEGABYTE, 20 * MEGABYTE])
async def test_a_cancelled_put_leaves_nothing(store: ObjectBlobStore, size: int) -> None:
    stuck = asyncio.Event()

    async def content() -> AsyncIterator[bytes]:
        async for chunk in stream(os.urandom(size)):
            yield chunk
        stuck.set()
        await asyncio.Event().wait()

    put = asyncio.create_task(store.put(content()))
    await stuck.wait()
    put.cancel()
    with pytest.raises(asyncio.CancelledError):
        await put

    assert await objects(store) == []
    assert await store.sweep_unfinished(datetime.now(UTC) + LATER) == 0


async def swept(store: ObjectBlobStore) -> list[str]:
    """What sweeps leave, once what was sent before the put was cancelled has arrived."""
    quiet, deadline = 0, time.monotonic() + 20
    while quiet < 2 and time.monotonic() < deadline:
        await asyncio.sleep(0.05)
        unfinished = await store.sweep_unfinished(datetime.now(UTC) + LATER)
        left = [path for path in await objects(store) if not path.startswith("sha256/")]
        quiet = 0 if unfinished or left else quiet + 1
    return await objects(store)


async def test_a_put_cancelled_at_any_moment_leaves_the_blob_or_nothing(
    store: ObjectBlobStore,
) -> None:
    content = os.urandom(9 * MEGABYTE)
    sha256 = hashlib.sha256(content).hexdigest()
    for moment in range(12):
        put = asyncio.create_task(store.put(stream(content)))
        await asyncio.sleep(moment * 0.006)
        put.cancel()
        await asyncio.wait([put])
        found = await swept(store)
        assert found in ([], [object_path(sha256)])
        if found:
            assert await store.verify(sha256)
        await store.delete(sha256)


async def test_what_is_staged_is_not_visible_until_promoted(store: ObjectBlobStore) -> None:
    content = os.urandom(9 * MEGABYTE)
    async with store.stage(stream(content)) as staged:
        with pytest.raises(BlobNotFound):
            await store.stat(staged.blob.sha256)
        assert await listed(store) == set()

        await staged.promote()

        assert await store.verify(staged.blob.sha256)
        await staged.promote()  # and again
    assert await objects(store) == [object_path(staged.blob.sha256)]


@pytest.mark.parametrize("size", [1_000, 9 * MEGABYTE])
@pytest.mark.parametrize("was_there", [True, False])
async def test_a_blob_can_be_promoted_again_after_its_deletion(
    store: ObjectBlobStore, size: int, was_there: bool
) -> None:
    content = os.urandom(size)
    if was_there:
        await store.put(stream(content))
    async with store.stage(stream(content)) as staged:
        await staged.promote()
        await store.delete(staged.blob.sha256)
        await staged.promote()

    assert await store.verify(staged.blob.sha256)


async def test_what_is_too_large_for_one_copy_is_promoted_part_by_part(
    store: ObjectBlobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(object_upload, "COPY_AT_ONCE", 10 * MEGABYTE)
    content = os.urandom(25 * MEGABYTE)

    blob = await store.put(stream(content))

    assert await store.verify(blob.sha256)
    assert await objects(store) == [object_path(blob.sha256)]


async def test_deleting_is_idempotent(store: ObjectBlobStore) -> None:
    blob = await store.put(stream(b"content"))

    await store.delete(blob.sha256)
    await store.delete(blob.sha256)

    with pytest.raises(BlobNotFound):
        await store.stat(blob.sha256)
    assert await listed(store) == set()


async def test_what_is_not_there_is_not_found(store: ObjectBlobStore) -> None:
    for wanted in (
        read(store, NOBODY),
        read(store, NOBODY, 5, 10),
        store.stat(NOBODY),
        store.verify(NOBODY),
    ):
        with pytest.raises(BlobNotFound, match=NOBODY):
            await wanted


@pytest.mark.parametrize(
    "address",
    ["", "abc", NOBODY.upper(), NOBODY + "0", f"../{NOBODY[3:]}", NOBODY + "\n", "é" * 64],
)
async def test_what_is_no_address_is_refused(store: ObjectBlobStore, address: str) -> None:
    for wanted in (
        read(store, address),
        store.stat(address),
        store.verify(address),
        store.delete(address),
    ):
        with pytest.raises(InvalidInput) as refused:
            await wanted
        assert refused.value.field == "sha256"


async def test_a_listing_tells_all(store: ObjectBlobStore) -> None:
    begun = datetime.now(UTC)
    put = [await store.put(stream(f"content {number}".encode())) for number in range(30)]
    await store._store.put_async("sha256/ab/not-a-blob", b"somebody's notes")

    found = [blob async for blob in store.blobs()]

    assert {Blob(blob.sha256, blob.size) for blob in found} == set(put)
    for blob in found:
        # S3 counts in whole seconds.
        assert begun - timedelta(seconds=2) < blob.stored_at < datetime.now(UTC) + LATER


@pytest.mark.parametrize("digits", [1, 2, 3, 64])
async def test_a_listing_can_be_of_one_prefix(store: ObjectBlobStore, digits: int) -> None:
    put = [await store.put(stream(f"content {number}".encode())) for number in range(30)]
    prefix = put[0].sha256[:digits]

    expected = {blob.sha256 for blob in put if blob.sha256.startswith(prefix)}
    assert await listed(store, prefix) == expected


async def test_old_unfinished_uploads_are_swept_and_young_ones_are_not(
    store: ObjectBlobStore,
) -> None:
    blob = await store.put(stream(b"content"))
    await store._store.put_async("staging/of-a-dead-process", b"half")

    assert await store.sweep_unfinished(datetime.now(UTC) - LATER) == 0
    assert await store.sweep_unfinished(datetime.now(UTC) + LATER) == 1

    assert await objects(store) == [object_path(blob.sha256)]


async def test_a_sweep_leaves_the_uploads_of_its_own_process(store: ObjectBlobStore) -> None:
    content = os.urandom(20 * MEGABYTE)
    swept = []

    async def slow() -> AsyncIterator[bytes]:
        async for chunk in stream(content, 5 * MEGABYTE):
            yield chunk
            swept.append(await store.sweep_unfinished(datetime.now(UTC) + LATER))

    blob = await store.put(slow())

    assert set(swept) == {0}
    assert await store.verify(blob.sha256)


async def test_a_store_answers_where_it_is(store: ObjectBlobStore, kind: str) -> None:
    answer = await store.ping()

    assert {"local": "blobs", "memory": "memory", "s3": "some/prefix"}[kind] in answer
    assert "test-secret" not in answer


MEASURE = """
import asyncio, json, os, sys, time
from pathlib import Path
from quire.blobs.objects import open_blobs
from quire.settings import BlobSettings

def peak():
    text = Path("/proc/self/status").read_text()
    return int(text.partition("VmHWM:")[2].split()[0]) * 1024

async def content(block):
    for number in range(200):
        yield number.to_bytes(4, "big") + block

async def main():
    store = open_blobs(BlobSettings(**json.loads(sys.argv[1])), Path(sys.argv[2]))
    block = os.urandom(1024 * 1024 - 4)
    await store.put(one async for one in content(b"warm"))
    before = peak()
    blob = await store.put(content(block))
    async for chunk in store.get(blob.sha256):
        pass
    print(blob.size, peak() - before)

asyncio.run(main())
"""


@pytest.mark.parametrize("kind", ["local", "s3"], indirect=True)
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_long_stream_takes_constant_memory(settings: BlobSettings, tmp_path: Path) -> None:
    given = settings.model_dump(exclude={"secret_key"})
    if settings.secret_key is not None:
        given["secret_key"] = settings.secret_key.get_secret_value()
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, json.dumps(given), str(tmp_path)],
        check=True,
        capture_output=True,
        text=True,
        timeout=100,
    )

    size, grown = map(int, done.stdout.split())

    assert size == 200 * MEGABYTE
    assert grown < 110 * MEGABYTE


async def test_nothing_slow_runs_on_the_event_loop(
    store: ObjectBlobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Told by the thread, as a stop-watch would tell only how busy the machine is."""
    threads: set[int] = set()
    sha256, write, fsync = hashlib.sha256, local_upload.FileIO.write, os.fsync

    class Hash:
        def __init__(self) -> None:
            self.hash = sha256()
            self.hexdigest = self.hash.hexdigest

        def update(self, block: bytes) -> None:
            threads.add(threading.get_ident())
            self.hash.update(block)

    class File(local_upload.FileIO):
        def write(self, block: memoryview) -> int:
            threads.add(threading.get_ident())
            return write(self, block)

    def watched_fsync(descriptor: int) -> None:
        threads.add(threading.get_ident())
        fsync(descriptor)

    monkeypatch.setattr(hashlib, "sha256", Hash)
    monkeypatch.setattr(local_upload, "FileIO", File)
    monkeypatch.setattr(os, "fsync", watched_fsync)

    blob = await store.put(stream(os.urandom(3 * MEGABYTE), 2 * MEGABYTE))
    assert await store.verify(blob.sha256)

    assert threads
    assert threading.get_ident() not in threads


# Stores that fail


def dead_settings(endpoint: str) -> BlobSettings:
    return BlobSettings(
        url="s3://bucket", endpoint=endpoint, access_key="key", secret_key=SecretStr("secret")
    )


async def every_call_is_unavailable(store: ObjectBlobStore, within: float) -> None:
    async def put() -> object:
        return await store.put(stream(b"content"))

    async def put_much() -> object:
        return await store.put(stream(os.urandom(9 * MEGABYTE)))

    calls = {
        "put": put,
        "put much": put_much,
        "get": lambda: read(store, NOBODY),
        "stat": lambda: store.stat(NOBODY),
        "delete": lambda: store.delete(NOBODY),
        "blobs": lambda: listed(store),
        "sweep": lambda: store.sweep_unfinished(datetime.now(UTC)),
        "ping": store.ping,
    }
    for name, call in calls.items():
        begun = time.monotonic()
        with pytest.raises(Unavailable) as failed:
            await call()
        assert not isinstance(failed.value, StorageFull), name
        assert time.monotonic() - begun < within, name


async def test_a_store_where_nobody_listens_is_soon_unavailable(
    tmp_path: Path, unused_tcp_port: int
) -> None:
    store = open_blobs(dead_settings(f"http://127.0.0.1:{unused_tcp_port}"), tmp_path)

    await every_call_is_unavailable(store, within=6)


@asynccontextmanager
async def server(answer: bytes | None) -> AsyncIterator[str]:
    """An HTTP server that always answers the same; or, with None, never."""
    hanging: set[asyncio.StreamWriter] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        hanging.add(writer)
        if answer is not None:
            head = await reader.readuntil(b"\r\n\r\n")
            length = head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0]
            await reader.readexactly(int(length or b"0"))
            writer.write(answer)
            writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        host, port = listening.sockets[0].getsockname()
        yield f"http://{host}:{port}"
    finally:
        listening.close()
        for writer in hanging:
            writer.close()


async def test_a_store_that_answers_5xx_is_soon_unavailable(tmp_path: Path) -> None:
    answer = b"HTTP/1.1 503 Slow Down\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    async with server(answer) as endpoint:
        await every_call_is_unavailable(open_blobs(dead_settings(endpoint), tmp_path), within=6)


async def test_a_store_that_answers_507_is_full(tmp_path: Path) -> None:
    answer = b"HTTP/1.1 507 Insufficient Storage\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    async with server(answer) as endpoint:
        store = open_blobs(dead_settings(endpoint), tmp_path)
        with pytest.raises(StorageFull):
            async with store.stage(stream(os.urandom(9 * MEGABYTE))):
                pass


async def test_a_ping_does_not_wait_long_for_a_store_that_hangs(tmp_path: Path) -> None:
    async with server(None) as endpoint:
        begun = time.monotonic()
        with pytest.raises(Unavailable):
            await open_blobs(dead_settings(endpoint), tmp_path).ping()
        assert time.monotonic() - begun < 8


async def test_a_bucket_that_is_not_there_is_unavailable_not_empty(
    s3_bucket: S3Bucket, tmp_path: Path
) -> None:
    settings = s3_settings(s3_bucket).model_copy(update={"url": "s3://no-such-bucket"})
    store = open_blobs(settings, tmp_path)

    for call in (
        store.ping(),
        listed(store),
        store.put(stream(b"content")),
        read(store, NOBODY),
        store.sweep_unfinished(datetime.now(UTC)),
    ):
        with pytest.raises(Unavailable):
            await call


# S3


def multipart_uploads(bucket: S3Bucket) -> list[str]:
    import boto3

    client = boto3.client(
        "s3",
        endpoint_url=bucket.endpoint,
        region_name=bucket.region,
        aws_access_key_id=bucket.access_key,
        aws_secret_access_key=bucket.secret_key,
    )
    try:
        found = client.list_multipart_uploads(Bucket=bucket.bucket)
    finally:
        client.close()
    return sorted(upload["Key"] for upload in found.get("Uploads", []))


async def abandon_upload(store: S3Store, path: str) -> None:
    """What a process leaves that is killed in the middle of an upload."""
    import obstore

    writer = obstore.open_writer_async(store, path, buffer_size=5 * MEGABYTE)
    await writer.write(bytes(11 * MEGABYTE))
    await asyncio.sleep(0.2)


async def test_hidden_parts_of_dead_uploads_are_swept(s3_bucket: S3Bucket, tmp_path: Path) -> None:
    store = open_blobs(s3_settings(s3_bucket), tmp_path)
    neighbour = s3_bucket.store()
    assert isinstance(store._store, S3Store)
    await abandon_upload(store._store, "staging/dead one")
    await abandon_upload(store._store, object_path(NOBODY))
    await abandon_upload(neighbour, "another/application")
    assert len(multipart_uploads(s3_bucket)) == 3

    assert await store.sweep_unfinished(datetime.now(UTC) + LATER) == 2

    assert multipart_uploads(s3_bucket) == ["another/application"]
    assert await store.sweep_unfinished(datetime.now(UTC) + LATER) == 0


async def test_an_aborted_put_leaves_no_hidden_parts(s3_bucket: S3Bucket, tmp_path: Path) -> None:
    store = open_blobs(s3_settings(s3_bucket, prefix=""), tmp_path)

    async def content() -> AsyncIterator[bytes]:
        yield bytes(20 * MEGABYTE)
        assert len(multipart_uploads(s3_bucket)) == 1
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        await store.put(content())

    assert multipart_uploads(s3_bucket) == []


# The local folder


@pytest.fixture
def local(tmp_path: Path) -> ObjectBlobStore:
    return open_blobs(BlobSettings(), tmp_path)


async def test_a_local_blob_is_synced_before_put_returns(
    local: ObjectBlobStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []

    def fsync(descriptor: int) -> None:
        synced.append(str(Path(f"/proc/self/fd/{descriptor}").readlink().relative_to(tmp_path)))

    monkeypatch.setattr(local_upload.os, "fsync", fsync)

    blob = await local.put(stream(b"content"))

    file, folder = synced
    assert file.startswith("blobs/staging/")  # the content, before it has its name
    assert folder == f"blobs/sha256/{blob.sha256[:2]}"  # then the name


async def test_a_local_folder_brought_back_without_its_empty_folders_works(
    local: ObjectBlobStore, tmp_path: Path
) -> None:
    for folder in (tmp_path / "blobs/sha256").iterdir():
        folder.rmdir()

    blob = await local.put(stream(b"content"))

    assert await local.verify(blob.sha256)


async def test_a_local_folder_that_went_away_is_unavailable(
    local: ObjectBlobStore, tmp_path: Path
) -> None:
    (tmp_path / "blobs").rename(tmp_path / "unmounted")

    for call in (local.ping(), local.put(stream(b"content"))):
        with pytest.raises(Unavailable):
            await call


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder that takes no file of 6 MB: a disk of its own or, for who may not mount, a limit."""
    place = tmp_path / "tiny"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(place)]
    if (
        os.geteuid() == 0
        and subprocess.run(mount, check=False, capture_output=True).returncode == 0
    ):
        try:
            yield place
        finally:
            subprocess.run(["umount", "--lazy", str(place)], check=True)
        return
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (6 * MEGABYTE, before[1]))
    try:
        yield place
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


async def test_a_full_disk_is_named_and_nothing_is_left_on_it(tiny_disk: Path) -> None:
    store = open_blobs(BlobSettings(), tiny_disk)
    kept = await store.put(stream(os.urandom(MEGABYTE)))

    with pytest.raises(StorageFull, match="disk that holds the blobs is full"):
        await store.put(stream(os.urandom(10 * MEGABYTE)))

    assert await objects(store) == [object_path(kept.sha256)]
    assert await store.verify(kept.sha256)
    assert await store.put(stream(os.urandom(2 * MEGABYTE)))  # there is room again


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
async def test_every_way_of_having_no_room_is_storage_full(
    local: ObjectBlobStore, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    class FullFile(local_upload.FileIO):
        def write(self, block: object) -> int:
            raise OSError(number, os.strerror(number))

    monkeypatch.setattr(local_upload, "FileIO", FullFile)

    with pytest.raises(StorageFull):
        await local.put(stream(b"content"))
    assert await objects(local) == []


async def test_a_failing_disk_is_unavailable_and_not_a_crash(
    local: ObjectBlobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fsync(descriptor: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(local_upload.os, "fsync", fsync)

    with pytest.raises(QuireError) as failed:
        await local.put(stream(b"content"))

    assert type(failed.value) is Unavailable
    assert await objects(local) == []


async def test_a_folder_without_hard_links_does(
    local: ObjectBlobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hardlink_to(self: Path, target: Path) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(Path, "hardlink_to", hardlink_to)

    blob = await local.put(stream(b"content"))

    assert await objects(local) == [object_path(blob.sha256)]
    assert await local.verify(blob.sha256)


async def test_what_a_put_could_not_take_away_is_left_to_the_sweep(
    local: ObjectBlobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    staged, discarding = asyncio.Event(), asyncio.Event()

    async def discard(upload: local_upload.LocalUpload) -> None:
        discarding.set()
        await asyncio.Event().wait()

    async def hold() -> None:
        async with local.stage(stream(b"content")):
            staged.set()
            await asyncio.Event().wait()

    monkeypatch.setattr(local_upload.LocalUpload, "discard", discard)
    holding = asyncio.create_task(hold())
    await staged.wait()
    # when it is cancelled, and again while it cleans up after itself
    holding.cancel()
    await discarding.wait()
    assert await local.sweep_unfinished(datetime.now(UTC) + LATER) == 0
    holding.cancel()
    with pytest.raises(asyncio.CancelledError):
        await holding
    # then nobody is uploading that any more
    assert await local.sweep_unfinished(datetime.now(UTC) + LATER) == 1
    assert await objects(local) == []


async def test_reading_can_be_left_half_way(local: ObjectBlobStore) -> None:
    blob = await local.put(stream(os.urandom(20 * MEGABYTE)))
    async with aclosing(local.get(blob.sha256)) as content:
        async for chunk in content:
            assert chunk
            break

    await local.delete(blob.sha256)
    assert isinstance(local._store, LocalStore)
    assert await objects(local) == []
