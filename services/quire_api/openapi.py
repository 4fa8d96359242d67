"""The OpenAPI document: what the layers around the routes take and answer is added to each."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel

from quire_api.authentication import OPEN_PATHS
from quire_api.problems import MEDIA_TYPE, Problem
from quire_api.routers.jobs import JobShape
from quire_api.routers.retention import RetentionPolicyShape
from quire_api.shapes import PatchSession, SessionShape

OF_BODIES = (400, 413, 415, 422)
OF_TOKENS = (401, 403)
OF_KEYS = (409, 422)
OF_WRITES = (507,)
WRITES = frozenset({"post", "put", "patch", "delete"})

EXAMPLES_WITH_NULL: tuple[type[BaseModel], ...] = (
    SessionShape,
    PatchSession,
    JobShape,
    RetentionPolicyShape,
)

IDEMPOTENCY_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "of your making: the same key and request get the first answer again, for a day",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"},
}
RETRY_AFTER = {
    "description": "seconds to wait before the request is repeated",
    "schema": {"type": "integer", "minimum": 1},
}


def complete_openapi(app: FastAPI, *, with_auth: bool) -> None:
    """Have the application's document say everything that a caller may meet."""
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            _complete(generate(), with_auth)
        return app.openapi_schema or {}

    app.openapi = openapi  # type: ignore[method-assign]


def _complete(document: dict[str, Any], with_auth: bool) -> None:
    components = document.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    problem = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas |= problem.pop("$defs", {})
    schemas["Problem"] = problem
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    for model in EXAMPLES_WITH_NULL:
        # The framework leaves out what is null, and so would tell half of an example.
        schemas[model.__name__]["example"] = _example(model)
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            _complete_operation(operation, method, is_open=path in OPEN_PATHS)
            if with_auth and path in OPEN_PATHS:
                operation["security"] = []
    if with_auth:
        components["securitySchemes"] = {
            "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}
        }
        document["security"] = [{"bearer": []}]


def _complete_operation(operation: dict[str, Any], method: str, *, is_open: bool) -> None:
    answers = operation["responses"]
    # The framework documents a 422 of its own; ours takes its place.
    if "application/json" in answers.get("422", {}).get("content", {}):
        answers["422"] = _problem(HTTPStatus.UNPROCESSABLE_ENTITY.phrase)
    statuses: set[int] = set()
    if "requestBody" in operation:
        statuses |= {*OF_BODIES}
    if not is_open:
        statuses |= {*OF_TOKENS}
    if method == "post" and not is_open:
        statuses |= {*OF_KEYS}
        operation.setdefault("parameters", []).append(IDEMPOTENCY_KEY)
    if method in WRITES and not is_open:
        statuses |= {*OF_WRITES}
    for status in sorted(statuses):
        answers.setdefault(str(status), _problem(HTTPStatus(status).phrase))
    answers["default"] = _problem("any other error")
    if "503" in answers:
        answers["503"].setdefault("headers", {})["Retry-After"] = RETRY_AFTER


def _example(model: type[BaseModel]) -> Any:
    extra = model.model_config["json_schema_extra"]
    return extra["example"] if isinstance(extra, dict) else None


def _problem(description: str) -> dict[str, Any]:
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {"description": description, "content": content}
