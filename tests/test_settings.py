"""Settings are read once, checked whole, and what is wrong is named by its variable."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from quire.errors import ConfigurationError
from quire.settings import (
    Settings,
    describe_settings,
    environment_names,
    load_settings,
)

if TYPE_CHECKING:
    from collections.abc import Callable

SECRET = "s3cr3t-swordfish-0123456789abcdef"


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """An environment in which only what the test says is set."""
    for name in list(os.environ):
        if name.startswith(("QUIRE_", "QDRANT_")):
            monkeypatch.delenv(name)

    def set_all(**variables: str) -> None:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    return set_all


def test_nothing_set_is_one_machine(environment: Callable[..., None]) -> None:
    settings = load_settings()
    assert (settings.host, settings.port) == ("127.0.0.1", 8087)
    assert settings.data_dir == Path("data").absolute()
    assert settings.database.url is None
    assert settings.qdrant.url is None
    assert settings.blob.url is None
    assert not settings.auth.configured
    settings.require_safe_host()


def test_the_fixed_names(environment: Callable[..., None], tmp_path: Path) -> None:
    environment(
        QUIRE_HOST="0.0.0.0",
        QUIRE_PORT="9000",
        QUIRE_DATA_DIR=str(tmp_path),
        QUIRE_DATABASE_URL="postgresql+psycopg://u:p@db/quire",
        QUIRE_QDRANT_URL="http://qdrant:6333",
        QUIRE_QDRANT_API_KEY="key",
        QUIRE_BLOB_URL="s3://bucket/prefix",
        QUIRE_AUTH_SECRET=SECRET,
        QUIRE_EMBEDDING_PROVIDER="fake",
        QUIRE_HOT_SESSIONS_MAX="7",
    )
    settings = load_settings()
    assert (settings.host, settings.port, settings.data_dir) == ("0.0.0.0", 9000, tmp_path)
    assert settings.database.url is not None
    assert settings.database.url.get_secret_value() == "postgresql+psycopg://u:p@db/quire"
    assert settings.qdrant.url == "http://qdrant:6333"
    assert settings.qdrant.api_key is not None
    assert settings.blob.url == "s3://bucket/prefix"
    assert settings.auth.configured
    assert settings.embedding.provider == "fake"
    assert settings.hot_sessions_max == 7
    settings.require_safe_host()


def test_the_original_names_of_qdrant_are_understood(environment: Callable[..., None]) -> None:
    environment(QDRANT_HOST="vectors", QUIRE_QDRANT_API_KEY="key")
    settings = load_settings()
    assert settings.qdrant.url == "http://vectors:6333"
    assert settings.qdrant.api_key is not None
    environment(QDRANT_PORT="7333")
    assert load_settings().qdrant.url == "http://vectors:7333"
    environment(QUIRE_QDRANT_URL="https://ours:1")
    assert load_settings().qdrant.url == "https://ours:1"


def test_a_port_without_a_host_is_no_server(environment: Callable[..., None]) -> None:
    environment(QDRANT_PORT="7333")
    assert load_settings().qdrant.url is None


def test_what_is_empty_is_not_set(environment: Callable[..., None]) -> None:
    environment(QUIRE_DATABASE_URL="", QUIRE_AUTH_SECRET="", QUIRE_PORT="", QDRANT_HOST="")
    settings = load_settings()
    assert settings.database.url is None
    assert settings.port == 8087


WRONG = {
    "QUIRE_PORT": ("70000", "65535"),
    "QUIRE_HOT_SESSIONS_MAX": ("0", "1"),
    "QUIRE_DATABASE_URL": ("mysql://u:swordfish@db/q", "postgresql+psycopg://"),
    "QUIRE_QDRANT_URL": ("qdrant:6333", "https?://"),
    "QUIRE_BLOB_URL": ("gs://bucket", "s3://"),
    "QUIRE_AUTH_SECRET": ("swordfish", "32 bytes"),
    "QUIRE_AUTH_LEEWAY_SECONDS": ("1000", "120"),
    "QUIRE_LOG_LEVEL": ("loud", "'debug'"),
    "QUIRE_LOG_FORMAT": ("xml", "'json'"),
    "QUIRE_JOBS_CONCURRENCY": ("many", "integer"),
    "QUIRE_LIMITS_BODY_BYTES": ("3", "1024"),
    "QUIRE_LIMITS_JSON_DEPTH": ("9999", "200"),
    "QUIRE_RETENTION_SWEEP_SECONDS": ("0", "0.1"),
    "QUIRE_QDRANT_COLLECTION_PREFIX": ("a b", "A-Za-z0-9"),
    "QUIRE_TRACING_ENDPOINT": ("collector:4318", "https?://"),
}


@pytest.mark.parametrize("variable", WRONG)
def test_what_is_wrong_is_named_with_what_is_valid(
    environment: Callable[..., None], variable: str
) -> None:
    value, valid = WRONG[variable]
    environment(**{variable: value})
    with pytest.raises(ConfigurationError) as refusal:
        load_settings()
    assert variable in refusal.value.message
    assert valid in refusal.value.message
    assert "swordfish" not in refusal.value.message


def test_everything_wrong_is_told_at_once(environment: Callable[..., None]) -> None:
    environment(QUIRE_PORT="x", QUIRE_LOG_LEVEL="y", QUIRE_HOTS="1", QUIRE_QDRANT_URI="z")
    with pytest.raises(ConfigurationError) as refusal:
        load_settings()
    for name in ("QUIRE_PORT", "QUIRE_LOG_LEVEL", "QUIRE_HOTS", "QUIRE_QDRANT_URI"):
        assert name in refusal.value.message
    assert "did you mean QUIRE_QDRANT_URL?" in refusal.value.message


def test_the_tests_own_variables_are_let_be(environment: Callable[..., None]) -> None:
    environment(QUIRE_TEST_QDRANT_URL="http://x", QUIRE_BENCH_SESSIONS="7")
    assert load_settings()


def test_a_secret_or_keys_but_not_both(environment: Callable[..., None]) -> None:
    environment(QUIRE_AUTH_SECRET=SECRET, QUIRE_AUTH_JWKS="/keys.json")
    with pytest.raises(ConfigurationError, match="not both") as refusal:
        load_settings()
    assert SECRET not in refusal.value.message


def test_workers_elsewhere_need_a_database_to_meet_in(environment: Callable[..., None]) -> None:
    environment(QUIRE_JOBS_IN_PROCESS="false")
    with pytest.raises(ConfigurationError, match="QUIRE_DATABASE_URL"):
        load_settings()


def test_secrets_are_never_shown(environment: Callable[..., None]) -> None:
    environment(
        QUIRE_AUTH_SECRET=SECRET,
        QUIRE_QDRANT_API_KEY="swordfish-key",
        QUIRE_BLOB_SECRET_KEY="swordfish-blob",
        QUIRE_DATABASE_URL="postgresql+psycopg://u:swordfish-db@db/quire",
    )
    settings = load_settings()
    for shown in (repr(settings), str(settings), settings.model_dump_json(), str(vars(settings))):
        assert "swordfish" not in shown


def test_settings_do_not_change(environment: Callable[..., None]) -> None:
    settings = load_settings()
    with pytest.raises(ValueError, match="frozen"):
        settings.port = 1
    with pytest.raises(ValueError, match="frozen"):
        settings.limits.tags = 1


def test_every_setting_is_described_and_can_be_set(environment: Callable[..., None]) -> None:
    described = list(describe_settings())
    assert {variable for variable, _, _ in described} == environment_names()
    # each default, given as a variable, is the default
    environment(**{v: default for v, default, _ in described if default not in {"", "()"}})
    given = load_settings()
    assert given.model_dump(exclude={"data_dir"}) == Settings.model_construct(
        **{name: field.default for name, field in Settings.model_fields.items()}
    ).model_dump(exclude={"data_dir"})


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "example.org", "127.evil.org"])
def test_other_hosts_are_refused_without_authentication(host: str) -> None:
    with pytest.raises(ConfigurationError, match=host):
        Settings(host=host).require_safe_host()


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_loopback_is_this_machine(host: str) -> None:
    assert Settings(host=host).is_loopback
