"""Uploads into a local folder, durable against a power cut, which obstore's are not."""

from __future__ import annotations

import asyncio
import hashlib
import os
import threading
import uuid
from collections.abc import Callable
from io import FileIO
from pathlib import Path
from typing import TypeVar

from quire.blobs.address import BLOBS, SHARDS, STAGING, object_path
from quire.blobs.failures import naming_failures
from quire.blobs.port import Blob
from quire.errors import Unavailable

Got = TypeVar("Got")


def lay_folders(root: Path) -> None:
    """Make every folder, durably, so that storing a blob has but one folder to sync."""
    for folder in (root, root / STAGING, root / BLOBS, *(root / BLOBS / name for name in SHARDS)):
        folder.mkdir(parents=True, exist_ok=True)
    for folder in (root / BLOBS, root, root.parent):
        _sync_folder(folder)


class LocalUpload:
    """One file in the staging folder, then in its place."""

    def __init__(self, root: Path) -> None:
        self.path = f"{STAGING}/{uuid.uuid4()}"
        self._root = root
        self._file: FileIO | None = None
        self._hash = hashlib.sha256()
        self._size = 0
        # A cancelled put goes on to discard while its last write still runs in a thread.
        self._turn = threading.Lock()
        self._discarded = False

    @property
    def blob(self) -> Blob:
        return Blob(self._hash.hexdigest(), self._size)

    async def write(self, block: bytes) -> None:
        await self._in_thread(lambda: self._write(block))

    async def close(self) -> None:
        await self._in_thread(self._close)

    async def promote(self) -> None:
        await self._in_thread(self._promote)

    async def discard(self) -> None:
        await asyncio.to_thread(self._discard)

    async def _in_thread(self, work: Callable[[], None]) -> None:
        def in_turn() -> None:
            with self._turn:
                if not self._discarded:
                    work()

        with naming_failures():
            await asyncio.to_thread(in_turn)

    def _opened(self) -> FileIO:
        if self._file is None:
            self._file = FileIO(self._root / self.path, "xb")
        return self._file

    def _write(self, block: bytes) -> None:
        file = self._opened()
        rest = memoryview(block)
        while rest:
            rest = rest[file.write(rest) :]
        self._hash.update(block)
        self._size += len(block)

    def _close(self) -> None:
        file = self._opened()
        os.fsync(file.fileno())
        file.close()

    def _promote(self) -> None:
        target = self._root / object_path(self.blob.sha256)
        if not _has_size(target, self._size):
            if not target.parent.exists():  # a backup brought back without its empty folders
                lay_folders(self._root)
            try:
                self._place(target)
            except FileNotFoundError as error:
                raise Unavailable(
                    "The upload was swept before it was finished",
                    recovery="Send it again; if uploads take longer than "
                    "QUIRE_BLOB_SWEEP_GRACE_SECONDS, raise that.",
                ) from error
        # Also where it was there already: whoever put it there may not have come to this line.
        _sync_folder(target.parent)

    def _place(self, target: Path) -> None:
        staged = self._root / self.path
        try:
            target.hardlink_to(staged)  # and not renamed: a sweep may make us promote it again
        except OSError:
            staged.replace(target)  # over a damaged file, or where there are no hard links

    def _discard(self) -> None:
        with self._turn:
            self._discarded = True
            try:
                if self._file is not None:
                    self._file.close()
                    (self._root / self.path).unlink(missing_ok=True)
            except OSError:
                return  # the sweep's


def _has_size(path: Path, size: int) -> bool:
    try:
        return path.stat().st_size == size
    except FileNotFoundError:
        return False


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
