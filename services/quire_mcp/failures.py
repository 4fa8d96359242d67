"""Errors as tools tell them: the fields of REST's problems, to be read and to be worked with."""

from __future__ import annotations

import difflib
import functools
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, TypeVar

import orjson
import structlog
from fastmcp.tools.base import ToolResult
from mcp.shared.exceptions import MCPError
from mcp_types import INTERNAL_ERROR, INVALID_PARAMS, TextContent
from pydantic import ValidationError

from quire.errors import InvalidInput, NotFound, QuireError
from quire_mcp.budget import Budget, cut

log = structlog.get_logger(__name__)

# Whoever sends a megabyte of a name need not get it back.
MESSAGE_CHARS = 600


# What to do next is told in the words of tools, where the library tells it in those of REST.
RECOVERIES = {
    "session_not_found": "Check the id; list_sessions() has what you may see.",
    "job_not_found": "Check the id: it is in the answer that began the job.",
    "document_not_found": "Check the id; list_documents(session_id) has what there is.",
    "chunk_not_found": "Read another: get_session(session_id) joins those that are there.",
    "query_not_found": "Check the query_id, or run the query again.",
    "query_expired": "Run the query again: search_session or search_by_kql.",
    "invocation_not_found": "Check the id; link_invocation answered it.",
    "message_not_found": "Check the id; list_messages(session_id) has what there is.",
}


class ToolNotFound(NotFound):
    """There is no such tool."""

    code = "tool_not_found"
    recovery = "List the tools; get_instructions() says what each is for."


def told(error: QuireError) -> dict[str, Any]:
    """What an error says."""
    answer: dict[str, Any] = {
        "code": error.code,
        "message": _short(error.message),
        "recovery": _short(_recovery(error)),
        "status": error.status,
    }
    if error.retry_after is not None:
        answer["retry_after"] = error.retry_after
    return {**error.details, **answer}


def failed(error: QuireError, budget: Budget) -> ToolResult:
    """The answer of a tool that failed; its message is cut where it would be too long."""
    answer: dict[str, Any] = orjson.loads(orjson.dumps(told(error), default=str))
    if not budget.holds(answer):
        answer = {name: answer[name] for name in ("code", "message", "recovery", "status")}
        answer = budget.fit(len(answer["message"]), lambda n: cut(answer, n))
    text = f"{answer['message']}\n{answer['recovery']} (code: {answer['code']})"
    return ToolResult([TextContent(text=text)], answer, is_error=True)


def as_protocol_error(error: QuireError) -> MCPError:
    """The same where the protocol knows errors only: resources and prompts."""
    code = INVALID_PARAMS if error.status < 500 else INTERNAL_ERROR
    data = orjson.loads(orjson.dumps(told(error), default=str))
    return MCPError(code, _short(error.message), data)


R = TypeVar("R")


def protocol_errors(function: Callable[..., Awaitable[R]]) -> Callable[..., Awaitable[R]]:
    """For what reads a resource: the protocol knows its errors by no other kind."""

    @functools.wraps(function)
    async def reading(*given: Any, **named: Any) -> R:
        try:
            return await function(*given, **named)
        except QuireError as error:
            raise as_protocol_error(error) from error
        except Exception as error:  # a boundary: told in brief, logged whole
            log.exception("a resource cannot be read", resource=function.__name__)
            raise as_protocol_error(QuireError()) from error

    return reading


def unknown_tool(name: str, names: Iterable[str], *, read_only: bool) -> ToolNotFound:
    close = difflib.get_close_matches(name[:100], list(names), n=1)
    meant = f"; did you mean {close[0]}?" if close else ""
    why = " This server is read-only: nothing that changes anything is offered." * read_only
    return ToolNotFound(f"There is no tool {name[:100]!r}{meant}.{why}")


def invalid_arguments(
    tool: str, error: ValidationError, parameters: Mapping[str, Any]
) -> InvalidInput:
    """Which arguments are wrong, and what would be right."""
    valid = ", ".join(parameters)
    problems = [_problem(problem, valid, parameters) for problem in error.errors()[:20]]
    return InvalidInput(
        f"{tool}: " + "; ".join(f"{field}: {message}" for field, message in problems[:3]),
        field=problems[0][0],
        recovery="Correct the named argument and call the tool again.",
        errors=[{"field": field, "message": message} for field, message in problems],
    )


def _problem(
    problem: Mapping[str, Any], valid: str, parameters: Mapping[str, Any]
) -> tuple[str, str]:
    field = ""
    for part in problem["loc"]:
        field += f"[{part}]" if isinstance(part, int) else f".{part[:100]}" if field else part[:100]
    match problem["type"]:
        case "missing_argument" | "missing" | "missing_keyword_only_argument":
            return field, "is missing"
        case "unexpected_keyword_argument" | "extra_forbidden":
            close = difflib.get_close_matches(field, parameters, n=1)
            meant = f"; did you mean {close[0]}?" if close else ""
            return field, f"there is no such argument{meant} (there are: {valid})"
        case _:
            return field, str(problem["msg"]).removeprefix("Value error, ")


def _recovery(error: QuireError) -> str:
    if error.recovery == type(error).recovery:
        return RECOVERIES.get(error.code, error.recovery)
    return error.recovery


def _short(text: str) -> str:
    return text if len(text) <= MESSAGE_CHARS else f"{text[:MESSAGE_CHARS]}…"
