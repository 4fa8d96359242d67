"""Services that the tests of one module share: starting one takes a while."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest_asyncio

from quire.settings import LimitSettings
from tests.api.service import Service, guarded, serving, settings_for

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import pytest


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def local(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Service]:
    """A service without authentication, for this machine only."""
    limits = LimitSettings(body_bytes=4 * 2**20)  # so that too much is soon sent
    async with serving(settings_for(tmp_path_factory.mktemp("local"), limits=limits)) as service:
        yield service


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def strict(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Service]:
    """A service that demands tokens."""
    async with serving(guarded(tmp_path_factory.mktemp("strict"))) as service:
        yield service
