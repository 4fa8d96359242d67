"""Documents, paged queries, and which of a session's points are to be seen."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "2026_11_21_documents_queries"
down_revision = "2026_11_20_sessions_jobs_blobs"
branch_labels = None
depends_on = None

JSON = sa.JSON().with_variant(JSONB(), "postgresql")


def upgrade() -> None:
    # The defaults are for rows that are there already; the program always names its values.
    op.add_column(
        "sessions", sa.Column("next_seq", sa.BigInteger(), nullable=False, server_default="0")
    )
    op.add_column("sessions", sa.Column("hidden_stages", JSON, nullable=False, server_default="[]"))
    op.add_column(
        "sessions", sa.Column("removals", sa.BigInteger(), nullable=False, server_default="0")
    )
    op.add_column("sessions", sa.Column("successor", JSON, nullable=True))
    op.add_column("jobs", sa.Column("progress_details", JSON, nullable=True))
    _pin_embeddings()
    op.create_table(
        "documents",
        sa.Column("session_id", sa.String(length=128), nullable=False),
        sa.Column("id", sa.String(length=256), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("ordinal", sa.BigInteger(), nullable=False),
        sa.Column("is_current", sa.Boolean(), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("job_id", sa.String(length=36), nullable=True),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("title", sa.Text(), nullable=True),
        sa.Column("media_type", sa.String(length=256), nullable=False),
        sa.Column("source_url", sa.Text(), nullable=True),
        sa.Column("metadata", JSON, nullable=False),
        sa.Column("raw_sha256", sa.String(length=64), nullable=False),
        sa.Column("raw_start", sa.BigInteger(), nullable=False),
        sa.Column("raw_end", sa.BigInteger(), nullable=False),
        sa.Column("content_sha256", sa.String(length=64), nullable=False),
        sa.Column("text_sha256", sa.String(length=64), nullable=True),
        sa.Column("text_start", sa.BigInteger(), nullable=True),
        sa.Column("text_end", sa.BigInteger(), nullable=True),
        sa.Column("kind", sa.String(length=16), nullable=True),
        sa.Column("chunking", JSON, nullable=False),
        sa.Column("characters", sa.BigInteger(), nullable=False),
        sa.Column("chunks_count", sa.BigInteger(), nullable=False),
        sa.Column("first_seq", sa.BigInteger(), nullable=True),
        sa.Column("error", JSON, nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["session_id"], ["sessions.id"], name="fk_documents_session_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("session_id", "id", "revision", name="pk_documents"),
    )
    op.create_index(
        "ix_documents_session_id_ordinal", "documents", ["session_id", "is_current", "ordinal"]
    )
    op.create_index(
        "ix_documents_session_id_content_sha256", "documents", ["session_id", "content_sha256"]
    )
    op.create_index("ix_documents_job_id_position", "documents", ["job_id", "position"])
    op.create_table(
        "queries",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("session_id", sa.String(length=128), nullable=True),
        sa.Column("owner_id", sa.String(length=256), nullable=True),
        sa.Column("across", JSON, nullable=False),
        sa.Column("request", sa.LargeBinary(), nullable=False),
        sa.Column("pages", JSON, nullable=False),
        sa.Column("results", sa.LargeBinary(), nullable=False),
        sa.Column("total", sa.Integer(), nullable=False),
        sa.Column("page_size", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("used_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["session_id"], ["sessions.id"], name="fk_queries_session_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_queries"),
    )
    op.create_index("ix_queries_expires_at", "queries", ["expires_at"])
    op.create_index("ix_queries_session_id_expires_at", "queries", ["session_id", "expires_at"])


def _pin_embeddings() -> None:
    """Sessions so far named a model; what they would have been filled with is this one."""
    revision = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
    if op.get_bind().dialect.name == "sqlite":
        op.execute(
            sa.text(
                "UPDATE sessions SET embedding = "
                "json_set(embedding, '$.revision', :revision, '$.chunker', '1')"
            ).bindparams(revision=revision)
        )
        return
    op.execute(
        sa.text("UPDATE sessions SET embedding = embedding || CAST(:pin AS jsonb)").bindparams(
            pin=f'{{"revision": "{revision}", "chunker": "1"}}'
        )
    )
    for name in ("next_seq", "hidden_stages", "removals"):
        op.alter_column("sessions", name, server_default=None)


def downgrade() -> None:
    op.drop_index("ix_queries_session_id_expires_at", table_name="queries")
    op.drop_index("ix_queries_expires_at", table_name="queries")
    op.drop_table("queries")
    op.drop_index("ix_documents_job_id_position", table_name="documents")
    op.drop_index("ix_documents_session_id_content_sha256", table_name="documents")
    op.drop_index("ix_documents_session_id_ordinal", table_name="documents")
    op.drop_table("documents")
    op.drop_column("jobs", "progress_details")
    op.drop_column("sessions", "successor")
    op.drop_column("sessions", "removals")
    op.drop_column("sessions", "hidden_stages")
    op.drop_column("sessions", "next_seq")
