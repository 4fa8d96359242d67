"""No secret gets into a log line, and what is no secret stays readable."""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from quire.telemetry.redaction import (
    MAX_ITEMS,
    MAX_TEXT_CHARS,
    REDACTED,
    is_secret,
    redact,
    redact_text,
)

JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhZGEifQ.c2lnbmF0dXJl"


@pytest.mark.parametrize(
    "key",
    [
        "authorization", "Authorization", b"Authorization", "proxy-authorization", "token",
        "access_token", "refreshToken", "secret", "client_secret", "secret_key", "auth_secret",
        "api_key", "api-key", "apiKey", "X-API-Key", "QUIRE_QDRANT_API_KEY", "password",
        "db_password", "PGPASSWORD_password", "passwd", "cookie", "set-cookie", "private_key",
        "access_key", "credentials", "jwt",
    ],
)  # fmt: skip
def test_keys_that_hold_secrets(key: str | bytes) -> None:
    assert is_secret(key)
    assert redact({key: "hunter2"}) == {redact(key): REDACTED}


@pytest.mark.parametrize(
    "key", ["tokens", "max_tokens", "tokens_count", "key", "author", "event", "session_id", 5, None]
)
def test_keys_that_do_not(key: Any) -> None:
    assert not is_secret(key)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Bearer abc.def-123", f"Bearer {REDACTED}"),
        ("authorization: bearer abc", f"authorization: {REDACTED}"),
        ("Authorization: Basic dXNlcjpwYXNz", f"Authorization: {REDACTED}"),
        ("sent Bearer xyz to it", f"sent Bearer {REDACTED} to it"),
        (f"got {JWT} from ada", f"got {REDACTED} from ada"),
        ("postgresql+psycopg://ada:hunter2@db/quire", f"postgresql+psycopg://ada:{REDACTED}@db/quire"),
        ("postgresql://ada:p@ss/w:rd@db/quire", f"postgresql://ada:{REDACTED}@db/quire"),
        ("redis://:hunter2@cache:6379/0", f"redis://:{REDACTED}@cache:6379/0"),
        ("http://h:80,pg://u:p@h,http://h:80/a@b", f"http://h:80,pg://u:{REDACTED}@h,http://h:80/a@b"),
        ("token=bcd", f"token={REDACTED}"),
        ("http://ada:1234@host/x", f"http://ada:{REDACTED}@host/x"),
        ("GET /x?token=abc&limit=5", f"GET /x?token={REDACTED}&limit=5"),
        ("GET /x?api_key=abc", f"GET /x?api_key={REDACTED}"),
        ("connect(password='hunter2', host='db')", f"connect(password='{REDACTED}', host='db')"),
        ('{"api_key": "abc", "n": 1}', f'{{"api_key": "{REDACTED}", "n": 1}}'),
        ("QUIRE_AUTH_SECRET=abc", f"QUIRE_AUTH_SECRET={REDACTED}"),
        ("aws_secret_access_key=abc", f"aws_secret_access_key={REDACTED}"),
    ],
)  # fmt: skip
def test_secrets_within_text(text: str, expected: str) -> None:
    assert redact_text(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "A bearer token is needed.",
        "Bearer authentication",
        "http://localhost:6333/collections",
        "http://host:80",
        "see http://host:80/a?mail=ada@example.org",
        "the token is wrong",
        "tokens=254",
        "max_tokens=254",
        "12:30:05 ada@example.org",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert redact_text(text) == text


def test_secrets_are_found_at_every_level() -> None:
    given_value = {
        "headers": [(b"authorization", b"Bearer abc"), (b"host", b"quire")],
        "settings": {"qdrant": {"api_key": SecretStr("abc"), "url": "http://u:p@q"}},
        "list": ["Bearer abc", {"token": "abc"}],
    }
    shown = repr(redact(given_value))
    assert "abc" not in shown
    assert "u:p@" not in shown
    assert "quire" in shown


def test_objects_are_shown_by_their_repr_without_its_secrets() -> None:
    @dataclass
    class Connection:
        url: str

    assert "hunter2" not in redact(Connection("pg://ada:hunter2@db"))
    assert "hunter2" not in redact(ValueError("pg://ada:hunter2@db"))


def test_plain_values_stay_what_they_are() -> None:
    some_id = uuid.uuid4()
    assert redact(
        {"n": 1, "f": 0.5, "b": True, "id": some_id, "path": Path("/x"), "token": None}
    ) == {"n": 1, "f": 0.5, "b": True, "id": str(some_id), "path": "/x", "token": None}


def test_a_broken_repr_does_not_break_the_log() -> None:
    class Broken:
        def __repr__(self) -> str:
            raise RuntimeError

    assert "Broken" in redact(Broken())


def test_what_is_logged_is_bounded() -> None:
    assert len(redact_text("x" * 10_000_000)) < MAX_TEXT_CHARS + 100
    assert len(redact(b"x" * 10_000_000)) < MAX_TEXT_CHARS + 100
    assert len(redact(list(range(10_000)))) == MAX_ITEMS + 1
    assert len(redact({number: number for number in range(10_000)})) == MAX_ITEMS + 1
    deep: list[Any] = []
    deep.append(deep)
    redact(deep)


@given(st.text())
def test_any_text_is_taken(text: str) -> None:
    redact_text(text)
    assert redact({text: "x"})


@pytest.mark.parametrize(
    "piece", ["://a:", "bearer ", "token=", "eyJ", "authorization:", "@", "a_"]
)
def test_no_text_takes_long(piece: str) -> None:
    started = time.perf_counter()
    redact_text(piece * (MAX_TEXT_CHARS // len(piece)))
    assert time.perf_counter() - started < 0.5
