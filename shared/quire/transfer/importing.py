"""Importing: a file into a new session, which is there when all of it is.

The file is kept first; then session and job are written in one transaction. Who owns the session is
who imports it, whatever the file says.
"""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterable, Mapping
from dataclasses import asdict, dataclass, replace

from quire.access import policy
from quire.access.principal import Principal
from quire.blobs.ledger import BlobLedger
from quire.errors import Conflict
from quire.jobs.port import JobRequest, Jobs
from quire.sessions.creation import Creation
from quire.sessions.lifecycle import State
from quire.sessions.models import Session
from quire.sessions.repository import SessionRepository
from quire.sessions.validation import session_id as valid_id
from quire.store.columns import now
from quire.transfer.import_job import KIND, TAG, holder_of
from quire.transfer.import_request import PLACEHOLDER, ImportRequest, Restored
from quire.transfer.targets import NewTarget, Targets
from quire.uploads.uploads import Uploads


@dataclass(frozen=True, slots=True)
class Begun:
    """An import that is on its way."""

    job_id: str
    session_id: str


class Importing:
    """Takes files in, and submits the jobs that import them."""

    def __init__(
        self,
        repository: SessionRepository,
        creation: Creation,
        targets: Targets,
        ledger: BlobLedger,
        uploads: Uploads,
        jobs: Jobs,
    ) -> None:
        self._repository = repository
        self._creation = creation
        self._targets = targets
        self._ledger = ledger
        self._uploads = uploads
        self._jobs = jobs

    async def begin(
        self,
        principal: Principal,
        request: ImportRequest,
        content: AsyncIterable[bytes],
        restored: Restored | None = None,
    ) -> Begun:
        """Keep the file, then submit the job that imports it.

        With `restored`, which is for operators, the session is what it was when it was backed up.
        """
        if restored is not None:
            policy.require_operator(principal)
        self._draft(principal, request, "", restored)  # before anything is kept
        blob = await self._ledger.put(content)
        return await self._submit(principal, request, {"blob": blob.sha256}, restored)

    async def begin_upload(
        self, principal: Principal, request: ImportRequest, upload_id: str
    ) -> Begun:
        """The same for a file that came by a resumable upload, which is over with the import."""
        upload = await self._uploads.whole(principal, upload_id)
        told = upload.metadata
        request = replace(
            request,
            file_name=request.file_name or told.get("filename") or told.get("name"),
            content_type=request.content_type or told.get("filetype") or told.get("type"),
        )
        self._draft(principal, request, "")
        return await self._submit(principal, request, {"upload": upload_id})

    async def _submit(
        self,
        principal: Principal,
        request: ImportRequest,
        source: Mapping[str, str],
        restored: Restored | None = None,
    ) -> Begun:
        job_id = str(uuid.uuid4())
        draft = self._draft(principal, request, job_id, restored)
        async with self._repository.transaction() as connection:
            existing = await self._creation.reserve(connection, draft)
            if existing is not None:
                if existing.id == request.derived_id and existing.made_by is not None:
                    return Begun(existing.made_by, existing.id)
                raise Conflict(
                    f"The id {draft.id} is taken",
                    recovery="Choose another id, or leave it out to be given one.",
                    field="id",
                )
            if "blob" in source:
                await self._ledger.refer(connection, draft.id, holder_of(job_id), source["blob"])
            job = JobRequest(
                KIND,
                sessions=[draft.id],
                parameters={
                    "source": dict(source),
                    "collection": draft.collection,
                    "request": request.as_json(),
                    "restored": None if restored is None else asdict(restored),
                },
                owner_id=principal.subject,
                id=job_id,
            )
            await self._jobs.submit(connection, job)
        return Begun(job_id, draft.id)

    def _draft(
        self,
        principal: Principal,
        request: ImportRequest,
        job_id: str,
        restored: Restored | None = None,
    ) -> Session:
        """A session of which nothing is known but whose it is; or why it cannot be."""
        request = request.checked()
        at = now()
        blank = Session(
            id="",
            collection="",
            state=State.PROVISIONING,
            name=TAG,
            embedding=PLACEHOLDER,
            created_at=at,
            updated_at=at,
            last_activity_at=at,
        )
        target = NewTarget(
            name=TAG if request.name is None else request.name,
            owner_id=None if restored is None else restored.owner_id,
            group=request.group if restored is None else restored.group,
        )
        draft = self._targets.draft(principal, target, blank, job_id)
        if request.session_id is not None:
            return replace(draft, id=valid_id(request.session_id))
        return replace(draft, id=request.derived_id or draft.id)
