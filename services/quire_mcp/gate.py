"""What every call passes: who calls, whether they may, and errors in one form."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import mcp_types
from fastmcp.exceptions import ValidationError as ArgumentError
from fastmcp.server.middleware import CallNext, Middleware, MiddlewareContext
from fastmcp.tools.base import Tool, ToolResult
from pydantic import ValidationError

from quire.app import Quire
from quire.errors import Forbidden, InstructionsNeeded, QuireError
from quire_mcp.callers import caller
from quire_mcp.failures import as_protocol_error, failed, invalid_arguments, unknown_tool
from quire_mcp.toolbox import Toolbox

INSTRUCTIONS = "get_instructions"


class Gate(Middleware):
    """Stands before every tool, resource and prompt."""

    def __init__(self, quire: Quire, toolbox: Toolbox) -> None:
        self._quire = quire
        self._toolbox = toolbox
        self._needs_instructions = quire.settings.mcp.require_instructions

    async def on_list_tools(
        self, context: MiddlewareContext[Any], call_next: CallNext[Any, Sequence[Tool]]
    ) -> Sequence[Tool]:
        scope = caller().principal.scope
        tools = await call_next(context)
        return [tool for tool in tools if self._toolbox.needs[tool.name].reach <= scope.reach]

    async def on_call_tool(
        self,
        context: MiddlewareContext[mcp_types.CallToolRequestParams],
        call_next: CallNext[mcp_types.CallToolRequestParams, ToolResult],
    ) -> ToolResult:
        name = context.message.name
        try:
            await self._admit(name)
            return await call_next(context)
        except QuireError as error:
            return failed(error, self._toolbox.budget)
        except ArgumentError as error:
            if not isinstance(error.__cause__, ValidationError):
                raise
            wrong = invalid_arguments(name, error.__cause__, await self._toolbox.parameters(name))
            return failed(wrong, self._toolbox.budget)

    async def on_read_resource(self, context: Any, call_next: CallNext[Any, Any]) -> Any:
        return await self._answered(context, call_next)

    async def on_get_prompt(self, context: Any, call_next: CallNext[Any, Any]) -> Any:
        return await self._answered(context, call_next)

    async def _answered(self, context: Any, call_next: CallNext[Any, Any]) -> Any:
        try:
            await self._require_instructions()
        except QuireError as error:
            raise as_protocol_error(error) from error
        return await call_next(context)

    async def _admit(self, name: str) -> None:
        who = caller()
        needed = self._toolbox.needs.get(name)
        if needed is None:
            raise unknown_tool(name, self._toolbox.needs, read_only=self._toolbox.is_read_only)
        scope = who.principal.scope
        if needed.reach > scope.reach:
            raise Forbidden(
                f"Your token has the scope {scope}; {name} needs {needed}",
                recovery=f"Use a token with the scope {needed}.",
            )
        if name != INSTRUCTIONS:
            await self._require_instructions()
        await self._quire.agents.note_use(who.agent)

    async def _require_instructions(self) -> None:
        if self._needs_instructions and not await self._quire.agents.is_instructed(caller().agent):
            raise InstructionsNeeded
