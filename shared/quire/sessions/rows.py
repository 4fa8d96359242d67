"""Sessions as rows of the metadata store, and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from quire.access.policy import Role
from quire.sessions.lifecycle import State
from quire.sessions.models import (
    Collaborator,
    Configuration,
    Embedding,
    ModelUsage,
    Outcome,
    ProcessingStats,
    Residency,
    Session,
)

SAME_NAMES = (
    "id",
    "collection",
    "name",
    "description",
    "owner_id",
    "metadata",
    "lineage",
    "hold",
    "points_count",
    "chunks_count",
    "ttl_seconds",
    "expires_at",
    "created_at",
    "updated_at",
    "last_activity_at",
    "ended_at",
    "archived_at",
    "deleted_at",
    "version",
)


def to_row(session: Session) -> dict[str, Any]:
    row = {name: getattr(session, name) for name in SAME_NAMES}
    row["state"] = session.state.value
    row["group_name"] = session.group
    row["tags"] = list(session.tags)
    row["collaborators"] = [
        {"user_id": c.user_id, "role": c.role.value} for c in session.collaborators
    ]
    row["configuration"] = asdict(session.configuration)
    row["processing_stats"] = _with_times_as_text(asdict(session.processing_stats))
    row["model_usage"] = _with_times_as_text(asdict(session.model_usage))
    row["embedding"] = asdict(session.embedding)
    row["outcome"] = session.outcome and session.outcome.value
    row["residency"] = session.residency.value
    return row


def from_row(row: sa.RowMapping) -> Session:
    stats = dict(row["processing_stats"])
    usage = dict(row["model_usage"])
    return Session(
        **{name: row[name] for name in SAME_NAMES},
        state=State(row["state"]),
        group=row["group_name"],
        tags=tuple(row["tags"]),
        collaborators=collaborators_from(row["collaborators"]),
        configuration=Configuration(**row["configuration"]),
        processing_stats=ProcessingStats(
            **{**stats, "last_processing_time": _moment(stats["last_processing_time"])}
        ),
        model_usage=ModelUsage(
            llm_models_used=tuple(usage["llm_models_used"]),
            embedding_models_used=tuple(usage["embedding_models_used"]),
            model_switches=usage["model_switches"],
            last_model_switch=_moment(usage["last_model_switch"]),
        ),
        embedding=Embedding(**row["embedding"]),
        outcome=Outcome(row["outcome"]) if row["outcome"] else None,
        residency=Residency(row["residency"]),
    )


def collaborators_from(entries: list[Mapping[str, str]]) -> tuple[Collaborator, ...]:
    return tuple(Collaborator(entry["user_id"], Role(entry["role"])) for entry in entries)


def _with_times_as_text(values: dict[str, Any]) -> dict[str, Any]:
    return {
        key: value.isoformat() if isinstance(value, datetime) else value
        for key, value in values.items()
    }


def _moment(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
