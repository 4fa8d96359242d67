"""What is kept of sessions is never older than what a reader may see beside it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from tests.sessions.house import ADA, create, purged

if TYPE_CHECKING:
    from quire.app import Quire

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_while_it_is_changed_a_session_is_as_the_store_has_it(quire: Quire) -> None:
    session = await create(quire)
    repository, seen = quire.repository, []

    async def look() -> None:
        """What a reader gets at this moment, beside what the store says."""
        kept = await repository.get(session.id)
        stored = await repository.latest(session.id)
        assert kept is not None
        assert stored is not None
        seen.append((kept.name, stored.name))

    await repository.get(session.id)  # from here on it is kept
    async with quire.database.write() as connection:
        changed = repository._changed[connection] = set()
        locked = await repository.lock(connection, session.id)
        assert locked is not None
        await repository.save(connection, locked, replace(locked, name="new"))
        await look()
        del repository._changed[connection]
    # It is committed, and nobody has said so yet.
    await look()
    repository._cache.changed(changed)
    await look()
    assert seen == [("s", "s"), ("new", "new"), ("new", "new")]
    await purged(quire, ADA, session.id)
