"""Every table, declared once; the migrations under `migrations/` bring a database to this."""

from __future__ import annotations

from quire.store.tables.activity import (
    agents,
    attachments,
    conversations,
    events,
    invocations,
    messages,
    replaced_data,
    session_data,
)
from quire.store.tables.content import clusterings, documents, queries
from quire.store.tables.declaring import metadata
from quire.store.tables.sessions import (
    idempotency_keys,
    policies,
    session_collaborators,
    session_tags,
    sessions,
    tombstones,
)
from quire.store.tables.transfer import (
    backups,
    checkpoints,
    claims,
    lineage,
    spare_collections,
    upload_parts,
    uploads,
)
from quire.store.tables.work import blob_references, blobs, executors, job_sessions, jobs

__all__ = [
    "agents",
    "attachments",
    "backups",
    "blob_references",
    "blobs",
    "checkpoints",
    "claims",
    "clusterings",
    "conversations",
    "documents",
    "events",
    "executors",
    "idempotency_keys",
    "invocations",
    "job_sessions",
    "jobs",
    "lineage",
    "messages",
    "metadata",
    "policies",
    "queries",
    "replaced_data",
    "session_collaborators",
    "session_data",
    "session_tags",
    "sessions",
    "spare_collections",
    "tombstones",
    "upload_parts",
    "uploads",
]
