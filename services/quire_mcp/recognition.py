"""Recognising an agent from one HTTP request to the next, in any process of a cluster.

Nothing is kept for a connection. Clients of the protocol with a handshake are given a session id
and send it along; those of the stateless protocol (2026-07-28) have none, and are given a cookie.
Who keeps neither is recognised by token and user agent, as well as that goes.
"""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass

from mcp.shared.inbound import MCP_PROTOCOL_VERSION_HEADER
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS
from starlette.types import Message, Scope, Send

from quire.access.principal import Principal
from quire.activity.agents import Agent

SESSION_HEADER = b"mcp-session-id"
COOKIE = "quire-agent"
VALID_ID = re.compile(rb"[\x21-\x7e]{1,128}")
IN_COOKIE = re.compile(rb"(?:^|;\s*)quire-agent=([A-Za-z0-9_-]{16,64})(?:;|$)")


@dataclass(frozen=True, slots=True)
class Recognised:
    """Who sends a request, and what they are to be given to be recognised by."""

    agent: Agent
    given: tuple[bytes, bytes] | None

    def telling(self, send: Send) -> Send:
        """Passes an answer on, with what the agent is given."""
        if self.given is None:
            return send
        header = self.given

        async def telling(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), header]
            await send(message)

        return telling


def recognise(scope: Scope, principal: Principal) -> Recognised:
    """The agent that sends this request."""
    headers = dict(scope["headers"])
    has_sessions = _version(headers) in (None, *HANDSHAKE_PROTOCOL_VERSIONS)
    if has_sessions and VALID_ID.fullmatch(sent := headers.get(SESSION_HEADER, b"")):
        return Recognised(_known(principal, f"session {sent.decode()}"), None)
    if not has_sessions and (found := IN_COOKIE.search(headers.get(b"cookie", b""))):
        return Recognised(_known(principal, f"cookie {found[1].decode()}"), None)
    made = secrets.token_urlsafe(24)
    like = f"like {headers.get(b'user-agent', b'').decode('latin-1')[:500]}"
    if has_sessions:
        return Recognised(_new(principal, f"session {made}", like), (SESSION_HEADER, made.encode()))
    secure = "; Secure" if scope.get("scheme") == "https" else ""
    cookie = f"{COOKIE}={made}; Path={scope['path']}; HttpOnly; SameSite=Strict{secure}"
    return Recognised(_new(principal, f"cookie {made}", like), (b"set-cookie", cookie.encode()))


def _known(principal: Principal, name: str) -> Agent:
    return Agent((name,), principal.subject)


def _new(principal: Principal, name: str, like: str) -> Agent:
    return Agent((name, like), principal.subject, is_new=True)


def _version(headers: dict[bytes, bytes]) -> str | None:
    found = headers.get(MCP_PROTOCOL_VERSION_HEADER.encode())
    return None if found is None else found.decode("latin-1")
