"""What goes from session to session, out and in."""

from __future__ import annotations

import sqlalchemy as sa

from quire.store.columns import Json, Moment
from quire.store.tables.declaring import metadata

# Collections that no session has (any more, or yet): they go when their time has come.
spare_collections = sa.Table(
    "spare_collections",
    metadata,
    sa.Column("name", sa.String(64), primary_key=True),
    sa.Column("session_id", sa.String(128), index=True),
    sa.Column("job_id", sa.String(36)),
    sa.Column("until", Moment, nullable=False, index=True),
)

# What became of what. Names are kept, for a session may be gone for long.
lineage = sa.Table(
    "lineage",
    metadata,
    sa.Column("child_id", sa.String(128), primary_key=True),
    sa.Column("parent_id", sa.String(256), primary_key=True),
    sa.Column("job_id", sa.String(36), primary_key=True),
    sa.Column("kind", sa.String(32), nullable=False),
    sa.Column("child_name", sa.Text, nullable=False),
    sa.Column("parent_name", sa.Text, nullable=False),
    sa.Column("points", sa.BigInteger, nullable=False),
    sa.Column("documents", sa.BigInteger, nullable=False),
    sa.Column("details", Json, nullable=False),
    sa.Column("created_at", Moment, nullable=False),
    sa.Column("undone_at", Moment),
    sa.Index("ix_lineage_parent_id", "parent_id"),
    sa.Index("ix_lineage_job_id", "job_id"),
)

checkpoints = sa.Table(
    "checkpoints",
    metadata,
    sa.Column("id", sa.String(36), primary_key=True),
    sa.Column("session_id", sa.ForeignKey("sessions.id", ondelete="CASCADE"), nullable=False),
    sa.Column("name", sa.String(200), nullable=False),
    # Points as Parquet and the rows of documents as JSON lines; null until it is complete.
    sa.Column("points_sha256", sa.String(64)),
    sa.Column("documents_sha256", sa.String(64)),
    sa.Column("size_bytes", sa.BigInteger, nullable=False),
    sa.Column("points_count", sa.BigInteger, nullable=False),
    sa.Column("documents_count", sa.BigInteger, nullable=False),
    sa.Column("digest", sa.String(64)),
    # What else the session was then: its embedding, its counters, its indexes.
    sa.Column("state", Json, nullable=False),
    sa.Column("job_id", sa.String(36), nullable=False),
    sa.Column("created_at", Moment, nullable=False),
    sa.Column("expires_at", Moment),
    sa.Index("uq_checkpoints_session_id_name", "session_id", "name", unique=True),
)

uploads = sa.Table(
    "uploads",
    metadata,
    sa.Column("id", sa.String(36), primary_key=True),
    sa.Column("owner_id", sa.String(256)),
    sa.Column("size", sa.BigInteger),
    sa.Column("received", sa.BigInteger, nullable=False),
    sa.Column("metadata", Json, nullable=False),
    sa.Column("created_at", Moment, nullable=False),
    sa.Column("expires_at", Moment, nullable=False, index=True),
)

upload_parts = sa.Table(
    "upload_parts",
    metadata,
    sa.Column("upload_id", sa.ForeignKey("uploads.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("start", sa.BigInteger, primary_key=True),
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Column("sha256", sa.String(64), nullable=False),
)

backups = sa.Table(
    "backups",
    metadata,
    sa.Column("id", sa.String(36), primary_key=True),
    sa.Column("session_id", sa.String(128), nullable=False),
    sa.Column("session_name", sa.Text, nullable=False),
    sa.Column("owner_id", sa.String(256)),
    sa.Column("group_name", sa.String(256)),
    # The session's version that it holds: an unchanged session is not backed up again.
    sa.Column("version", sa.BigInteger, nullable=False),
    sa.Column("bundle_sha256", sa.String(64), nullable=False),
    sa.Column("size_bytes", sa.BigInteger, nullable=False),
    sa.Column("points_count", sa.BigInteger, nullable=False),
    sa.Column("created_at", Moment, nullable=False),
    sa.Index("ix_backups_session_id", "session_id", "created_at"),
)

# While a merge leaves out what is there already: which content, and which id, came first.
claims = sa.Table(
    "claims",
    metadata,
    sa.Column("job_id", sa.String(36), primary_key=True),
    sa.Column("key", sa.LargeBinary(16), primary_key=True),
    sa.Column("source", sa.Integer, nullable=False),
    sa.Column("point_id", sa.String(40), nullable=False),
)
