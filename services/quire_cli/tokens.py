"""`quire token create`."""

from __future__ import annotations

import re
from datetime import timedelta

from quire.access.principal import Scope
from quire.access.tokens import create_token
from quire.errors import ConfigurationError, InvalidInput
from quire.settings import AuthSettings

UNIT_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 24 * 3600, "w": 7 * 24 * 3600}
LONGEST = timedelta(days=10 * 365)


def create(
    auth: AuthSettings, subject: str, groups: list[str], scope: Scope, lifetime: timedelta
) -> str:
    """A token that a server with these settings accepts."""
    if auth.jwks is not None:
        raise ConfigurationError(
            "QUIRE_AUTH_JWKS is set: tokens come from the issuer that holds the private keys",
            recovery="Get the token there; Quire makes tokens only with QUIRE_AUTH_SECRET.",
        )
    if auth.secret is None:
        raise ConfigurationError(
            "QUIRE_AUTH_SECRET is not set, and a token is signed with it",
            recovery="Make one with `export QUIRE_AUTH_SECRET=$(openssl rand -hex 32)`, "
            "and start the server with the same.",
        )
    try:
        return create_token(
            auth.secret,
            subject,
            groups,
            scope,
            lifetime,
            audience=auth.audience,
            issuer=auth.issuer,
        )
    except InvalidInput as error:
        # The hint speaks of requests; here it is the command that is to be corrected.
        raise InvalidInput(error.message, recovery="See `quire token create --help`.") from error


def duration(text: str) -> timedelta:
    """A length of time as people write it: 90s, 45m, 12h, 30d, 2w."""
    found = re.fullmatch(r"([0-9]{1,9})([smhdw])", text.strip())
    # As a number: a length that no `timedelta` can hold must not get into one.
    seconds = int(found[1]) * UNIT_SECONDS[found[2]] if found else 0
    if not 0 < seconds <= LONGEST.total_seconds():
        raise InvalidInput(
            f"--expires {text!r} is no length of time between 1s and {LONGEST.days}d",
            recovery="Write a whole number and a unit: 90s, 45m, 12h, 30d, 2w.",
        )
    return timedelta(seconds=seconds)
