"""A folder of backups: a bundle for each session, and an index that says whose they are.

The index is an operator's: it names owners, groups and collaborators, which no bundle does. It is
written last, so a folder without one is not whole.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import orjson

from quire.errors import FileRefused, InvalidInput
from quire.sessions.lifecycle import State
from quire.sessions.models import Session
from quire.sessions.validation import ID_PATTERN
from quire.transfer.exporting import Export
from quire.transfer.import_request import Restored

INDEX = "index.jsonl"
ENDING = ".quire"
BLOCK_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A session in the index."""

    id: str
    name: str
    is_archived: bool
    points_count: int
    sha256: str
    """Of its bundle."""
    restored: Restored


class BackupFolder:
    """Writes such a folder; use `with`, and `finish` it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir(parents=True, exist_ok=True)
        if (path / INDEX).exists():
            raise InvalidInput(
                f"{path} holds a backup already", recovery="Name another folder, or remove that."
            )
        self._unfinished = path / f"{INDEX}.unfinished"
        self._index = self._unfinished.open("wb")

    async def add(self, session: Session, export: Export) -> Entry:
        """Write the session's bundle, and note whose it is."""
        hashed = hashlib.sha256()
        with (self.path / f"{session.id}{ENDING}").open("wb") as file:
            async for block in export.blocks():
                hashed.update(block)
                await asyncio.to_thread(file.write, block)
            await asyncio.to_thread(_to_disk, file)
        entry = entry_of(session, hashed.hexdigest())
        self._index.write(orjson.dumps(asdict(entry)) + b"\n")
        return entry

    def finish(self) -> None:
        """Say that this is all."""
        _to_disk(self._index)
        self._unfinished.rename(self.path / INDEX)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._index.close()


def entry_of(session: Session, sha256: str) -> Entry:
    """What the index tells of a session."""
    return Entry(
        id=session.id,
        name=session.name,
        is_archived=session.state is State.ARCHIVED,
        points_count=session.points_count,
        sha256=sha256,
        restored=Restored(
            owner_id=session.owner_id,
            group=session.group,
            collaborators={c.user_id: c.role.value for c in session.collaborators},
            hold=session.hold,
        ),
    )


def entries(path: Path) -> Iterator[Entry]:
    """What is in a folder, one after the other; blocking."""
    index = path / INDEX
    if not index.is_file():
        raise FileRefused(
            f"{path} has no {INDEX}: it is no backup, or one that was not finished",
            recovery="Name a folder that `quire backup --to` wrote to its end.",
        )
    with index.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            try:
                yield _entry(orjson.loads(line))
            except (ValueError, KeyError, TypeError, AttributeError):
                raise FileRefused(f"Line {number} of {index} is damaged") from None


async def content(path: Path, entry: Entry) -> AsyncIterator[bytes]:
    """A session's bundle; raises at its end if it is not what was written."""
    hashed = hashlib.sha256()
    with (path / f"{entry.id}{ENDING}").open("rb") as file:
        while block := await asyncio.to_thread(file.read, BLOCK_BYTES):
            hashed.update(block)
            yield block
    if hashed.hexdigest() != entry.sha256:
        raise FileRefused(f"{entry.id}{ENDING} is not what {INDEX} says was written")


def _entry(told: dict[str, Any]) -> Entry:
    if not ID_PATTERN.fullmatch(told["id"]):
        raise ValueError(told["id"])
    restored = Restored.of(told["restored"])
    _ = restored.sharers  # their roles are looked at here
    return Entry(**{**told, "restored": restored})


def _to_disk(file: Any) -> None:
    file.flush()
    os.fsync(file.fileno())
