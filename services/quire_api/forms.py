"""Multipart forms: files that are read while they are used, and the fields beside them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import Request
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException
from starlette.requests import ClientDisconnect

from quire.errors import BadRequest, InvalidInput

BLOCK_BYTES = 256 * 1024


@asynccontextmanager
async def sent_form(
    request: Request, *, files_max: int, fields_max: int, named: str
) -> AsyncIterator[tuple[list[UploadFile], dict[str, str]]]:
    """The form's files, at least one, and its fields by name, while the block lasts.

    `named` is what the field of a missing file is called in the error.
    """
    try:
        form = await request.form(max_files=files_max, max_fields=fields_max)
    except MultiPartException as error:
        raise BadRequest(f"The form cannot be read: {error.message}") from None
    except ClientDisconnect:
        raise BadRequest("The body broke off") from None
    try:
        files = [value for _, value in form.multi_items() if isinstance(value, UploadFile)]
        fields = {name: value for name, value in form.multi_items() if isinstance(value, str)}
        if not files:
            raise InvalidInput("The form holds no file", field=named)
        yield files, fields
    finally:
        await form.close()


async def file_blocks(file: UploadFile) -> AsyncIterator[bytes]:
    """The bytes of a form's file."""
    while block := await file.read(BLOCK_BYTES):
        yield block
