"""A session's data: what was put is what is got, and nobody overwrites what they did not see."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa

from quire.access.principal import Scope
from quire.activity.data import DataEntry
from quire.activity.preconditions import Precondition
from quire.errors import (
    BadRequest,
    Conflict,
    DataNotFound,
    Forbidden,
    InvalidInput,
    PreconditionFailed,
    SessionNotFound,
)
from quire.store.tables import events
from tests.sessions.house import ADA, GRACE, create

if TYPE_CHECKING:
    from quire.app import Quire

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def changes(quire: Quire, session_id: str) -> list[tuple[str, str]]:
    query = sa.select(events.c.data).where(
        events.c.session_id == session_id, events.c.kind == "data.changed"
    )
    async with quire.database.read() as connection:
        told: list[dict[str, Any]] = list((await connection.execute(query)).scalars())
    return [(data["key"], data["change"]) for data in told]


@pytest.mark.parametrize(
    "value",
    [b"null", b'  {"b": 1,\n "a": 1e300, "big": 123456789012345678901234567890}', b'"\xc3\xa4"'],
)
async def test_a_value_comes_back_byte_for_byte(quire: Quire, value: bytes) -> None:
    session = await create(quire)
    entry, is_new = await quire.activity.data.put(ADA, session.id, "k", value)
    assert is_new
    assert await quire.activity.data.get(ADA, session.id, "k") == (entry, value)
    assert entry.size == len(value)


async def test_the_same_value_again_changes_nothing(quire: Quire) -> None:
    session = await create(quire)
    first, _ = await quire.activity.data.put(ADA, session.id, "k", b"1")
    assert await quire.activity.data.put(ADA, session.id, "k", b"1") == (first, False)
    second, is_new = await quire.activity.data.put(ADA, session.id, "k", b"2")
    assert not is_new
    assert second.etag != first.etag
    assert second.created_at == first.created_at
    await quire.activity.data.delete(ADA, session.id, "k")
    assert await changes(quire, session.id) == [("k", "put"), ("k", "put"), ("k", "deleted")]


@pytest.mark.parametrize(
    "value",
    [b"", b"{", b"NaN", b"1 2", b'"\xff"', b'"\\ud800"', b"[" * 100_000 + b"]" * 100_000],
)
async def test_what_is_not_json_is_refused(quire: Quire, value: bytes) -> None:
    session = await create(quire)
    with pytest.raises(BadRequest, match="not valid JSON"):
        await quire.activity.data.put(ADA, session.id, "k", value)
    with pytest.raises(DataNotFound):
        await quire.activity.data.get(ADA, session.id, "k")


async def test_keys_may_be_paths_in_any_script(quire: Quire) -> None:
    session = await create(quire)
    keys = ["a/b.c", "a_b", "plan/Übersicht", "計画", "k" * 256, " "]
    for key in keys:
        await quire.activity.data.put(ADA, session.id, key, b"1")
    page = await quire.activity.data.page(ADA, session.id)
    assert {entry.key for entry in page.entries} == set(keys)
    page = await quire.activity.data.page(ADA, session.id, prefix="a_")
    assert [entry.key for entry in page.entries] == ["a_b"]
    for impossible in ("", "/a", "a/", "a//b", "a/../b", ".", "k" * 257, "a\n", "a\ud800"):
        with pytest.raises(InvalidInput):
            await quire.activity.data.put(ADA, session.id, impossible, b"1")


async def test_keys_are_paged_in_their_order(quire: Quire) -> None:
    session = await create(quire)
    for n in (3, 1, 4, 0, 2):
        await quire.activity.data.put(ADA, session.id, f"k{n}", b"1")
    found: list[str] = []
    cursor = None
    while True:
        page = await quire.activity.data.page(ADA, session.id, cursor=cursor, limit=2)
        found += [entry.key for entry in page.entries]
        if (cursor := page.next_cursor) is None:
            break
    assert found == ["k0", "k1", "k2", "k3", "k4"]


async def test_of_many_who_saw_one_version_one_may_change_it(quire: Quire) -> None:
    session = await create(quire)
    known, _ = await quire.activity.data.put(ADA, session.id, "k", b"0")
    results = await asyncio.gather(
        *(
            quire.activity.data.put(
                ADA, session.id, "k", f"{n}".encode(), Precondition(if_match=known.etag)
            )
            for n in range(1, 9)
        ),
        return_exceptions=True,
    )
    (winner,) = [result[0] for result in results if isinstance(result, tuple)]
    assert sum(isinstance(result, PreconditionFailed) for result in results) == 7
    assert isinstance(winner, DataEntry)
    assert (await quire.activity.data.get(ADA, session.id, "k"))[0] == winner
    with pytest.raises(PreconditionFailed):
        await quire.activity.data.delete(ADA, session.id, "k", Precondition(if_match=known.etag))


async def test_only_if_it_is_not_there_yet(quire: Quire) -> None:
    session = await create(quire)
    first = Precondition(if_none_match="*")
    results = await asyncio.gather(
        *(quire.activity.data.put(ADA, session.id, "k", b"1", first) for _ in range(5)),
        return_exceptions=True,
    )
    assert sum(isinstance(result, tuple) for result in results) == 1
    with pytest.raises(PreconditionFailed, match="is not there"):
        await quire.activity.data.put(ADA, session.id, "l", b"1", Precondition(if_match="*"))


async def test_roles_and_states_are_heeded(quire: Quire) -> None:
    session = await create(quire)
    await quire.activity.data.put(ADA, session.id, "k", b"1")
    with pytest.raises(SessionNotFound):
        await quire.activity.data.get(GRACE, session.id, "k")
    with pytest.raises(SessionNotFound):
        await quire.activity.data.put(GRACE, session.id, "k", b"1")
    reader = replace(ADA, scope=Scope.READ)
    with pytest.raises(Forbidden):
        await quire.activity.data.delete(reader, session.id, "k")
    await quire.sessions.delete(ADA, session.id)
    assert await quire.activity.data.get(ADA, session.id, "k")
    with pytest.raises(Conflict, match="is deleted"):
        await quire.activity.data.put(ADA, session.id, "k", b"2")
