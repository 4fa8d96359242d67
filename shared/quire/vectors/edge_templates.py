"""Prepared empty shards: making one takes the engine 100 ms, cloning one takes 2.

A template is built once per specification and engine version in a temporary directory, synced, and
renamed into place, so a template that exists is whole. Its manifest lists its files: what does not
fit it any more (a disk's fault, a careless hand) is built anew.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import threading
import uuid
from importlib.metadata import version
from pathlib import Path

import qdrant_edge as edge

from quire.vectors.edge_files import clone_tree, files_below, sync_path, sync_tree, write_synced
from quire.vectors.port import DENSE, SPARSE, CollectionSpec, Distance, IndexKind

ENGINE_VERSION = version("qdrant-edge-py")

_LAYOUT = 1
"""Raise it when the configuration below changes, so that old templates are not used."""

_DISTANCES = {
    Distance.COSINE: edge.Distance.Cosine,
    Distance.DOT: edge.Distance.Dot,
    Distance.EUCLID: edge.Distance.Euclid,
    Distance.MANHATTAN: edge.Distance.Manhattan,
}

_SCHEMAS = {
    IndexKind.KEYWORD: edge.PayloadSchemaType.Keyword,
    IndexKind.INTEGER: edge.PayloadSchemaType.Integer,
    IndexKind.FLOAT: edge.PayloadSchemaType.Float,
    IndexKind.BOOL: edge.PayloadSchemaType.Bool,
    IndexKind.DATETIME: edge.PayloadSchemaType.Datetime,
    IndexKind.TEXT: edge.PayloadSchemaType.Text,
}


def spec_to_json(spec: CollectionSpec) -> dict[str, object]:
    """A specification as JSON; equal ones give equal JSON."""
    return {
        "dimension": spec.dimension,
        "distance": spec.distance.value,
        "indexes": {key: spec.indexes[key].value for key in sorted(spec.indexes)},
    }


def index_operation(key: str, kind: IndexKind) -> edge.UpdateOperation:
    """The update that makes a payload index."""
    return edge.UpdateOperation.create_field_index(key, _SCHEMAS[kind])


class Templates:
    """The prepared shards below one directory; threads may share it."""

    def __init__(self, directory: Path, temporary: Path) -> None:
        self._directory = directory
        self._temporary = temporary
        self._building = threading.Lock()

    def clone(self, spec: CollectionSpec, target: Path) -> None:
        """Lay an empty shard at `target`, which must not exist; nothing is synced."""
        with self._building:
            template = self._whole(spec)
        clone_tree(template / "shard", target)

    def rebuild(self, spec: CollectionSpec) -> None:
        """Forget a template whose clones do not load; the next clone builds it anew."""
        with self._building:
            self._discard(self._path(spec))

    def sizes(self, spec: CollectionSpec) -> dict[str, int]:
        """The files of an empty shard and how long each is at least."""
        with self._building:
            return _manifest(self._whole(spec)) or {}

    def _whole(self, spec: CollectionSpec) -> Path:
        path = self._path(spec)
        expected = _manifest(path)
        if expected is not None:
            try:
                found = {name: status.st_size for name, status in files_below(path / "shard")}
            except OSError:
                found = {}
            if found == expected:
                return path
        self._discard(path)
        self._build(spec, path)
        return path

    def _build(self, spec: CollectionSpec, path: Path) -> None:
        draft = self._temporary / uuid.uuid4().hex
        shard_path = draft / "shard"
        shard_path.mkdir(parents=True)
        shard = edge.EdgeShard.create(str(shard_path), _config(spec))
        try:
            for key, kind in spec.indexes.items():
                shard.update(index_operation(key, kind))
            shard.flush()
        finally:
            shard.close()
        sizes = {name: status.st_size for name, status in files_below(shard_path)}
        write_synced(draft / "manifest.json", json.dumps(sizes).encode())
        sync_tree(draft)
        draft.rename(path)
        sync_path(self._directory)

    def _discard(self, path: Path) -> None:
        if path.exists():
            trash = self._temporary / uuid.uuid4().hex
            path.rename(trash)
            shutil.rmtree(trash, ignore_errors=True)

    def _path(self, spec: CollectionSpec) -> Path:
        identity = [_LAYOUT, ENGINE_VERSION, spec_to_json(spec)]
        digest = hashlib.sha256(json.dumps(identity).encode()).hexdigest()
        return self._directory / digest[:32]


def _manifest(template: Path) -> dict[str, int] | None:
    try:
        sizes = json.loads((template / "manifest.json").read_bytes())
    except (OSError, ValueError):
        return None
    return sizes if isinstance(sizes, dict) else None


def _config(spec: CollectionSpec) -> edge.EdgeConfig:
    return edge.EdgeConfig(
        vectors={
            # Unless Cold, the engine reads the whole 32 MiB map in at load, holes and all: 32 MB
            # more for each open shard, and twice the time to open it.
            DENSE: edge.EdgeVectorParams(
                size=spec.dimension,
                distance=_DISTANCES[spec.distance],
                memory=edge.Memory.Cold,
            )
        },
        sparse_vectors={SPARSE: edge.EdgeSparseVectorParams(modifier=edge.Modifier.Idf)},
        # One thread for each shard: hundreds are open at once, and the default is eight.
        max_search_threads=1,
        wal_enabled=True,
    )
