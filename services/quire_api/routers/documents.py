"""Documents: bring them, list them, remove them."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request, Response

from quire.content.admission import Admitted
from quire.content.models import DocumentStatus, SizeUnit
from quire.content.sources import IngestOptions, Source
from quire.jobs.port import JobStatus
from quire_api.authentication import Caller
from quire_api.content_shapes import (
    DocumentShape,
    ErrorsChoice,
    IngestedShape,
    RemovedShape,
    document_shape,
    ingested_shape,
    read_json,
)
from quire_api.http import (
    PageSize,
    TheQuire,
    Wait,
    job_shape,
    json_response,
    next_link,
    require_not_failed,
)
from quire_api.ingest_body import documents_body, read_documents
from quire_api.problems import problem_responses
from quire_api.uploads import body_blocks, multipart_sources

router = APIRouter(prefix="/sessions/{session_id}/documents", tags=["content"])

ACCEPTED: dict[int | str, dict[str, Any]] = {
    202: {"description": "a job still takes them in; `Location` is where it is"}
}
REMOVING: dict[int | str, dict[str, Any]] = {202: {"description": "a job still removes it"}}
OF_WRITING = problem_responses(400, 401, 403, 404, 409, 410, 413, 415, 422, 503, 507)


@router.post(
    "",
    response_model=IngestedShape,
    responses={**ACCEPTED, **OF_WRITING},
    openapi_extra=documents_body(),
)
async def ingest_documents(
    session_id: str, request: Request, caller: Caller, quire: TheQuire, wait: Wait
) -> Response:
    """Take documents in: JSON, or files as multipart/form-data. They are seen all at once."""
    content_type = request.headers.get("content-type", "")
    if content_type.lower().startswith("multipart/form-data"):
        most = quire.settings.limits.documents
        async with multipart_sources(request, most) as (sources, chosen):
            admitted = await quire.admission.admit(caller, session_id, sources, chosen.options)
    else:
        body = await read_documents(request)
        admitted = await quire.admission.admit(caller, session_id, body.sources(), body.options)
    return await _answer(quire, session_id, admitted, wait)


@router.get(
    "", response_model=list[DocumentShape], responses=problem_responses(401, 404, 410, 422, 503)
)
async def list_documents(
    session_id: str,
    request: Request,
    caller: Caller,
    quire: TheQuire,
    limit: PageSize,
    status: DocumentStatus | None = None,
    cursor: Annotated[int, Query(ge=-1, le=2**53)] = -1,
) -> Response:
    """The session's documents, in the order in which they first came."""
    page = await quire.documents.page(caller, session_id, cursor=cursor, limit=limit, status=status)
    shapes = [document_shape(document) for document in page.documents]
    return json_response(shapes, headers=next_link(request, page.next_cursor))


@router.get(
    "/{document_id}", response_model=DocumentShape, responses=problem_responses(401, 404, 410, 503)
)
async def get_document(
    session_id: str, document_id: str, caller: Caller, quire: TheQuire
) -> Response:
    """A document as it stands: its status, its size, where its chunks begin."""
    return json_response(document_shape(await quire.documents.get(caller, session_id, document_id)))


@router.delete(
    "/{document_id}",
    response_model=RemovedShape,
    responses={**REMOVING, **OF_WRITING},
)
async def remove_document(
    session_id: str, document_id: str, caller: Caller, quire: TheQuire, wait: Wait
) -> Response:
    """Remove a document with its chunks; the others keep their numbers."""
    job_id = await quire.documents.remove(caller, session_id, [document_id])
    job = await quire.jobs.wait(job_id, wait)
    require_not_failed(job)
    answer: dict[str, Any] = {"message": "Document removed successfully", "job_id": job_id}
    if job.status is JobStatus.SUCCEEDED:
        return json_response(answer)
    answer = {"message": "The document is being removed", "job_id": job_id, "job": job_shape(job)}
    return json_response(answer, 202, {"Location": f"/jobs/{job_id}"})


@router.put(
    "/{document_id}/content",
    response_model=IngestedShape,
    responses={**ACCEPTED, **OF_WRITING},
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"*/*": {"schema": {"type": "string", "format": "binary"}}},
        }
    },
)
async def put_content(
    session_id: str,
    document_id: str,
    request: Request,
    caller: Caller,
    quire: TheQuire,
    wait: Wait,
    content_type: Annotated[str | None, Header()] = None,
    title: str | None = None,
    url: str | None = None,
    metadata: Annotated[str | None, Query(description="a JSON object")] = None,
    chunk_size: int | None = None,
    chunk_overlap: int | None = None,
    chunk_unit: SizeUnit | None = None,
    errors: ErrorsChoice = "strict",
) -> Response:
    """Take one document in, or replace it: the body is its bytes, `curl -T` style."""
    source = Source(
        content=body_blocks(request),
        at="the document",
        content_type=content_type,
        name=document_id,
        id=document_id,
        title=title,
        source_url=url,
        metadata=read_json("metadata", metadata),
    )
    options = IngestOptions(
        chunk_size=chunk_size, chunk_overlap=chunk_overlap, chunk_unit=chunk_unit, errors=errors
    )
    admitted = await quire.admission.admit(caller, session_id, [source], options)
    return await _answer(quire, session_id, admitted, wait)


async def _answer(quire: TheQuire, session_id: str, admitted: Admitted, wait: float) -> Response:
    job_id = admitted.job_id
    if job_id is None:
        return json_response(ingested_shape(admitted))
    job = await quire.jobs.wait(job_id, wait)
    require_not_failed(job)
    answer = ingested_shape(await quire.admission.current(session_id, admitted))
    if job.status.is_final:
        return json_response(answer)
    return json_response(answer, 202, {"Location": f"/jobs/{job_id}"})
