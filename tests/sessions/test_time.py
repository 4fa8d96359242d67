"""What time does to sessions: they slide, expire, are put away, deleted, purged; or are held."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from quire.access.policy import Role
from quire.errors import BlobNotFound, Expired, InvalidInput, SessionNotFound
from quire.sessions.lifecycle import Action
from quire.sessions.listing import SessionFilter
from quire.sessions.models import Status
from quire.sessions.purge import Reason
from quire.sessions.requests import SessionChange
from quire.sessions.retention_policy import RetentionPolicy
from quire.store.tables import (
    blob_references,
    session_collaborators,
    session_tags,
    sessions,
    tombstones,
)
from tests.sessions.house import (
    ADA,
    ALAN,
    GRACE,
    OPERATOR,
    collections,
    create,
    finish_purges,
    let_pass,
    person,
    purged,
    row_count,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from quire.app import Quire
    from quire.sessions.models import Session
    from quire.sessions.retention import Verdict

pytestmark = pytest.mark.asyncio(loop_scope="module")

OFF = RetentionPolicy(auto_archive_inactive_days=None, auto_delete_archived_days=None)
DAY = timedelta(days=1)
SECOND = timedelta(seconds=1)


async def swept(
    quire: Quire, session: Session, policy: RetentionPolicy = OFF, *, dry_run: bool = False
) -> Verdict | None:
    """What a sweep does with one session."""
    sweep = await quire.retention.sweep(policy, dry_run=dry_run)
    found = [verdict for verdict in sweep.verdicts if verdict.session_id == session.id]
    assert len(found) <= 1
    return found[0] if found else None


# Expiry


async def test_use_puts_a_sliding_expiry_off(quire: Quire) -> None:
    session = await create(quire, ttl_seconds=100)
    for _ in range(4):
        await let_pass(quire, timedelta(seconds=60), session.id)
        used = await quire.sessions.get(ADA, session.id)
        assert used.expires_at is not None
        assert used.expires_at - datetime.now(UTC) > timedelta(seconds=98)
    assert used.version == session.version
    await let_pass(quire, timedelta(seconds=101), session.id)
    with pytest.raises(Expired):
        await quire.sessions.get(ADA, session.id)


async def test_a_look_that_is_no_use_puts_nothing_off(quire: Quire) -> None:
    session = await create(quire, ttl_seconds=100)
    await let_pass(quire, timedelta(seconds=60), session.id)
    await quire.sessions.peek(ADA, session.id)
    await quire.listing.find(ADA, SessionFilter())
    await let_pass(quire, timedelta(seconds=41), session.id)
    with pytest.raises(Expired):
        await quire.sessions.get(ADA, session.id)


async def test_a_change_puts_a_sliding_expiry_off_too(quire: Quire) -> None:
    session = await create(quire, ttl_seconds=100)
    await let_pass(quire, timedelta(seconds=99), session.id)
    changed = await quire.sessions.update(ADA, session.id, SessionChange(name="kept"))
    assert changed.expires_at is not None
    assert changed.expires_at - datetime.now(UTC) > timedelta(seconds=98)


async def test_a_fixed_expiry_stays_whatever_is_done(quire: Quire) -> None:
    at = datetime.now(UTC) + timedelta(seconds=100)
    session = await create(quire, expires_at=at)
    await let_pass(quire, timedelta(seconds=61), session.id)
    await quire.sessions.get(ADA, session.id)
    changed = await quire.sessions.update(ADA, session.id, SessionChange(name="n"))
    assert changed.expires_at == at - timedelta(seconds=61)
    await let_pass(quire, timedelta(seconds=40), session.id)
    with pytest.raises(Expired):
        await quire.sessions.get(ADA, session.id)


async def test_expiries_are_kept_in_utc(quire: Quire) -> None:
    session = await create(quire, expires_at=datetime.fromisoformat("2100-01-01T05:00:00+05:00"))
    assert str(session.expires_at) == "2100-01-01 00:00:00+00:00"
    assert await quire.sessions.peek(ADA, session.id) == session


async def test_an_expiry_can_be_changed_and_taken_away(quire: Quire) -> None:
    session = await create(quire, ttl_seconds=100)
    fixed = datetime(2100, 1, 1, tzinfo=UTC)
    changed = await quire.sessions.update(ADA, session.id, SessionChange(expires_at=fixed))
    assert (changed.ttl_seconds, changed.expires_at) == (None, fixed)
    changed = await quire.sessions.update(ADA, session.id, SessionChange(ttl_seconds=50))
    assert changed.ttl_seconds == 50
    changed = await quire.sessions.update(ADA, session.id, SessionChange(ttl_seconds=None))
    assert (changed.ttl_seconds, changed.expires_at) == (None, None)
    both = SessionChange(ttl_seconds=50, expires_at=fixed)
    with pytest.raises(InvalidInput):
        await quire.sessions.update(ADA, session.id, both)


@pytest.mark.parametrize("sweep", [False, True])
async def test_expired_is_told_to_those_who_could_see_it_and_to_no_one_else(
    quire: Quire, sweep: bool
) -> None:
    """At once, and still so when the sweep has taken it."""
    session = await create(quire, group="garden", ttl_seconds=100)
    await quire.sharing.share(ADA, session.id, ["grace"], Role.READ)
    await let_pass(quire, timedelta(seconds=101), session.id)
    if sweep:
        verdict = await swept(quire, session)
        assert verdict is not None
        assert verdict.purge_reason is Reason.EXPIRED
        await finish_purges(quire)
        assert await row_count(quire, sessions, session.id) == 0
        assert session.collection not in await collections(quire)
    for who in (ADA, GRACE, person("barbara", "garden"), OPERATOR):
        for act in (quire.sessions.get, quire.sessions.archive, quire.sessions.delete_for_good):
            with pytest.raises(Expired, match="expired at"):
                await act(who, session.id)
    with pytest.raises(SessionNotFound):
        await quire.sessions.get(ALAN, session.id)
    with pytest.raises(SessionNotFound):
        await quire.sessions.archive(ALAN, session.id)


async def test_a_tombstone_is_forgotten_in_its_time(quire: Quire) -> None:
    session = await create(quire, ttl_seconds=100)
    await let_pass(quire, timedelta(seconds=101), session.id)
    await swept(quire, session)
    await finish_purges(quire)
    await let_pass(quire, 29 * DAY, session.id)
    await swept(quire, session)
    assert await row_count(quire, tombstones, session.id) == 1
    await let_pass(quire, 2 * DAY, session.id)
    await swept(quire, session)
    assert await row_count(quire, tombstones, session.id) == 0
    with pytest.raises(SessionNotFound):
        await quire.sessions.get(ADA, session.id)


async def test_what_is_deleted_on_request_leaves_no_tombstone(quire: Quire) -> None:
    session = await create(quire)
    await purged(quire, ADA, session.id)
    with pytest.raises(SessionNotFound):
        await quire.sessions.get(ADA, session.id)


# Retention: the rules, one by one

RULES: dict[str, tuple[RetentionPolicy, list[str], timedelta, Action, str]] = {
    "idle": (
        RetentionPolicy(auto_archive_inactive_days=3, auto_delete_archived_days=None),
        [],
        3 * DAY,
        Action.ARCHIVE,
        "auto_archive_inactive_days=3",
    ),
    "archived long ago": (
        RetentionPolicy(auto_archive_inactive_days=None, auto_delete_archived_days=5),
        ["archive"],
        5 * DAY,
        Action.DELETE,
        "auto_delete_archived_days=5",
    ),
    "old": (
        RetentionPolicy(
            max_age_days=7, auto_archive_inactive_days=None, auto_delete_archived_days=None
        ),
        [],
        7 * DAY,
        Action.DELETE,
        "max_age_days=7",
    ),
    "old and archived": (
        RetentionPolicy(
            max_age_days=7, auto_archive_inactive_days=None, auto_delete_archived_days=None
        ),
        ["archive"],
        7 * DAY,
        Action.DELETE,
        "max_age_days=7",
    ),
    "deleted long ago": (OFF, ["delete"], 30 * DAY, Action.PURGE, "QUIRE_RETENTION_DELETED_DAYS"),
    "expired": (OFF, ["expire"], 2 * DAY, Action.PURGE, "expired at"),
}


async def prepared(quire: Quire, steps: list[str], **fields: Any) -> Session:
    if "expire" in steps:
        fields["ttl_seconds"] = 2 * 86_400
    session = await create(quire, **fields)
    if "archive" in steps:
        session = await quire.sessions.archive(ADA, session.id)
    if "delete" in steps:
        session = await quire.sessions.delete(ADA, session.id)
    return session


@pytest.mark.parametrize("rule", RULES)
async def test_a_rule_applies_when_its_time_has_come_and_not_before(
    quire: Quire, rule: str
) -> None:
    policy, steps, time, action, why = RULES[rule]
    session = await prepared(quire, steps)
    # one minute before, nothing
    await let_pass(quire, time - timedelta(minutes=1), session.id)
    assert await swept(quire, session, policy) is None
    # at its time a dry run says what would be done and why, and does nothing
    await let_pass(quire, timedelta(minutes=1), session.id)
    before = await quire.repository.get(session.id)
    foretold = await swept(quire, session, policy, dry_run=True)
    assert foretold is not None
    assert (foretold.action, foretold.name) == (action, session.name)
    assert why in foretold.reason
    assert await quire.repository.get(session.id) == before
    # and the sweep does it, once
    done = await swept(quire, session, policy)
    assert done == foretold
    assert await swept(quire, session, policy) is None
    await finish_purges(quire)
    after = await quire.repository.get(session.id)
    if action is Action.PURGE:
        assert after is None
    else:
        assert after is not None
        assert after.status is (Status.ARCHIVED if action is Action.ARCHIVE else Status.DELETED)


@pytest.mark.parametrize("rule", RULES)
async def test_a_held_session_is_exempt(quire: Quire, rule: str) -> None:
    policy, steps, time, _, _ = RULES[rule]
    session = await prepared(quire, steps, hold=True)
    await let_pass(quire, time + DAY, session.id)
    for dry_run in (True, False):
        assert await swept(quire, session, policy, dry_run=dry_run) is None
    assert (await quire.sessions.peek(ADA, session.id)).hold
    if not session.deleted_at:
        await quire.sessions.update(ADA, session.id, SessionChange(hold=False))
        if "expire" in steps:  # its last use, by which it slides
            assert await swept(quire, session, policy) is None


async def test_use_keeps_a_session_from_being_archived(quire: Quire) -> None:
    policy = RULES["idle"][0]
    session = await create(quire)
    await let_pass(quire, 2 * DAY, session.id)
    await quire.sessions.get(ADA, session.id)
    await let_pass(quire, 2 * DAY, session.id)
    assert await swept(quire, session, policy) is None


async def test_null_switches_a_rule_off(quire: Quire) -> None:
    session = await create(quire)
    await let_pass(quire, 1000 * DAY, session.id)
    assert await swept(quire, session, OFF) is None


async def test_the_policy_in_force_is_kept(quire: Quire) -> None:
    before = await quire.policies.get()
    assert before == RetentionPolicy()
    wanted = RetentionPolicy(max_age_days=400, auto_archive_inactive_days=None)
    await quire.policies.put(wanted)
    assert await quire.policies.get() == wanted
    await quire.policies.put(before)
    for name in ("max_age_days", "max_sessions_per_user"):
        for days in (0, -1, 36_501):
            with pytest.raises(InvalidInput, match=name):
                RetentionPolicy(**{name: days})


# Purge


async def bytes_of(text: str) -> AsyncIterator[bytes]:
    yield text.encode()


async def test_a_purge_leaves_nothing(quire: Quire) -> None:
    # given a session with tags, collaborators, points and a blob that another session holds too
    session = await create(quire, dimension=2, tags=("a", "b"))
    other = await create(quire)
    await quire.sharing.share(ADA, session.id, ["grace"], Role.READ)
    blob = await quire.ledger.put(bytes_of(f"only of {session.id}"))
    shared = await quire.ledger.put(bytes_of("of both"))
    async with quire.database.write() as connection:
        await quire.ledger.refer(connection, session.id, "document 1", blob.sha256)
        await quire.ledger.refer(connection, session.id, "document 2", shared.sha256)
        await quire.ledger.refer(connection, other.id, "document 1", shared.sha256)
    # when
    await purged(quire, ADA, session.id)
    # then
    for table in (sessions, session_tags, session_collaborators, blob_references, tombstones):
        assert await row_count(quire, table, session.id) == 0
    assert session.collection not in await collections(quire)
    await quire.ledger.sweep(datetime.now(UTC) + DAY)
    with pytest.raises(BlobNotFound):
        await quire.blobs.stat(blob.sha256)
    assert await quire.blobs.verify(shared.sha256)


async def test_a_session_is_gone_from_the_moment_it_is_deleted_for_good(quire: Quire) -> None:
    session = await create(quire)
    job_id = await quire.sessions.delete_for_good(ADA, session.id)
    for who in (ADA, OPERATOR):
        with pytest.raises(SessionNotFound):
            await quire.sessions.get(who, session.id)
        with pytest.raises(SessionNotFound):
            await quire.sessions.restore(who, session.id)
        with pytest.raises(SessionNotFound):
            await quire.sessions.delete_for_good(who, session.id)
    assert (await quire.jobs.wait(job_id, 30)).status == "succeeded"
