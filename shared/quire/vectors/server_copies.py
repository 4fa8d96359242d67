"""Copying a collection inside a Qdrant server: a snapshot, which the server fetches from itself.

That works where one node holds everything, and where it reaches itself under the address that it
is reached by here. The snapshot has a sha256, which the server checks before it makes the target.

A snapshot is a file of the server's that nothing else removes, not even dropping its collection. It
is deleted right after the copy. One that a crash left is deleted with the collection (`forgotten`),
or before the next copy of it, once it is a day old: a younger one may be another process's.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import structlog

from quire.errors import CollectionNotFound, InvalidInput, QuireError, Unavailable
from quire.vectors.server_connection import Connection
from quire.vectors.server_points import answered

_log = structlog.get_logger(__name__)

_STALE = timedelta(days=1)

_FILLING = 1 << 40
"""Kilobytes put on top of a collection's indexing threshold, and taken off again."""


async def is_single(server: Connection) -> bool:
    """Whether one node holds everything, so that its snapshot is the whole collection."""
    if server.local:
        return False
    cluster = await answered(server, "GET", "/cluster", None)
    return cluster["status"] == "disabled" or len(cluster.get("peers", {})) == 1


async def copied(server: Connection, source: str, target: str) -> bool:
    """Make `target`, which must not exist, a copy; False when the server cannot fetch it."""
    await _forget(server, source, _STALE)
    path = _snapshots(server, source)
    made = await answered(server, "POST", f"{path}?wait=true", None, source, patient=True)
    try:
        assert server.http is not None  # noqa: S101 - `is_single` has looked
        body = {
            "location": str(server.http.base_url.join(f"{path}/{made['name']}")),
            "checksum": made["checksum"],
            "priority": "snapshot",
            "api_key": server.api_key,
        }
        recovery = f"{_snapshots(server, target)}/recover?wait=true"
        try:
            await answered(server, "PUT", recovery, body, target, patient=True)
        except (Unavailable, InvalidInput) as error:
            _log.warning("qdrant.no_copy", source=source, target=target, error=error.message)
            return False
    finally:
        await _delete(server, path, made["name"])
    await end_filling(server, target)  # or the target would inherit it
    return True


async def forgotten(server: Connection, name: str) -> None:
    """Delete every snapshot of a collection that is about to be dropped."""
    if not server.local:
        await _forget(server, name, timedelta(0))


async def _forget(server: Connection, name: str, older_than: timedelta) -> None:
    path = _snapshots(server, name)
    try:
        listed = await answered(server, "GET", path, None, name)
    except CollectionNotFound:
        return
    latest = datetime.now(UTC) - older_than
    for snapshot in listed:
        if not older_than or _made_at(snapshot) < latest:
            await _delete(server, path, snapshot["name"])


async def _delete(server: Connection, path: str, snapshot: str) -> None:
    try:
        await answered(server, "DELETE", f"{path}/{snapshot}?wait=true", None, patient=True)
    except QuireError as error:
        # What it was made for is done, or has an error of its own to tell.
        _log.warning("qdrant.snapshot_left", snapshot=snapshot, error=error.message)


def _made_at(snapshot: dict[str, Any]) -> datetime:
    made = snapshot.get("creation_time")
    return datetime.now(UTC) if made is None else datetime.fromisoformat(made).replace(tzinfo=UTC)


def _snapshots(server: Connection, name: str) -> str:
    return f"/collections/{server.on_server(name)}/snapshots"


async def begin_filling(server: Connection, name: str) -> None:
    """Put indexing off: half the server's work while points arrive, and done twice for many."""
    threshold = await _indexing_threshold(server, name)
    if 0 < threshold < _FILLING:  # 0 is an operator's way to say never
        await _set_indexing_threshold(server, name, threshold + _FILLING)


async def end_filling(server: Connection, name: str) -> None:
    """Have the server index as before; it does so by itself, in the background."""
    threshold = await _indexing_threshold(server, name)
    if threshold >= _FILLING:
        await _set_indexing_threshold(server, name, threshold - _FILLING)


async def _indexing_threshold(server: Connection, name: str) -> int:
    path = f"/collections/{server.on_server(name)}"
    found = await answered(server, "GET", path, None, name)
    return int(found["config"]["optimizer_config"]["indexing_threshold"] or 0)


async def _set_indexing_threshold(server: Connection, name: str, kilobytes: int) -> None:
    path = f"/collections/{server.on_server(name)}"
    body = {"optimizers_config": {"indexing_threshold": kilobytes}}
    await answered(server, "PATCH", path, body, name)
