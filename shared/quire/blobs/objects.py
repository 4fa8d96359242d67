"""Blobs on obstore: a local folder, memory, or an S3-compatible store."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import obstore
from obstore.store import LocalStore, MemoryStore, S3Store

from quire.blobs.address import BLOBS, STAGING, address_at, object_path
from quire.blobs.failures import naming_failures
from quire.blobs.local_upload import LocalUpload, lay_folders
from quire.blobs.object_upload import ObjectUpload
from quire.blobs.port import Blob, StagedBlob, StoredBlob
from quire.blobs.unfinished import UnfinishedUploads
from quire.blobs.upload import BLOCK, Upload, blocks
from quire.errors import BlobNotFound, InvalidInput
from quire.settings import BlobSettings

if TYPE_CHECKING:  # obstore has its typed dictionaries only for type checkers
    from obstore.store import S3Config

PING_SECONDS = 5.0
PAGE = 1000


class ObjectBlobStore:
    """A `BlobStore`: blobs at `sha256/ab/abcd…`, uploads at `staging/…` until they are whole."""

    def __init__(
        self,
        store: LocalStore | MemoryStore | S3Store,
        place: str,
        begin: Callable[[], Upload],
        unfinished: UnfinishedUploads | None = None,
    ) -> None:
        self.place = place
        self._store = store
        self._begin = begin
        self._unfinished = unfinished
        self._uploading: set[str] = set()

    @asynccontextmanager
    async def stage(self, content: AsyncIterable[bytes]) -> AsyncIterator[StagedBlob]:
        upload = self._begin()
        self._uploading.add(upload.path)
        try:
            async with aclosing(blocks(content)) as stream:
                async for block in stream:
                    await upload.write(block)
            await upload.close()
            yield upload
        finally:
            try:
                await upload.discard()
            finally:  # whoever cancels even this leaves it to the sweep
                self._uploading.discard(upload.path)

    async def put(self, content: AsyncIterable[bytes]) -> Blob:
        async with self.stage(content) as staged:
            await staged.promote()
            return staged.blob

    async def get(
        self, sha256: str, *, start: int = 0, end: int | None = None
    ) -> AsyncGenerator[bytes, None]:
        path = object_path(sha256)
        if start < 0 or (end is not None and end < start):
            raise InvalidInput("A range must satisfy 0 ≤ start ≤ end", field="start")
        options: obstore.GetOptions = {}
        if start > 0 or end is not None:
            # Stores differ on ranges that are empty or past the end; this way none sees one.
            size = (await self.stat(sha256)).size
            end = size if end is None else min(end, size)
            if start >= end:
                return
            options["range"] = (start, end)
        with naming_failures(sha256):
            stream = (await obstore.get_async(self._store, path, options=options)).stream(BLOCK)
        while True:
            with naming_failures(sha256):
                chunk = await anext(stream, None)
            if chunk is None:
                return
            if chunk:
                yield bytes(chunk)

    async def stat(self, sha256: str) -> Blob:
        with naming_failures(sha256):
            return Blob(
                sha256, (await obstore.head_async(self._store, object_path(sha256)))["size"]
            )

    async def verify(self, sha256: str) -> bool:
        digest = hashlib.sha256()
        async with aclosing(self.get(sha256)) as stream:
            async for chunk in stream:
                await asyncio.to_thread(digest.update, chunk)
        return digest.hexdigest() == sha256

    async def delete(self, sha256: str) -> None:
        await self._delete(object_path(sha256))

    async def blobs(self, prefix: str = "") -> AsyncIterator[StoredBlob]:
        # Listings go by whole folders.
        folder = f"{BLOBS}/{prefix[:2]}" if len(prefix) >= 2 else BLOBS
        async for found in self._objects(folder):
            sha256 = address_at(found["path"])
            if sha256 is not None and sha256.startswith(prefix):
                yield StoredBlob(sha256, found["size"], found["last_modified"])

    async def sweep_unfinished(self, before: datetime) -> int:
        swept = 0
        async for found in self._objects(STAGING):
            if found["last_modified"] < before and found["path"] not in self._uploading:
                await self._delete(found["path"])
                swept += 1
        if self._unfinished is not None:
            for folder in (STAGING, BLOBS):
                swept += await self._unfinished.abort(
                    f"{folder}/", before=before, except_for=self._uploading
                )
        return swept

    async def ping(self) -> str:
        with naming_failures():
            async with asyncio.timeout(PING_SECONDS):
                if isinstance(self._store, LocalStore) and self._store.prefix is not None:
                    await asyncio.to_thread((self._store.prefix / STAGING).stat)
                await anext(obstore.list(self._store, STAGING, chunk_size=1), None)
        return self.place

    async def _objects(self, folder: str) -> AsyncIterator[obstore.ObjectMeta]:
        pages = obstore.list(self._store, folder, chunk_size=PAGE)
        while True:
            with naming_failures():
                page = await anext(pages, None)
            if page is None:
                return
            for found in page:
                yield found

    async def _delete(self, path: str) -> None:
        try:
            with naming_failures(path):
                await obstore.delete_async(self._store, path)
        except BlobNotFound:
            return


def open_blobs(settings: BlobSettings, data_dir: Path) -> ObjectBlobStore:
    """The store that the settings name; nothing is sent to it yet."""
    if settings.url is None:
        root = data_dir / "blobs"
        with naming_failures():
            lay_folders(root)
        return ObjectBlobStore(LocalStore(root), str(root), partial(LocalUpload, root))
    if settings.url == "memory:":
        memory = MemoryStore()
        return ObjectBlobStore(memory, "memory", partial(ObjectUpload, memory, None))
    return _open_s3(settings, settings.url)


def _open_s3(settings: BlobSettings, url: str) -> ObjectBlobStore:
    bucket, _, path = url.removeprefix("s3://").partition("/")
    prefix = path.strip("/")
    endpoint = (settings.endpoint or f"https://s3.{settings.region}.amazonaws.com").rstrip("/")

    def open_at(endpoint: str, prefix: str | None, *, endpoint_has_bucket: bool) -> S3Store:
        config: S3Config = {
            "endpoint": endpoint,
            "region": settings.region,
            "virtual_hosted_style_request": endpoint_has_bucket,
            # Not every S3-compatible store has the bulk call, and we delete one by one.
            "disable_bulk_delete": True,
        }
        if settings.access_key is not None and settings.secret_key is not None:
            # Otherwise obstore looks in the environment, then for the machine's role.
            config["access_key_id"] = settings.access_key
            config["secret_access_key"] = settings.secret_key.get_secret_value()
        return S3Store(
            bucket,
            prefix=prefix or None,
            config=config,
            client_options={
                "allow_http": endpoint.startswith("http://"),
                "connect_timeout": timedelta(seconds=2),
                # Silence ends a request, not the time that a large blob takes.
                "read_timeout": timedelta(seconds=30),
                "timeout": timedelta(days=1),
            },
            retry_config={
                "max_retries": 2,
                "retry_timeout": timedelta(seconds=5),
                "backoff": {
                    "init_backoff": timedelta(milliseconds=100),
                    "max_backoff": timedelta(seconds=1),
                    "base": 2,
                },
            },
        )

    store = open_at(endpoint, prefix, endpoint_has_bucket=False)
    unfinished = UnfinishedUploads(
        f"{endpoint}/{bucket}", prefix, partial(open_at, prefix=None, endpoint_has_bucket=True)
    )
    return ObjectBlobStore(
        store, f"{url} at {endpoint}", partial(ObjectUpload, store, unfinished), unfinished
    )
