"""What a file tells of the session that it was: written, and read back without trusting it.

Nothing of it says who owned the session or who could see it: whoever imports it owns it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

from quire.errors import FileRefused
from quire.sessions.models import Configuration, ModelUsage, ProcessingStats, Session
from quire.sessions.rows import with_times_as_text
from quire.sessions.validation import ID_PATTERN
from quire.vectors.port import STANDARD_INDEXES, IndexKind

COUNT_MAX = 2**53
"""Beyond that JSON's numbers are not exact everywhere."""

INDEXES_MAX = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class ToldSession:
    """A session as a file describes it; what it does not mention is as in a new one."""

    id: str | None = None
    name: str | None = None
    description: str | None = None
    tags: tuple[str, ...] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)
    configuration: Configuration = field(default_factory=Configuration)
    processing_stats: ProcessingStats = field(default_factory=ProcessingStats)
    model_usage: ModelUsage = field(default_factory=ModelUsage)
    lineage: Mapping[str, Any] = field(default_factory=dict)
    next_seq: int = 0
    indexes: Mapping[str, str] = field(default_factory=dict)
    """Payload indexes besides the standard ones: field to kind."""


def session_json(session: Session, indexes: Mapping[str, IndexKind]) -> dict[str, Any]:
    """The session as a bundle has it, in the words of the API."""
    return {
        "id": session.id,
        "created_at": session.created_at.isoformat(),
        "name": session.name,
        "description": session.description,
        "tags": list(session.tags),
        "metadata": dict(session.metadata),
        "configuration": asdict(session.configuration),
        "processing_stats": with_times_as_text(asdict(session.processing_stats)),
        "model_usage_history": with_times_as_text(asdict(session.model_usage)),
        "lineage": dict(session.lineage),
        "next_seq": session.next_seq,
        "indexes": {
            key: kind.value for key, kind in indexes.items() if key not in STANDARD_INDEXES
        },
    }


def told_session(fields: Mapping[str, Any]) -> ToldSession:
    """Read what `session_json` wrote, or the original service's `session`; the rest is ignored."""
    known = fields.get("id")
    return ToldSession(
        id=known if isinstance(known, str) and ID_PATTERN.fullmatch(known) else None,
        name=_text(fields, "name"),
        description=_text(fields, "description"),
        tags=_texts(fields, "tags"),
        metadata=_object(fields, "metadata"),
        configuration=_configuration(_object(fields, "configuration")),
        processing_stats=_stats(_object(fields, "processing_stats")),
        model_usage=_usage(_object(fields, "model_usage_history")),
        lineage=_object(fields, "lineage"),
        next_seq=_count(fields, "next_seq"),
        indexes=_indexes(_object(fields, "indexes")),
    )


def _configuration(fields: Mapping[str, Any]) -> Configuration:
    return Configuration(
        clustering_params=_object(fields, "clustering_params"),
        embedding_model=_text(fields, "embedding_model"),
        llm_model=_text(fields, "llm_model"),
        processing_options=_object(fields, "processing_options"),
    )


def _stats(fields: Mapping[str, Any]) -> ProcessingStats:
    return ProcessingStats(
        urls_processed=_count(fields, "urls_processed"),
        content_analyzed=_count(fields, "content_analyzed"),
        clusters_generated=_count(fields, "clusters_generated"),
        embeddings_created=_count(fields, "embeddings_created"),
        last_processing_time=_time(fields, "last_processing_time"),
    )


def _usage(fields: Mapping[str, Any]) -> ModelUsage:
    return ModelUsage(
        llm_models_used=_texts(fields, "llm_models_used"),
        embedding_models_used=_texts(fields, "embedding_models_used"),
        model_switches=_count(fields, "model_switches"),
        last_model_switch=_time(fields, "last_model_switch"),
    )


def _indexes(fields: Mapping[str, Any]) -> dict[str, str]:
    if len(fields) > INDEXES_MAX:
        raise _refused("indexes", f"there are at most {INDEXES_MAX}")
    kinds = {kind.value for kind in IndexKind}
    for key, kind in fields.items():
        if kind not in kinds:
            raise _refused(f"indexes.{key[:64]}", f"it is one of {', '.join(sorted(kinds))}")
    return dict(fields)


def _text(fields: Mapping[str, Any], name: str) -> str | None:
    value = fields.get(name)
    if value is None or (isinstance(value, str) and "\0" not in value):
        return value
    raise _refused(name, "it is a text, without NUL")


def _texts(fields: Mapping[str, Any], name: str) -> tuple[str, ...]:
    values = fields.get(name) or []
    if isinstance(values, list) and all(isinstance(v, str) and "\0" not in v for v in values):
        return tuple(values)
    raise _refused(name, "it is a list of texts")


def _object(fields: Mapping[str, Any], name: str) -> dict[str, Any]:
    value = fields.get(name)
    if value is None:
        return {}
    if isinstance(value, dict):
        return value
    raise _refused(name, "it is an object")


def _count(fields: Mapping[str, Any], name: str) -> int:
    value = fields.get(name, 0)
    if type(value) is int and 0 <= value <= COUNT_MAX:
        return value
    raise _refused(name, "it is a number from 0 on")


def _time(fields: Mapping[str, Any], name: str) -> datetime | None:
    value = _text(fields, name)
    if value is None:
        return None
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        raise _refused(name, "it is a time as ISO 8601 has it") from None
    return moment.astimezone()


def _refused(name: str, valid: str) -> FileRefused:
    return FileRefused(f"The session's {name} cannot be read: {valid}", field=f"session.{name}")
