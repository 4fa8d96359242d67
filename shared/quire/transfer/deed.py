"""What a transfer did to sessions, as it has to be known to be undone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from quire.transfer.lineage import Descent, Line

UNDOABLE = frozenset({Descent.MERGED_FROM, Descent.SPLIT_FROM, Descent.RESTORED_FROM})


@dataclass(frozen=True, slots=True)
class Deed:
    """What a transfer did, as its first line tells it."""

    job_id: str
    kind: Descent
    at: datetime
    is_undone: bool
    new: Sequence[str]
    changed: Mapping[str, Mapping[str, Any]]
    archived: Sequence[str]
    left: Mapping[str, str]
    """When each new or changed session was last changed, by the transfer itself."""
    parents: Sequence[str]

    @property
    def concerned(self) -> list[str]:
        return sorted({*self.new, *self.changed, *self.archived})

    @classmethod
    def of(cls, lines: Sequence[Line]) -> Deed | None:
        """None where there is nothing that could be undone."""
        told = next((line.details["undo"] for line in lines if "undo" in line.details), None)
        if told is None or lines[0].kind not in UNDOABLE or lines[0].created_at is None:
            return None
        return cls(
            job_id=lines[0].job_id,
            kind=lines[0].kind,
            at=lines[0].created_at,
            is_undone=lines[0].undone_at is not None,
            new=told["new"],
            changed=told["changed"],
            archived=told["archived"],
            left=told["left"],
            parents=sorted({line.parent_id for line in lines}),
        )
