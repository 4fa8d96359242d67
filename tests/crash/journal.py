"""What a child process began and what it was told had been done; it outlives any kill."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path


class Journal:
    """Written by the child: a line before each operation and one after its acknowledgement."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def write(self, session_id: str, operation: str, phase: str) -> None:
        line = json.dumps({"id": session_id, "op": operation, "phase": phase}) + "\n"
        os.write(self._descriptor, line.encode())


@dataclass
class History:
    """What is known of one session from outside."""

    acknowledged: list[str] = field(default_factory=list)
    pending: str | None = None

    @property
    def last(self) -> str | None:
        return self.acknowledged[-1] if self.acknowledged else None


def read_journal(path: Path) -> dict[str, History]:
    histories: dict[str, History] = {}
    for line in path.read_text().splitlines():
        entry = json.loads(line)
        history = histories.setdefault(entry["id"], History())
        if entry["phase"] == "begin":
            history.pending = entry["op"]
        else:
            history.acknowledged.append(entry["op"])
            history.pending = None
    return histories
