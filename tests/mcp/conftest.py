"""A server for agents, shared by the tests of one module: starting one takes a while."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.cli.command import SECRET, Serving, serving
from tests.mcp.agents import FAKE, SITE_PORT

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """`quire serve`, which demands tokens and may fetch from this machine."""
    directory = tmp_path_factory.mktemp("served")
    settings = {
        **FAKE,
        "QUIRE_AUTH_SECRET": SECRET,
        "QUIRE_WEB_ALLOW": f"127.0.0.1:{SITE_PORT}",
        "QUIRE_LIMITS_BODY_BYTES": "1000000",
        "QUIRE_WEB_DELAY_SECONDS": "0",
        "QUIRE_LOG_LEVEL": "warning",
    }
    with serving(directory / "data", directory, **settings) as server:
        yield server
    assert "Traceback" not in server.said, server.said
