"""Results are paged as they were found, by whoever may, for as long as they are kept."""

from __future__ import annotations

import asyncio
import zlib
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import orjson
import pytest
import pytest_asyncio
import sqlalchemy as sa

from quire.access.policy import Role
from quire.app import Quire
from quire.errors import (
    Conflict,
    Forbidden,
    InvalidInput,
    LimitExceeded,
    QueryExpired,
    QueryNotFound,
    SessionNotFound,
)
from quire.retrieval.pages import QueryPages
from quire.retrieval.query import PLAIN_BELOW, packed
from quire.retrieval.query_memory import QueryMemory
from quire.retrieval.query_store import QueryStore
from quire.retrieval.query_writer import QueryWriter
from quire.settings import QuerySettings
from quire.store.columns import now
from quire.store.tables import queries
from tests.retrieval.results import REQUEST, TTL, VECTORS, found, let_pass, row, written
from tests.sessions.house import (
    ADA,
    ALAN,
    GRACE,
    OPERATOR,
    create,
    person,
    purged,
    quire_in,
    row_count,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from quire.retrieval.pages import QueryPage

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def quire(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Quire]:
    async with quire_in(tmp_path_factory.mktemp("quire"), embedding=VECTORS) as opened:
        yield opened


@asynccontextmanager
async def pages_of(
    quire: Quire, *, memory_bytes: int = 2**20, **settings: Any
) -> AsyncIterator[QueryPages]:
    """The pages of another process, as it were, on the same database."""
    pages = QueryPages(
        quire.database, quire.sessions, QuerySettings(**settings), memory_bytes=memory_bytes
    )
    pages.open()
    try:
        yield pages
    finally:
        await pages.close()


# What a page is


async def test_results_come_page_after_page(quire: Quire) -> None:
    session = await create(quire)
    items = found(25)
    before = now()
    first = await quire.pages.keep(ADA, session.id, items, REQUEST)
    assert (first.page_index, first.num_items_per_page) == (0, 10)
    assert (first.num_total_pages, first.num_total_items) == (3, 25)
    assert (first.has_previous, first.has_next) == (False, True)
    assert before + TTL <= first.expires_at <= now() + TTL
    pages = [await quire.pages.page(ADA, first.query_id, n, session.id) for n in range(3)]
    assert pages[0] == first
    assert [item for page in pages for item in page.items] == items
    assert (pages[2].has_previous, pages[2].has_next, len(pages[2].items)) == (True, False, 5)


async def test_a_query_without_results_has_an_empty_page_0(quire: Quire) -> None:
    session = await create(quire)
    kept = await quire.pages.keep(ADA, session.id, [], REQUEST)
    page = await quire.pages.page(ADA, kept.query_id, 0, session.id)
    assert (page.items, page.num_total_pages, page.has_next) == ([], 0, False)
    with pytest.raises(InvalidInput, match=r"^Invalid page index\. Valid range: 0-0$"):
        await quire.pages.page(ADA, kept.query_id, 1, session.id)


@pytest.mark.parametrize("index", [-1, 3, 10**30])
async def test_a_page_that_is_not_there_is_told_the_range(quire: Quire, index: int) -> None:
    session = await create(quire)
    kept = await quire.pages.keep(ADA, session.id, found(21), REQUEST)
    with pytest.raises(InvalidInput, match=r"^Invalid page index\. Valid range: 0-2$"):
        await quire.pages.page(ADA, kept.query_id, index, session.id)


@pytest.mark.parametrize("size", [0, -1, 1001])
async def test_page_sizes_are_1_to_1000(quire: Quire, size: int) -> None:
    session = await create(quire)
    with pytest.raises(InvalidInput, match="page_size is 1 to 1000") as refused:
        await quire.pages.post(ADA, session.id, [1], {}, size)
    assert refused.value.field == "page_size"


async def test_a_page_is_what_was_found_then(quire: Quire) -> None:
    session = await create(quire)
    items = found(3)
    kept = await quire.pages.keep(ADA, session.id, items, REQUEST)
    items[0]["text"] = "changed since"
    assert (await quire.pages.page(ADA, kept.query_id, 0)).items == found(3)


async def test_each_page_is_compressed_by_itself(quire: Quire) -> None:
    session = await create(quire)
    kept = await quire.pages.keep(ADA, session.id, found(21, size=1000), REQUEST)
    stored = await written(quire, kept.query_id)
    assert len(stored.pages) == 3
    assert len(stored.results) < 21 * 1000 / 3
    second = stored.results[stored.pages[0] :][: stored.pages[1]]
    assert orjson.loads(zlib.decompress(second)) == found(21, size=1000)[10:20]
    assert packed(b"[1]" + b" " * (PLAIN_BELOW - 4)).startswith(b"[1]")  # not worth the time


# What is refused


async def test_more_than_a_query_keeps_is_refused_whole(quire: Quire) -> None:
    session = await create(quire)
    async with pages_of(quire, results=20) as pages:
        assert (await pages.post(ADA, session.id, found(20), {})).num_total_items == 20
        with pytest.raises(LimitExceeded, match=r"21 items .* 20 \(QUIRE_QUERY_RESULTS\)"):
            await pages.post(ADA, session.id, found(21), {})
    assert await row_count(quire, queries, session.id) == 1


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), 2**64, "\ud800", {1: 2}, [[]] * 1])
async def test_what_is_not_json_is_refused(quire: Quire, wrong: Any) -> None:
    if wrong == [[]]:
        for _ in range(500):
            wrong = [wrong]
    session = await create(quire)
    with pytest.raises(InvalidInput) as refused:
        await quire.pages.post(ADA, session.id, [1, {"deep": wrong}], {})
    assert refused.value.field is not None
    assert refused.value.field.startswith("items")
    with pytest.raises(InvalidInput, match="request"):
        await quire.pages.post(ADA, session.id, [], {"deep": wrong})
    assert await row_count(quire, queries, session.id) == 0


async def test_posting_needs_a_writer_and_a_session_that_is_not_deleted(quire: Quire) -> None:
    session = await create(quire)
    await quire.sharing.share(ADA, session.id, ["grace"], Role.READ)
    with pytest.raises(Forbidden):
        await quire.pages.post(GRACE, session.id, [1], {})
    with pytest.raises(SessionNotFound):
        await quire.pages.post(ALAN, session.id, [1], {})
    await quire.sessions.delete(ADA, session.id)
    with pytest.raises(Conflict):
        await quire.pages.post(ADA, session.id, [1], {})


async def test_what_is_posted_is_kept_when_it_is_answered(quire: Quire) -> None:
    session = await create(quire)
    kept = await quire.pages.post(ADA, session.id, ["a\x00b", 1, None], {"from": "a\x00b"}, 2)
    stored = await row(quire, kept.query_id)
    assert orjson.loads(stored.request) == {"from": "a\x00b"}
    assert kept.items == ["a\x00b", 1]
    again = {"query_id": kept.query_id}  # the same request, after a crash before its answer
    await quire.pages.post(ADA, session.id, ["a\x00b", 1, None], {}, 2, **again)
    assert await row_count(quire, queries, session.id) == 1


# Who may see it


async def test_a_query_of_a_session_is_paged_by_whoever_may_read_it(quire: Quire) -> None:
    session, other = await create(quire), await create(quire)
    await quire.sharing.share(ADA, session.id, ["grace"], Role.READ)
    kept = await quire.pages.keep(ADA, session.id, found(1), REQUEST)
    readers = (ADA, GRACE, person("carol", "garden"), OPERATOR)
    for reader in readers[:2] + readers[3:]:
        assert (await quire.pages.page(reader, kept.query_id, 0, session.id)).items == found(1)
        assert (await quire.pages.page(reader, kept.query_id, 0)).items == found(1)
    with pytest.raises(SessionNotFound):
        await quire.pages.page(ALAN, kept.query_id, 0, session.id)
    with pytest.raises(QueryNotFound):
        await quire.pages.page(ALAN, kept.query_id, 0)
    with pytest.raises(QueryNotFound):
        await quire.pages.page(ADA, kept.query_id, 0, other.id)
    await quire.sharing.unshare(ADA, session.id, "grace")
    with pytest.raises(QueryNotFound):
        await quire.pages.page(GRACE, kept.query_id, 0)


async def test_a_query_over_several_sessions_is_its_owners(quire: Quire) -> None:
    mine, shared = await create(quire), await create(quire, GRACE)
    await quire.sharing.share(GRACE, shared.id, ["ada"], Role.READ)
    across = [mine.id, shared.id]
    kept = await quire.pages.keep(ADA, None, found(1), REQUEST, across=across)
    for reader in (ADA, OPERATOR):
        assert (await quire.pages.page(reader, kept.query_id, 0)).items == found(1)
    with pytest.raises(QueryNotFound):
        await quire.pages.page(GRACE, kept.query_id, 0)
    with pytest.raises(QueryNotFound):
        await quire.pages.page(ADA, kept.query_id, 0, mine.id)
    await quire.sharing.unshare(GRACE, shared.id, "ada")
    with pytest.raises(QueryExpired):
        await quire.pages.page(ADA, kept.query_id, 0)


async def test_nobodys_query_is_nobodys(quire: Quire) -> None:
    nobody = person("")
    kept = await quire.pages.keep(OPERATOR, None, found(1), REQUEST)
    for stranger in (nobody, ADA):
        with pytest.raises(QueryNotFound):
            await quire.pages.page(stranger, kept.query_id, 0)


@pytest.mark.parametrize(
    "query_id", ["", "x" * 100_000, "\x00", "5b0e7c1a-6a0f-4a37-9d55-6f2f1d8f4c11"]
)
async def test_what_never_was_is_not_found(quire: Quire, query_id: str) -> None:
    with pytest.raises(QueryNotFound) as refused:
        await quire.pages.page(ADA, query_id, 0)
    assert len(refused.value.message) < 200


async def test_a_purged_session_takes_its_queries_along(quire: Quire) -> None:
    session = await create(quire)
    kept = await quire.pages.keep(ADA, session.id, found(1), REQUEST)
    await written(quire, kept.query_id)
    await purged(quire, ADA, session.id)
    assert await row_count(quire, queries, session.id) == 0
    with pytest.raises(SessionNotFound):
        await quire.pages.page(ADA, kept.query_id, 0, session.id)
    await create(quire, id=session.id)  # of the same name, and not the same
    with pytest.raises(QueryNotFound):
        await quire.pages.page(ADA, kept.query_id, 0, session.id)


async def test_what_waits_for_a_session_that_is_gone_holds_up_nothing(quire: Quire) -> None:
    gone, session = await create(quire), await create(quire)
    await purged(quire, ADA, gone.id)
    await quire.pages.keep(ADA, gone.id, found(1), REQUEST)
    kept = await quire.pages.keep(ADA, session.id, found(1), REQUEST)
    await written(quire, kept.query_id)
    with pytest.raises(SessionNotFound):
        await quire.pages.keep(ADA, gone.id, found(1), REQUEST, durable=True)
    assert await row_count(quire, queries, gone.id) == 0


# How long it stays


async def test_expired_and_not_found_are_told_apart(quire: Quire) -> None:
    session = await create(quire)
    kept = await quire.pages.keep(ADA, session.id, found(1), REQUEST)
    await let_pass(quire, TTL, kept.query_id)

    async def expect(reader: Any, error: type[Exception], message: str) -> None:
        with pytest.raises(error, match=message):
            await quire.pages.page(reader, kept.query_id, 0)

    expired = r"^Query results expired\. Please run a new query\.$"
    await expect(ADA, QueryExpired, expired)
    await expect(ALAN, QueryNotFound, "no query")
    assert await quire.pages.forget_expired(now()) == 1
    assert (await row(quire, kept.query_id)).results == b""
    assert await quire.pages.forget_expired(now()) == 0
    await expect(ADA, QueryExpired, expired)
    await let_pass(quire, TTL, kept.query_id)
    assert await quire.pages.forget_expired(now()) == 1
    await expect(ADA, QueryNotFound, "no query")


async def test_reading_does_not_prolong(quire: Quire) -> None:
    session = await create(quire)
    kept = await quire.pages.keep(ADA, session.id, found(1), REQUEST)
    await let_pass(quire, TTL - timedelta(seconds=30), kept.query_id)
    page = await quire.pages.page(ADA, kept.query_id, 0)
    assert page.expires_at - now() < timedelta(seconds=31)


@pytest.mark.parametrize("in_session", [True, False])
async def test_the_least_recently_used_goes_first(quire: Quire, in_session: bool) -> None:
    session = await create(quire)
    place = session.id if in_session else None
    who = person(f"ada of {session.id}")
    await quire.sharing.share(ADA, session.id, [who.subject or ""], Role.READ)
    async with pages_of(quire, per_session=3) as pages:
        kept = [await pages.keep(who, place, found(n), REQUEST) for n in range(3)]
        await written(quire, kept[2].query_id)
        before = await row(quire, kept[0].query_id)
        await pages.page(who, kept[0].query_id, 0)
        assert await row(quire, kept[0].query_id) == before  # a read writes nothing
        newest = await pages.keep(who, place, found(4), REQUEST)
        await written(quire, newest.query_id)
        assert (await row(quire, kept[0].query_id)).used_at > before.used_at
        for page in (kept[0], kept[2], newest):
            await pages.page(who, page.query_id, 0)
        with pytest.raises(QueryExpired):
            await pages.page(who, kept[1].query_id, 0)
        assert (await row(quire, kept[1].query_id)).results == b""


async def test_deleting_is_for_owners_and_writers(quire: Quire) -> None:
    session = await create(quire)
    await quire.sharing.share(ADA, session.id, ["grace", "alan"], Role.READ)
    by_grace = [await quire.pages.keep(GRACE, session.id, found(1), REQUEST) for _ in range(2)]
    await written(quire, by_grace[0].query_id)
    with pytest.raises(Forbidden):
        await quire.pages.delete(ALAN, by_grace[0].query_id, session.id)
    for who, page in zip((GRACE, ADA), by_grace, strict=True):
        await quire.pages.delete(who, page.query_id, session.id)
        with pytest.raises(QueryNotFound):
            await quire.pages.page(ADA, page.query_id, 0)
    waiting = await quire.pages.keep(ADA, session.id, found(1), REQUEST)
    await quire.pages.delete(ADA, waiting.query_id)
    with pytest.raises(QueryNotFound):
        await quire.pages.delete(ADA, waiting.query_id)
    assert await row_count(quire, queries, session.id) == 0


# Finding queries again


async def test_a_sessions_queries_are_listed_newest_first(quire: Quire) -> None:
    session = await create(quire)
    kept = [await quire.pages.post(ADA, session.id, [n], {"n": n}) for n in range(3)]
    kept += [await quire.pages.keep(GRACE, session.id, [n], {"n": n}) for n in range(3, 5)]
    listed = await quire.pages.find(ADA, session.id)
    wanted = [page.query_id for page in reversed(kept)]
    assert [query.id for query in listed.queries] == wanted
    assert listed.next_cursor is None
    seen, cursor = [], None
    while True:
        part = await quire.pages.find(ADA, session.id, cursor=cursor, limit=2)
        seen += [query.id for query in part.queries]
        cursor = part.next_cursor
        if cursor is None:
            break
    assert seen == wanted
    await let_pass(quire, TTL, kept[0].query_id)
    assert [q.id for q in (await quire.pages.find(ADA, session.id)).queries] == wanted[:-1]
    with pytest.raises(SessionNotFound):
        await quire.pages.find(ALAN, session.id)
    with pytest.raises(InvalidInput, match="cursor"):
        await quire.pages.find(ADA, session.id, cursor="nonsense")


async def test_the_latest_query_is_the_callers_own(quire: Quire) -> None:
    session = await create(quire)
    await quire.sharing.share(ADA, session.id, ["grace"], Role.READ)
    assert await quire.pages.latest(ADA, session.id) is None
    older = await quire.pages.keep(ADA, session.id, found(1), REQUEST)
    await let_pass(quire, timedelta(seconds=1), older.query_id)
    newer = await quire.pages.keep(ADA, session.id, found(1), REQUEST)
    by_grace = await quire.pages.keep(GRACE, session.id, found(1), REQUEST)
    for _ in range(2):  # while it waits, and when it is written
        for who, wanted in ((ADA, newer), (GRACE, by_grace)):
            latest = await quire.pages.latest(who, session.id)
            assert latest is not None
            assert latest.id == wanted.query_id
        await written(quire, by_grace.query_id)
    for page in (older, newer):
        await let_pass(quire, TTL, page.query_id)
    latest = await quire.pages.latest(ADA, session.id)
    assert latest is not None
    assert latest.id == newer.query_id  # so that it can be told that it expired


# Behind the answer


async def test_a_search_does_not_wait_for_the_disk(quire: Quire) -> None:
    session = await create(quire)
    async with quire.database.write():  # nobody else writes now
        async with asyncio.timeout(1):
            kept = await quire.pages.keep(ADA, session.id, found(11), REQUEST)
            page = await quire.pages.page(ADA, kept.query_id, 1, session.id)
        await asyncio.sleep(0.1)
        assert page.items == found(11)[10:]
        assert await row(quire, kept.query_id) is None
    await written(quire, kept.query_id)


async def test_many_searches_at_once_share_transactions_and_lose_nothing(quire: Quire) -> None:
    session = await create(quire)
    async with pages_of(quire, per_session=300) as pages:

        async def search(n: int) -> tuple[int, QueryPage]:
            kept = await pages.keep(ADA, session.id, found(n), REQUEST, page_size=7)
            await asyncio.sleep(n % 10 / 200)
            index = max(0, kept.num_total_pages - 1)
            return n, await pages.page(ADA, kept.query_id, index, session.id)

        ends = await asyncio.gather(*(search(n) for n in range(200)))
        for n, page in ends:
            assert page.items == found(n)[page.page_index * 7 :]
    assert await row_count(quire, queries, session.id) == 200
    async with quire.database.read() as connection:
        moments = sa.select(queries.c.used_at).where(queries.c.session_id == session.id)
        assert len((await connection.execute(moments)).all()) == 200


async def test_where_too_much_waits_a_search_waits_too(quire: Quire) -> None:
    session = await create(quire)
    async with pages_of(quire) as pages:
        pages._writer._room_bytes = 30_000
        async with quire.database.write():
            await pages.keep(ADA, session.id, found(25, size=1000), REQUEST)
            second = asyncio.create_task(pages.keep(ADA, session.id, found(20, size=1000), REQUEST))
            await asyncio.sleep(0.2)
            assert not second.done()
            assert pages._writer.bytes < 30_000
        kept = await asyncio.wait_for(second, 10)
        assert (await pages.page(ADA, kept.query_id, 1)).items == found(20, size=1000)[10:]


async def test_memory_is_bounded_and_what_it_lets_go_is_read_again(quire: Quire) -> None:
    session = await create(quire)
    async with pages_of(quire, memory_bytes=20_000, per_session=100) as pages:
        texts = [found(10, size=100 * n) for n in range(1, 30)]
        kept = [await pages.keep(ADA, session.id, items, REQUEST) for items in texts]
        await written(quire, kept[-1].query_id)
        for items, page in zip(texts, kept, strict=True):
            assert (await pages.page(ADA, page.query_id, 0)).items == items
            assert 0 < pages._memory.bytes <= 20_000
        own = sum(results.size for results in pages._memory._kept.values())
        assert pages._memory.bytes == own


async def test_what_is_larger_than_the_memory_is_paged_all_the_same(quire: Quire) -> None:
    session = await create(quire)
    async with pages_of(quire, memory_bytes=1) as pages:
        items = found(1000, size=1500)
        kept = await pages.keep(ADA, session.id, items, REQUEST, 1000)
        await written(quire, kept.query_id)
        assert (await pages.page(ADA, kept.query_id, 0)).items == items
        assert pages._memory.bytes == 0


async def test_a_writer_that_fails_goes_on_with_the_next(quire: Quire) -> None:
    session = await create(quire)

    class Breaking(QueryStore):
        broken = True

        async def write(self, *args: Any) -> set[str]:
            if self.broken:
                self.broken = False
                raise ArithmeticError("nobody expected this")
            return await super().write(*args)

    async with pages_of(quire) as pages:
        pages._store = Breaking(quire.database, QuerySettings())
        pages._writer._store = pages._store
        await pages.keep(ADA, session.id, found(1), REQUEST)
        await asyncio.sleep(0.1)
        kept = await pages.keep(ADA, session.id, found(1), REQUEST)
        await written(quire, kept.query_id)
        assert await row_count(quire, queries, session.id) == 1


async def test_closing_what_was_never_opened_is_harmless(quire: Quire) -> None:
    store = QueryStore(quire.database, QuerySettings())
    await QueryWriter(store, QueryMemory(1)).close()
