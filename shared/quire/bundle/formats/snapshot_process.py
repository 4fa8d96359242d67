"""A process that opens one shard of a stranger's snapshot, and prints its points.

Run as `python -m quire.bundle.formats.snapshot_process <folder> <megabytes>`: a list of points a
line, then `{"end": count}`. Whatever the files do to the engine, they do to this process; it ends
with whoever reads it, for it cannot write any more then.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import orjson
import qdrant_edge as edge

if sys.platform != "win32":
    import resource

_PAGE = 256


def main() -> None:
    """Print the shard's points, or `{"failed": …}`."""
    folder, megabytes = Path(sys.argv[1]), int(sys.argv[2])
    _confine(megabytes)
    out = sys.stdout.buffer
    try:
        shard = edge.EdgeShard.load(str(folder))
        count = 0
        cursor: Any = None
        while True:
            records, cursor = shard.scroll(
                edge.ScrollRequest(offset=cursor, limit=_PAGE, with_payload=True, with_vector=True)
            )
            if records:
                out.write(orjson.dumps([_shape(record) for record in records]) + b"\n")
                count += len(records)
            if cursor is None:
                break
        answer: dict[str, Any] = {"end": count}
    except BrokenPipeError:
        os._exit(1)
    except Exception as error:  # the engine has no errors of its own kind
        answer = {"failed": str(error).replace(str(folder), "")[:500]}
    out.write(orjson.dumps(answer) + b"\n")
    out.flush()
    # Not to end in order: what the engine would write now is of no use.
    os._exit(0)


def _shape(record: edge.Record) -> dict[str, Any]:
    return {"id": record.id, "vector": _vectors(record.vector), "payload": record.payload or {}}


def _vectors(value: Any) -> Any:
    if isinstance(value, edge.SparseVector):
        return {"indices": list(value.indices), "values": list(value.values)}
    if isinstance(value, dict):
        return {name: _vectors(item) for name, item in value.items()}
    return value


def _confine(megabytes: int) -> None:
    """Bound this process's own memory (files that it maps do not count), and step behind others."""
    if sys.platform == "win32":
        return
    os.nice(10)
    limits = {resource.RLIMIT_CORE: 0, resource.RLIMIT_DATA: megabytes * 1024**2}
    for name, limit in limits.items():
        _, hard = resource.getrlimit(name)
        bounded = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
        try:
            resource.setrlimit(name, (bounded, bounded))
        except (OSError, ValueError):  # not every system knows both
            continue
    try:  # should the machine run out of memory, this is what it can do without
        Path("/proc/self/oom_score_adj").write_text("1000")
    except OSError:
        return


if __name__ == "__main__":
    main()
