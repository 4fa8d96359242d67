"""Jobs and blobs."""

from __future__ import annotations

import sqlalchemy as sa

from quire.store.columns import Json, Moment
from quire.store.tables.declaring import Counter, metadata

jobs = sa.Table(
    "jobs",
    metadata,
    # Order of submission; a job waits for every unfinished one before it on the same session.
    sa.Column("seq", Counter, sa.Identity(), primary_key=True),
    sa.Column("id", sa.String(36), nullable=False, unique=True),
    sa.Column("kind", sa.String(64), nullable=False),
    sa.Column("session_id", sa.String(128), index=True),
    sa.Column("owner_id", sa.String(256)),
    sa.Column("status", sa.String(16), nullable=False),
    sa.Column("parameters", Json, nullable=False),
    sa.Column("progress_done", sa.BigInteger, nullable=False),
    sa.Column("progress_total", sa.BigInteger),
    sa.Column("progress_unit", sa.String(32), nullable=False),
    sa.Column("progress_details", Json),
    sa.Column("result", Json),
    sa.Column("error", Json),
    sa.Column("cancel_requested", sa.Boolean, nullable=False),
    # False while an earlier job holds one of its sessions.
    sa.Column("released", sa.Boolean, nullable=False),
    sa.Column("executor_id", sa.String(64)),
    sa.Column("attempt", sa.Integer, nullable=False),
    sa.Column("created_at", Moment, nullable=False),
    sa.Column("started_at", Moment),
    sa.Column("finished_at", Moment),
    sa.Index("ix_jobs_status_finished_at", "status", "finished_at"),
)

job_sessions = sa.Table(
    "job_sessions",
    metadata,
    sa.Column("session_id", sa.String(128), primary_key=True),
    sa.Column("job_seq", sa.ForeignKey("jobs.seq", ondelete="CASCADE"), primary_key=True),
    sa.Index("ix_job_sessions_job_seq", "job_seq"),
)

executors = sa.Table(
    "executors",
    metadata,
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("started_at", Moment, nullable=False),
)

blobs = sa.Table(
    "blobs",
    metadata,
    sa.Column("sha256", sa.String(64), primary_key=True),
    sa.Column("size", sa.BigInteger, nullable=False),
    # The sweep may take an unreferenced blob only when nobody has put it for a while.
    sa.Column("touched_at", Moment, nullable=False, index=True),
    sa.Column("condemned", sa.Boolean, nullable=False),
)

blob_references = sa.Table(
    "blob_references",
    metadata,
    sa.Column("session_id", sa.String(128), primary_key=True),
    sa.Column("holder", sa.String(256), primary_key=True),
    sa.Column("sha256", sa.ForeignKey("blobs.sha256"), primary_key=True, index=True),
)
