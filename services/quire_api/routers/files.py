"""Sessions as files: export and import."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Header, Query, Request, Response

from quire.bundle.formats.models import Format
from quire.errors import InvalidInput
from quire.transfer.exporting import ExportRequest
from quire.transfer.importing import Begun
from quire_api.authentication import Caller
from quire_api.file_shapes import (
    KINDS,
    ExportFormat,
    FileResponse,
    ImportOptions,
    chosen,
    import_body,
    sent_file,
)
from quire_api.forms import file_blocks
from quire_api.http import (
    TheQuire,
    Wait,
    job_shape,
    json_response,
    require_not_failed,
    session_response,
)
from quire_api.problems import problem_responses
from quire_api.routers.jobs import JobShape
from quire_api.shapes import SessionShape, session_shape
from quire_api.uploads import body_blocks

router = APIRouter(prefix="/sessions", tags=["transfer"])

FILE: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "the file",
        "content": {
            kind.partition(";")[0]: {"schema": {"type": "string", "format": "binary"}}
            for format, (kind, _) in KINDS.items()
            if format is not Format.SESSION_JSON
        }
        | {"application/json": {"schema": {"type": "object"}}},
    }
}
ACCEPTED: dict[int | str, dict[str, Any]] = {
    202: {"model": JobShape, "description": "a job still imports it; `Location` is where it is"}
}


@router.get(
    "/{session_id}/export",
    response_class=Response,
    responses={**FILE, **problem_responses(401, 403, 404, 409, 410, 422, 503, 507)},
)
async def export_session(
    session_id: str,
    caller: Caller,
    quire: TheQuire,
    format: Annotated[
        ExportFormat | None, Query(description="unset: the original service's JSON")
    ] = None,
    vectors: Literal["include", "omit"] = "include",
    include_data: Annotated[
        bool, Query(description="of the original's JSON: with its points")
    ] = True,
    filter: Annotated[
        str | None, Query(description="a filter as JSON: the points that match it")
    ] = None,
    document_ids: Annotated[
        str | None, Query(description="a,b: these documents with their chunks")
    ] = None,
) -> Response:
    """A session as a file. What breaks off is not whole: a bundle then lacks its manifest."""
    request = ExportRequest(
        format=Format.SESSION_JSON if format is None else Format(format.value),
        vectors=vectors == "include",
        points=include_data,
        selection=chosen(filter, document_ids),
    )
    export = await quire.files.exporting.open(caller, session_id, request, session_shape)
    return FileResponse(export, request.format, named=format is not None)


@router.post(
    "/import",
    response_model=SessionShape,
    responses={**ACCEPTED, **problem_responses(400, 401, 403, 404, 409, 410, 413, 422, 503, 507)},
    openapi_extra=import_body(),
)
async def import_session(
    request: Request,
    caller: Caller,
    quire: TheQuire,
    wait: Wait,
    content_type: Annotated[str | None, Header()] = None,
    upload: Annotated[str | None, Query(description="a finished upload, instead of a body")] = None,
    new_name: Annotated[str | None, Query(description="unset: the file's")] = None,
    format: Annotated[Format | None, Query(description="unset: what the file shows")] = None,
    mapping: Annotated[
        str | None, Query(description="a JSON object: which column of a stranger's file is what")
    ] = None,
    provider: str | None = None,
    model: Annotated[str | None, Query(description="what the vectors are made with")] = None,
    dimension: int | None = None,
    distance: Literal["cosine", "dot", "euclid", "manhattan"] | None = None,
    new_ids: Annotated[bool, Query(description="each point tells the id it had")] = False,
    group: str | None = None,
    id: Annotated[str | None, Query(description="of the new session")] = None,
) -> Response:
    """Make a session of a file: a bundle, Parquet, JSONL, CSV, the original's JSON, a snapshot.

    It is there when all of it is, and the caller's.
    """
    options = ImportOptions(
        new_name=new_name,
        format=format,
        mapping=mapping,
        provider=provider,
        model=model,
        dimension=dimension,
        distance=distance,
        new_ids=new_ids,
        group=group,
        id=id,
    )
    derived_id = request.scope.get("derived_id")
    importing = quire.files.importing
    if upload is not None:
        if request.headers.get("content-length", "0") != "0":
            raise InvalidInput("Send a body, or name an upload; not both", field="upload")
        wanted = options.request(None, None, derived_id)
        begun = await importing.begin_upload(caller, wanted, upload)
    elif (content_type or "").lower().startswith("multipart/form-data"):
        async with sent_file(request, options) as (file, told):
            wanted = told.request(file.filename or None, file.content_type, derived_id)
            begun = await importing.begin(caller, wanted, file_blocks(file))
    else:
        wanted = options.request(None, content_type, derived_id)
        begun = await importing.begin(caller, wanted, body_blocks(request))
    return await _answer(quire, caller, begun, wait)


async def _answer(quire: TheQuire, caller: Caller, begun: Begun, wait: float) -> Response:
    job = await quire.jobs.wait(begun.job_id, wait)
    require_not_failed(job)
    if not job.status.is_final:
        return json_response(job_shape(job), 202, {"Location": f"/jobs/{begun.job_id}"})
    session = await quire.sessions.get(caller, begun.session_id)
    return session_response(session, {"Location": f"/sessions/{session.id}", "X-Quire-Job": job.id})
