"""The fixtures through which tests get real servers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.backends import postgres, qdrant
from tests.backends.requirement import BACKENDS, got_or_skipped

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.backends.postgres import PostgresProcess, PostgresServer
    from tests.backends.qdrant import QdrantProcess, QdrantServer
    from tests.backends.s3 import S3Bucket, S3Server
    from tests.backends.shared import Backends


@pytest.fixture(scope="session")
def backends(pytestconfig: pytest.Config) -> Backends:
    """The run's backends; the fixtures below are the usual way to them."""
    return pytestconfig.stash[BACKENDS]


@pytest.fixture(scope="session")
def qdrant_server(backends: Backends) -> QdrantServer:
    """The shared Qdrant server; use collection names of your own and drop them."""
    return got_or_skipped(backends.qdrant)


@pytest.fixture(scope="session")
def qdrant_url(qdrant_server: QdrantServer) -> str:
    """The REST address of the shared Qdrant server."""
    return qdrant_server.url


@pytest.fixture(scope="session")
def qdrant_grpc_port(qdrant_server: QdrantServer) -> int | None:
    """The gRPC port of the shared Qdrant server, where known."""
    return qdrant_server.grpc_port


@pytest.fixture
def qdrant_process() -> Iterator[QdrantProcess]:
    """A running Qdrant of this test's own, to stop, kill, pause and start again."""
    opened = qdrant.qdrant_process()
    process = got_or_skipped(opened.__enter__)
    try:
        yield process
    finally:
        opened.__exit__(None, None, None)


@pytest.fixture(scope="session")
def postgres_server(backends: Backends) -> PostgresServer:
    """The shared PostgreSQL server, for tests that make databases themselves."""
    return got_or_skipped(backends.postgres)


@pytest.fixture
def postgres_url(postgres_server: PostgresServer) -> Iterator[str]:
    """An empty database of this test's own, as `postgresql+psycopg://…`; dropped afterwards."""
    url = postgres_server.create_database()
    try:
        yield url
    finally:
        postgres_server.drop_database(url)


@pytest.fixture
def postgres_process() -> Iterator[PostgresProcess]:
    """A running PostgreSQL of this test's own, to stop, kill, pause and start again."""
    opened = postgres.postgres_process()
    process = got_or_skipped(opened.__enter__)
    try:
        yield process
    finally:
        opened.__exit__(None, None, None)


@pytest.fixture(scope="session")
def s3_server(backends: Backends) -> S3Server:
    """The shared S3 server, for tests that make buckets themselves."""
    return got_or_skipped(backends.s3)


@pytest.fixture
def s3_bucket(s3_server: S3Server) -> Iterator[S3Bucket]:
    """An empty bucket of this test's own; removed afterwards."""
    bucket = s3_server.create_bucket()
    try:
        yield bucket
    finally:
        s3_server.drop_bucket(bucket)


@pytest.fixture
def s3_blob_url(s3_bucket: S3Bucket) -> str:
    """That bucket as `QUIRE_BLOB_URL` names it; `s3_bucket` has the credentials."""
    return s3_bucket.url
