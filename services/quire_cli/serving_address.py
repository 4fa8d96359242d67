"""Where a server is reached from its own machine."""

from __future__ import annotations


def url_of(host: str, port: int) -> str:
    """The URL of a server that listens there; a wildcard is reached through loopback."""
    reachable = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - not bound
    return f"http://[{reachable}]:{port}" if ":" in reachable else f"http://{reachable}:{port}"
