"""What happens, is said and is done in sessions."""

from __future__ import annotations

import sqlalchemy as sa

from quire.store.columns import Json, Moment
from quire.store.message_words import index_words
from quire.store.tables.declaring import Counter, metadata

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
    # A seq that was given is never given again, though its event be forgotten.
    sqlite_autoincrement=True,
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
    # float32, one row after the other for what is longer than the model's window; null until made.
    sa.Column("vector", sa.LargeBinary),
    # What made it: after the session has moved to another embedding it is made anew.
    sa.Column("vector_identity", sa.String(16)),
    # The transfer that brought it, which undoing takes away again.
    sa.Column("job_id", sa.String(36)),
    sa.Column("created_at", Moment, nullable=False),
    sa.Index("uq_messages_session_id_ordinal", "session_id", "ordinal", unique=True),
    sa.Index("uq_messages_session_id_id", "session_id", "id", unique=True),
    sa.Index("ix_messages_vector_identity", "session_id", "vector_identity", "ordinal"),
)

index_words(messages)

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
    sa.Index("ix_invocations_session_id_seq", "session_id", "seq"),
    # In the order in which percentiles of durations are counted off.
    sa.Index("ix_invocations_session_id_tool", "session_id", "tool", "duration_ms"),
    sa.Index("ix_invocations_tool", "tool", "started_at", "seq"),
    sa.Index("ix_invocations_started_at", "started_at", "seq"),
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

# What a merge replaced, for as long as it can be undone: rows of session_data as they were.
replaced_data = sa.Table(
    "replaced_data",
    metadata,
    sa.Column("by_job_id", sa.String(36), primary_key=True),
    sa.Column("session_id", sa.ForeignKey("sessions.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("key", sa.String(256), primary_key=True),
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
