"""Sessions, jobs, blobs and what keeps them in order."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "2026_11_20_sessions_jobs_blobs"
down_revision = None
branch_labels = None
depends_on = None

JSON = sa.JSON().with_variant(JSONB(), "postgresql")
COUNTER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "blobs",
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("touched_at", sa.BigInteger(), nullable=False),
        sa.Column("condemned", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("sha256", name="pk_blobs"),
    )
    op.create_index("ix_blobs_touched_at", "blobs", ["touched_at"], unique=False)
    op.create_table(
        "executors",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("started_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_executors"),
    )
    op.create_table(
        "idempotency_keys",
        sa.Column("caller", sa.String(length=256), nullable=False),
        sa.Column("key", sa.String(length=255), nullable=False),
        sa.Column("fingerprint", sa.String(length=64), nullable=False),
        sa.Column("status", sa.Integer(), nullable=True),
        sa.Column("headers", JSON, nullable=True),
        sa.Column("body", sa.LargeBinary(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("caller", "key", name="pk_idempotency_keys"),
    )
    op.create_index(
        "ix_idempotency_keys_created_at", "idempotency_keys", ["created_at"], unique=False
    )
    op.create_table(
        "jobs",
        sa.Column("seq", COUNTER, sa.Identity(always=False), nullable=False),
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("kind", sa.String(length=64), nullable=False),
        sa.Column("session_id", sa.String(length=128), nullable=True),
        sa.Column("owner_id", sa.String(length=256), nullable=True),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("parameters", JSON, nullable=False),
        sa.Column("progress_done", sa.BigInteger(), nullable=False),
        sa.Column("progress_total", sa.BigInteger(), nullable=True),
        sa.Column("progress_unit", sa.String(length=32), nullable=False),
        sa.Column("result", JSON, nullable=True),
        sa.Column("error", JSON, nullable=True),
        sa.Column("cancel_requested", sa.Boolean(), nullable=False),
        sa.Column("released", sa.Boolean(), nullable=False),
        sa.Column("executor_id", sa.String(length=64), nullable=True),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("started_at", sa.BigInteger(), nullable=True),
        sa.Column("finished_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("seq", name="pk_jobs"),
        sa.UniqueConstraint("id", name="uq_jobs_id"),
    )
    op.create_index("ix_jobs_session_id", "jobs", ["session_id"], unique=False)
    op.create_index("ix_jobs_status_finished_at", "jobs", ["status", "finished_at"], unique=False)
    op.create_table(
        "policies",
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("value", JSON, nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_policies"),
    )
    op.create_table(
        "sessions",
        sa.Column("id", sa.String(length=128), nullable=False),
        sa.Column("collection", sa.String(length=64), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("owner_id", sa.String(length=256), nullable=True),
        sa.Column("group_name", sa.String(length=256), nullable=True),
        sa.Column("tags", JSON, nullable=False),
        sa.Column("collaborators", JSON, nullable=False),
        sa.Column("configuration", JSON, nullable=False),
        sa.Column("processing_stats", JSON, nullable=False),
        sa.Column("model_usage", JSON, nullable=False),
        sa.Column("metadata", JSON, nullable=False),
        sa.Column("embedding", JSON, nullable=False),
        sa.Column("lineage", JSON, nullable=False),
        sa.Column("outcome", sa.String(length=16), nullable=True),
        sa.Column("residency", sa.String(length=8), nullable=False),
        sa.Column("hold", sa.Boolean(), nullable=False),
        sa.Column("points_count", sa.BigInteger(), nullable=False),
        sa.Column("chunks_count", sa.BigInteger(), nullable=False),
        sa.Column("ttl_seconds", sa.Float(), nullable=True),
        sa.Column("expires_at", sa.BigInteger(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.Column("last_activity_at", sa.BigInteger(), nullable=False),
        sa.Column("ended_at", sa.BigInteger(), nullable=True),
        sa.Column("archived_at", sa.BigInteger(), nullable=True),
        sa.Column("deleted_at", sa.BigInteger(), nullable=True),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_sessions"),
        sa.UniqueConstraint("collection", name="uq_sessions_collection"),
    )
    op.create_index("ix_sessions_created_at", "sessions", ["created_at", "id"], unique=False)
    op.create_index("ix_sessions_expires_at", "sessions", ["expires_at"], unique=False)
    op.create_index(
        "ix_sessions_group_name", "sessions", ["group_name", "updated_at", "id"], unique=False
    )
    op.create_index(
        "ix_sessions_owner_id", "sessions", ["owner_id", "updated_at", "id"], unique=False
    )
    op.create_index(
        "ix_sessions_state_updated_at", "sessions", ["state", "updated_at", "id"], unique=False
    )
    op.create_index("ix_sessions_updated_at", "sessions", ["updated_at", "id"], unique=False)
    op.create_table(
        "blob_references",
        sa.Column("session_id", sa.String(length=128), nullable=False),
        sa.Column("holder", sa.String(length=256), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.ForeignKeyConstraint(["sha256"], ["blobs.sha256"], name="fk_blob_references_sha256"),
        sa.PrimaryKeyConstraint("session_id", "holder", "sha256", name="pk_blob_references"),
    )
    op.create_index("ix_blob_references_sha256", "blob_references", ["sha256"], unique=False)
    op.create_table(
        "job_sessions",
        sa.Column("session_id", sa.String(length=128), nullable=False),
        sa.Column("job_seq", COUNTER, nullable=False),
        sa.ForeignKeyConstraint(
            ["job_seq"], ["jobs.seq"], name="fk_job_sessions_job_seq", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("session_id", "job_seq", name="pk_job_sessions"),
    )
    op.create_index("ix_job_sessions_job_seq", "job_sessions", ["job_seq"], unique=False)
    op.create_table(
        "tombstones",
        sa.Column("id", sa.String(length=128), nullable=False),
        sa.Column("owner_id", sa.String(length=256), nullable=True),
        sa.Column("group_name", sa.String(length=256), nullable=True),
        sa.Column("collaborators", JSON, nullable=False),
        sa.Column("buried_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_tombstones"),
    )
    op.create_index("ix_tombstones_buried_at", "tombstones", ["buried_at"], unique=False)
    op.create_table(
        "session_collaborators",
        sa.Column("user_id", sa.String(length=256), nullable=False),
        sa.Column("session_id", sa.String(length=128), nullable=False),
        sa.Column("role", sa.String(length=8), nullable=False),
        sa.ForeignKeyConstraint(
            ["session_id"],
            ["sessions.id"],
            name="fk_session_collaborators_session_id",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("user_id", "session_id", name="pk_session_collaborators"),
    )
    op.create_index(
        "ix_session_collaborators_session_id", "session_collaborators", ["session_id"], unique=False
    )
    op.create_table(
        "session_tags",
        sa.Column("tag", sa.Text(), nullable=False),
        sa.Column("session_id", sa.String(length=128), nullable=False),
        sa.ForeignKeyConstraint(
            ["session_id"], ["sessions.id"], name="fk_session_tags_session_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("tag", "session_id", name="pk_session_tags"),
    )
    op.create_index("ix_session_tags_session_id", "session_tags", ["session_id"], unique=False)


def downgrade() -> None:
    op.drop_index("ix_tombstones_buried_at", table_name="tombstones")
    op.drop_table("tombstones")
    op.drop_index("ix_session_tags_session_id", table_name="session_tags")
    op.drop_table("session_tags")
    op.drop_index("ix_session_collaborators_session_id", table_name="session_collaborators")
    op.drop_table("session_collaborators")
    op.drop_index("ix_job_sessions_job_seq", table_name="job_sessions")
    op.drop_table("job_sessions")
    op.drop_index("ix_blob_references_sha256", table_name="blob_references")
    op.drop_table("blob_references")
    op.drop_index("ix_sessions_updated_at", table_name="sessions")
    op.drop_index("ix_sessions_state_updated_at", table_name="sessions")
    op.drop_index("ix_sessions_owner_id", table_name="sessions")
    op.drop_index("ix_sessions_group_name", table_name="sessions")
    op.drop_index("ix_sessions_expires_at", table_name="sessions")
    op.drop_index("ix_sessions_created_at", table_name="sessions")
    op.drop_table("sessions")
    op.drop_table("policies")
    op.drop_index("ix_jobs_status_finished_at", table_name="jobs")
    op.drop_index("ix_jobs_session_id", table_name="jobs")
    op.drop_table("jobs")
    op.drop_index("ix_idempotency_keys_created_at", table_name="idempotency_keys")
    op.drop_table("idempotency_keys")
    op.drop_table("executors")
    op.drop_index("ix_blobs_touched_at", table_name="blobs")
    op.drop_table("blobs")
