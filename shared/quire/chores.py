"""What is done again and again by itself: sweeping, forgetting, backing up."""

from __future__ import annotations

from datetime import timedelta

from quire.assembly import Assembly
from quire.events.log import forget_events
from quire.housekeeping import Chore
from quire.sessions.lifecycle import Action
from quire.sessions.purge import Reason
from quire.sessions.retention import Verdict
from quire.store.columns import now
from quire.telemetry.metrics import ExpirationReason

HOUR = 3600.0
BACKUP_SECONDS = 300.0  # between two looks for what is due


def chores_of(quire: Assembly) -> list[Chore]:
    """All of them, each with its pause."""
    blob_pause = max(60.0, quire.settings.blob.sweep_grace_seconds / 2)
    query_pause = max(60.0, quire.settings.query.ttl_seconds / 4)
    backup_hours = quire.settings.backup.every_hours
    backup = Chore("backups", min(BACKUP_SECONDS, backup_hours * HOUR), quire.files.backups.run)
    return [
        *([backup] if backup_hours else []),
        Chore("retention", quire.settings.retention.sweep_seconds, lambda: _sweep_sessions(quire)),
        Chore("residency", quire.settings.residency.sweep_seconds, quire.residency.sweep),
        Chore("blobs", blob_pause, lambda: quire.ledger.sweep(now())),
        Chore("job history", HOUR, lambda: _forget_jobs(quire)),
        Chore("idempotency keys", HOUR, quire.idempotency.forget_old),
        Chore("query results", query_pause, lambda: quire.pages.forget_expired(now())),
        Chore("events", HOUR, lambda: _forget_events(quire)),
        Chore("scratch", HOUR, quire.scratch.sweep),
        Chore("uploads", HOUR, lambda: quire.uploads.forget_expired(now())),
        Chore(
            "attachments",
            quire.settings.retention.sweep_seconds,
            lambda: quire.activity.attachments.sweep(now()),
        ),
        Chore("agents", HOUR, lambda: quire.agents.forget(now())),
        Chore("undoing", HOUR, lambda: quire.history.undo.forget(now())),
    ]


async def _sweep_sessions(quire: Assembly) -> None:
    sweep = await quire.retention.sweep(await quire.policies.get())
    for verdict in sweep.verdicts:
        quire.metrics.count_expirations(_expiration(verdict))


async def _forget_jobs(quire: Assembly) -> None:
    await quire.jobs.forget_finished(now() - timedelta(days=quire.settings.jobs.history_days))


async def _forget_events(quire: Assembly) -> None:
    kept = timedelta(hours=quire.settings.events.keep_hours)
    await forget_events(quire.database, now() - kept)


def _expiration(verdict: Verdict) -> ExpirationReason:
    match verdict.action:
        case Action.ARCHIVE:
            return ExpirationReason.RETENTION_ARCHIVED
        case Action.DELETE:
            return ExpirationReason.RETENTION_DELETED
        case _ if verdict.purge_reason is Reason.EXPIRED:
            return ExpirationReason.EXPIRED
        case _:
            return ExpirationReason.PURGED
