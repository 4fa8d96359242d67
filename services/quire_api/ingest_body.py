"""What `POST …/documents` takes: read here, since it is one of two things, and described here."""

from __future__ import annotations

import json
from typing import Any

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from pydantic_core import from_json
from starlette.requests import ClientDisconnect

from quire.errors import BadRequest
from quire_api.content_shapes import FileInput, IngestDocuments, OptionsInput
from quire_api.problems import UnsupportedMediaType

REFERENCE = "#/components/schemas/{model}"


async def read_documents(request: Request) -> IngestDocuments:
    """The documents of a JSON body."""
    said = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    if said != "application/json" and not said.endswith("+json"):
        raise UnsupportedMediaType(
            f"The content type {said[:100]} is not read here",
            recovery="Send JSON with `Content-Type: application/json`, or files as "
            "multipart/form-data; PUT …/documents/{id}/content takes any document as it is.",
        )
    try:
        value = _read(await request.body())
    except ClientDisconnect:
        raise BadRequest("The body broke off") from None
    except (ValueError, RecursionError) as error:
        raise BadRequest(
            f"The body is not valid JSON: {error}",
            recovery="Send one JSON value, encoded in UTF-8.",
        ) from None
    try:
        return IngestDocuments.model_validate(value)
    except ValidationError as error:
        told = error.errors(include_url=False)
        raise RequestValidationError(
            [{**problem, "loc": ("body", *problem["loc"])} for problem in told]
        ) from None


def _read(body: bytes) -> Any:
    try:
        return from_json(body)
    except ValueError:
        # Reads half surrogate pairs too; whoever takes the text can say where they are.
        return json.loads(body)


def documents_body() -> dict[str, Any]:
    form = OptionsInput.model_json_schema(ref_template=REFERENCE)["properties"]
    schema = IngestDocuments.model_json_schema(ref_template=REFERENCE)
    files = {
        "type": "array",
        "items": {"type": "string", "format": "binary"},
        "description": "under any names",
    }
    described = {
        "type": "string",
        "description": "a JSON array with an object for each file: "
        + ", ".join(FileInput.model_fields),
    }
    return {
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {"schema": schema},
                "multipart/form-data": {
                    "schema": {
                        "type": "object",
                        "properties": {"file": files, "documents": described, **form},
                        "required": ["file"],
                    }
                },
            },
        }
    }
