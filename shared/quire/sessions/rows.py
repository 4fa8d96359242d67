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
    Pack,
    ProcessingStats,
    Residency,
    Session,
    Successor,
)
from quire.store.tables import sessions

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
    "next_seq",
    "removals",
    "busy_job",
    "made_by",
    "pinned",
    "woke_at",
    "ephemeral",
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

OTHERS = (
    "state",
    "group_name",
    "tags",
    "collaborators",
    "configuration",
    "processing_stats",
    "model_usage",
    "embedding",
    "outcome",
    "residency",
    "hidden_stages",
    "successor",
    "pack",
)
PURPOSE_CHARS = 256  # as many as an index takes
SELECT_SESSIONS = sa.select(*(sessions.c[name] for name in SAME_NAMES + OTHERS))
"""Whole sessions, in the order that `from_row` takes them."""


def to_row(session: Session) -> dict[str, Any]:
    row = {name: getattr(session, name) for name in SAME_NAMES}
    row["state"] = session.state.value
    row["group_name"] = session.group
    row["tags"] = list(session.tags)
    row["collaborators"] = [
        {"user_id": c.user_id, "role": c.role.value} for c in session.collaborators
    ]
    row["configuration"] = asdict(session.configuration)
    row["processing_stats"] = with_times_as_text(asdict(session.processing_stats))
    row["model_usage"] = with_times_as_text(asdict(session.model_usage))
    row["embedding"] = asdict(session.embedding)
    row["outcome"] = session.outcome and session.outcome.value
    row["purpose"] = purpose_of(session.metadata)
    row["residency"] = session.residency.value
    row["hidden_stages"] = list(session.hidden_stages)
    row["successor"] = session.successor and asdict(session.successor)
    row["pack"] = session.pack and asdict(session.pack)
    return row


def purpose_of(metadata: Mapping[str, Any]) -> str | None:
    """What sessions of a purpose are found by; null where the metadata name none."""
    purpose = metadata.get("purpose")
    return purpose[:PURPOSE_CHARS] if isinstance(purpose, str) else None


def from_row(row: sa.Row[Any]) -> Session:
    """A session out of a row of `SELECT_SESSIONS`. Lists make hundreds of these: it is quick."""
    same, others = row[: len(SAME_NAMES)], row[len(SAME_NAMES) :]
    state, group, tags, collaborators, configuration, stats, usage, embedding = others[:-5]
    outcome, residency, hidden_stages, successor, pack = others[-5:]
    return Session(
        **dict(zip(SAME_NAMES, same, strict=True)),
        state=State(state),
        group=group,
        tags=tuple(tags),
        collaborators=collaborators_from(collaborators) if collaborators else (),
        configuration=Configuration(**configuration),
        processing_stats=ProcessingStats(
            stats["urls_processed"],
            stats["content_analyzed"],
            stats["clusters_generated"],
            stats["embeddings_created"],
            _moment(stats["last_processing_time"]),
        ),
        model_usage=ModelUsage(
            tuple(usage["llm_models_used"]),
            tuple(usage["embedding_models_used"]),
            usage["model_switches"],
            _moment(usage["last_model_switch"]),
        ),
        embedding=Embedding(**embedding),
        outcome=Outcome(outcome) if outcome else None,
        residency=Residency(residency),
        hidden_stages=tuple(hidden_stages),
        successor=_successor(successor) if successor else None,
        pack=Pack(**pack) if pack else None,
    )


def collaborators_from(entries: list[Mapping[str, str]]) -> tuple[Collaborator, ...]:
    return tuple(Collaborator(entry["user_id"], Role(entry["role"])) for entry in entries)


def _successor(entry: Mapping[str, Any]) -> Successor:
    return Successor(entry["job_id"], entry["collection"], Embedding(**entry["embedding"]))


def with_times_as_text(values: dict[str, Any]) -> dict[str, Any]:
    """For JSON."""
    return {
        key: value.isoformat() if isinstance(value, datetime) else value
        for key, value in values.items()
    }


def _moment(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
