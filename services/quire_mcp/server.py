"""The MCP server over a running Quire."""

from __future__ import annotations

import logging
from importlib.metadata import version
from typing import Any

from fastmcp import FastMCP

from quire.app import Quire
from quire_mcp import prompts, resources
from quire_mcp.gate import Gate
from quire_mcp.toolbox import Toolbox
from quire_mcp.tools import (
    activity,
    chunks,
    documents,
    guidance,
    searching,
    sessions,
    transfer,
    web,
)

INSTRUCTIONS = (
    "Quire keeps work larger than your context in sessions. Call get_instructions() first."
)


def build_server(quire: Quire) -> FastMCP[Any]:
    """The server; who calls it is said by `quire_mcp.callers.calling`."""
    _hand_logs_over()
    server: FastMCP[Any] = FastMCP(
        "quire",
        instructions=INSTRUCTIONS,
        version=version("quire"),
        mask_error_details=True,
        on_duplicate="error",
    )
    toolbox = Toolbox(server, quire)
    server.add_middleware(Gate(quire, toolbox))
    for module in (guidance, sessions, chunks, documents, web, searching, activity, transfer):
        module.offer(toolbox)
    resources.offer(server, quire)
    prompts.offer(server)
    return server


def _hand_logs_over() -> None:
    """What the protocol's libraries have to say is said where all else is, and not too loudly."""
    ours = logging.getLogger("fastmcp")
    for handler in list(ours.handlers):
        ours.removeHandler(handler)
    ours.propagate = True
    # Refusals are answers, and what goes wrong in a tool is logged by us.
    ours.setLevel(logging.CRITICAL)
    logging.getLogger("mcp").setLevel(logging.WARNING)
