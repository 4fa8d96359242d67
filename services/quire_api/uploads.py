"""Files in a request: multipart forms and plain bodies, streamed, never held."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import orjson
from fastapi import Request
from pydantic import ValidationError
from starlette.datastructures import UploadFile
from starlette.requests import ClientDisconnect

from quire.content.sources import Source
from quire.errors import BadRequest, InvalidInput
from quire_api.content_shapes import FileInput, OptionsInput
from quire_api.forms import file_blocks, sent_form

FIELDS_MAX = 20


@asynccontextmanager
async def multipart_sources(
    request: Request, files_max: int
) -> AsyncIterator[tuple[list[Source], OptionsInput]]:
    """The form's files as sources, while the block lasts, and the options beside them.

    The field `documents` may hold a JSON array that says more of each file, in their order.
    """
    form = sent_form(request, files_max=files_max, fields_max=FIELDS_MAX, named="documents")
    async with form as (files, fields):
        described = _described(fields.pop("documents", "[]"), len(files))
        options = _options(fields)
        yield [_source(file, more) for file, more in zip(files, described, strict=True)], options


async def body_blocks(request: Request) -> AsyncIterator[bytes]:
    """The request's body as it comes in."""
    try:
        async for block in request.stream():
            if block:
                yield block
    except ClientDisconnect:
        raise BadRequest("The body broke off") from None


def _source(file: UploadFile, more: FileInput) -> Source:
    return Source(
        content=file_blocks(file),
        content_type=file.content_type,
        name=file.filename or None,
        id=more.id,
        title=more.title,
        source_url=more.url,
        metadata=more.metadata,
    )


def _described(text: str, files: int) -> list[FileInput]:
    try:
        entries = orjson.loads(text)
        if not isinstance(entries, list) or len(entries) not in (0, files):
            raise InvalidInput(
                f"documents must be a JSON array with an entry for each of the {files} files",
                field="documents",
            )
        return [FileInput.model_validate(entry) for entry in entries or [{}] * files]
    except orjson.JSONDecodeError as error:
        raise InvalidInput(f"documents is not JSON: {error}", field="documents") from None
    except ValidationError as error:
        raise _invalid("documents", error) from None


def _options(fields: dict[str, str]) -> OptionsInput:
    numbers = {"chunk_size", "chunk_overlap"}
    values: dict[str, Any] = {
        name: int(value) if name in numbers and value.lstrip("-").isdigit() else value
        for name, value in fields.items()
    }
    try:
        return OptionsInput.model_validate(values)
    except ValidationError as error:
        raise _invalid("", error) from None


def _invalid(at: str, error: ValidationError) -> InvalidInput:
    first = error.errors(include_url=False)[0]
    field = ".".join([at, *map(str, first["loc"])]).strip(".")
    message = "there is no such field" if first["type"] == "extra_forbidden" else first["msg"]
    return InvalidInput(f"{field}: {message}", field=field)
