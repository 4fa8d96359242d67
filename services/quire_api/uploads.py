"""Files in a request: multipart forms and plain bodies, streamed, never held."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import orjson
from fastapi import Request
from pydantic import ValidationError
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException
from starlette.requests import ClientDisconnect

from quire.content.sources import Source
from quire.errors import BadRequest, InvalidInput
from quire_api.content_shapes import FileInput, OptionsInput

BLOCK_BYTES = 256 * 1024
FIELDS_MAX = 20


@asynccontextmanager
async def multipart_sources(
    request: Request, files_max: int
) -> AsyncIterator[tuple[list[Source], OptionsInput]]:
    """The form's files as sources, while the block lasts, and the options beside them.

    The field `documents` may hold a JSON array that says more of each file, in their order.
    """
    try:
        form = await request.form(max_files=files_max, max_fields=FIELDS_MAX)
    except MultiPartException as error:
        raise BadRequest(f"The form cannot be read: {error.message}") from None
    except ClientDisconnect:
        raise BadRequest("The body broke off") from None
    try:
        files = [value for _, value in form.multi_items() if isinstance(value, UploadFile)]
        fields = {name: value for name, value in form.multi_items() if isinstance(value, str)}
        if not files:
            raise InvalidInput("The form holds no file", field="documents")
        described = _described(fields.pop("documents", "[]"), len(files))
        options = _options(fields)
        yield [_source(file, more) for file, more in zip(files, described, strict=True)], options
    finally:
        await form.close()


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
        content=_blocks(file),
        content_type=file.content_type,
        name=file.filename or None,
        id=more.id,
        title=more.title,
        source_url=more.url,
        metadata=more.metadata,
    )


async def _blocks(file: UploadFile) -> AsyncIterator[bytes]:
    while block := await file.read(BLOCK_BYTES):
        yield block


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
