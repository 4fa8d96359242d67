"""The tools of a server: how they are offered, and what each needs of its caller."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, get_type_hints

import orjson
import structlog
from fastmcp import FastMCP
from fastmcp.tools.base import Tool, ToolResult
from mcp_types import TextContent, ToolAnnotations
from pydantic import TypeAdapter

from quire.access.principal import Scope
from quire.app import Quire
from quire.errors import QuireError
from quire_mcp.budget import Budget
from quire_mcp.failures import failed

log = structlog.get_logger(__name__)

Answering = Callable[..., Awaitable[Mapping[str, Any]]]


class AnswerTooLong(QuireError):
    """The answer is over the token budget."""

    code = "answer_too_long"
    status = 413
    recovery = "Ask for less, or read it over REST; the budget is QUIRE_MCP_ANSWER_TOKENS."


class Toolbox:
    """Offers the library's calls as tools. A read-only one does not take in what writes."""

    def __init__(self, server: FastMCP[Any], quire: Quire) -> None:
        self.quire = quire
        self.budget = Budget(quire.settings.mcp.answer_tokens)
        self.needs: dict[str, Scope] = {}
        self._server = server
        self.is_read_only = quire.settings.mcp.read_only

    def reads(self, title: str) -> Callable[[Answering], Answering]:
        """For a tool that changes nothing."""
        hints = ToolAnnotations(
            title=title,
            read_only_hint=True,
            destructive_hint=False,
            idempotent_hint=True,
            open_world_hint=False,
        )
        return lambda function: self._offer(function, hints, Scope.READ)

    def writes(
        self,
        title: str,
        *,
        destructive: bool = False,
        idempotent: bool = False,
        open_world: bool = False,
    ) -> Callable[[Answering], Answering]:
        """For a tool that changes something; a read-only server does not have it."""
        if self.is_read_only:
            return lambda function: function
        hints = ToolAnnotations(
            title=title,
            read_only_hint=False,
            destructive_hint=destructive,
            idempotent_hint=idempotent,
            open_world_hint=open_world,
        )
        return lambda function: self._offer(function, hints, Scope.WRITE)

    def may_write(self, title: str, *, open_world: bool) -> Callable[[Answering], Answering]:
        """For a tool that adds something only if its arguments say so, and sees itself who may."""
        hints = ToolAnnotations(
            title=title,
            read_only_hint=self.is_read_only,
            destructive_hint=False,
            idempotent_hint=False,
            open_world_hint=open_world,
        )
        return lambda function: self._offer(function, hints, Scope.READ)

    async def parameters(self, name: str) -> Mapping[str, Any]:
        """What a tool takes, as JSON Schema."""
        tool = await self._server.get_tool(name)
        properties: Mapping[str, Any] = {} if tool is None else tool.parameters["properties"]
        return properties

    def _offer(self, function: Answering, hints: ToolAnnotations, scope: Scope) -> Answering:
        name = function.__name__
        answer = TypeAdapter(get_type_hints(function, include_extras=True)["return"])
        self._server.add_tool(
            Tool.from_function(
                self._answering(function),
                annotations=hints,
                output_schema=answer.json_schema(mode="serialization"),
            )
        )
        self.needs[name] = scope
        return function

    def _answering(self, function: Answering) -> Callable[..., Awaitable[ToolResult]]:
        @functools.wraps(function)
        async def answering(*given: Any, **named: Any) -> ToolResult:
            try:
                answer = await function(*given, **named)
                if not self.budget.holds(answer):
                    return failed(AnswerTooLong(), self.budget)
            except QuireError as error:
                return failed(error, self.budget)
            except Exception:  # a boundary: told in brief, logged whole
                log.exception("a tool failed", tool=function.__name__)
                return failed(QuireError(), self.budget)
            return ToolResult([TextContent(text=orjson.dumps(answer).decode())], answer)

        return answering
