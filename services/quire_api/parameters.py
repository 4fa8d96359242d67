"""Query parameters that an endpoint does not know are refused: a slip must not be half obeyed."""

from __future__ import annotations

import difflib
from collections.abc import Iterator

from fastapi import Request
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute

from quire.errors import InvalidInput
from quire_api.authentication import OPEN_PATHS


async def known_parameters(request: Request) -> None:
    """For every route: `?permament=true` is an error, not a deletion of the other kind."""
    if not request.query_params or request.url.path in OPEN_PATHS:
        return  # what probes health adds what it likes
    route = request.scope.get("route")
    known = set(_names(route.dependant)) if isinstance(route, APIRoute) else set()
    for name in request.query_params:
        if name not in known:
            close = difflib.get_close_matches(name[:100], known, n=1)
            meant = f"; did you mean {close[0]}?" if close else ""
            there_are = ", ".join(sorted(known)) or "none"
            raise InvalidInput(
                f"There is no query parameter {name[:100]!r} here{meant} (there are: {there_are})",
                field=f"query parameter {name[:100]}",
            )


def _names(dependant: Dependant) -> Iterator[str]:
    for field in dependant.query_params:
        yield field.alias
    for inner in dependant.dependencies:
        yield from _names(inner)
