"""Attachments in and out: the JSON of them, forms and `data:` URLs, and how they are served."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import Query, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field, StrictBool, ValidationError
from starlette.requests import ClientDisconnect

from quire.activity.attachment_arrival import from_data_url
from quire.activity.attachment_models import Attachment
from quire.errors import BadRequest, InvalidInput
from quire_api.content_shapes import read_json
from quire_api.forms import file_blocks, sent_form
from quire_api.problems import UnsupportedMediaType
from quire_api.shapes import Input

Json = dict[str, Any]
FORM = "multipart/form-data"

# What browsers show as it is, and nothing in it can act; all else they are told to save.
SHOWN = frozenset(
    [
        "image/png",
        "image/jpeg",
        "image/gif",
        "image/webp",
        "image/avif",
        "image/bmp",
        "audio/mpeg",
        "audio/wav",
        "video/mp4",
        "video/webm",
        "application/pdf",
        "application/json",
        "text/plain",
    ]
)
GUARDED = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; sandbox",
    "X-Content-Type-Options": "nosniff",
}
_PLAIN = re.compile(r"[^A-Za-z0-9._ -]+")

Ttl = Annotated[float | None, Query(description="it expires after so long")]
Ephemeral = Annotated[bool, Query(description="it expires soon, unless ttl_seconds says when")]
Metadata = Annotated[str | None, Query(description="a JSON object")]


class AttachmentOptions(Input):
    """What a form's fields say of its file."""

    name: str | None = None
    ttl_seconds: float | None = None
    ephemeral: bool = False
    metadata: str | None = Field(None, description="a JSON object")


class AttachDataUrl(Input):
    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "name": "screenshot.png",
                "data_url": "data:image/png;base64,iVBORw0KGgo=",
                "ephemeral": True,
            }
        }
    )

    name: str
    data_url: str
    ttl_seconds: float | None = None
    ephemeral: StrictBool = False
    metadata: Json = Field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class SentAttachment:
    """An attachment on its way in, and what its sender says of it."""

    name: str
    content: AsyncIterator[bytes]
    media_type: str | None
    ttl_seconds: float | None
    ephemeral: bool
    metadata: Json


class AttachmentShape(BaseModel):
    """An attachment; its bytes come by themselves."""

    name: str
    size_bytes: int
    media_type: str = Field(description="as its bytes show, and its sender says where they agree")
    sha256: str
    metadata: Json
    author: str | None
    created_at: datetime
    updated_at: datetime
    expires_at: datetime | None


def attachment_shape(attachment: Attachment) -> Json:
    return {
        "name": attachment.name,
        "size_bytes": attachment.size,
        "media_type": attachment.media_type,
        "sha256": attachment.sha256,
        "metadata": attachment.metadata,
        "author": attachment.author,
        "created_at": attachment.created_at,
        "updated_at": attachment.updated_at,
        "expires_at": attachment.expires_at,
    }


def attachment_path(attachment: Attachment) -> str:
    return f"/sessions/{attachment.session_id}/attachments/{quote(attachment.name)}"


def serving_headers(attachment: Attachment) -> dict[str, str]:
    """How its bytes are served: shown only if they are harmless, saved under its name."""
    kind = attachment.media_type.partition(";")[0]
    shown = "inline" if kind in SHOWN else "attachment"
    name = attachment.name.rpartition("/")[2]
    plain = _PLAIN.sub("_", name).strip(" ") or "attachment"
    named = f"filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"
    return {**GUARDED, "Content-Disposition": f"{shown}; {named}"}


@asynccontextmanager
async def sent_attachment(request: Request) -> AsyncIterator[SentAttachment]:
    """What a form or a JSON body brings, while the block lasts."""
    if request.headers.get("content-type", "").lower().startswith(FORM):
        most = len(AttachmentOptions.model_fields)
        form = sent_form(request, files_max=1, fields_max=most, named="file")
        async with form as ([file], fields):
            told = _options(fields)
            yield SentAttachment(
                name=told.name or file.filename or "",
                content=file_blocks(file),
                media_type=file.content_type,
                ttl_seconds=told.ttl_seconds,
                ephemeral=told.ephemeral,
                metadata=metadata_of(told.metadata),
            )
    else:
        body = await _data_url(request)
        media_type, content = from_data_url(body.data_url)
        yield SentAttachment(
            name=body.name,
            content=_one_block(content),
            media_type=media_type,
            ttl_seconds=body.ttl_seconds,
            ephemeral=body.ephemeral,
            metadata=body.metadata,
        )


def metadata_of(text: str | None) -> Json:
    return dict(read_json("metadata", text))


def attaching_body() -> Json:
    """What `POST …/attachments` takes, for OpenAPI."""
    form = AttachmentOptions.model_json_schema()["properties"]
    file = {"type": "string", "format": "binary", "description": "its file name is the name"}
    schema = AttachDataUrl.model_json_schema()
    multipart = {"type": "object", "properties": {"file": file, **form}, "required": ["file"]}
    return {
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {"schema": schema},
                FORM: {"schema": multipart},
            },
        }
    }


async def _data_url(request: Request) -> AttachDataUrl:
    """The JSON body."""
    said = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    if said != "application/json" and not said.endswith("+json"):
        raise UnsupportedMediaType(
            f"The content type {said[:100]} is not read here",
            recovery="Send JSON with a data_url, or a file as multipart/form-data; "
            "PUT …/attachments/{name} takes any bytes as they are.",
        )
    try:
        return AttachDataUrl.model_validate_json(await request.body())
    except ClientDisconnect:
        raise BadRequest("The body broke off") from None
    except ValidationError as error:
        told = error.errors(include_url=False)
        if told[0]["type"] == "json_invalid":
            raise BadRequest(
                f"The body is not valid JSON: {told[0]['ctx']['error']}",
                recovery="Send one JSON value, encoded in UTF-8.",
            ) from None
        raise RequestValidationError(
            [{**problem, "loc": ("body", *problem["loc"])} for problem in told]
        ) from None


async def _one_block(content: bytes) -> AsyncIterator[bytes]:
    yield content


def _options(fields: dict[str, str]) -> AttachmentOptions:
    try:
        return AttachmentOptions.model_validate(fields)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(map(str, first["loc"]))
        message = "there is no such field" if first["type"] == "extra_forbidden" else first["msg"]
        raise InvalidInput(f"{field}: {message}", field=field) from None
