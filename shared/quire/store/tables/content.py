"""Documents, and what was found in them."""

from __future__ import annotations

import sqlalchemy as sa

from quire.store.columns import Json, Moment
from quire.store.tables.declaring import metadata

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
