"""Transfers and residency: lineage, checkpoints, uploads, backups, and where cold points are."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "2026_11_22_transfer_residency"
down_revision = "2026_11_21_documents_queries"
branch_labels = None
depends_on = None

JSON = sa.JSON().with_variant(JSONB(), "postgresql")


def upgrade() -> None:
    op.add_column("sessions", sa.Column("busy_job", sa.String(length=36), nullable=True))
    op.add_column("sessions", sa.Column("made_by", sa.String(length=36), nullable=True))
    op.add_column("sessions", sa.Column("pack", JSON, nullable=True))
    # The default is for rows that are there already; the program always names its value.
    op.add_column(
        "sessions", sa.Column("pinned", sa.Boolean(), nullable=False, server_default=sa.false())
    )
    if op.get_bind().dialect.name == "postgresql":
        op.alter_column("sessions", "pinned", server_default=None)
    op.add_column("sessions", sa.Column("woke_at", sa.BigInteger(), nullable=True))
    op.create_index("ix_sessions_residency", "sessions", ["residency", "last_activity_at"])
    op.create_table(
        "spare_collections",
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("session_id", sa.String(length=128), nullable=True),
        sa.Column("job_id", sa.String(length=36), nullable=True),
        sa.Column("until", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_spare_collections"),
    )
    op.create_index("ix_spare_collections_session_id", "spare_collections", ["session_id"])
    op.create_index("ix_spare_collections_until", "spare_collections", ["until"])
    op.create_table(
        "lineage",
        sa.Column("child_id", sa.String(length=128), nullable=False),
        sa.Column("parent_id", sa.String(length=256), nullable=False),
        sa.Column("job_id", sa.String(length=36), nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("child_name", sa.Text(), nullable=False),
        sa.Column("parent_name", sa.Text(), nullable=False),
        sa.Column("points", sa.BigInteger(), nullable=False),
        sa.Column("documents", sa.BigInteger(), nullable=False),
        sa.Column("details", JSON, nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("undone_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("child_id", "parent_id", "job_id", name="pk_lineage"),
    )
    op.create_index("ix_lineage_parent_id", "lineage", ["parent_id"])
    op.create_index("ix_lineage_job_id", "lineage", ["job_id"])
    op.create_table(
        "checkpoints",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("session_id", sa.String(length=128), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("points_sha256", sa.String(length=64), nullable=True),
        sa.Column("documents_sha256", sa.String(length=64), nullable=True),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("points_count", sa.BigInteger(), nullable=False),
        sa.Column("documents_count", sa.BigInteger(), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=True),
        sa.Column("state", JSON, nullable=False),
        sa.Column("job_id", sa.String(length=36), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(
            ["session_id"], ["sessions.id"], name="fk_checkpoints_session_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_checkpoints"),
    )
    op.create_index(
        "uq_checkpoints_session_id_name", "checkpoints", ["session_id", "name"], unique=True
    )
    op.create_table(
        "uploads",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("owner_id", sa.String(length=256), nullable=True),
        sa.Column("size", sa.BigInteger(), nullable=True),
        sa.Column("received", sa.BigInteger(), nullable=False),
        sa.Column("metadata", JSON, nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_uploads"),
    )
    op.create_index("ix_uploads_expires_at", "uploads", ["expires_at"])
    op.create_table(
        "upload_parts",
        sa.Column("upload_id", sa.String(length=36), nullable=False),
        sa.Column("start", sa.BigInteger(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.ForeignKeyConstraint(
            ["upload_id"], ["uploads.id"], name="fk_upload_parts_upload_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("upload_id", "start", name="pk_upload_parts"),
    )
    op.create_table(
        "backups",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("session_id", sa.String(length=128), nullable=False),
        sa.Column("session_name", sa.Text(), nullable=False),
        sa.Column("owner_id", sa.String(length=256), nullable=True),
        sa.Column("group_name", sa.String(length=256), nullable=True),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("bundle_sha256", sa.String(length=64), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("points_count", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_backups"),
    )
    op.create_index("ix_backups_session_id", "backups", ["session_id", "created_at"])
    op.create_table(
        "claims",
        sa.Column("job_id", sa.String(length=36), nullable=False),
        sa.Column("key", sa.LargeBinary(length=16), nullable=False),
        sa.Column("source", sa.Integer(), nullable=False),
        sa.Column("point_id", sa.String(length=40), nullable=False),
        sa.PrimaryKeyConstraint("job_id", "key", name="pk_claims"),
    )


def downgrade() -> None:
    for table in (
        "claims",
        "backups",
        "upload_parts",
        "uploads",
        "checkpoints",
        "lineage",
        "spare_collections",
    ):
        op.drop_table(table)
    op.drop_index("ix_sessions_residency", "sessions")
    for column in ("woke_at", "pinned", "pack", "made_by", "busy_job"):
        op.drop_column("sessions", column)
