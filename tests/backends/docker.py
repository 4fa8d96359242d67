"""Servers in containers, where a Docker engine answers."""

from __future__ import annotations

import gc
import warnings
from contextlib import ExitStack, closing, contextmanager, suppress
from functools import cache
from typing import TYPE_CHECKING

from tests.backends.availability import UnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


@contextmanager
def _their_warnings() -> Iterator[None]:
    # Warnings of these two packages are not ours to fix, and ours are errors.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
        gc.collect()  # a client that finds no engine leaves its socket open: warn of it here


@cache
def engine_answers() -> bool:
    """Whether a Docker engine is there and answers."""
    import docker  # type: ignore[import-untyped]
    from docker.errors import DockerException  # type: ignore[import-untyped]

    with _their_warnings():
        answers = False
        with suppress(DockerException, OSError), closing(docker.from_env(timeout=3)) as client:
            answers = bool(client.ping())
    return answers


@contextmanager
def container(
    image: str, environment: Mapping[str, str], ports: tuple[int, ...]
) -> Iterator[tuple[str, dict[int, int]]]:
    """Run `image`; yields its host and, for each of its ports, the port on that host.

    The library's reaper container removes it should the tests be killed.
    """
    from docker.errors import DockerException
    from testcontainers.core.container import DockerContainer

    with ExitStack() as stack:
        with _their_warnings():
            running = DockerContainer(image).with_exposed_ports(*ports)
            for name, value in environment.items():
                running = running.with_env(name, value)
            try:
                running.start()
            except (DockerException, OSError) as error:
                raise UnavailableError(f"the container {image} did not start: {error}") from error
            stack.callback(_stop, running)
            host = running.get_container_host_ip()
            mapped = {port: int(running.get_exposed_port(port)) for port in ports}
        yield host, mapped


def _stop(running: object) -> None:
    with _their_warnings():
        running.stop()  # type: ignore[attr-defined]
