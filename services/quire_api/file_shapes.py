"""Files in and out: what they are called, what an import can be told, and how both travel."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from enum import StrEnum
from typing import Any, Literal
from urllib.parse import quote

import structlog
from fastapi import Request
from fastapi.responses import StreamingResponse
from pydantic import Field, ValidationError
from starlette.datastructures import UploadFile
from starlette.types import Receive, Scope, Send

from quire.bundle.formats.models import Format
from quire.errors import InvalidInput, QuireError
from quire.transfer.exporting import Export
from quire.transfer.feeds import EVERYTHING
from quire.transfer.import_request import ImportRequest
from quire.transfer.selection import ByDocuments, ByFilter, Selection
from quire_api.content_shapes import read_json
from quire_api.forms import sent_form
from quire_api.shapes import Input

log = structlog.get_logger(__name__)

BUNDLE_TYPE = "application/vnd.quire.bundle"

KINDS: Mapping[Format, tuple[str, str]] = {
    Format.BUNDLE: (BUNDLE_TYPE, ".quire"),
    Format.PARQUET: ("application/vnd.apache.parquet", ".parquet"),
    Format.JSONL: ("application/x-ndjson", ".jsonl"),
    Format.CSV: ("text/csv; charset=utf-8", ".csv"),
    Format.SESSION_JSON: ("application/json", ".json"),
}
"""The media type of each, and how its files' names end."""

_PLAIN = re.compile(r"[^A-Za-z0-9._ -]+")


class ExportFormat(StrEnum):
    BUNDLE = "bundle"
    PARQUET = "parquet"
    JSONL = "jsonl"
    CSV = "csv"


class ImportOptions(Input):
    """What the file does not say, or what is to be otherwise."""

    new_name: str | None = None
    format: Format | None = None
    mapping: str | None = Field(None, description="a JSON object: which column is what")
    provider: str | None = None
    model: str | None = None
    dimension: int | None = None
    distance: Literal["cosine", "dot", "euclid", "manhattan"] | None = None
    new_ids: bool = False
    group: str | None = None
    id: str | None = None

    def request(
        self, file_name: str | None, content_type: str | None, derived_id: str | None
    ) -> ImportRequest:
        return ImportRequest(
            name=self.new_name,
            session_id=self.id,
            derived_id=derived_id,
            group=self.group,
            format=self.format,
            mapping=None if self.mapping is None else read_json("mapping", self.mapping),
            provider=self.provider,
            model=self.model,
            dimension=self.dimension,
            distance=self.distance,
            new_ids=self.new_ids,
            file_name=file_name,
            content_type=content_type,
        )


class FileResponse(StreamingResponse):
    """An export on its way; it is closed whether it gets there or not."""

    def __init__(self, export: Export, format: Format, *, named: bool) -> None:
        media_type, ending = KINDS[format]
        headers = {"Content-Type": media_type}
        if named:
            headers["Content-Disposition"] = disposition(export.session.name, ending)
        if export.size is not None:
            headers["Content-Length"] = str(export.size)
        super().__init__(export.blocks(), headers=headers)
        self._export = export

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            await self._export.close()

    async def stream_response(self, send: Send) -> None:
        start = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
        await send(start)
        try:
            async for block in self.body_iterator:
                await send({"type": "http.response.body", "body": block, "more_body": True})
        except QuireError as error:
            session_id = self._export.session.id
            log.warning("export broken off", session_id=session_id, reason=error.message)
            return  # without its end the server closes the connection: all that is left to say
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def disposition(name: str, ending: str) -> str:
    """RFC 6266: a name that every client can take, and the real one for those that know how."""
    short = name[:120]
    plain = _PLAIN.sub("_", short).strip(" .") or "session"
    full = quote(re.sub(r"[/\\]", "_", short) + ending, safe="")
    return f"attachment; filename=\"{plain}{ending}\"; filename*=UTF-8''{full}"


def chosen(filter: str | None, document_ids: str | None) -> Selection:
    """The part of a session that is wanted: all of it, unless one of the two is given."""
    if filter is not None and document_ids is not None:
        raise InvalidInput("Give filter or document_ids, not both", field="document_ids")
    if document_ids is not None:
        names = [name for name in document_ids.split(",") if name]
        if not names:
            raise InvalidInput("document_ids names no document", field="document_ids")
        return ByDocuments(names)
    if filter is None:
        return EVERYTHING
    selection = ByFilter(read_json("filter", filter))
    selection.condition()  # what is wrong with it is said at once
    return selection


@asynccontextmanager
async def sent_file(
    request: Request, options: ImportOptions
) -> AsyncIterator[tuple[UploadFile, ImportOptions]]:
    """The form's file while the block lasts, and the options, of which the form may hold some."""
    most = len(ImportOptions.model_fields)
    async with sent_form(request, files_max=1, fields_max=most, named="file") as (files, fields):
        yield files[0], _with(options, fields)


def import_body() -> dict[str, Any]:
    """What an import takes, for OpenAPI."""
    binary = {"type": "string", "format": "binary"}
    fields = ImportOptions.model_json_schema()["properties"]
    fields["format"] = {"type": "string", "enum": [format.value for format in Format]}
    form = {"type": "object", "properties": {"file": binary, **fields}, "required": ["file"]}
    return {
        "requestBody": {
            "description": "a session's file; nothing where `upload` names one that came before",
            "content": {
                "application/json": {"schema": {"type": "object"}},
                BUNDLE_TYPE: {"schema": binary},
                "application/octet-stream": {"schema": binary},
                "multipart/form-data": {"schema": form},
            },
        }
    }


def _with(options: ImportOptions, fields: Mapping[str, str]) -> ImportOptions:
    given = options.model_dump(exclude_unset=True)
    try:
        return ImportOptions.model_validate({**given, **fields})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(map(str, first["loc"]))
        extra = first["type"] == "extra_forbidden"
        message = "there is no such field" if extra else first["msg"]
        raise InvalidInput(f"{field}: {message}", field=field) from None
