"""A Quire that the tests of one module share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest_asyncio

from tests.sessions.house import quire_in

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import pytest

    from quire.app import Quire


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def quire(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Quire]:
    async with quire_in(tmp_path_factory.mktemp("quire")) as opened:
        yield opened
