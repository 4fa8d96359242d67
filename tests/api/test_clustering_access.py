"""Who may cluster a session, and who may see its clusters."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.api.service import assert_problem
from tests.clustering.posted import filled

if TYPE_CHECKING:
    from tests.api.service import Service

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_reading_needs_read_and_clustering_write(strict: Service) -> None:
    ada = strict.as_("ada")
    path = await filled(ada)
    share = {"user_ids": ["grace"], "permissions": ["read"]}
    await ada.post(f"{path}/share", share)
    grace, alan = strict.as_("grace"), strict.as_("alan")
    assert_problem(await grace.post(f"{path}/cluster", {}), 403, "forbidden")
    assert_problem(await grace.get(f"{path}/clusters"), 404, "clustering_not_found")
    for response in (
        await alan.post(f"{path}/cluster", {}),
        await alan.get(f"{path}/clusters"),
        await alan.get(f"{path}/clusters/drawing"),
    ):
        assert_problem(response, 404, "session_not_found")
