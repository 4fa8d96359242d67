"""Copying an embedded collection: its files, holes as holes, each compared by its sha256.

The caller holds off other writers. Reads go on, for they change no file; the lease keeps the shard
from being closed, which does. Once flushed and synced, the files are all there is to a shard, its
log included.
"""

from __future__ import annotations

import os
from pathlib import Path
from threading import Event

from quire.errors import Unavailable, VerificationFailed
from quire.vectors.edge_faults import faults
from quire.vectors.edge_files import clone_file, data_digest, disk_bytes, files_below, sync_tree
from quire.vectors.edge_root import EdgeRoot
from quire.vectors.edge_shards import OpenShards


def clone_collection(
    root: EdgeRoot, shards: OpenShards, source: str, target: str, stop: Event
) -> None:
    """Put a copy of `source` in the place of `target`; see `edge_root` for what a crash does."""
    with faults(source), root.draft() as draft:
        shards.flush(source)
        with shards.lease(source):
            shard = root.shard_path(source)
            root.require_room(disk_bytes(shard))
            # What is dirty in a memory map may still look like a hole.
            sync_tree(shard)
            clone_shard(shard, draft / "shard", stop)
        root.seal_draft(draft, root.spec(source))
        _go_on(stop)
        shards.replace(target, draft)
        root.empty_trash()


def clone_shard(source: Path, target: Path, stop: Event) -> None:
    """Copy every file and read both again."""
    for directory, _, _ in os.walk(source):
        os.mkdir(target / os.path.relpath(directory, source), 0o700)
    for name, _ in files_below(source):
        _go_on(stop)
        ours, theirs = os.path.join(source, name), os.path.join(target, name)
        clone_file(ours, theirs)
        if data_digest(ours) != data_digest(theirs):
            raise VerificationFailed(f"The copy of {name} differs from what was copied.")


def _go_on(stop: Event) -> None:
    if stop.is_set():
        raise Unavailable("The copy was given up.")
