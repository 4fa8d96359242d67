"""The OpenAPI document is complete, and what the service answers is what it says."""

from __future__ import annotations

from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Any

import httpx
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from openapi_spec_validator import validate
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from quire.settings import AuthSettings
from quire_api.app import create_app
from tests.api.live import LiveService, live_service
from tests.api.service import SECRET, settings_for

OPEN = {"/healthz", "/readyz"}


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    made = settings_for(tmp_path_factory.mktemp("document"), auth=AuthSettings(secret=SECRET))
    return create_app(made).openapi()


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield method, path, operation


def test_it_is_valid_openapi(document: dict[str, Any]) -> None:
    validate(document)


def test_every_operation_is_described(document: dict[str, Any]) -> None:
    ids = set()
    for method, path, operation in operations(document):
        name = f"{method} {path}"
        assert operation["summary"], name
        assert len(operation["description"]) >= 15, name
        assert operation["tags"], name
        ids.add(operation["operationId"])
    assert len(ids) == len(list(operations(document)))


def test_every_error_is_a_problem(document: dict[str, Any]) -> None:
    for method, path, operation in operations(document):
        name = f"{method} {path}"
        statuses = set(operation["responses"])
        assert "default" in statuses, name
        for status, response in operation["responses"].items():
            if (status.isdigit() and status < "400") or path == "/readyz":
                continue
            schema = response["content"]["application/problem+json"]["schema"]
            assert schema == {"$ref": "#/components/schemas/Problem"}, (name, status)
            assert response["description"], (name, status)
        if path in OPEN:
            assert operation["security"] == [], name
        else:
            assert {"401", "403"} <= statuses, name
        if "requestBody" in operation:
            assert {"400", "413", "415", "422"} <= statuses, name
        if "{session_id}" in path:
            assert {"404", "410", "503"} <= statuses, name
    problem = document["components"]["schemas"]["Problem"]
    assert {"type", "title", "status", "code", "detail", "recovery"} <= set(problem["required"])


def test_the_main_shapes_have_examples(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    for method, path, operation in operations(document):
        body = operation.get("requestBody")
        if body is None:
            continue
        if "application/json" not in body["content"]:
            continue  # a document's bytes, whatever they are
        schema = body["content"]["application/json"]["schema"]
        referred = schema if "$ref" in schema else next(iter(schema.get("anyOf", [{}])))
        if "$ref" in referred:
            name = referred["$ref"].rpartition("/")[2]
            assert "example" in schemas[name], (method, path, name)
    for name in ("SessionShape", "JobShape", "Problem"):
        assert set(schemas[name]["example"]) >= set(schemas[name]["required"]), name


def test_every_post_takes_an_idempotency_key(document: dict[str, Any]) -> None:
    for method, path, operation in operations(document):
        names = {parameter["name"] for parameter in operation.get("parameters", [])}
        assert ("Idempotency-Key" in names) == (method == "post"), (method, path)


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveService]:
    directory: Path = tmp_path_factory.mktemp("live")
    with live_service(directory, QUIRE_LOG_LEVEL="error") as service:
        yield service


CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]


def test_whatever_is_sent_the_answer_is_as_documented(live: LiveService) -> None:
    probe(live, examples=6)
    assert "Traceback" not in live.log()


@pytest.mark.soak
def test_whatever_is_sent_for_long_the_answer_is_as_documented(live: LiveService) -> None:
    probe(live, examples=1_000)
    assert "Traceback" not in live.log()


def probe(live: LiveService, *, examples: int) -> None:
    """Send what the document allows, and what it does not, to every operation."""
    schema = schemathesis.openapi.from_url(f"{live.url}/openapi.json")
    ids = ("one", "two")
    for session_id in ids:
        body = {"id": session_id, "name": "s"}
        assert httpx.post(f"{live.url}/sessions", json=body).status_code == HTTPStatus.OK
    for result in schema.get_all_operations():
        operation = result.ok()
        modes = [GenerationMode.POSITIVE]
        if operation.body or operation.query:  # of a path nearly any text will do
            modes.append(GenerationMode.NEGATIVE)
        for mode in modes:

            @settings(
                max_examples=examples,
                deadline=None,
                database=None,
                derandomize=examples < 100,
                phases=[Phase.generate],
                suppress_health_check=list(HealthCheck),
            )
            @given(case=operation.as_strategy(generation_mode=mode))
            def send(case: schemathesis.Case) -> None:
                if "session_id" in case.path_parameters and not case.path.endswith("/events"):
                    # Mostly one that is there; else all that is ever met is 404. Of events the
                    # answer would never end.
                    case.path_parameters["session_id"] = ids[len(str(case.query)) % 2]
                response = case.call(session=session)
                if response.content == b"Invalid HTTP request received.":
                    return  # no HTTP at all, says the server around the service
                case.validate_response(response, checks=CHECKS)

            with requests.Session() as session:
                try:
                    send()
                except Unsatisfiable:
                    # Where any text or any JSON will do, nothing that is sent is wrong.
                    takes_anything = operation.path.endswith("/data/{key}")
                    if mode is GenerationMode.POSITIVE or not takes_anything:
                        raise
