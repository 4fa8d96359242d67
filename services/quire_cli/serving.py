"""`quire serve`: the API on a socket, from its first line to its orderly end."""

from __future__ import annotations

import asyncio
import errno
import gc
import math
import os
import shutil
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

import structlog
import uvicorn
from fastapi import FastAPI

from quire.errors import ConfigurationError
from quire.settings import Settings
from quire_api.app import create_app
from quire_cli.parts import describe_parts
from quire_cli.protocol import Protocol
from quire_cli.serving_address import url_of
from quire_cli.starting import announce

log = structlog.get_logger(__name__)

# Longer than proxies keep theirs (nginx 60 s): a connection must not close under a request.
KEEP_ALIVE_SECONDS = 75


class Server(uvicorn.Server):
    """uvicorn, told when to stop by us, and heard only when it is up."""

    def __init__(self, config: uvicorn.Config, app: FastAPI, settings: Settings) -> None:
        super().__init__(config)
        self._app = app
        self._settings = settings

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals alone: uvicorn raises them again at the end, and a stop looks a crash."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen; then, and not before, say so."""
        await super().startup(sockets)
        gc.freeze()  # what is here now stays: no collection need look at it again
        gc.enable()
        if sockets and self.started and not self.should_exit:
            address = url_of(self._settings.host, sockets[0].getsockname()[1])
            text = greeting(self._settings, address)
            announce(self._settings, text, url=address, **describe_parts(self._settings))

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Wait for what is under way, but for streams of events, which would go on for ever."""
        self._app.state.quire.hub.end_streams()
        await super().shutdown(sockets)

    def ask_to_stop(self, number: signal.Signals) -> None:
        """Finish what is under way; a second Ctrl-C ends the process as it stands."""
        log.info("stopping", signal=number.name)
        if self.should_exit and number is signal.SIGINT:
            os._exit(128 + number)
        self.should_exit = True


def serve(settings: Settings) -> None:
    """Serve until told to stop."""
    app = create_app(settings)
    with bound_socket(settings.host, settings.port) as listener:
        config = uvicorn.Config(
            app,
            http=Protocol,
            ws="none",
            lifespan="off",  # it is ours: what goes wrong in it must come out as it is
            log_config=None,
            log_level="warning",
            access_log=False,
            server_header=False,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=math.ceil(settings.jobs.grace_seconds),
        )
        server = Server(config, app, settings)
        with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
            runner.run(_serve(app, server, listener))


async def _serve(app: FastAPI, server: Server, listener: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, server.ask_to_stop, number)
    async with app.router.lifespan_context(app):
        await server.serve([listener])


@contextmanager
def bound_socket(host: str, port: int) -> Iterator[socket.socket]:
    """A socket that has the port, so that a taken one is known before anything is opened."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except socket.gaierror as error:
        raise ConfigurationError(
            f"QUIRE_HOST={host} is no address of this machine: {error.strerror}",
            recovery="Set QUIRE_HOST (or --host) to 127.0.0.1, or to 0.0.0.0 for every interface.",
        ) from error
    family, kind, protocol, _, address = found[0]
    with socket.socket(family, kind, protocol) as bound:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            bound.bind(address)
        except OSError as error:
            raise _cannot_bind(host, port, error) from error
        yield bound


def _cannot_bind(host: str, port: int, error: OSError) -> ConfigurationError:
    if error.errno == errno.EADDRINUSE:
        return ConfigurationError(
            f"Port {port} of {host} is in use by another process",
            recovery="Stop that process, or choose another port: QUIRE_PORT, or --port.",
        )
    return ConfigurationError(
        f"QUIRE_HOST={host} and QUIRE_PORT={port} cannot be served: {error.strerror}",
        recovery="Choose an address of this machine, and a port that this user may take.",
    )


def greeting(settings: Settings, url: str) -> str:
    """Where the data is, what it stands on, and what to try first."""
    lines = [f"Quire {version('quire')} serves at {url}"]
    lines += [f"  {name:<10}{words}" for name, words in describe_parts(settings).items()]
    program = _program()
    create = f"curl -X POST {url}/sessions -H 'Content-Type: application/json'"
    if settings.auth.secret is not None:
        create += f' -H "Authorization: Bearer $({program} token create --subject me)"'
    elif settings.auth.jwks is not None:
        create += ' -H "Authorization: Bearer $TOKEN"'
    lines += ["Try first:", f"""  {create} -d '{{"name": "My first session"}}'"""]
    if not settings.auth.configured:
        lines.append(f"  {url}/docs in a browser")
    lines.append(f"  {program} doctor, to see that every part answers")
    return "\n".join(lines)


def _program() -> str:
    """`quire` as it can be typed here: by its path, where it is not on the PATH."""
    if shutil.which("quire") is not None:
        return "quire"
    started_as = Path(sys.argv[0])
    if started_as.name != "quire":
        return "quire"
    return os.path.relpath(started_as) if started_as.is_absolute() else str(started_as)
