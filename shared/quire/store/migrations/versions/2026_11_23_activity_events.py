"""Activity: conversations, invocations, data, attachments, events, clusters, agents."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "2026_11_23_activity_events"
down_revision = "2026_11_22_transfer_residency"
branch_labels = None
depends_on = None

JSON = sa.JSON().with_variant(JSONB(), "postgresql")
COUNTER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

# Where the words of messages are found. The session is one of the words, so that a word which is
# common elsewhere costs nothing here.
WORDS_INDEX = {
    "sqlite": (
        """CREATE VIRTUAL TABLE message_words USING fts5(
            words, content='', columnsize=0, detail=none, tokenize="ascii tokenchars '@._-'")""",
        """CREATE TRIGGER message_words_insert AFTER INSERT ON messages BEGIN
            INSERT INTO message_words(rowid, words)
            VALUES (new.seq, new.words || ' @' || new.session_id);
        END""",
        """CREATE TRIGGER message_words_delete AFTER DELETE ON messages BEGIN
            INSERT INTO message_words(message_words, rowid, words)
            VALUES ('delete', old.seq, old.words || ' @' || old.session_id);
        END""",
        """CREATE TRIGGER message_words_update AFTER UPDATE OF words, session_id ON messages BEGIN
            INSERT INTO message_words(message_words, rowid, words)
            VALUES ('delete', old.seq, old.words || ' @' || old.session_id);
            INSERT INTO message_words(rowid, words)
            VALUES (new.seq, new.words || ' @' || new.session_id);
        END""",
    ),
    "postgresql": (
        """CREATE INDEX ix_messages_words ON messages
            USING gin (array_append(string_to_array(words, ' '), '@' || session_id))""",
    ),
}


def upgrade() -> None:
    _add_columns()
    op.create_table(
        "events",
        sa.Column("seq", COUNTER, sa.Identity(), nullable=False),
        sa.Column("session_id", sa.String(length=128), nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("data", JSON, nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("seq", name="pk_events"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_events_created_at", "events", ["created_at"])
    op.create_index("ix_events_session_id_seq", "events", ["session_id", "seq"])
    op.create_table(
        "conversations",
        sa.Column("session_id", sa.String(length=128), nullable=False),
        sa.Column("next_ordinal", sa.BigInteger(), nullable=False),
        sa.Column("is_semantic", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(
            ["session_id"], ["sessions.id"], name="fk_conversations_session_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("session_id", name="pk_conversations"),
    )
    op.create_table(
        "messages",
        sa.Column("seq", COUNTER, sa.Identity(), nullable=False),
        sa.Column("session_id", sa.String(length=128), nullable=False),
        sa.Column("ordinal", sa.BigInteger(), nullable=False),
        sa.Column("id", sa.String(length=128), nullable=False),
        sa.Column("role", sa.String(length=16), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.Column("words", sa.Text(), nullable=False),
        sa.Column("fingerprint", sa.String(length=64), nullable=False),
        sa.Column("tool", sa.String(length=256), nullable=True),
        sa.Column("invocation_id", sa.String(length=128), nullable=True),
        sa.Column("tokens_in", sa.BigInteger(), nullable=True),
        sa.Column("tokens_out", sa.BigInteger(), nullable=True),
        sa.Column("cost", sa.Float(), nullable=True),
        sa.Column("metadata", JSON, nullable=False),
        sa.Column("author", sa.String(length=256), nullable=True),
        sa.Column("vector", sa.LargeBinary(), nullable=True),
        sa.Column("vector_identity", sa.String(length=16), nullable=True),
        sa.Column("job_id", sa.String(length=36), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["session_id"], ["sessions.id"], name="fk_messages_session_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("seq", name="pk_messages"),
    )
    op.create_index("uq_messages_session_id_id", "messages", ["session_id", "id"], unique=True)
    op.create_index(
        "uq_messages_session_id_ordinal", "messages", ["session_id", "ordinal"], unique=True
    )
    op.create_index(
        "ix_messages_vector_identity", "messages", ["session_id", "vector_identity", "ordinal"]
    )
    for statement in WORDS_INDEX[op.get_context().dialect.name]:
        op.execute(statement)
    op.create_table(
        "invocations",
        sa.Column("seq", COUNTER, sa.Identity(), nullable=False),
        sa.Column("session_id", sa.String(length=128), nullable=False),
        sa.Column("id", sa.String(length=128), nullable=False),
        sa.Column("tool", sa.String(length=256), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("input_sha256", sa.String(length=64), nullable=True),
        sa.Column("output_sha256", sa.String(length=64), nullable=True),
        sa.Column("attachments", JSON, nullable=False),
        sa.Column("duration_ms", sa.Float(), nullable=True),
        sa.Column("tokens_in", sa.BigInteger(), nullable=True),
        sa.Column("tokens_out", sa.BigInteger(), nullable=True),
        sa.Column("cost", sa.Float(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("metadata", JSON, nullable=False),
        sa.Column("author", sa.String(length=256), nullable=True),
        sa.Column("job_id", sa.String(length=36), nullable=True),
        sa.Column("started_at", sa.BigInteger(), nullable=False),
        sa.Column("finished_at", sa.BigInteger(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["session_id"], ["sessions.id"], name="fk_invocations_session_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("seq", name="pk_invocations"),
    )
    op.create_index("ix_invocations_session_id_seq", "invocations", ["session_id", "seq"])
    op.create_index(
        "ix_invocations_session_id_tool", "invocations", ["session_id", "tool", "duration_ms"]
    )
    op.create_index("ix_invocations_tool", "invocations", ["tool", "started_at", "seq"])
    op.create_index("ix_invocations_started_at", "invocations", ["started_at", "seq"])
    op.create_index(
        "uq_invocations_session_id_id", "invocations", ["session_id", "id"], unique=True
    )
    op.create_table(
        "session_data",
        sa.Column("session_id", sa.String(length=128), nullable=False),
        sa.Column("key", sa.String(length=256), nullable=False),
        sa.Column("value", sa.LargeBinary(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("job_id", sa.String(length=36), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["session_id"], ["sessions.id"], name="fk_session_data_session_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("session_id", "key", name="pk_session_data"),
    )
    op.create_table(
        "replaced_data",
        sa.Column("by_job_id", sa.String(length=36), nullable=False),
        sa.Column("session_id", sa.String(length=128), nullable=False),
        sa.Column("key", sa.String(length=256), nullable=False),
        sa.Column("value", sa.LargeBinary(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("job_id", sa.String(length=36), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["session_id"], ["sessions.id"], name="fk_replaced_data_session_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("by_job_id", "session_id", "key", name="pk_replaced_data"),
    )
    op.create_table(
        "attachments",
        sa.Column("session_id", sa.String(length=128), nullable=False),
        sa.Column("name", sa.String(length=256), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=True),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("media_type", sa.String(length=256), nullable=False),
        sa.Column("metadata", JSON, nullable=False),
        sa.Column("author", sa.String(length=256), nullable=True),
        sa.Column("job_id", sa.String(length=36), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(
            ["session_id"], ["sessions.id"], name="fk_attachments_session_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("session_id", "name", name="pk_attachments"),
    )
    op.create_index("ix_attachments_expires_at", "attachments", ["expires_at"])
    op.create_table(
        "clusterings",
        sa.Column("session_id", sa.String(length=128), nullable=False),
        sa.Column("job_id", sa.String(length=36), nullable=False),
        sa.Column("algorithm", sa.String(length=32), nullable=False),
        sa.Column("parameters", JSON, nullable=False),
        sa.Column("clusters", JSON, nullable=False),
        sa.Column("model_sha256", sa.String(length=64), nullable=False),
        sa.Column("points_count", sa.BigInteger(), nullable=False),
        sa.Column("embedding", JSON, nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["session_id"], ["sessions.id"], name="fk_clusterings_session_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("session_id", name="pk_clusterings"),
    )
    op.create_table(
        "agents",
        sa.Column("id", sa.String(length=128), nullable=False),
        sa.Column("owner_id", sa.String(length=256), nullable=True),
        sa.Column("is_instructed", sa.Boolean(), nullable=False),
        sa.Column("query_id", sa.String(length=36), nullable=True),
        sa.Column("used_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_agents"),
    )
    op.create_index("ix_agents_used_at", "agents", ["used_at"])


def _add_columns() -> None:
    # The defaults are for rows that are there already; the program always names its values.
    added = {"sessions": "ephemeral", "tombstones": "has_ended"}
    for table, name in added.items():
        op.add_column(
            table, sa.Column(name, sa.Boolean(), nullable=False, server_default=sa.false())
        )
    op.add_column("sessions", sa.Column("purpose", sa.String(length=256), nullable=True))
    fill = (
        "UPDATE sessions SET purpose = substr(json_extract(metadata, '$.purpose'), 1, 256) "
        "WHERE json_type(metadata, '$.purpose') = 'text'"
    )
    if op.get_bind().dialect.name == "postgresql":
        for table, name in added.items():
            op.alter_column(table, name, server_default=None)
        fill = (
            "UPDATE sessions SET purpose = substr(metadata ->> 'purpose', 1, 256) "
            "WHERE jsonb_typeof(metadata -> 'purpose') = 'string'"
        )
    op.execute(fill)
    op.create_index("ix_sessions_purpose", "sessions", ["purpose", "updated_at", "id"])


def downgrade() -> None:
    if op.get_context().dialect.name == "sqlite":
        op.execute("DROP TABLE message_words")  # the triggers go with messages
    for table in (
        "agents",
        "clusterings",
        "attachments",
        "replaced_data",
        "session_data",
        "invocations",
        "messages",
        "conversations",
        "events",
    ):
        op.drop_table(table)
    op.drop_index("ix_sessions_purpose", "sessions")
    op.drop_column("sessions", "purpose")
    op.drop_column("sessions", "ephemeral")
    op.drop_column("tombstones", "has_ended")
