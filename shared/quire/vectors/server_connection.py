"""The ways to a Qdrant server: the client, gRPC for writing, plain HTTP for bulk and copies."""

from __future__ import annotations

import warnings
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Self

import httpx
from qdrant_client import AsyncQdrantClient

from quire.errors import Unavailable
from quire.vectors.server_faults import answers, local_answers


@dataclass(slots=True)
class Connection:
    """What the engine holds of a server; without `http` it is the client's local mode."""

    client: AsyncQdrantClient
    writer: AsyncQdrantClient | None = None
    http: httpx.AsyncClient | None = None
    prefix: str = ""
    timeout: float = 30.0
    api_key: str | None = None
    closed: bool = False

    @classmethod
    def to(
        cls, url: str, *, api_key: str | None, grpc_port: int | None, timeout: float, prefix: str
    ) -> Self:
        """Ways to the server at this URL; none is connected yet."""
        options: dict[str, Any] = {
            "url": url,
            "api_key": api_key,
            "timeout": max(1, int(timeout)),
            # The check would connect, and would warn; `quire doctor` compares versions.
            "check_compatibility": False,
        }
        writer = None
        with warnings.catch_warnings():
            # "Api key is used with an insecure connection": so it is, inside a private network.
            warnings.simplefilter("ignore", UserWarning)
            client = AsyncQdrantClient(**options)
            if grpc_port is not None:
                writer = AsyncQdrantClient(**options, grpc_port=grpc_port, prefer_grpc=True)
        headers = {"api-key": api_key} if api_key else None
        http = httpx.AsyncClient(base_url=url, timeout=timeout, headers=headers)
        return cls(client, writer, http, prefix, timeout, api_key)

    @classmethod
    def in_memory(cls) -> Self:
        """The client's local mode."""
        return cls(AsyncQdrantClient(location=":memory:"))

    @property
    def local(self) -> bool:
        """Whether this is the client's local mode."""
        return self.http is None

    def on_server(self, collection: str) -> str:
        """The collection's name as the server has it."""
        return self.prefix + collection

    def answers(self, collection: str | None = None) -> AbstractContextManager[None]:
        """A block in which the client is called; what it raises comes out in Quire's errors."""
        self.require_open()
        return local_answers(collection) if self.local else answers(collection)

    def require_open(self) -> None:
        """Raise `Unavailable` once closed."""
        if self.closed:
            raise Unavailable("The connection to the Qdrant server is closed.")

    async def close(self) -> None:
        """Close every way; again is no error."""
        if self.closed:
            return
        self.closed = True
        await self.client.close()
        if self.writer is not None:
            await self.writer.close()
        if self.http is not None:
            await self.http.aclose()
