"""`quire backup` and `quire restore`: every session into a folder or the blob store, and back."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from quire.access.policy import session_not_found
from quire.access.principal import LOCAL
from quire.app import Part, Quire
from quire.bundle.formats.models import Format
from quire.errors import Conflict, NotFound, QuireError
from quire.jobs.failures import revive
from quire.jobs.port import JobStatus
from quire.sessions.models import Session
from quire.settings import Settings
from quire.store.tables import sessions
from quire.transfer.backup_folder import BackupFolder, Entry, content, entries
from quire.transfer.backups import KEPT_STATES
from quire.transfer.import_request import ImportRequest, Restored
from quire_cli.existing import Existing
from quire_cli.readiness import until_ready

IMPORT_SECONDS = 3600.0


@dataclass(slots=True)
class Report:
    """What became of each session."""

    done: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)

    def lines(self, done: str) -> Iterator[str]:
        """As people read it."""
        for session_id, reason in self.failed.items():
            yield f"Failed: session {session_id}: {reason}"
        if self.skipped:
            yield f"Skipped {len(self.skipped)} that are there already."
        yield f"{done} {len(self.done)} sessions."


async def back_up(settings: Settings, session_ids: Sequence[str], to: Path | None) -> Report:
    """Into a folder, or without one into the blob store; one that fails does not stop the rest."""
    report = Report()
    async with Quire.open(settings, Part.TOOL) as quire:
        await until_ready(quire, undone="backed up")
        if to is None:
            async for session in _sessions(quire, session_ids):
                try:
                    await quire.files.backups.back_up(session)
                    report.done.append(session.id)
                except QuireError as error:
                    report.failed[session.id] = error.message
            return report
        with BackupFolder(to) as folder:
            async for session in _sessions(quire, session_ids):
                try:
                    export = await quire.files.exporting.bundle(session)
                    await folder.add(export.session, export)
                    report.done.append(session.id)
                except QuireError as error:
                    report.failed[session.id] = error.message
            folder.finish()
    return report


async def restore(
    settings: Settings, folder: Path | None, session_ids: Sequence[str], existing: Existing
) -> Report:
    """Out of a folder, or without one the newest backup in the blob store of each session."""
    report = Report()
    async with Quire.open(settings, Part.WORKER) as quire:
        await until_ready(quire, undone="restored")
        if existing is Existing.FAIL:
            await _require_absent(quire, folder, session_ids)
        if folder is None:
            for session_id in session_ids:
                await _restore_kept(quire, session_id, existing, report)
            return report
        for entry in _wanted(folder, session_ids):
            await _restore(quire, entry, content(folder, entry), existing, report)
    return report


async def _sessions(quire: Quire, session_ids: Sequence[str]) -> AsyncIterator[Session]:
    if not session_ids:
        async for session in quire.repository.walk(sessions.c.state.in_(KEPT_STATES)):
            yield session
        return
    for session_id in session_ids:
        session_found = await quire.repository.get(session_id)
        if session_found is None or session_found.state.value not in KEPT_STATES:
            raise session_not_found(session_id)
        yield session_found


def _wanted(folder: Path, session_ids: Sequence[str]) -> Sequence[Entry]:
    wanted = [entry for entry in entries(folder) if not session_ids or entry.id in session_ids]
    for session_id in set(session_ids) - {entry.id for entry in wanted}:
        raise NotFound(
            f"{folder} holds no session {session_id}; nothing was restored",
            recovery="Check the id; without --session everything in the folder comes back.",
        )
    return wanted


async def _require_absent(quire: Quire, folder: Path | None, session_ids: Sequence[str]) -> None:
    """Raise before anything is done."""
    named = session_ids if folder is None else [entry.id for entry in _wanted(folder, session_ids)]
    for session_id in named:
        if await quire.repository.get(session_id) is not None:
            raise Conflict(
                f"Session {session_id} is there already; nothing was restored",
                recovery="Say --existing skip, or --existing new-id.",
            )


async def _restore_kept(quire: Quire, session_id: str, existing: Existing, report: Report) -> None:
    backup = await quire.files.backups.required(session_id)
    entry = Entry(
        id=backup.session_id,
        name=backup.session_name,
        is_archived=False,
        points_count=backup.points_count,
        sha256=backup.bundle_sha256,
        restored=Restored(
            owner_id=backup.owner_id, group=backup.group_name, collaborators={}, hold=False
        ),
    )
    await _restore(quire, entry, quire.blobs.get(backup.bundle_sha256), existing, report)


async def _restore(
    quire: Quire, entry: Entry, blocks: AsyncIterator[bytes], existing: Existing, report: Report
) -> None:
    is_there = await quire.repository.get(entry.id) is not None
    if is_there and existing is Existing.SKIP:
        report.skipped.append(entry.id)
        return
    request = ImportRequest(session_id=None if is_there else entry.id, format=Format.BUNDLE)
    try:
        begun = await quire.files.importing.begin(LOCAL, request, blocks, entry.restored)
        job = await quire.jobs.wait(begun.job_id, IMPORT_SECONDS)
        if job.error is not None:
            raise revive(job.error)
        if job.status is not JobStatus.SUCCEEDED:
            raise Conflict(f"Job {job.id} is {job.status}")
        if entry.is_archived:
            await quire.sessions.archive(LOCAL, begun.session_id)
        report.done.append(begun.session_id)
    except (QuireError, FileNotFoundError) as error:
        report.failed[entry.id] = error.message if isinstance(error, QuireError) else str(error)
