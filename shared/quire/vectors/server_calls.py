"""Beneath the server engine: the connection, what is known of collections, work to be finished."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Coroutine
from typing import Any, Self, TypeVar
from weakref import WeakValueDictionary

from quire.errors import CollectionNotFound
from quire.vectors.port import CollectionSpec
from quire.vectors.server_connection import Connection
from quire.vectors.server_translate import from_info
from quire.vectors.validation import collection_name

T = TypeVar("T")

_SPECS_KEPT = 10_000


class ServerCalls:
    """What every call of `QdrantEngine` goes through."""

    def __init__(self, connection: Connection, *, cluster: dict[str, Any] | None = None) -> None:
        self._server = connection
        self._cluster = cluster or {}
        self._specs: OrderedDict[str, CollectionSpec] = OrderedDict()
        self._creating: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._tasks: set[asyncio.Task[Any]] = set()

    @classmethod
    async def open(
        cls,
        url: str,
        *,
        api_key: str | None = None,
        grpc_port: int | None = None,
        timeout: float = 30.0,  # noqa: ASYNC109 - of each request, by the transports
        prefix: str = "",
        replication_factor: int | None = None,
        write_consistency_factor: int | None = None,
        shard_number: int | None = None,
    ) -> Self:
        """Prepare to talk to a server, which need not be up yet.

        `prefix` is put before the names of collections on the server, to tell Quire's from others.
        With `grpc_port`, upserts go by gRPC. The last three are for collections that `create` makes
        on a cluster; what is not given is the server's default.
        """
        cluster = {
            "replication_factor": replication_factor,
            "write_consistency_factor": write_consistency_factor,
            "shard_number": shard_number,
        }
        return cls(
            Connection.to(
                url, api_key=api_key, grpc_port=grpc_port, timeout=timeout, prefix=prefix
            ),
            cluster={key: value for key, value in cluster.items() if value is not None},
        )

    @classmethod
    def in_memory(cls) -> Self:
        """The test double: everything in this process, gone with it."""
        return cls(Connection.in_memory())

    async def close(self) -> None:
        """Finish creations and copies under way and close the connections."""
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.close()

    async def _spec(self, name: str, *, fresh: bool = False) -> CollectionSpec:
        collection_name(name)
        known = self._specs.get(name)
        if known is not None and (self._server.local or not fresh):
            return known
        with self._server.answers(name):
            spec = from_info(await self._server.client.get_collection(self._server.on_server(name)))
        if spec is None:
            raise CollectionNotFound(f"Collection {name} is not one of Quire's.", collection=name)
        self._remember(name, spec)
        return spec

    def _remember(self, name: str, spec: CollectionSpec) -> None:
        self._specs[name] = spec
        # In memory this is the only place that knows the indexes.
        if len(self._specs) > _SPECS_KEPT and not self._server.local:
            self._specs.popitem(last=False)

    def _alone(self, name: str) -> asyncio.Lock:
        # Weakly kept: a lock lives as long as somebody holds it or waits for it.
        lock = self._creating.get(name)
        if lock is None:
            lock = self._creating[name] = asyncio.Lock()
        return lock

    async def _to_the_end(self, work: Coroutine[Any, Any, T]) -> T:
        """Run to the end even when the caller gives up, so that nothing is left half done."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return await asyncio.shield(task)
