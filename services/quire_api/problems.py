"""Errors as RFC 9457 problem+json: the same fields whatever went wrong."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

import orjson
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.routing import Match

from quire.errors import BadRequest, BodyTooLarge, InvalidInput, NotFound, QuireError

MEDIA_TYPE = "application/problem+json"

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")

# A caller who sends a megabyte of a name need not get it back.
MAX_NAME_SHOWN = 100

# What a validation error is about, in the caller's words rather than the framework's.
PLACES = {"body": "", "query": "query parameter ", "path": "path ", "header": "header "}


class FieldProblem(BaseModel):
    field: str
    message: str


class Problem(BaseModel):
    """What every error looks like."""

    model_config = ConfigDict(
        extra="allow",
        json_schema_extra={
            "example": {
                "type": "urn:quire:problem:session_not_found",
                "title": "Not Found",
                "status": 404,
                "code": "session_not_found",
                "detail": "There is no session demo, or you may not see it",
                "recovery": "Check the id; `GET /sessions` lists what you may see.",
                "request_id": "0f6a1c",
            }
        },
    )

    type: str
    title: str
    status: int
    code: str = Field(description="stable; meant for programs")
    detail: str = Field(description="what was wrong and what is valid")
    recovery: str = Field(description="what to do next")
    request_id: str | None = None
    errors: list[FieldProblem] | None = None


def problem_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The `responses` of an endpoint for OpenAPI."""
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {
        status: {"description": HTTPStatus(status).phrase, "content": content}
        for status in statuses
    }


def problem_response(
    error: QuireError, request_id: str | None, headers: Mapping[str, str] | None = None
) -> Response:
    body: dict[str, Any] = {
        "type": f"urn:quire:problem:{error.code}",
        "title": HTTPStatus(error.status).phrase,
        "status": error.status,
        "code": error.code,
        "detail": error.message,
        "recovery": error.recovery,
        "request_id": request_id,
    }
    body = {**body, **error.details, **body}  # ours first, and never overwritten
    sent = dict(headers or {})
    if error.retry_after is not None:
        sent["Retry-After"] = str(max(1, math.ceil(error.retry_after)))
    if error.status == HTTPStatus.UNAUTHORIZED:
        sent["WWW-Authenticate"] = 'Bearer realm="quire"'
    content = orjson.dumps(body, default=str)
    return Response(content, error.status, sent, media_type=MEDIA_TYPE)


def install_problems(app: FastAPI) -> None:
    """Map everything that a route may raise; what is left is caught by the envelope."""

    @app.exception_handler(QuireError)
    async def quire_error(request: Request, error: QuireError) -> Response:
        return problem_response(error, _request_id(request))

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        return problem_response(_invalid_input(request, error.errors()), _request_id(request))

    @app.exception_handler(HTTPException)
    async def http_error(request: Request, error: HTTPException) -> Response:
        headers = dict(error.headers or {})
        if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
            headers["Allow"] = allowed_methods(request)
        mapped = _from_http(request, error, headers)
        return problem_response(mapped, _request_id(request), headers)


def _request_id(request: Request) -> str | None:
    return request.scope.get("request_id")


def _invalid_input(request: Request, errors: Sequence[Any]) -> QuireError:
    first = errors[0]
    sent = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if first["loc"] == ("body",) and first["type"] != "missing" and not _is_json(sent):
        return UnsupportedMediaType(f"The content type {sent or '(none)'} is not read here")
    if first["type"] == "json_invalid":
        reason = first.get("ctx", {}).get("error", "")
        return BadRequest(
            f"The body is not valid JSON: {reason} (at character {first['loc'][-1]})",
            recovery="Send one JSON value, encoded in UTF-8.",
        )
    problems = [_field_problem(error) for error in errors[:20]]
    told = "; ".join(f"{problem.field}: {problem.message}" for problem in problems[:3])
    return InvalidInput(
        told,
        field=problems[0].field,
        errors=[problem.model_dump() for problem in problems],
    )


def _is_json(media_type: str) -> bool:
    return media_type == "application/json" or media_type.endswith("+json")


def _field_problem(error: Mapping[str, Any]) -> FieldProblem:
    place, *path = error["loc"] or ("body",)
    field = ""
    for part in path:
        name = part if isinstance(part, int) else part[:MAX_NAME_SHOWN]
        field += f"[{name}]" if isinstance(part, int) else f".{name}" if field else f"{name}"
    message = str(error["msg"]).removeprefix("Value error, ")
    if error["type"] == "extra_forbidden":
        message = "there is no such field"
    return FieldProblem(field=f"{PLACES.get(str(place), '')}{field}" or "body", message=message)


class MethodNotAllowed(QuireError):
    """This method is not allowed here."""

    code = "method_not_allowed"
    status = 405
    recovery = "Use a method that the Allow header names; `/docs` lists every endpoint."


class UnsupportedMediaType(QuireError):
    """The body's content type is not one that this endpoint reads."""

    code = "unsupported_media_type"
    status = 415
    recovery = "Send `Content-Type: application/json`."


def allowed_methods(request: Request) -> str:
    """All methods at this path; the router names those of the first route only."""
    scope = request.scope

    def is_routed(method: str) -> bool:
        asked = {**scope, "method": method}
        return any(route.matches(asked)[0] is Match.FULL for route in request.app.routes)

    return ", ".join(method for method in METHODS if is_routed(method))


def _from_http(request: Request, error: HTTPException, headers: Mapping[str, str]) -> QuireError:
    match error.status_code:
        case HTTPStatus.NOT_FOUND:
            return NotFound(
                f"There is nothing at {request.method} {request.url.path}",
                recovery="`/docs` lists every endpoint.",
            )
        case HTTPStatus.METHOD_NOT_ALLOWED:
            return MethodNotAllowed(
                f"{request.method} is not allowed at {request.url.path}; "
                f"allowed: {headers['Allow']}"
            )
        case HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
            return BodyTooLarge(str(error.detail))
        case HTTPStatus.UNSUPPORTED_MEDIA_TYPE:
            return UnsupportedMediaType()
        case HTTPStatus.BAD_REQUEST if isinstance(error.__cause__, ValueError | RecursionError):
            # The framework read the body and says no more than that it could not.
            return BadRequest(
                "The body cannot be read as JSON: it is not UTF-8, nested without measure, or "
                "holds a number without measure",
                recovery="Send one JSON value, encoded in UTF-8.",
            )
        case _:
            return BadRequest(str(error.detail))
