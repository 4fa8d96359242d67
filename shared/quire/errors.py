"""The exception tree: every error has a stable code, says what is valid, and what to do next."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar


class QuireError(Exception):
    """Something went wrong in Quire."""

    code: ClassVar[str] = "internal"
    status: ClassVar[int] = 500
    recovery: str = "Try again; if it happens again, report it with the request id."

    def __init__(
        self,
        message: str | None = None,
        *,
        recovery: str | None = None,
        retry_after: float | None = None,
        **details: Any,
    ) -> None:
        self.message = message or (type(self).__doc__ or "").strip().splitlines()[0]
        if recovery is not None:
            self.recovery = recovery
        self.retry_after = retry_after
        self.details: Mapping[str, Any] = details
        super().__init__(self.message)


class InvalidInput(QuireError):
    """The input is not valid."""

    code = "invalid_input"
    status = 422
    recovery = "Correct the named field and send the request again."

    def __init__(
        self, message: str | None = None, *, field: str | None = None, **kwargs: Any
    ) -> None:
        if field is not None:
            kwargs["field"] = field
        super().__init__(message, **kwargs)
        self.field = field


class LimitExceeded(InvalidInput):
    """The input is over a configured limit."""

    code = "limit_exceeded"
    recovery = "Send less, or have the operator raise the named setting."


class BodyTooLarge(LimitExceeded):
    """The request body is over the limit."""

    code = "body_too_large"
    status = 413


class UnsupportedMedia(QuireError):
    """Documents of that type cannot be read."""

    code = "unsupported_media_type"
    status = 415
    recovery = "Send one of the types that the message lists."


class FileRefused(InvalidInput):
    """The file cannot be imported."""

    code = "file_refused"
    recovery = "Export it anew, or fetch it again: nothing of this file was kept."


class ExtractionFailed(InvalidInput):
    """The document cannot be read."""

    code = "extraction_failed"
    recovery = "Repair the document, or convert it to another format, and send it again."


class RangeNotSatisfiable(QuireError):
    """None of the asked bytes are there."""

    code = "range_not_satisfiable"
    status = 416
    recovery = "Ask for bytes below the size that Content-Range names."


class BadRequest(QuireError):
    """The request makes no sense as a whole."""

    code = "bad_request"
    status = 400
    recovery = "Correct the request as the message says."


class Unauthenticated(QuireError):
    """A bearer token is needed."""

    code = "unauthenticated"
    status = 401
    recovery = "Send `Authorization: Bearer <token>`; `quire token create` makes one."


class Forbidden(QuireError):
    """Your role does not allow this."""

    code = "forbidden"
    status = 403
    recovery = "Ask the owner or an admin of the session for a wider role."


class NotFound(QuireError):
    """There is no such thing, or you may not see it."""

    code = "not_found"
    status = 404
    recovery = "Check the id; `GET /sessions` lists what you may see."


class SessionNotFound(NotFound):
    """There is no such session, or you may not see it."""

    code = "session_not_found"


class JobNotFound(NotFound):
    """There is no such job, or you may not see it."""

    code = "job_not_found"
    recovery = "Check the id; `GET /jobs` lists what you may see."


class CollectionNotFound(NotFound):
    """The engine has no such collection."""

    code = "collection_not_found"
    recovery = "Run `quire reconcile` to compare sessions with what the engine holds."


class DocumentNotFound(NotFound):
    """The session has no such document."""

    code = "document_not_found"
    recovery = "Check the id; `GET /sessions/{id}/documents` lists what there is."


class ChunkNotFound(NotFound):
    """The session has no such chunk."""

    code = "chunk_not_found"
    recovery = "Read a chunk within the valid range that the message names."


class PointNotFound(NotFound):
    """The session has no such point."""

    code = "point_not_found"
    recovery = "Check the id; `GET /sessions/{id}/points` lists what there is."


class QueryNotFound(NotFound):
    """There is no such query, or you may not see it."""

    code = "query_not_found"
    recovery = "Check the query_id; a search answers one, and so does POST .../queries."


class CheckpointNotFound(NotFound):
    """The session has no such checkpoint."""

    code = "checkpoint_not_found"
    recovery = "Check the name; `GET /sessions/{id}/checkpoints` lists what there is."


class UploadNotFound(NotFound):
    """There is no such upload, or it is not yours."""

    code = "upload_not_found"
    recovery = "Begin an upload with POST /uploads; unfinished ones are kept for a while only."


class AttachmentNotFound(NotFound):
    """The session has no such attachment."""

    code = "attachment_not_found"
    recovery = "Check the name; `GET /sessions/{id}/attachments` lists what there is."


class MessageNotFound(NotFound):
    """The session has no such message."""

    code = "message_not_found"
    recovery = "Check the id; `GET /sessions/{id}/messages` lists what there is."


class InvocationNotFound(NotFound):
    """The session has no such invocation."""

    code = "invocation_not_found"
    recovery = "Check the id; `GET /sessions/{id}/invocations` lists what there is."


class DataNotFound(NotFound):
    """The session has no data under this key."""

    code = "data_not_found"
    recovery = "Check the key; `GET /sessions/{id}/data` lists what there is."


class ClusteringNotFound(NotFound):
    """The session was not clustered yet."""

    code = "clustering_not_found"
    recovery = "Cluster it: POST /sessions/{id}/cluster."


class BlobNotFound(NotFound):
    """The blob store has no such blob."""

    code = "blob_not_found"


class Expired(QuireError):
    """It was here, and its time is over."""

    code = "expired"
    status = 410
    recovery = "Create it anew; ask for a longer `ttl_seconds` if it went too soon."


class QueryExpired(Expired):
    """The query's results have expired."""

    code = "query_expired"
    recovery = "Run the query again."


class AttachmentExpired(Expired):
    """The attachment was here, and its time is over."""

    code = "attachment_expired"
    recovery = "Put it again; ask for a longer `ttl_seconds` if it went too soon."


class AddressRefused(InvalidInput):
    """That address is not fetched from."""

    code = "address_refused"
    recovery = (
        "Name a public http or https address, or have the operator add it to QUIRE_WEB_ALLOW."
    )


class FetchFailed(QuireError):
    """The address could not be fetched."""

    code = "fetch_failed"
    status = 502
    recovery = "See that the address answers from elsewhere, then try again."


class InstructionsNeeded(QuireError):
    """Please call get_instructions() first, then repeat this call."""

    code = "instructions_needed"
    status = 428
    recovery = "Call get_instructions() once; then every tool answers."


class Conflict(QuireError):
    """The request does not fit the present state."""

    code = "conflict"
    status = 409
    recovery = "Read the present state and decide again."


class TransitionForbidden(Conflict):
    """That change of status is not allowed from here."""

    code = "transition_forbidden"
    recovery = "Make one of the allowed transitions first."


class SessionLimitReached(Conflict):
    """The owner has as many sessions as are allowed."""

    code = "session_limit_reached"
    recovery = "Delete sessions that are no longer needed, or have the limit raised."


class EmbeddingMismatch(Conflict):
    """The vectors were made with another model than these would be."""

    code = "embedding_mismatch"
    recovery = "Use the session's own model, or move the session: POST /sessions/{id}/reembed."


class PointConflict(Conflict):
    """Points of the sources have the same ids."""

    code = "point_conflict"
    recovery = "Choose what is to happen: on_conflict skip, replace or keep_both."


class VerificationFailed(QuireError):
    """What arrived is not what was sent; nothing was changed."""

    code = "verification_failed"
    recovery = "Try again; if it happens again, look into the engine's log and report it."


class PreconditionFailed(QuireError):
    """Someone changed it since you read it."""

    code = "precondition_failed"
    status = 412
    recovery = "Read it again, then repeat the change with the new ETag in If-Match."


class Unavailable(QuireError):
    """A part that Quire stands on does not answer."""

    code = "unavailable"
    status = 503
    recovery = "Wait and repeat the request; `quire doctor` tells which part is down."

    def __init__(
        self, message: str | None = None, *, retry_after: float | None = 2.0, **kwargs: Any
    ) -> None:
        super().__init__(message, retry_after=retry_after, **kwargs)


class StorageFull(Unavailable):
    """There is no room left to write to."""

    code = "storage_full"
    status = 507
    recovery = "Free space where Quire keeps its data, then repeat the request."


class StorageDamaged(QuireError):
    """What is stored cannot be read."""

    code = "storage_damaged"
    recovery = "Restore QUIRE_DATA_DIR from a backup, or set it to another directory."


class ConfigurationError(QuireError):
    """A setting is not valid."""

    code = "configuration"
    recovery = "Correct the named variable; `quire doctor` shows the settings in force."
