"""`quire token create`: from a secret to an authenticated request."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import jwt
import pytest

from quire.errors import InvalidInput
from quire_cli.tokens import duration
from tests.cli.command import SECRET, quire, serving


def test_a_token_opens_the_server_that_has_the_secret(tmp_path: Path) -> None:
    auth = {"QUIRE_AUTH_SECRET": SECRET, "QUIRE_AUTH_AUDIENCE": "quire"}
    made = quire(
        *("token", "create", "--subject", "ann", "--group", "a", "--group", "b"),
        *("--scope", "write", "--expires", "12h"),
        data_dir=tmp_path / "data",
        **auth,
    )
    assert made.code == 0, made.err
    token = made.out.removesuffix("\n")
    assert made.out.count("\n") == 1  # nothing but the token, for $(…)
    claims = jwt.decode(token, SECRET, ["HS256"], audience="quire")
    assert (claims["sub"], claims["groups"], claims["scope"]) == ("ann", ["a", "b"], "write")
    assert claims["exp"] - claims["iat"] == 12 * 3600
    assert not (tmp_path / "data").exists()

    with serving(tmp_path / "data", tmp_path, **auth) as server:
        with server.client() as stranger:
            assert stranger.get("/healthz").status_code == 200
            assert stranger.get("/sessions").status_code == 401
        with server.client(token) as ann:
            created = ann.post("/sessions", json={"name": "Ann's"})
            assert created.json()["owner_id"] == "ann"
        assert token not in server.said


def test_without_a_secret_it_says_how_to_make_one(tmp_path: Path) -> None:
    refused = quire("token", "create", "--subject", "ann", data_dir=tmp_path)
    assert (refused.code, refused.out) == (2, "")
    assert "openssl rand -hex 32" in refused.err


def test_with_a_jwks_the_issuer_makes_the_tokens(tmp_path: Path) -> None:
    refused = quire(
        *("token", "create", "--subject", "ann"), data_dir=tmp_path, QUIRE_AUTH_JWKS="keys.json"
    )
    assert (refused.code, refused.out) == (2, "")
    assert "issuer" in refused.err


def test_a_subject_that_is_no_name_is_refused(tmp_path: Path) -> None:
    refused = quire(
        *("token", "create", "--subject", "a\nb"), data_dir=tmp_path, QUIRE_AUTH_SECRET=SECRET
    )
    assert (refused.code, refused.out) == (2, "")
    assert "subject: must not have control characters" in refused.err


@pytest.mark.parametrize(
    ("text", "length"),
    [
        ("90s", timedelta(seconds=90)),
        ("45m", timedelta(minutes=45)),
        (" 12h ", timedelta(hours=12)),
        ("30d", timedelta(days=30)),
        ("2w", timedelta(weeks=2)),
    ],
)
def test_lengths_of_time(text: str, length: timedelta) -> None:
    assert duration(text) == length


@pytest.mark.parametrize("text", ["", "30", "d", "0d", "-1d", "1.5h", "4000d", "999999999w", "٣d"])
def test_what_is_no_length_of_time(text: str) -> None:
    with pytest.raises(InvalidInput, match="no length of time"):
        duration(text)
