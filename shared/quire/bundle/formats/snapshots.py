"""Qdrant's snapshots: the points of a collection, or of one shard, out of the engine's own files.

The archive is checked and unpacked here; the engine then opens the files in a process of its own,
which hands the points over as JSON. So nothing that is wrong with them can hurt this process.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson

from quire.bundle.formats.mapping import ColumnMapping
from quire.bundle.formats.points import (
    batched,
    identity_of,
    located,
    named_vectors,
    payload_of,
    weight_of,
)
from quire.bundle.formats.snapshot_archive import read_head, unpack_shard
from quire.errors import FileRefused, InvalidInput, Unavailable
from quire.vectors.port import Point

_PROCESS = "quire.bundle.formats.snapshot_process"
# All that the process is told of the environment; secrets are in the rest.
_ENVIRONMENT = ("PATH", "PYTHONPATH", "PYTHONHOME", "LD_LIBRARY_PATH", "SYSTEMROOT", "TMPDIR")
_LINE_BYTES_MAX = 512 * 1024 * 1024
_ANSWER_SECONDS = 300.0
_BASE_MEGABYTES = 2048


class SnapshotReader:
    """A snapshot, its table of contents checked; blocking."""

    def __init__(self, path: Path, mapping: ColumnMapping | None, folder: Path) -> None:
        """`folder` is a scratch folder: one shard at a time is unpacked there."""
        self._path = path
        self._folder = folder
        self._chosen = None if mapping is None else mapping.vector
        self.head = read_head(path)
        self.dimension, self.distance = self._vector()
        self.has_sparse = bool(self.head.sparse)

    def batches(self, bytes_max: int) -> Iterator[list[Point]]:
        """All points, shard by shard, each in the order of ids."""
        return batched(self._points(bytes_max), "Point")

    def _vector(self) -> tuple[int | None, str | None]:
        dense, sparse = self.head.dense, self.head.sparse
        if self._chosen is not None and self._chosen not in dense:
            raise FileRefused(
                f"The snapshot has no vector {self._chosen[:80]!a}; it has {_names(dense)}.",
                field="mapping.vector",
            )
        if self._chosen is None and len(dense) > 1:
            raise FileRefused(
                f"The snapshot has the vectors {_names(dense)}; a session has one. Choose it in "
                'the mapping: {"vector": …}.',
                field="mapping.vector",
            )
        if len(sparse) > 1:
            raise FileRefused(
                f"The snapshot has the sparse vectors {_names(sparse)}; a session has one.",
                field="vector",
            )
        if not dense:
            return None, None
        config = dense[self._chosen] if self._chosen is not None else next(iter(dense.values()))
        if not isinstance(config, dict) or not isinstance(config.get("size"), int):
            raise FileRefused("The snapshot does not tell the size of its vectors.")
        if config.get("multivector_config"):
            raise FileRefused("The snapshot has several vectors a point (a multivector).")
        return config["size"], str(config.get("distance", "")).lower() or None

    def _points(self, bytes_max: int) -> Iterator[tuple[Point, int]]:
        number = 0
        for shard in self.head.shards:
            with _scratch(self._folder) as folder:
                unpack_shard(self._path, shard, folder, bytes_max)
                megabytes = _BASE_MEGABYTES + 2 * self._path.stat().st_size // 2**20
                for value in _records(folder, megabytes):
                    number += 1
                    try:
                        dense, sparse = named_vectors(value["vector"], self._chosen)
                        point = Point(
                            identity_of(value["id"]), dense, sparse, payload_of(value["payload"])
                        )
                    except InvalidInput as error:
                        raise located(f"Point {number}", error) from None
                    yield point, weight_of(point)


def read_snapshot(
    path: Path, folder: Path, mapping: ColumnMapping | None = None, *, bytes_max: int
) -> Iterator[list[Point]]:
    """The points of a snapshot, in lists of at most 512; blocking.

    `folder` is a scratch folder with room for one shard; no shard may unpack to more than
    `bytes_max`.
    """
    return SnapshotReader(path, mapping, folder).batches(bytes_max)


@contextmanager
def _scratch(folder: Path) -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="shard-", dir=folder))
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _records(folder: Path, megabytes: int) -> Iterator[dict[str, Any]]:
    environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
    with subprocess.Popen(  # noqa: S603 - our own module, with a folder that we made
        [sys.executable, "-m", _PROCESS, str(folder), str(megabytes)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment,
    ) as process:
        try:
            yield from _answers(process)
        finally:
            process.kill()


def _answers(process: subprocess.Popen[bytes]) -> Iterator[dict[str, Any]]:
    assert process.stdout is not None  # noqa: S101 - it was asked for
    count = 0
    while True:
        # Only while it is waited for; who reads this may take any time in between.
        alarm = threading.Timer(_ANSWER_SECONDS, process.kill)
        alarm.start()
        try:
            line = process.stdout.readline(_LINE_BYTES_MAX)
        finally:
            alarm.cancel()
        if not line.endswith(b"\n"):
            raise _unreadable(f"the engine's process ended with {process.wait()}")
        answer = orjson.loads(line)
        if isinstance(answer, list):
            count += len(answer)
            yield from answer
        elif "failed" in answer:
            raise _unreadable(answer["failed"])
        elif answer["end"] == count:
            return
        else:
            raise Unavailable("The process that reads snapshots lost points on the way.")


def _unreadable(reason: str) -> FileRefused:
    return FileRefused(
        f"The engine cannot read this snapshot: {reason}.",
        recovery="Make the snapshot anew on Qdrant 1.16 or 1.17, or import the points as JSONL.",
    )


def _names(vectors: Any) -> str:
    return ", ".join(ascii(str(name)[:80]) for name in vectors) or "none"
