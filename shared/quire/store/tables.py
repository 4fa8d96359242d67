"""Every table, declared once; the migrations under `migrations/` bring a database to this."""

from __future__ import annotations

import sqlalchemy as sa

from quire.store.columns import Json, Moment

metadata = sa.MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    }
)

# SQLite counts up only in an INTEGER primary key.
Counter = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

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

# Ids whose session expired: they answer "expired", not "no such session", for a while.
tombstones = sa.Table(
    "tombstones",
    metadata,
    sa.Column("id", sa.String(128), primary_key=True),
    sa.Column("owner_id", sa.String(256)),
    sa.Column("group_name", sa.String(256)),
    sa.Column("collaborators", Json, nullable=False),
    sa.Column("buried_at", Moment, nullable=False, index=True),
)

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

policies = sa.Table(
    "policies",
    metadata,
    sa.Column("name", sa.String(64), primary_key=True),
    sa.Column("value", Json, nullable=False),
    sa.Column("updated_at", Moment, nullable=False),
)

documents = sa.Table(
    "documents",
    metadata,
    sa.Column("session_id", sa.ForeignKey("sessions.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("id", sa.String(256), primary_key=True),
    # Each ingest of new content is a revision; readers see the current one.
    sa.Column("revision", sa.BigInteger, primary_key=True),
    # Where it stands in the session; a new revision stands where the old one stood.
    sa.Column("ordinal", sa.BigInteger, nullable=False),
    sa.Column("is_current", sa.Boolean, nullable=False),
    sa.Column("status", sa.String(16), nullable=False),
    sa.Column("job_id", sa.String(36)),
    sa.Column("position", sa.BigInteger, nullable=False),
    sa.Column("title", sa.Text),
    sa.Column("media_type", sa.String(256), nullable=False),
    sa.Column("source_url", sa.Text),
    sa.Column("metadata", Json, nullable=False),
    # Small documents that came together lie in one blob, one after the other.
    sa.Column("raw_sha256", sa.String(64), nullable=False),
    sa.Column("raw_start", sa.BigInteger, nullable=False),
    sa.Column("raw_end", sa.BigInteger, nullable=False),
    sa.Column("content_sha256", sa.String(64), nullable=False),
    sa.Column("text_sha256", sa.String(64)),
    sa.Column("text_start", sa.BigInteger),
    sa.Column("text_end", sa.BigInteger),
    sa.Column("kind", sa.String(16)),
    sa.Column("chunking", Json, nullable=False),
    sa.Column("characters", sa.BigInteger, nullable=False),
    sa.Column("chunks_count", sa.BigInteger, nullable=False),
    sa.Column("first_seq", sa.BigInteger),
    sa.Column("error", Json),
    sa.Column("created_at", Moment, nullable=False),
    sa.Column("updated_at", Moment, nullable=False),
    sa.Index("ix_documents_session_id_ordinal", "session_id", "is_current", "ordinal"),
    sa.Index("ix_documents_session_id_content_sha256", "session_id", "content_sha256"),
    sa.Index("ix_documents_job_id_position", "job_id", "position"),
)

queries = sa.Table(
    "queries",
    metadata,
    sa.Column("id", sa.String(36), primary_key=True),
    # Null for a search over several sessions, which only its owner may page through.
    sa.Column("session_id", sa.ForeignKey("sessions.id", ondelete="CASCADE")),
    sa.Column("owner_id", sa.String(256)),
    # The sessions that such a search went over; its owner must still be allowed to read them all.
    sa.Column("across", Json, nullable=False),
    # The request that it answers, as JSON: it may hold what PostgreSQL's own JSON does not.
    sa.Column("request", sa.LargeBinary, nullable=False),
    # The items as JSON, page after page, each compressed by itself; and how long each of these is.
    sa.Column("pages", Json, nullable=False),
    sa.Column("results", sa.LargeBinary, nullable=False),
    sa.Column("total", sa.Integer, nullable=False),
    sa.Column("page_size", sa.Integer, nullable=False),
    sa.Column("created_at", Moment, nullable=False),
    sa.Column("used_at", Moment, nullable=False),
    sa.Column("expires_at", Moment, nullable=False, index=True),
    sa.Index("ix_queries_session_id_expires_at", "session_id", "expires_at"),
)

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

# What happened, for whoever listens, and for a while for whoever comes back. No key to sessions:
# that one is gone is told too.
events = sa.Table(
    "events",
    metadata,
    sa.Column("seq", Counter, sa.Identity(), primary_key=True),
    sa.Column("session_id", sa.String(128), nullable=False),
    sa.Column("kind", sa.String(32), nullable=False),
    sa.Column("data", Json, nullable=False),
    sa.Column("created_at", Moment, nullable=False, index=True),
    sa.Index("ix_events_session_id_seq", "session_id", "seq"),
)

# One row for each session that has messages: whoever appends holds it, so there is one order.
conversations = sa.Table(
    "conversations",
    metadata,
    sa.Column("session_id", sa.ForeignKey("sessions.id", ondelete="CASCADE"), primary_key=True),
    # The ordinal that the next message gets: one that was given is never given again.
    sa.Column("next_ordinal", sa.BigInteger, nullable=False),
    # Whether messages are embedded, so that they are found by meaning.
    sa.Column("is_semantic", sa.Boolean, nullable=False),
)

messages = sa.Table(
    "messages",
    metadata,
    sa.Column("seq", Counter, sa.Identity(), primary_key=True),
    sa.Column("session_id", sa.ForeignKey("sessions.id", ondelete="CASCADE"), nullable=False),
    sa.Column("ordinal", sa.BigInteger, nullable=False),
    sa.Column("id", sa.String(128), nullable=False),
    sa.Column("role", sa.String(16), nullable=False),
    # JSON as it was given: a text, or a list of parts.
    sa.Column("content", sa.LargeBinary, nullable=False),
    # Its words, as searching sees them.
    sa.Column("words", sa.Text, nullable=False),
    # Of all that the client said: the same id with something else in it is refused.
    sa.Column("fingerprint", sa.String(64), nullable=False),
    sa.Column("tool", sa.String(256)),
    sa.Column("invocation_id", sa.String(128)),
    sa.Column("tokens_in", sa.BigInteger),
    sa.Column("tokens_out", sa.BigInteger),
    sa.Column("cost", sa.Float),
    sa.Column("metadata", Json, nullable=False),
    sa.Column("author", sa.String(256)),
    # float32, in the session's embedding; null until it is made.
    sa.Column("vector", sa.LargeBinary),
    # The transfer that brought it, which undoing takes away again.
    sa.Column("job_id", sa.String(36)),
    sa.Column("created_at", Moment, nullable=False),
    sa.Index("uq_messages_session_id_ordinal", "session_id", "ordinal", unique=True),
    sa.Index("uq_messages_session_id_id", "session_id", "id", unique=True),
)

invocations = sa.Table(
    "invocations",
    metadata,
    sa.Column("seq", Counter, sa.Identity(), primary_key=True),
    sa.Column("session_id", sa.ForeignKey("sessions.id", ondelete="CASCADE"), nullable=False),
    sa.Column("id", sa.String(128), nullable=False),
    sa.Column("tool", sa.String(256), nullable=False),
    sa.Column("status", sa.String(16), nullable=False),
    sa.Column("input_sha256", sa.String(64)),
    sa.Column("output_sha256", sa.String(64)),
    # Names of the session's attachments.
    sa.Column("attachments", Json, nullable=False),
    sa.Column("duration_ms", sa.Float),
    sa.Column("tokens_in", sa.BigInteger),
    sa.Column("tokens_out", sa.BigInteger),
    sa.Column("cost", sa.Float),
    sa.Column("error", sa.Text),
    sa.Column("metadata", Json, nullable=False),
    sa.Column("author", sa.String(256)),
    sa.Column("job_id", sa.String(36)),
    sa.Column("started_at", Moment, nullable=False),
    sa.Column("finished_at", Moment),
    sa.Column("created_at", Moment, nullable=False),
    sa.Index("uq_invocations_session_id_id", "session_id", "id", unique=True),
    sa.Index("ix_invocations_tool", "tool", "started_at"),
)

session_data = sa.Table(
    "session_data",
    metadata,
    sa.Column("session_id", sa.ForeignKey("sessions.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("key", sa.String(256), primary_key=True),
    # JSON, byte for byte as it is given back.
    sa.Column("value", sa.LargeBinary, nullable=False),
    sa.Column("sha256", sa.String(64), nullable=False),
    sa.Column("job_id", sa.String(36)),
    sa.Column("created_at", Moment, nullable=False),
    sa.Column("updated_at", Moment, nullable=False),
)

attachments = sa.Table(
    "attachments",
    metadata,
    sa.Column("session_id", sa.ForeignKey("sessions.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("name", sa.String(256), primary_key=True),
    # Null once it has expired: the row stays for a while, to tell that from never having been.
    sa.Column("sha256", sa.String(64)),
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Column("media_type", sa.String(256), nullable=False),
    sa.Column("metadata", Json, nullable=False),
    sa.Column("author", sa.String(256)),
    sa.Column("job_id", sa.String(36)),
    sa.Column("created_at", Moment, nullable=False),
    sa.Column("updated_at", Moment, nullable=False),
    sa.Column("expires_at", Moment, index=True),
)

# How a session's points were clustered last, so that new points can be given to the same clusters.
clusterings = sa.Table(
    "clusterings",
    metadata,
    sa.Column("session_id", sa.ForeignKey("sessions.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("job_id", sa.String(36), nullable=False),
    sa.Column("algorithm", sa.String(32), nullable=False),
    sa.Column("parameters", Json, nullable=False),
    # label, name, terms, size, spread; without the centroids.
    sa.Column("clusters", Json, nullable=False),
    # Centroids and the axes of the drawing, as an .npz.
    sa.Column("model_sha256", sa.String(64), nullable=False),
    sa.Column("points_count", sa.BigInteger, nullable=False),
    sa.Column("embedding", Json, nullable=False),
    sa.Column("created_at", Moment, nullable=False),
)

# Agents that talk to the server: whether they read the instructions, and what they asked last.
agents = sa.Table(
    "agents",
    metadata,
    sa.Column("id", sa.String(128), primary_key=True),
    sa.Column("owner_id", sa.String(256)),
    sa.Column("is_instructed", sa.Boolean, nullable=False),
    sa.Column("query_id", sa.String(36)),
    sa.Column("used_at", Moment, nullable=False, index=True),
)
