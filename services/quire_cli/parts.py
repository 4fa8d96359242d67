"""What a Quire with these settings stands on, in words, without credentials."""

from __future__ import annotations

from urllib.parse import urlsplit

from quire.settings import Settings
from quire.telemetry.redaction import redact_text


def needs_data_directory(settings: Settings) -> bool:
    """Whether one process must own the data directory."""
    return settings.database.url is None or settings.qdrant.url is None


def describe_parts(settings: Settings) -> dict[str, str]:
    """Each part and what it is."""
    return {
        "sessions": _sessions(settings),
        "vectors": _vectors(settings),
        "blobs": _blobs(settings),
        "jobs": "in this process" if settings.jobs.in_process else "in `quire worker` processes",
        "access": _access(settings),
    }


def _sessions(settings: Settings) -> str:
    if settings.database.url is None:
        return f"SQLite, {settings.data_dir / 'quire.db'}"
    address = urlsplit(settings.database.url.get_secret_value())
    # Through a socket the host is in the query, beside what may be a password.
    host = address.netloc.rpartition("@")[2] or "a local socket"
    return f"PostgreSQL at {host}{address.path}"


def _vectors(settings: Settings) -> str:
    if settings.qdrant.url is None:
        return f"Qdrant Edge in this process, {settings.data_dir / 'collections'}"
    return f"Qdrant server at {redact_text(settings.qdrant.url)}"


def _blobs(settings: Settings) -> str:
    blob = settings.blob
    if blob.url is None:
        return f"files, {settings.data_dir / 'blobs'}"
    if blob.url == "memory:":
        return "in memory, gone when the process ends"
    return blob.url if blob.endpoint is None else f"{blob.url} at {redact_text(blob.endpoint)}"


def _access(settings: Settings) -> str:
    if settings.auth.secret is not None:
        return "bearer tokens, signed with QUIRE_AUTH_SECRET"
    if settings.auth.jwks is not None:
        return f"bearer tokens, checked with {redact_text(settings.auth.jwks)}"
    return "no authentication: everyone on this machine, and nobody else"
