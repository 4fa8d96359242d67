"""The backends of one test run: each opened at its first use, all closed at the run's end."""

from __future__ import annotations

from contextlib import AbstractContextManager, ExitStack
from typing import TYPE_CHECKING, TypeVar

from tests.backends.availability import UnavailableError
from tests.backends.postgres import PostgresServer, postgres_server
from tests.backends.qdrant import QdrantServer, qdrant_server
from tests.backends.s3 import S3Server, s3_server

if TYPE_CHECKING:
    from collections.abc import Callable

Server = TypeVar("Server", QdrantServer, PostgresServer, S3Server)


class Backends:
    """The servers that tests share."""

    def __init__(self) -> None:
        """Nothing is started yet."""
        self._stack = ExitStack()
        self._opened: dict[str, QdrantServer | PostgresServer | S3Server] = {}
        self._missing: dict[str, UnavailableError] = {}

    def qdrant(self) -> QdrantServer:
        """The Qdrant server, or `UnavailableError`."""
        return self._open("qdrant", QdrantServer, qdrant_server)

    def postgres(self) -> PostgresServer:
        """The PostgreSQL server, or `UnavailableError`."""
        return self._open("postgres", PostgresServer, postgres_server)

    def s3(self) -> S3Server:
        """The S3 server, or `UnavailableError`."""
        return self._open("s3", S3Server, s3_server)

    def open(self, name: str) -> None:
        """Open the backend called `name` now."""
        {"qdrant": self.qdrant, "postgres": self.postgres, "s3": self.s3}[name]()

    def origins(self) -> dict[str, str]:
        """Where each opened backend came from."""
        return {name: server.origin for name, server in self._opened.items()}

    def close(self) -> None:
        """Stop everything that was started."""
        self._opened.clear()
        self._stack.close()

    def _open(
        self,
        name: str,
        kind: type[Server],
        opener: Callable[[], AbstractContextManager[Server]],
    ) -> Server:
        if name in self._missing:  # looked for once, then known
            raise self._missing[name]
        opened = self._opened.get(name)
        if isinstance(opened, kind):
            return opened
        try:
            server = self._stack.enter_context(opener())
        except UnavailableError as error:
            self._missing[name] = error
            raise
        self._opened[name] = server
        return server
