"""The shards that are open in this process: each once, no more than a limit, none closed in use.

A second open of a shard damages the first, so opening goes through here only, under the root's
lock, one thread at a time for each shard. All of it blocks; the engine calls it in worker threads.
A lease is only ever waited for by a thread that holds none, so there is nothing to deadlock.
"""

from __future__ import annotations

import ctypes
import os
import threading
import weakref
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path

import qdrant_edge as edge
import structlog

from quire.errors import CollectionNotFound, QuireError, Unavailable
from quire.vectors.edge_faults import faults
from quire.vectors.edge_memory import drop_mapped_pages
from quire.vectors.edge_root import EdgeRoot

_log = structlog.get_logger(__name__)


class _State(Enum):
    OPENING = auto()
    OPEN = auto()
    CLOSING = auto()


@dataclass(slots=True)
class OpenShard:
    """An open shard, and what this process knows about it."""

    name: str
    _shard: edge.EdgeShard | None = None
    state: _State = _State.OPENING
    users: int = 0
    marked: bool = False
    sealed: bool = False
    clean: bool = False
    broken: bool = False
    leaving: bool = False
    written: int = 0
    """Points since its pages were dropped."""

    @property
    def engine(self) -> edge.EdgeShard:
        """The engine's own object."""
        if self._shard is None:
            raise Unavailable(f"Collection {self.name} is not open.")
        return self._shard

    def attach(self, shard: edge.EdgeShard) -> None:
        """Call once it is loaded."""
        self._shard, self.state = shard, _State.OPEN

    def close(self) -> None:
        """Give its memory and files up; nobody may be using it.

        A failure is logged only: whoever asks is served elsewhere, and the log on disk has it all.
        """
        shard, self._shard = self._shard, None
        if shard is not None:
            try:
                with faults(self.name):
                    shard.close()
            except QuireError as error:
                _log.warning("edge.close_failed", collection=self.name, error=error.message)

    def abandon(self) -> None:
        """In a forked child: never run the engine's own clean-up on files that are the parent's."""
        if self._shard is not None:
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._shard))
            self._shard = None


class OpenShards:
    """An LRU of open shards with leases; `max_open` is exceeded only while all are in use."""

    def __init__(self, root: EdgeRoot, max_open: int) -> None:
        self._root = root
        self._max_open = max(1, max_open)
        self._entries: OrderedDict[str, OpenShard] = OrderedDict()
        self._changed = threading.Condition()
        self._closed: str | None = None
        _REGISTRIES.add(self)

    def __len__(self) -> int:
        return len(self._entries)

    @contextmanager
    def lease(self, name: str) -> Iterator[OpenShard]:
        """The shard, opened if need be, and kept open until the block ends."""
        entry = self._acquire(name)
        try:
            yield entry
        finally:
            with self._changed:
                entry.users -= 1
                surplus = self._surplus(self._max_open)
                if entry.broken and entry.users == 0 and entry.state is _State.OPEN:
                    entry.state = _State.CLOSING
                    surplus.append(entry)
                self._changed.notify_all()
            self._close(surplus)

    def release(self, name: str) -> None:
        """Close the shard if it is open, as soon as nobody uses it."""
        with self._alone(name):
            pass

    @contextmanager
    def _alone(self, name: str) -> Iterator[None]:
        with self._changed:
            while (entry := self._entries.get(name)) is not None:
                if entry.state is _State.OPEN and entry.users == 0:
                    entry.state = _State.CLOSING
                    break
                entry.leaving = True  # or newcomers could keep it open for ever
                self._changed.wait()
            else:
                # A place holder, so that nobody opens it meanwhile.
                entry = self._entries[name] = OpenShard(name, state=_State.CLOSING)
        try:
            entry.close()
            yield
        finally:
            self._forget(entry)

    def discard(self, name: str) -> None:
        """Close the shard and take its collection away, with nobody in between."""
        with self._alone(name):
            self._root.discard(name)

    def replace(self, name: str, draft: Path) -> None:
        """Put a drafted collection in the place of this one, with nobody in between."""
        with self._alone(name):
            self._root.discard(name)
            self._root.place(draft, name)

    def flush(self, name: str) -> None:
        """Have everything written to the shard survive a power cut."""
        with self.lease(name) as shard, faults(name):
            if shard.clean and shard.sealed:
                return
            shard.engine.flush()
            if not shard.sealed:
                self._root.seal(name)
                shard.sealed = True
            shard.clean = True

    def close(self) -> None:
        """Close every shard; waits for those in use."""
        with self._changed:
            self._closed = "closed"
            self._changed.wait_for(lambda: all(e.users == 0 for e in self._entries.values()))
            names = list(self._entries)
        for name in names:
            self.release(name)

    def abandon(self) -> None:
        """In a forked child: let go of everything without touching it."""
        self._closed = "open in the parent process, and does not survive a fork"
        self._changed = threading.Condition()
        for entry in self._entries.values():
            entry.abandon()
        self._entries.clear()
        self._root.close()

    def _acquire(self, name: str) -> OpenShard:
        with self._changed:
            while True:
                if self._closed is not None:
                    raise Unavailable(f"The embedded engine is {self._closed}.")
                entry = self._entries.get(name)
                if entry is None:
                    entry = self._entries[name] = OpenShard(name)
                    surplus = self._surplus(self._max_open)
                    break
                if entry.state is _State.OPEN and not entry.leaving:
                    entry.users += 1
                    self._entries.move_to_end(name)
                    return entry
                self._changed.wait()
        try:
            self._close(surplus)
            shard = self._load(entry)
        except BaseException:
            self._forget(entry)
            raise
        with self._changed:
            entry.attach(shard)
            entry.users = 1
            self._changed.notify_all()
        return entry

    def _surplus(self, limit: int) -> list[OpenShard]:
        """Mark the least recently used idle shards beyond the limit; the caller closes them."""
        staying = sum(e.state is not _State.CLOSING for e in self._entries.values())
        surplus: list[OpenShard] = []
        if staying <= limit:
            return surplus
        for entry in self._entries.values():
            if entry.state is _State.OPEN and entry.users == 0:
                entry.state = _State.CLOSING
                surplus.append(entry)
                if len(surplus) == staying - limit:
                    break
        return surplus

    def _close(self, entries: list[OpenShard]) -> None:
        for entry in entries:
            try:
                entry.close()
            finally:
                self._forget(entry)

    def _forget(self, entry: OpenShard) -> None:
        with self._changed:
            self._entries.pop(entry.name, None)
            self._changed.notify_all()

    def _load(self, entry: OpenShard) -> edge.EdgeShard:
        name, root = entry.name, self._root
        if not root.exists(name):
            raise CollectionNotFound(f"There is no collection {name}.", collection=name)
        doubtful = root.is_doubtful(name)
        if doubtful and not root.is_written(name):
            root.lay_anew(name)
            doubtful = False
        if not doubtful:
            try:
                shard = _loaded(root, name)
            except QuireError:
                if root.is_sealed(name) or root.is_written(name):
                    raise
                # Never written, so nothing is lost; and its template may be what is damaged.
                root.templates.rebuild(root.spec(name))
                root.lay_anew(name)
                shard = _loaded(root, name)
        else:
            shard = self._salvaged(name)
        entry.sealed, entry.marked = root.is_sealed(name), root.is_written(name)
        return shard

    def _salvaged(self, name: str) -> edge.EdgeShard:
        """A shard that was written but never flushed before the machine went down."""
        root = self._root
        if root.is_complete(name):
            try:
                shard = _loaded(root, name)
                with faults(name):
                    _read_through(shard)
                    shard.flush()
                root.seal(name)
                return shard
            except QuireError:
                pass
        _log.warning("edge.laid_anew", collection=name, reason="torn before its first flush")
        root.lay_anew(name)
        return _loaded(root, name)


def _loaded(root: EdgeRoot, name: str) -> edge.EdgeShard:
    path = root.shard_path(name)
    with faults(name):
        shard = edge.EdgeShard.load(str(path))
    drop_mapped_pages(path)
    return shard


def _read_through(shard: edge.EdgeShard) -> None:
    offset = None
    while True:
        _, offset = shard.scroll(
            edge.ScrollRequest(offset=offset, limit=500, with_payload=True, with_vector=True)
        )
        if offset is None:
            return


_REGISTRIES: weakref.WeakSet[OpenShards] = weakref.WeakSet()


def _abandon_all() -> None:
    for registry in list(_REGISTRIES):
        registry.abandon()


os.register_at_fork(after_in_child=_abandon_all)
