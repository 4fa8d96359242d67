"""A Quire that the tests of one module share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest_asyncio

from quire.settings import EmbeddingSettings
from tests.sessions.house import quire_in

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import pytest

    from quire.app import Quire


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def quire(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Quire]:
    directory = tmp_path_factory.mktemp("quire")
    async with quire_in(directory, embedding=EmbeddingSettings(provider="fake")) as opened:
        yield opened
