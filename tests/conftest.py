"""What every test may use."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.backends.fixtures import (
    backends,
    postgres_process,
    postgres_server,
    postgres_url,
    qdrant_grpc_port,
    qdrant_process,
    qdrant_server,
    qdrant_url,
    s3_blob_url,
    s3_bucket,
    s3_server,
)
from tests.backends.requirement import Requirement

if TYPE_CHECKING:
    import pytest

__all__ = [
    "backends",
    "postgres_process",
    "postgres_server",
    "postgres_url",
    "qdrant_grpc_port",
    "qdrant_process",
    "qdrant_server",
    "qdrant_url",
    "s3_blob_url",
    "s3_bucket",
    "s3_server",
]


def pytest_configure(config: pytest.Config) -> None:
    """Give the run its backends."""
    config.pluginmanager.register(Requirement(config), "quire-backends")
