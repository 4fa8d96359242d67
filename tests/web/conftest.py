"""A site for each test of fetching."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio

from tests.web.site import Site, website


@pytest_asyncio.fixture
async def site() -> AsyncIterator[Site]:
    async with website() as site:
        yield site
