"""Beneath the embedded engine: worker threads, one writer to a collection, and what a fork does."""

from __future__ import annotations

import asyncio
import os
import threading
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from typing import Self, TypeVar
from weakref import WeakValueDictionary

import qdrant_edge as edge

from quire.errors import Unavailable
from quire.vectors.edge_faults import faults
from quire.vectors.edge_memory import DROP_EVERY, drop_mapped_pages
from quire.vectors.edge_root import EdgeRoot
from quire.vectors.edge_shards import OpenShard, OpenShards
from quire.vectors.port import CollectionSpec
from quire.vectors.validation import collection_name

T = TypeVar("T")

_THREADS = 6
_SPECS_KEPT = 10_000


class EdgeCalls:
    """What every call of `EdgeEngine` goes through."""

    def __init__(self, root: EdgeRoot, max_open: int) -> None:
        self._root = root
        self._shards = OpenShards(root, max_open)
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="quire-edge")
        self._writers: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._specs: OrderedDict[str, CollectionSpec] = OrderedDict()
        self._pid = os.getpid()
        self._closed = False

    @classmethod
    async def open(
        cls,
        root: Path,
        *,
        max_open: int,
        lock_wait: float = 2.0,
        min_free_bytes: int = 64 << 20,
    ) -> Self:
        """Take the root's lock, sweep what a crash left, and be ready.

        `max_open` shards stay open (each takes a file descriptor, a thread and some 16 memory
        maps). Raises `ConfigurationError` when another process has the root.
        """
        make = partial(EdgeRoot, root, lock_wait=lock_wait, min_free_bytes=min_free_bytes)
        return cls(await asyncio.to_thread(make), max_open)

    async def close(self) -> None:
        """Close every shard and give the root up."""
        if self._closed:
            return
        self._closed = True
        await asyncio.to_thread(self._close)

    def _close(self) -> None:
        self._pool.shutdown(wait=True)
        try:
            self._shards.close()
        finally:
            self._root.close()

    async def _spec(self, name: str) -> CollectionSpec:
        collection_name(name)
        spec = self._specs.get(name)
        if spec is None:
            spec = await self._run(partial(self._root.spec, name))
            self._specs[name] = spec
            if len(self._specs) > _SPECS_KEPT:
                self._specs.popitem(last=False)
        return spec

    async def _read(self, name: str, call: Callable[[edge.EdgeShard], T]) -> T:
        def read() -> T:
            with self._shards.lease(name) as shard, faults(name):
                return call(shard.engine)

        collection_name(name)
        return await self._run(read)

    async def _drop_pages(self, name: str) -> None:
        """Let go of what the shard has mapped in; it comes back from its files."""

        def drop() -> None:
            with self._shards.lease(name):
                drop_mapped_pages(self._root.shard_path(name), only=b"")

        # A write could map files anew meanwhile, and other memory lie where they were.
        async with self._writing(name):
            await self._run(drop)

    async def _write(
        self, name: str, call: Callable[[edge.EdgeShard], None], *, points: int = 0
    ) -> None:
        def write() -> None:
            with self._shards.lease(name) as shard, breaking(shard), faults(name):
                self._root.require_room()
                if not shard.marked:
                    self._root.mark_written(name)
                    shard.marked = True
                shard.clean = False
                call(shard.engine)
                shard.written += points
                if shard.written >= DROP_EVERY:
                    drop_mapped_pages(self._root.shard_path(name), only=b"")
                    shard.written = 0

        async with self._writing(name):
            await self._run(write)

    @asynccontextmanager
    async def _writing(self, name: str) -> AsyncIterator[None]:
        # Weakly kept: a lock lives as long as somebody holds it or waits for it.
        lock = self._writers.get(name)
        if lock is None:
            lock = self._writers[name] = asyncio.Lock()
        async with lock:
            yield

    async def _run(self, call: Callable[[], T]) -> T:
        self._require_open()
        return await asyncio.get_running_loop().run_in_executor(self._pool, call)

    async def _whole(self, call: Callable[[threading.Event], None]) -> None:
        """Run work that is not to be overlapped even when its caller gives up.

        It is told by the event and stops where it can; only then are locks given back.
        """
        stop = threading.Event()
        work = asyncio.ensure_future(self._run(partial(call, stop)))
        try:
            await asyncio.shield(work)
        except asyncio.CancelledError:
            stop.set()
            await asyncio.wait([work])
            if not work.cancelled():
                work.exception()  # it was stopped, or failed with nobody to tell
            raise

    def _require_open(self) -> None:
        if self._pid != os.getpid():
            raise Unavailable("The embedded engine is the parent process's; it survives no fork.")
        if self._closed:
            raise Unavailable("The embedded engine is closed.")


@contextmanager
def breaking(shard: OpenShard) -> Iterator[None]:
    """After a failed write the shard is closed and loaded again, from its log."""
    try:
        yield
    except BaseException:
        shard.broken = True
        raise
