"""Resumable uploads of large files: tus 1.0.0, so that any client of that works; and curl."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request, Response

from quire.errors import InvalidInput, QuireError
from quire_api import tus
from quire_api.authentication import Caller
from quire_api.http import PageSize, TheQuire, json_response, next_link
from quire_api.problems import UnsupportedMediaType, problem_responses
from quire_api.upload_shapes import UploadShape, upload_shape
from quire_api.uploading import PIECE_TYPE, is_piece
from quire_api.uploads import body_blocks

router = APIRouter(prefix="/uploads", tags=["uploads"], route_class=tus.TusRoute)

Offset = Annotated[int, Header(ge=0, lt=2**63, description="bytes received so far")]
Length = Annotated[int | None, Header(ge=0, lt=2**63, description="bytes of the whole file")]
Checksum = Annotated[
    str | None, Header(description="`sha256` or `sha1`, a space, and the digest in base64")
]
OF_BYTES: dict[str, Any] = {
    "requestBody": {
        "description": f"bytes of the file, sent as {PIECE_TYPE}",
        "content": {"*/*": {"schema": {"type": "string", "format": "binary"}}},
    }
}


@router.options("", status_code=204, response_class=Response, responses=problem_responses(401))
async def upload_capabilities(quire: TheQuire) -> Response:
    """What tus clients may ask of this server: its version, extensions, largest size."""
    return Response(status_code=204, headers=tus.capabilities(quire.settings.transfer.upload_bytes))


@router.post(
    "",
    status_code=201,
    response_class=Response,
    responses={
        **tus.MISMATCH_RESPONSE,
        **problem_responses(400, 401, 403, 409, 412, 413, 415, 422, 503, 507),
    },
    openapi_extra=OF_BYTES,
)
async def create_upload(
    request: Request,
    caller: Caller,
    quire: TheQuire,
    upload_length: Length = None,
    upload_defer_length: Annotated[str | None, Header(description="1: the length follows")] = None,
    upload_metadata: Annotated[
        str | None, Header(description="names and base64 values: `filename bWFyc2gucXVpcmU=`")
    ] = None,
    upload_checksum: Checksum = None,
) -> Response:
    """Begin an upload; `Location` is where to send it. Its first bytes may come with this."""
    size = tus.read_length(upload_length, upload_defer_length)
    checksum = tus.read_checksum(upload_checksum)
    metadata = tus.read_metadata(upload_metadata)
    brings_bytes = is_piece(request.scope)
    if brings_bytes:
        _require_no_key(request)
    elif await request.body():
        raise _unreadable(request)
    upload = await quire.uploads.create(caller, size, metadata, request.scope.get("derived_id"))
    location = f"/uploads/{upload.id}"
    if brings_bytes:
        try:
            content = body_blocks(request)
            upload = await quire.uploads.append(caller, upload.id, 0, content, checksum=checksum)
        except QuireError:
            await quire.uploads.delete(caller, upload.id)  # nobody would know where to go on
            raise
    return Response(status_code=201, headers={"Location": location, **tus.progress(upload)})


@router.get("", response_model=list[UploadShape], responses=problem_responses(401, 412, 422, 503))
async def list_uploads(
    request: Request,
    caller: Caller,
    quire: TheQuire,
    limit: PageSize,
    cursor: Annotated[str | None, Query(max_length=64)] = None,
) -> Response:
    """Your uploads, complete or not, newest first."""
    page = await quire.uploads.find(caller, cursor=cursor, limit=limit)
    shapes = [upload_shape(upload) for upload in page.uploads]
    return json_response(shapes, headers=next_link(request, page.next_cursor))


@router.get(
    "/{upload_id}",
    response_model=UploadShape,
    responses=problem_responses(401, 404, 410, 412, 503),
)
async def get_upload(upload_id: str, caller: Caller, quire: TheQuire) -> Response:
    """An upload as it stands."""
    return json_response(upload_shape(await quire.uploads.get(caller, upload_id)))


@router.head(
    "/{upload_id}", response_class=Response, responses=problem_responses(401, 404, 410, 412, 503)
)
async def head_upload(upload_id: str, caller: Caller, quire: TheQuire) -> Response:
    """How much has arrived, in `Upload-Offset`: where to go on."""
    return Response(headers=tus.description(await quire.uploads.get(caller, upload_id)))


@router.patch(
    "/{upload_id}",
    status_code=204,
    response_class=Response,
    responses={
        **tus.MISMATCH_RESPONSE,
        **problem_responses(400, 401, 403, 404, 409, 410, 412, 413, 415, 422, 503, 507),
    },
    openapi_extra=OF_BYTES,
)
async def append_to_upload(
    upload_id: str,
    request: Request,
    caller: Caller,
    quire: TheQuire,
    upload_offset: Offset,
    upload_length: Length = None,
    upload_checksum: Checksum = None,
) -> Response:
    """Send what comes after `Upload-Offset`. What arrives is kept, though the connection breaks."""
    if request.headers.get("content-type", PIECE_TYPE).lower() != PIECE_TYPE:
        raise _unreadable(request)
    upload = await quire.uploads.append(
        caller,
        upload_id,
        upload_offset,
        body_blocks(request),
        checksum=tus.read_checksum(upload_checksum),
        size=upload_length,
    )
    return Response(status_code=204, headers=tus.progress(upload))


@router.delete(
    "/{upload_id}",
    status_code=204,
    response_class=Response,
    responses=problem_responses(401, 403, 404, 410, 412, 503),
)
async def delete_upload(upload_id: str, caller: Caller, quire: TheQuire) -> Response:
    """Remove an upload, complete or not."""
    await quire.uploads.delete(caller, upload_id)
    return Response(status_code=204)


def _require_no_key(request: Request) -> None:
    if "idempotency-key" in request.headers:
        raise InvalidInput(
            "An Idempotency-Key does not cover the bytes of an upload",
            field="Idempotency-Key",
            recovery="Begin the upload without bytes, and send them with PATCH.",
        )


def _unreadable(request: Request) -> UnsupportedMediaType:
    sent = request.headers.get("content-type", "(none)")
    return UnsupportedMediaType(
        f"The bytes of an upload are {PIECE_TYPE}, and not {sent[:100]}",
        recovery=f"Send `Content-Type: {PIECE_TYPE}`.",
    )
