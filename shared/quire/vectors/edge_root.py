"""Where the embedded engine keeps its collections, and why a crash at any moment does no harm.

    <root>/lock                              held (flock) by the one process that owns the root
    <root>/templates/<digest>/               prepared empty shards, synced
    <root>/collections/<na>/<name>/spec.json how it was laid, its indexes, and in which boot; synced
                                   /shard/   the engine's
                                   /written  exists once something was written; not synced
                                   /sealed   exists once the whole tree was synced; synced
    <root>/temporary/ <root>/trash/          swept when the root is opened
    <root>/damaged/                          shards set aside, for an operator to look at

*Laying* clones a template into `temporary`, writes and syncs `spec.json`, renames the directory
into place and syncs the parent. A kill before the rename leaves only a directory to sweep; after
it, the collection exists whole, because the page cache outlives the process. The 40 files of the
shard are not synced: after a power cut they may be torn or empty. That does no harm because they
hold nothing that the template does not: a shard that is neither `sealed` nor `written`, and was
laid in another boot of the machine, is thrown away and laid anew before its first use.

*Writing* puts the marker `written` before the first write. Until the first flush nothing was
promised to survive a power cut, but a kill of the process, even followed by an orderly reboot, must
lose nothing. So a `written` but unsealed shard of another boot is loaded if all its files are there
and it answers; then it is sealed. Only otherwise is it set aside under `damaged` and laid anew.

*Sealing*, at the first flush: the engine flushes, the whole tree is synced, then `sealed` is
written and synced. From then on the engine's own write-ahead log and flush protocol carry the
shard, and nothing here ever replaces it. Within one boot nothing is replaced either, whatever an
error says: the files are as they were written, so the fault is another (memory, descriptors).

*Copying* clones a shard that was just flushed into `temporary`, seals the clone there, and renames
it into place; what was in that place goes the way of the dropped just before. A kill leaves the old
collection, none, or the whole copy.

*Dropping* renames into `trash`, syncs, removes. A kill half way leaves trash, never half a shard.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import structlog

from quire.errors import CollectionNotFound, ConfigurationError, StorageFull, Unavailable
from quire.vectors.edge_files import files_below, sync_path, sync_tree, write_synced
from quire.vectors.edge_templates import Templates, spec_to_json
from quire.vectors.port import CollectionSpec, Distance, IndexKind

_log = structlog.get_logger(__name__)

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def _this_boot() -> str:
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return f"unknown-{uuid.uuid4()}"  # equal to nothing: the careful path is taken


class EdgeRoot:
    """The directories of an embedded engine; opening it takes the lock. Blocking: use threads."""

    def __init__(
        self, root: Path, *, lock_wait: float = 2.0, min_free_bytes: int = 64 << 20
    ) -> None:
        self.root = root
        self._collections = root / "collections"
        self._temporary = root / "temporary"
        self._trash = root / "trash"
        self._min_free_bytes = min_free_bytes
        self._boot = _this_boot()
        for path in (root, self._collections, self._temporary, self._trash, root / "templates"):
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock: int | None = _locked(root / "lock", lock_wait)
        try:
            self._sweep()
        except BaseException:
            self.close()
            raise
        self.templates = Templates(root / "templates", self._temporary)

    def close(self) -> None:
        """Give the root up; another process may then open it."""
        # Closing, not unlocking: a forked child that closes its copy must not free our lock.
        lock, self._lock = self._lock, None
        if lock is not None:
            os.close(lock)

    def names(self) -> Iterator[str]:
        """The names of all collections, from the directory alone."""
        with os.scandir(self._collections) as parents:
            for parent in parents:
                with os.scandir(parent.path) as homes:
                    yield from (home.name for home in homes)

    def exists(self, name: str) -> bool:
        """Whether the collection was laid and not dropped; loads nothing."""
        return self._home(name).exists()

    def shard_path(self, name: str) -> Path:
        """The directory that is the engine's own."""
        return self._home(name) / "shard"

    def spec(self, name: str) -> CollectionSpec:
        """How the collection was laid, with the indexes it has now."""
        return _spec_from_json(self._card(name))

    def lay(self, name: str, spec: CollectionSpec) -> None:
        """Make an empty collection, or leave the one that has the name by now."""
        with self.draft() as draft:
            self.templates.clone(spec, draft / "shard")
            self._write_card(draft, spec)
            with contextlib.suppress(FileExistsError):
                self.place(draft, name)

    @contextmanager
    def draft(self) -> Iterator[Path]:
        """A directory for a collection in the making, gone at the end unless it was placed."""
        draft = self._temporary / uuid.uuid4().hex
        draft.mkdir(mode=0o700)
        try:
            yield draft
        finally:
            shutil.rmtree(draft, ignore_errors=True)

    def seal_draft(self, draft: Path, spec: CollectionSpec) -> None:
        """Make a drafted collection of a shard that is there: sealed, before it has a name."""
        self._write_card(draft, spec)
        (draft / "written").touch(mode=0o600)
        _seal(draft)

    def place(self, draft: Path, name: str) -> None:
        """Give a drafted collection its name; `FileExistsError` when there is one by that name."""
        home = self._home(name)
        if not home.parent.exists():
            home.parent.mkdir(mode=0o700, exist_ok=True)
            sync_path(self._collections)
        _rename_new(draft, home)
        sync_path(home.parent)

    def remember_indexes(self, name: str, spec: CollectionSpec) -> None:
        """Keep the indexes made later, so that they are known before the shard is open."""
        card = self._card(name)
        self._write_card(self._home(name), spec, boot=str(card["boot"]))
        sync_path(self._home(name))

    def mark_written(self, name: str) -> None:
        """Call before the first write that a process makes to a shard."""
        (self._home(name) / "written").touch(mode=0o600)

    def is_sealed(self, name: str) -> bool:
        """Whether the whole shard was synced once."""
        return (self._home(name) / "sealed").exists()

    def seal(self, name: str) -> None:
        """Sync the whole shard; the engine must have flushed it."""
        _seal(self._home(name))

    def is_doubtful(self, name: str) -> bool:
        """Whether a power cut may have torn the shard: unsealed, and of another boot."""
        return not self.is_sealed(name) and self._card(name).get("boot") != self._boot

    def is_written(self, name: str) -> bool:
        """Whether something may have been written to the shard."""
        return (self._home(name) / "written").exists()

    def is_complete(self, name: str) -> bool:
        """Whether every file of an empty shard is there, and at least as long."""
        try:
            found = {n: status.st_size for n, status in files_below(self.shard_path(name))}
        except OSError:
            return False
        # Log segments are renamed as they fill; all other files stay.
        expected = self.templates.sizes(self.spec(name))
        kept = {n: size for n, size in expected.items() if not n.startswith("wal/")}
        return all(found.get(n, -1) >= size for n, size in kept.items())

    def lay_anew(self, name: str) -> None:
        """Replace the shard of an unsealed collection by an empty one; keep what was written."""
        if self.is_sealed(name):
            raise Unavailable(f"Collection {name} is sealed; it is never laid anew.")
        home, spec = self._home(name), self.spec(name)
        fresh = self._temporary / uuid.uuid4().hex
        self.templates.clone(spec, fresh)
        shard, written = home / "shard", home / "written"
        if shard.exists():
            if written.exists():
                damaged = self.root / "damaged"
                damaged.mkdir(mode=0o700, exist_ok=True)
                shard.rename(damaged / f"{name}-{uuid.uuid4().hex}")
            else:
                shard.rename(self._trash / uuid.uuid4().hex)
        written.unlink(missing_ok=True)
        fresh.rename(shard)
        self._write_card(home, spec)
        sync_path(home)
        self.empty_trash()

    def discard(self, name: str) -> None:
        """Take the collection away; `empty_trash` then removes the files."""
        home = self._home(name)
        try:
            home.rename(self._trash / uuid.uuid4().hex)
        except FileNotFoundError:
            return
        sync_path(home.parent)

    def empty_trash(self) -> None:
        """Remove what was discarded."""
        for path in self._trash.iterdir():
            shutil.rmtree(path, ignore_errors=True)

    def require_room(self, for_bytes: int = 0) -> None:
        """Refuse to write to a nearly full disk, where a memory map would kill the process."""
        status = os.statvfs(self.root)
        if status.f_bavail * status.f_frsize < self._min_free_bytes + for_bytes:
            raise StorageFull(
                f"Less than {self._min_free_bytes >> 20} MiB is free where collections are kept."
            )

    def _home(self, name: str) -> Path:
        return self._collections / name[:2] / name

    def _card(self, name: str) -> dict[str, Any]:
        try:
            card: dict[str, Any] = json.loads((self._home(name) / "spec.json").read_bytes())
        except (FileNotFoundError, NotADirectoryError):
            raise CollectionNotFound(f"There is no collection {name}.", collection=name) from None
        return card

    def _write_card(self, home: Path, spec: CollectionSpec, boot: str | None = None) -> None:
        card = {**spec_to_json(spec), "boot": boot or self._boot}
        write_synced(home / "spec.json", json.dumps(card).encode())

    def _sweep(self) -> None:
        for directory in (self._temporary, self._trash):
            for path in directory.iterdir():
                _log.info("edge.swept", directory=directory.name, name=path.name)
                shutil.rmtree(path, ignore_errors=True)
        # Killed between the two renames of `lay_anew`: the card is there, the shard is not. That
        # shard was doubtful and still is (same card), so its next use lays it anew.


def _spec_from_json(card: dict[str, Any]) -> CollectionSpec:
    return CollectionSpec(
        dimension=card["dimension"],
        distance=Distance(card["distance"]),
        indexes={key: IndexKind(kind) for key, kind in card["indexes"].items()},
    )


def _seal(home: Path) -> None:
    sync_tree(home)
    write_synced(home / "sealed", b"")
    sync_path(home)


def _rename_new(draft: Path, home: Path) -> None:
    try:
        draft.rename(home)
    except OSError as error:
        if error.errno == errno.ENOTEMPTY:
            raise FileExistsError(home) from error
        raise


def _locked(path: Path, wait: float) -> int:
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    deadline = time.monotonic() + wait
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() < deadline:
                time.sleep(0.05)  # a process that is going down frees it in a moment
                continue
            holder = os.pread(fd, 32, 0).decode(errors="replace").strip() or "unknown"
            os.close(fd)
            raise ConfigurationError(
                f"{path.parent} is in use by process {holder}; the embedded engine belongs to "
                "one process at a time.",
                recovery="Stop that process, give this one a QUIRE_DATA_DIR of its own, or run a "
                "Qdrant server and set QUIRE_QDRANT_URL.",
            ) from None
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        return fd
