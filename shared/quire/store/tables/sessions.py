"""Sessions, who may see them, and what became of them."""

from __future__ import annotations

import sqlalchemy as sa

from quire.store.columns import Json, Moment
from quire.store.tables.declaring import metadata

sessions = sa.Table(
    "sessions",
    metadata,
    sa.Column("id", sa.String(128), primary_key=True),
    sa.Column("collection", sa.String(64), nullable=False, unique=True),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("description", sa.Text),
    sa.Column("owner_id", sa.String(256)),
    sa.Column("group_name", sa.String(256)),
    # tags and collaborators are repeated here whole, so that one row is one session.
    sa.Column("tags", Json, nullable=False),
    sa.Column("collaborators", Json, nullable=False),
    sa.Column("configuration", Json, nullable=False),
    sa.Column("processing_stats", Json, nullable=False),
    sa.Column("model_usage", Json, nullable=False),
    sa.Column("metadata", Json, nullable=False),
    # The first 256 characters of the metadata's purpose, to find sessions by.
    sa.Column("purpose", sa.String(256)),
    sa.Column("embedding", Json, nullable=False),
    sa.Column("lineage", Json, nullable=False),
    sa.Column("outcome", sa.String(16)),
    sa.Column("residency", sa.String(8), nullable=False),
    sa.Column("hold", sa.Boolean, nullable=False),
    sa.Column("points_count", sa.BigInteger, nullable=False),
    sa.Column("chunks_count", sa.BigInteger, nullable=False),
    # The seq that the next chunk gets: one that was given is never given again.
    sa.Column("next_seq", sa.BigInteger, nullable=False),
    # Stages whose points are not to be seen: written by an ingest under way, or replaced by it.
    sa.Column("hidden_stages", Json, nullable=False),
    # How often chunks were taken away: who reads on over such a moment would mix old and new.
    sa.Column("removals", sa.BigInteger, nullable=False),
    # Where a re-embedding is writing; writes to the session wait until it has switched over.
    sa.Column("successor", Json),
    # The job that alone may write points now: what others wrote it would lose.
    sa.Column("busy_job", sa.String(36)),
    # The job that makes the session; while it is provisioning, that job alone takes it away.
    sa.Column("made_by", sa.String(36)),
    # Where the points of a cold session are, when the engine does not have them.
    sa.Column("pack", Json),
    # Never goes cold by itself.
    sa.Column("pinned", sa.Boolean, nullable=False),
    sa.Column("woke_at", Moment),
    # Ending it removes it.
    sa.Column("ephemeral", sa.Boolean, nullable=False),
    sa.Column("ttl_seconds", sa.Float),
    sa.Column("expires_at", Moment),
    sa.Column("created_at", Moment, nullable=False),
    sa.Column("updated_at", Moment, nullable=False),
    sa.Column("last_activity_at", Moment, nullable=False),
    sa.Column("ended_at", Moment),
    sa.Column("archived_at", Moment),
    sa.Column("deleted_at", Moment),
    sa.Column("version", sa.BigInteger, nullable=False),
    sa.Index("ix_sessions_state_updated_at", "state", "updated_at", "id"),
    sa.Index("ix_sessions_updated_at", "updated_at", "id"),
    sa.Index("ix_sessions_created_at", "created_at", "id"),
    sa.Index("ix_sessions_owner_id", "owner_id", "updated_at", "id"),
    sa.Index("ix_sessions_group_name", "group_name", "updated_at", "id"),
    sa.Index("ix_sessions_purpose", "purpose", "updated_at", "id"),
    sa.Index("ix_sessions_expires_at", "expires_at"),
    sa.Index("ix_sessions_residency", "residency", "last_activity_at"),
)

session_tags = sa.Table(
    "session_tags",
    metadata,
    sa.Column("tag", sa.Text, primary_key=True),
    sa.Column(
        "session_id",
        sa.ForeignKey("sessions.id", ondelete="CASCADE"),
        primary_key=True,
        index=True,
    ),
)

session_collaborators = sa.Table(
    "session_collaborators",
    metadata,
    sa.Column("user_id", sa.String(256), primary_key=True),
    sa.Column(
        "session_id",
        sa.ForeignKey("sessions.id", ondelete="CASCADE"),
        primary_key=True,
        index=True,
    ),
    sa.Column("role", sa.String(8), nullable=False),
)

# Ids whose session expired or was removed by ending it: for a while they answer "expired", or
# that it has ended, rather than "no such session".
tombstones = sa.Table(
    "tombstones",
    metadata,
    sa.Column("id", sa.String(128), primary_key=True),
    sa.Column("owner_id", sa.String(256)),
    sa.Column("group_name", sa.String(256)),
    sa.Column("collaborators", Json, nullable=False),
    sa.Column("has_ended", sa.Boolean, nullable=False),
    sa.Column("buried_at", Moment, nullable=False, index=True),
)

policies = sa.Table(
    "policies",
    metadata,
    sa.Column("name", sa.String(64), primary_key=True),
    sa.Column("value", Json, nullable=False),
    sa.Column("updated_at", Moment, nullable=False),
)

idempotency_keys = sa.Table(
    "idempotency_keys",
    metadata,
    sa.Column("caller", sa.String(256), primary_key=True),
    sa.Column("key", sa.String(255), primary_key=True),
    sa.Column("fingerprint", sa.String(64), nullable=False),
    sa.Column("status", sa.Integer),
    sa.Column("headers", Json),
    sa.Column("body", sa.LargeBinary),
    sa.Column("created_at", Moment, nullable=False, index=True),
)
