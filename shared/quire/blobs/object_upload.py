"""Uploads into an object store, through obstore."""

from __future__ import annotations

import asyncio
import hashlib
import uuid
from contextlib import suppress

import obstore
from obstore.store import MemoryStore, S3Store

from quire.blobs.address import STAGING, object_path
from quire.blobs.failures import naming_failures
from quire.blobs.port import Blob
from quire.blobs.unfinished import UnfinishedUploads
from quire.errors import BlobNotFound, QuireError

# Parts on their way at once, and their size: what an upload may hold in memory.
PART = 8 * 1024 * 1024
PARTS_AT_ONCE = 4
# A store may answer a copy only when it is done: more than this goes part by part. S3's own
# limit for one copy is 5 GB.
COPY_AT_ONCE = 1024 * 1024 * 1024


class ObjectUpload:
    """What fits in one part waits in memory for its address; more goes by way of staging."""

    def __init__(self, store: S3Store | MemoryStore, unfinished: UnfinishedUploads | None) -> None:
        self.path = f"{STAGING}/{uuid.uuid4()}"
        self._store = store
        self._unfinished = unfinished
        self._hash = hashlib.sha256()
        self._size = 0
        self._held: list[bytes] = []
        self._writer: obstore.AsyncWritableFile | None = None
        self._closed = False

    @property
    def blob(self) -> Blob:
        return Blob(self._hash.hexdigest(), self._size)

    async def write(self, block: bytes) -> None:
        await asyncio.to_thread(self._hash.update, block)
        self._size += len(block)
        self._held.append(block)
        if self._size <= PART:
            return
        with naming_failures():
            if self._writer is None:
                self._writer = obstore.open_writer_async(
                    self._store, self.path, buffer_size=PART, max_concurrency=PARTS_AT_ONCE
                )
            for held in self._held:
                await self._writer.write(held)  # waits while too many parts are on their way
        self._held.clear()

    async def close(self) -> None:
        if self._writer is not None:
            with naming_failures():
                await self._writer.close()
        self._closed = True

    async def promote(self) -> None:
        target = object_path(self.blob.sha256)
        if await self._is_there(target):
            return
        with naming_failures():
            if self._writer is None:
                content = b"".join(self._held)
                await obstore.put_async(self._store, target, content, use_multipart=False)
            elif self._size <= COPY_AT_ONCE:
                await obstore.copy_async(self._store, self.path, target)
            else:
                staged = await obstore.get_async(self._store, self.path)
                await obstore.put_async(
                    self._store,
                    target,
                    staged.stream(PART),
                    chunk_size=PART,
                    max_concurrency=PARTS_AT_ONCE,
                )

    async def discard(self) -> None:
        self._held.clear()
        if self._writer is None:
            return
        self._writer = None
        with suppress(QuireError):  # the sweep's, then
            if not self._closed and self._unfinished is not None:
                await self._unfinished.abort(self.path)
            with suppress(BlobNotFound), naming_failures(self.path):
                await obstore.delete_async(self._store, self.path)

    async def _is_there(self, target: str) -> bool:
        try:
            with naming_failures(self.blob.sha256):
                there = await obstore.head_async(self._store, target)
        except BlobNotFound:
            return False
        return there["size"] == self._size
