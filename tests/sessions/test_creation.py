"""Making sessions: once for each id, within the limits, whole or not at all."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from quire.errors import Conflict, Expired, InvalidInput, Unavailable
from quire.sessions.identity import identity_of
from quire.sessions.listing import SessionFilter
from quire.sessions.models import Session
from quire.sessions.purge import Reason
from quire.sessions.requests import NewSession
from quire.sessions.retention_policy import RetentionPolicy
from quire.store.tables import session_collaborators, session_tags, sessions
from quire.vectors.port import CollectionSpec
from tests.sessions.house import (
    ADA,
    ALAN,
    GRACE,
    OPERATOR,
    collections,
    create,
    finish_purges,
    let_pass,
    new_id,
    person,
    purged,
    row_count,
)

if TYPE_CHECKING:
    from quire.access.principal import Principal
    from quire.app import Quire

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_a_session_owns_an_empty_collection(quire: Quire) -> None:
    session = await create(quire, dimension=3, distance="dot")
    info = await quire.engine.info(session.collection)
    assert info.points_count == 0
    assert (session.embedding.dimension, session.embedding.distance) == (3, "dot")
    assert session.version == 1
    other = await create(quire)
    assert other.collection != session.collection
    assert identity_of(other.embedding) == await quire.embedders.default()


async def test_the_same_id_is_the_same_session(quire: Quire) -> None:
    session_id = new_id()
    new = NewSession(name="s", id=session_id)
    first, made = await quire.creation.create(ADA, new)
    assert made
    before = await collections(quire)
    again, made = await quire.creation.create(ADA, NewSession(name="other", id=session_id))
    assert not made
    assert again == first
    assert await collections(quire) == before


@pytest.mark.parametrize("other", [GRACE, OPERATOR, person("grace", "garden")])
async def test_an_id_that_is_someone_elses_is_taken(quire: Quire, other: Principal) -> None:
    session = await create(quire, group="garden")
    with pytest.raises(Conflict) as refusal:
        await create(quire, other, id=session.id)
    assert refusal.value.details["field"] == "id"


async def test_clients_that_race_for_one_id_make_one_session(quire: Quire) -> None:
    before = await collections(quire)
    session_id = new_id()
    made = await asyncio.gather(
        *(quire.creation.create(ADA, NewSession(name="s", id=session_id)) for _ in range(8))
    )
    assert sum(was_made for _, was_made in made) == 1
    assert len({session.collection for session, _ in made}) == 1
    assert len(await collections(quire) - before) == 1


async def test_owners_that_race_for_one_id_have_one_winner(quire: Quire) -> None:
    before = await collections(quire)
    session_id = new_id()
    people = [person(f"racer-{n}") for n in range(6)]
    results = await asyncio.gather(
        *(create(quire, who, id=session_id) for who in people), return_exceptions=True
    )
    winners = [result for result in results if isinstance(result, Session)]
    losers = [result for result in results if not isinstance(result, Session)]
    assert len(winners) == 1
    assert all(isinstance(loser, Conflict) for loser in losers)
    assert len(await collections(quire) - before) == 1


async def test_a_deleted_session_keeps_its_id_until_it_is_purged(quire: Quire) -> None:
    session = await create(quire, id=new_id())
    await quire.sessions.delete(ADA, session.id)
    with pytest.raises(Conflict, match="deleted"):
        await create(quire, id=session.id)
    await purged(quire, ADA, session.id)
    again = await create(quire, id=session.id)
    assert again.collection != session.collection


async def test_an_expired_session_keeps_its_id_until_it_is_swept(quire: Quire) -> None:
    session = await create(quire, id=new_id(), ttl_seconds=60)
    await let_pass(quire, timedelta(seconds=61), session.id)
    with pytest.raises(Expired):
        await create(quire, id=session.id)
    await quire.retention.sweep(RetentionPolicy())
    await finish_purges(quire)
    again = await create(quire, id=session.id)
    # and the new one is not taken for the old one's remains
    assert (await quire.sessions.get(ADA, session.id)).collection == again.collection


# Whole or not at all


class Failing:
    """The engine, but collections cannot be made."""

    def __init__(self, engine: Any, *, after_making: bool) -> None:
        self._engine = engine
        self._after_making = after_making

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    async def create(self, collection: str, spec: CollectionSpec) -> None:
        if self._after_making:
            await self._engine.create(collection, spec)
        raise Unavailable("The engine does not answer")


@pytest.mark.parametrize("after_making", [False, True])
async def test_a_creation_whose_engine_fails_leaves_nothing(
    quire: Quire, monkeypatch: pytest.MonkeyPatch, after_making: bool
) -> None:
    before = await collections(quire)
    session_id = new_id()
    engine = Failing(quire.engine, after_making=after_making)
    monkeypatch.setattr(quire.creation, "_engine", engine)
    with pytest.raises(Unavailable):
        await create(quire, id=session_id, tags=("t",))
    # at no time is it to be seen
    page = await quire.listing.find(OPERATOR, SessionFilter(), limit=1000)
    assert session_id not in {session.id for session in page.sessions}
    await finish_purges(quire)
    for table in (sessions, session_tags, session_collaborators):
        assert await row_count(quire, table, session_id) == 0
    assert await collections(quire) == before
    # and the id is free again
    monkeypatch.undo()
    await create(quire, id=session_id)


async def test_a_half_made_session_is_nobodys_to_see(
    quire: Quire, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a kill between row and collection leaves."""
    session_id = new_id()
    reached, forever = asyncio.Event(), asyncio.Event()

    class Stuck(Failing):
        async def create(self, collection: str, spec: CollectionSpec) -> None:
            reached.set()
            await forever.wait()

    monkeypatch.setattr(quire.creation, "_engine", Stuck(quire.engine, after_making=False))
    # given a creation that is cut off
    creating = asyncio.create_task(create(quire, id=session_id, hold=True))
    await reached.wait()
    creating.cancel()
    await asyncio.gather(creating, return_exceptions=True)
    monkeypatch.undo()
    # then it is not there for anyone
    for who in (ADA, OPERATOR):
        with pytest.raises(Exception, match="There is no session"):
            await quire.sessions.get(who, session_id)
        with pytest.raises(Exception, match="There is no session"):
            await quire.sessions.delete(who, session_id)
        page = await quire.listing.find(who, SessionFilter(), limit=1000)
        assert session_id not in {session.id for session in page.sessions}
    # and housekeeping takes it, although it was to be held
    early = await quire.retention.sweep(RetentionPolicy(), dry_run=True)
    assert session_id not in {verdict.session_id for verdict in early.verdicts}
    await let_pass(quire, timedelta(minutes=16), session_id)
    sweep = await quire.retention.sweep(RetentionPolicy())
    (verdict,) = [v for v in sweep.verdicts if v.session_id == session_id]
    assert verdict.purge_reason is Reason.UNFINISHED
    await finish_purges(quire)
    assert await row_count(quire, sessions, session_id) == 0
    await create(quire, id=session_id)


async def test_an_invalid_creation_writes_nothing(quire: Quire) -> None:
    before, held = await quire.repository.count(), await collections(quire)
    for fields in ({"name": ""}, {"id": "a/b"}, {"distance": "taxi"}, {"ttl_seconds": 0}):
        with pytest.raises(InvalidInput):
            await create(quire, **fields)
    assert await quire.repository.count() == before
    assert await collections(quire) == held


async def test_a_change_by_someone_who_shares_is_seen_by_all(quire: Quire) -> None:
    session = await create(quire, group="garden")
    barbara = person("barbara", "garden")
    assert (await quire.sessions.get(barbara, session.id)).id == session.id
    with pytest.raises(Exception, match="There is no session"):
        await quire.sessions.get(ALAN, session.id)
