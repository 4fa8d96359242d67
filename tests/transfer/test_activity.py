"""Conversation, invocations, data and attachments go where their sessions go."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio
import sqlalchemy as sa

from quire.activity.message_models import MessageMode
from quire.errors import AttachmentNotFound
from quire.sessions.lifecycle import State
from quire.store.columns import now
from quire.store.tables import attachments, clusterings, messages, replaced_data
from quire.transfer.feeds import ORIGIN, OnConflict, other_id
from quire.transfer.merge_request import MergeRequest
from quire.transfer.split_request import PartRequest, SplitActivity
from quire.transfer.targets import NewTarget
from tests.transfer.activity import (
    attach,
    bytes_of,
    contents,
    held,
    is_held_right,
    kept,
    remember,
    said,
    say,
    use,
    value_of,
    work,
)
from tests.transfer.house import (
    ADA,
    create,
    current,
    filled_quire,
    finished,
    merged,
    purges,
    split,
    write,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from quire.app import Quire

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def quire(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Quire]:
    async with filled_quire(tmp_path_factory.mktemp("activity")) as quire:
        yield quire


async def worked(quire: Quire, about: str = "moss") -> str:
    session = await create(quire)
    await work(quire, session.id, about)
    return session.id


async def forked(quire: Quire, session_id: str) -> str:
    job_id, fork_id = await quire.transfers.fork.begin(ADA, session_id, NewTarget(name="fork"))
    await finished(quire, job_id)
    return fork_id


async def undo(quire: Quire, job_id: str) -> None:
    await finished(quire, await quire.history.undo.begin(ADA, job_id))
    await purges(quire)


async def merge_job(quire: Quire, *sources: str, target: str, on_conflict: OnConflict) -> str:
    request = MergeRequest(
        source_session_ids=sources,
        target_session_id=target,
        on_conflict=on_conflict,
        archive_sources=False,
    )
    job_id = await quire.transfers.merge.begin(ADA, request)
    await finished(quire, job_id)
    return job_id


async def test_a_fork_has_the_same_activity_and_goes_its_own_way(quire: Quire) -> None:
    session_id = await worked(quire)
    before = await kept(quire, session_id)
    fork_id = await forked(quire, session_id)
    assert await kept(quire, fork_id) == before
    assert await held(quire, fork_id) == await held(quire, session_id)
    # what is said and done afterwards is said and done in one of them
    await say(quire, fork_id, said("Only here.", "ask-2"))
    await say(quire, session_id, said("Only there.", "ask-2"))
    await quire.activity.attachments.remove(ADA, session_id, "plots/chart.png")
    assert [m["ordinal"] for m in (await kept(quire, fork_id))["messages"]] == [0, 1, 2]
    assert (await contents(quire, fork_id))[-1] == "Only here."
    assert await bytes_of(quire, fork_id, "plots/chart.png") == b"chart of moss"
    assert await is_held_right(quire, fork_id)


async def test_what_has_expired_does_not_come_along(quire: Quire) -> None:
    session_id = await worked(quire)
    await attach(quire, session_id, "soon gone", b"x", ttl_seconds=1000)
    await attach(quire, session_id, "later gone", b"x", ttl_seconds=5000)
    async with quire.database.write() as connection:
        await connection.execute(
            sa.update(attachments)
            .where(attachments.c.session_id == session_id, attachments.c.name == "soon gone")
            .values(expires_at=now() - timedelta(seconds=1))
        )
    fork_id = await forked(quire, session_id)
    with pytest.raises(AttachmentNotFound):
        await quire.activity.attachments.get(ADA, fork_id, "soon gone")
    theirs = await quire.activity.attachments.get(ADA, session_id, "later gone")
    ours = await quire.activity.attachments.get(ADA, fork_id, "later gone")
    assert ours == replace(theirs, session_id=fork_id)
    assert await is_held_right(quire, fork_id)


async def test_messages_are_found_by_words_and_meaning_where_they_come_to(quire: Quire) -> None:
    one, other = await worked(quire, "moss"), await worked(quire, "ferns")
    for session_id in (one, other):
        await quire.activity.messages.set_semantic(ADA, session_id, True)
        await quire.activity.messages.search(
            ADA, session_id, "draw", mode=MessageMode.SEMANTIC, limit=5
        )
    vectors = await vectors_of(quire, one)
    assert all(vectors)
    fork_id = await forked(quire, one)
    assert await vectors_of(quire, fork_id) == vectors
    together = (await merged(quire, one, other))["session_id"]
    assert set(await vectors_of(quire, together)) >= set(vectors)
    told = await quire.activity.messages.settings(ADA, together)
    assert (told.semantic, told.messages, told.pending) == (True, 4, 0)
    for session_id in (fork_id, together):
        found = await quire.activity.messages.search(
            ADA, session_id, "moss", mode=MessageMode.KEYWORD, limit=5
        )
        assert [hit.message.content for hit in found.hits] == ["Draw moss."]
    # a session that did not ask for it is not embedded because others were
    silent = await create(quire)
    await say(quire, silent.id, "Before.")
    await merged(quire, one, target_session_id=silent.id)
    told = await quire.activity.messages.settings(ADA, silent.id)
    assert (told.semantic, told.messages) == (False, 3)


async def vectors_of(quire: Quire, session_id: str) -> list[bytes]:
    query = sa.select(messages.c.vector).where(messages.c.session_id == session_id)
    async with quire.database.read() as connection:
        return list((await connection.execute(query.order_by(messages.c.ordinal))).scalars())


async def test_conversations_are_merged_by_time_and_keep_their_own_order(quire: Quire) -> None:
    one, other = await create(quire), await create(quire)
    await say(quire, one.id, "one, first")
    await say(quire, other.id, "other, first")
    await say(quire, one.id, "one, second")
    await say(quire, other.id, "other, second", "other, third")
    result = await merged(quire, other.id, one.id)
    together = result["session_id"]
    assert await contents(quire, together) == [
        "one, first",
        "other, first",
        "one, second",
        "other, second",
        "other, third",
    ]
    assert result["activity"]["messages"] == 5
    # a clock that went backwards does not turn a conversation round
    await moved_back(quire, one.id, "one, second")
    again = (await merged(quire, one.id, other.id))["session_id"]
    own = [text for text in await contents(quire, again) if text.startswith("one")]
    assert own == ["one, first", "one, second"]
    # what comes to a session stands behind what was said there
    await say(quire, together, "the last")
    await merged(quire, one.id, target_session_id=together)
    assert (await contents(quire, together))[5:] == ["the last"]  # the others are there already
    third = await create(quire)
    await say(quire, third.id, "new")
    await merged(quire, third.id, target_session_id=together)
    assert (await contents(quire, together))[5:] == ["the last", "new"]


async def moved_back(quire: Quire, session_id: str, text: str) -> None:
    async with quire.database.write() as connection:
        await connection.execute(
            sa.update(messages)
            .where(messages.c.session_id == session_id, messages.c.content == f'"{text}"'.encode())
            .values(created_at=now() - timedelta(days=1))
        )


async def test_two_forks_merged_have_everything_once(quire: Quire) -> None:
    session_id = await worked(quire)
    forks = [await forked(quire, session_id) for _ in range(2)]
    before = await kept(quire, session_id)
    await say(quire, forks[0], said("One way.", "next"))
    await say(quire, forks[1], said("Another way.", "next"))
    result = await merged(quire, *forks)
    after = await kept(quire, result["session_id"])
    assert after["invocations"] == before["invocations"]
    assert after["attachments"] == before["attachments"]
    assert after["session_data"] == before["session_data"]
    renamed = other_id(forks[1], "next")
    assert [m["id"] for m in after["messages"]] == ["ask", "answer", "next", renamed]
    assert after["messages"][3]["metadata"] == {ORIGIN: {"session_id": forks[1], "id": "next"}}
    assert result["activity"]["renamed"] == {"attachments": 0, "invocations": 0, "messages": 1}
    assert result["activity"]["conflicting_data"] == 0


async def test_what_differs_under_one_name_is_told_apart(quire: Quire) -> None:
    moss, ferns, toads = [await worked(quire, about) for about in ("moss", "ferns", "toads")]
    result = await merged(quire, moss, ferns, toads)
    together, told = result["session_id"], result["activity"]
    for n, about in ((" (2)", "ferns"), (" (3)", "toads"), ("", "moss")):
        name = f"plots/chart{n}.png"
        assert await bytes_of(quire, together, name) == f"chart of {about}".encode()
    assert told["attachments"] == 4  # the log is the same in all of them
    assert told["renamed_attachments"] == [
        {"session_id": ferns, "name": "plots/chart.png", "renamed": "plots/chart (2).png"},
        {"session_id": toads, "name": "plots/chart.png", "renamed": "plots/chart (3).png"},
    ]
    assert await is_held_right(quire, together)
    # whoever names something by its name names the same as before
    invocation = await quire.activity.invocations.get(ADA, together, other_id(ferns, "draw-1"))
    assert invocation.attachments == ("plots/chart (2).png", "log.txt")
    assert invocation.metadata == {ORIGIN: {"session_id": ferns, "id": "draw-1"}}
    answer = await quire.activity.messages.get(ADA, together, other_id(ferns, "answer"))
    assert answer.invocation_id == invocation.id
    assert answer.content == [{"type": "image", "attachment": "plots/chart (2).png"}]
    assert (await quire.activity.messages.get(ADA, together, "answer")).invocation_id == "draw-1"
    # and data are the first one's
    assert await value_of(quire, together, "subject") == "moss"
    assert (told["conflicting_data"], told["conflicting_data_keys"]) == (2, ["subject"] * 2)


async def test_the_same_merge_again_brings_nothing_new(quire: Quire) -> None:
    moss, ferns = await worked(quire, "moss"), await worked(quire, "ferns")
    target = await forked(quire, moss)
    await merged(quire, ferns, target_session_id=target)
    once = await kept(quire, target)
    result = await merged(quire, ferns, target_session_id=target)
    assert await kept(quire, target) == once
    kinds = ("messages", "invocations", "data", "attachments")
    assert [result["activity"][kind] for kind in kinds] == [0, 0, 0, 0]


@pytest.mark.parametrize("on_conflict", [OnConflict.SKIP, OnConflict.REPLACE])
async def test_undoing_a_merge_takes_exactly_that_away(
    quire: Quire, on_conflict: OnConflict
) -> None:
    target, source = await worked(quire, "moss"), await worked(quire, "ferns")
    await remember(quire, source, only_theirs=[1])
    await remember(quire, target, only_ours=[2])
    before, holding = await kept(quire, target), await held(quire, target)
    job_id = await merge_job(quire, source, target=target, on_conflict=on_conflict)
    wins = "ferns" if on_conflict is OnConflict.REPLACE else "moss"
    assert await value_of(quire, target, "subject") == wins
    assert await value_of(quire, target, "only_theirs") == [1]
    assert len(await contents(quire, target)) == 4
    await undo(quire, job_id)
    after = await kept(quire, target)
    numbers = [row.pop("next_ordinal") for told in (before, after) for row in told["conversations"]]
    assert numbers == [2, 4]  # what was given is never given again
    assert after == before
    assert await held(quire, target) == holding
    await say(quire, target, "And on.")
    assert [m["ordinal"] for m in (await kept(quire, target))["messages"]] == [0, 1, 4]
    # and again, now that there is a gap
    fork_id = await forked(quire, target)
    assert await contents(quire, fork_id) == await contents(quire, target)


async def test_what_was_written_since_outlives_the_undoing(quire: Quire) -> None:
    target, source = await worked(quire, "moss"), await worked(quire, "ferns")
    job_id = await merge_job(quire, source, target=target, on_conflict=OnConflict.REPLACE)
    await remember(quire, target, subject="rewritten")
    await attach(quire, target, "plots/chart (2).png", b"drawn anew")
    await undo(quire, job_id)
    assert await value_of(quire, target, "subject") == "rewritten"
    assert await bytes_of(quire, target, "plots/chart (2).png") == b"drawn anew"
    assert await is_held_right(quire, target)


async def test_what_was_replaced_is_let_go_when_it_is_too_late_to_undo(quire: Quire) -> None:
    target, source = await worked(quire, "moss"), await worked(quire, "ferns")
    await merge_job(quire, source, target=target, on_conflict=OnConflict.REPLACE)

    async def laid_aside() -> int:
        query = sa.select(sa.func.count()).where(replaced_data.c.session_id == target)
        async with quire.database.read() as connection:
            return int(await connection.scalar(query) or 0)

    await quire.history.undo.forget(now())
    assert await laid_aside() == 2
    await quire.history.undo.forget(now() + timedelta(hours=25))
    assert await laid_aside() == 0


async def test_undoing_a_merge_that_made_a_session_leaves_nothing_of_it(quire: Quire) -> None:
    sources = [await worked(quire, about) for about in ("moss", "ferns")]
    before = [await kept(quire, one) for one in sources]
    request = MergeRequest(source_session_ids=sources, target_name="m", archive_sources=True)
    job = await finished(quire, await quire.transfers.merge.begin(ADA, request))
    assert job.result is not None
    made = job.result["session_id"]
    await undo(quire, job.id)
    assert await held(quire, made) == set()
    assert not any((await kept(quire, made)).values())
    assert [await kept(quire, one) for one in sources] == before
    assert [(await current(quire, one)).state for one in sources] == [State.ACTIVE] * 2


async def test_a_split_leaves_activity_where_it_is_unless_copies_are_asked_for(
    quire: Quire,
) -> None:
    session_id = await worked(quire)
    await write(quire, session_id, [1, 2])
    before = await kept(quire, session_id)
    parts = [PartRequest(name="one", point_ids=[1]), PartRequest(name="two", point_ids=[2])]
    done = await split(quire, session_id, parts=parts, remove_points=False)
    for part in done["new_session_ids"]:
        assert not any((await kept(quire, part)).values())
    done = await split(quire, session_id, parts=parts, activity=SplitActivity.COPY)
    assert done["activity"]["messages"] == 2
    for part in done["new_session_ids"]:
        assert await kept(quire, part) == before
        assert await is_held_right(quire, part)
    assert await kept(quire, session_id) == before


async def test_a_dry_run_counts_the_activity_of_each(quire: Quire) -> None:
    one, other = await worked(quire), (await create(quire)).id
    await use(quire, other, "draw")
    request = MergeRequest(source_session_ids=[one, other], target_name="m")
    report = await quire.transfers.merge.report(ADA, request)
    assert [source.activity for source in report.sources] == [
        {"attachments": 2, "data": 2, "invocations": 1, "messages": 2},
        {"attachments": 0, "data": 0, "invocations": 1, "messages": 0},
    ]


async def test_a_fork_knows_how_its_points_were_clustered(quire: Quire) -> None:
    session_id, model = (await create(quire)).id, b"centroids"
    blob = await quire.ledger.put(_once(model))
    row = {
        "session_id": session_id,
        "job_id": "j",
        "algorithm": "kmeans",
        "parameters": {"k": 2},
        "clusters": [],
        "model_sha256": blob.sha256,
        "points_count": 0,
        "embedding": {},
        "created_at": now(),
    }
    async with quire.database.write() as connection:
        await connection.execute(sa.insert(clusterings).values(row))
        await quire.ledger.refer(connection, session_id, "clustering", blob.sha256)
    fork_id = await forked(quire, session_id)
    query = sa.select(clusterings).where(clusterings.c.session_id == fork_id)
    async with quire.database.read() as connection:
        found = (await connection.execute(query)).mappings().one()
    assert found["model_sha256"] == blob.sha256
    await quire.sessions.delete_for_good(ADA, session_id)
    await purges(quire)
    await quire.ledger.sweep(now() + timedelta(days=2))
    assert [block async for block in quire.blobs.get(blob.sha256)] == [model]
    other = (await merged(quire, fork_id, (await create(quire)).id))["session_id"]
    async with quire.database.read() as connection:
        none = sa.select(sa.func.count()).where(clusterings.c.session_id == other)
        assert await connection.scalar(none) == 0


async def _once(content: bytes) -> AsyncIterator[bytes]:
    yield content
