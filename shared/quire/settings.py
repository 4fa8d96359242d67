"""Settings: read from `QUIRE_*` environment variables, checked once, at start.

`QUIRE_<NAME>` sets a field of `Settings`; `QUIRE_<GROUP>_<NAME>` one of a group, for example
`QUIRE_QDRANT_URL`. Anything wrong is reported with the name of the variable and what is valid.
"""

from __future__ import annotations

import difflib
import ipaddress
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, Self, cast

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from quire.errors import ConfigurationError

PREFIX = "QUIRE_"
# Read by Quire's own tests and setting up, not by Quire.
FOREIGN_PREFIXES = ("QUIRE_TEST_", "QUIRE_BENCH_")

Megabytes = 1024 * 1024


class Group(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class DatabaseSettings(Group):
    """Where sessions, jobs and everything else that is not a vector or a blob are kept."""

    url: SecretStr | None = Field(
        None, description="`postgresql+psycopg://user:password@host/db`; unset: SQLite in data_dir"
    )
    pool_size: int = Field(10, ge=1, le=200, description="connections kept to PostgreSQL")
    timeout_seconds: float = Field(5.0, gt=0, le=120, description="wait for a connection or lock")

    @field_validator("url")
    @classmethod
    def _is_postgres(cls, url: SecretStr | None) -> SecretStr | None:
        if url is not None and not url.get_secret_value().startswith("postgresql+psycopg://"):
            raise ValueError("must start with postgresql+psycopg:// (leave it unset for SQLite)")
        return url


class QdrantSettings(Group):
    """The Qdrant server; without a URL the engine runs inside this process."""

    url: str | None = Field(
        None,
        pattern=r"^https?://[^/\s]+",
        description="`http://host:6333`; unset: the embedded engine in data_dir",
    )
    api_key: SecretStr | None = Field(None, description="of the Qdrant server")
    grpc_port: int = Field(6334, ge=0, le=65535, description="0 to use REST alone")
    collection_prefix: str = Field(
        "session_",
        pattern=r"^[A-Za-z0-9_-]{1,32}$",
        description="what Quire's collections begin with",
    )
    timeout_seconds: float = Field(10.0, gt=0, le=600, description="of each request to Qdrant")
    replication_factor: int = Field(
        1, ge=1, le=16, description="copies of each collection, on a cluster"
    )
    shard_number: int = Field(1, ge=1, le=256, description="shards of each collection")


class BlobSettings(Group):
    """Where raw bytes are kept."""

    url: str | None = Field(
        None,
        pattern=r"^(s3://[^/\s]+(/\S*)?|memory:)$",
        description="`s3://bucket/prefix` or `memory:`; unset: a folder in data_dir",
    )
    endpoint: str | None = Field(None, pattern=r"^https?://", description="an S3-compatible store")
    region: str = Field("us-east-1", description="of the S3-compatible store")
    access_key: str | None = Field(None, description="of the S3-compatible store")
    secret_key: SecretStr | None = Field(None, description="of the S3-compatible store")
    sweep_grace_seconds: float = Field(
        3600.0, ge=0, description="unreferenced blobs live so long; longer than any upload takes"
    )


class AuthSettings(Group):
    """Who may come in. With neither secret nor jwks, only this machine may."""

    secret: SecretStr | None = Field(None, description="HS256 secret, at least 32 bytes")
    jwks: str | None = Field(None, description="a JWKS file's path or an https URL: RS256, ES256")
    audience: str | None = Field(None, description="what `aud` must be or hold")
    issuer: str | None = Field(None, description="what `iss` must be")
    leeway_seconds: float = Field(30.0, ge=0, le=120, description="clock skew that is forgiven")
    jwks_refresh_seconds: float = Field(
        300.0, ge=1, description="how often the key set is fetched anew"
    )

    @field_validator("secret")
    @classmethod
    def _long_enough(cls, secret: SecretStr | None) -> SecretStr | None:
        if secret is not None and len(secret.get_secret_value().encode()) < 32:
            raise ValueError("must be at least 32 bytes; `openssl rand -hex 32` makes a good one")
        return secret

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if self.secret is not None and self.jwks is not None:
            raise ValueError("set QUIRE_AUTH_SECRET or QUIRE_AUTH_JWKS, not both")
        return self

    @property
    def configured(self) -> bool:
        return self.secret is not None or self.jwks is not None


class JobSettings(Group):
    """Long work."""

    in_process: bool = Field(True, description="false where `quire worker` runs the jobs")
    concurrency: int = Field(4, ge=1, le=64, description="jobs running at once in one process")
    poll_seconds: float = Field(
        0.5, ge=0.01, le=10, description="at most so long a job waits; mostly it starts at once"
    )
    lease_seconds: float = Field(
        10.0, ge=1, le=300, description="how often dead workers are looked for"
    )
    history_days: float = Field(7.0, gt=0, description="finished jobs are kept this long")
    grace_seconds: float = Field(10.0, ge=0, le=300, description="for running steps at shutdown")


class EmbeddingSettings(Group):
    """What new sessions embed with; each session is pinned to what it began with."""

    provider: Literal["minilm", "sentence-transformers", "http", "fake"] = Field(
        "minilm", description="what makes the vectors of new sessions"
    )
    model: str | None = Field(
        None, description="name or path, for sentence-transformers and http; minilm is one model"
    )
    models: str = Field(
        "", description="further models of the provider that sessions may have, comma-separated"
    )
    dimension: int | None = Field(
        None, ge=1, le=65536, description="of an http endpoint's vectors; unset: it is asked once"
    )
    runtime: Literal["auto", "onnxruntime", "openvino"] = Field(
        "auto", description="of minilm; auto: OpenVINO where its extra is installed"
    )
    threads: int = Field(0, ge=0, le=256, description="of a model that runs here; 0: every core")
    url: str | None = Field(
        None,
        pattern=r"^https?://[^/\s]+",
        description="an OpenAI-compatible endpoint, `http://host:8080/v1`",
    )
    api_key: SecretStr | None = Field(None, description="of the endpoint")
    window: int | None = Field(
        None, ge=8, le=1_000_000, description="tokens that the endpoint takes in; unset: 512"
    )
    tokenizer: Path | None = Field(
        None, description="the model's tokenizer.json; unset: a token is taken to be one byte"
    )
    query_prefix: str | None = Field(None, description="put before questions; unset: the model's")
    passage_prefix: str | None = Field(None, description="put before texts; unset: the model's")
    batch: int | None = Field(
        None, ge=1, le=2048, description="texts in one call; unset: what is quickest"
    )
    queue: int = Field(
        256, ge=1, le=100_000, description="texts that may wait; more wait outside, unread"
    )
    timeout_seconds: float = Field(60.0, gt=0, le=3600, description="of a request to the endpoint")

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.provider == "http" and (self.url is None or self.model is None):
            raise ValueError(
                "QUIRE_EMBEDDING_PROVIDER=http needs QUIRE_EMBEDDING_URL and QUIRE_EMBEDDING_MODEL"
            )
        return self


class QuerySettings(Group):
    """Results that can be paged through."""

    page_size: int = Field(10, ge=1, le=1_000, description="items on a page, unless asked for")
    results: int = Field(1_000, ge=1, le=10_000, description="the most that one query keeps")
    ttl_seconds: float = Field(1_800.0, ge=1, description="results are kept so long")
    per_session: int = Field(
        20, ge=1, le=10_000, description="queries kept of a session; the least used go first"
    )


class RetentionSettings(Group):
    """How often expiry and retention are enforced."""

    sweep_seconds: float = Field(60.0, ge=0.1, description="expired sessions go within this time")
    deleted_days: float = Field(30.0, ge=0, description="a deleted session can be restored so long")
    unfinished_seconds: float = Field(
        120.0, ge=1, description="a creation that takes longer is given up and cleaned away"
    )


class LimitSettings(Group):
    """What is refused as too much; each error names its setting."""

    body_bytes: int = Field(32 * Megabytes, ge=1024, description="of a request")
    upload_bytes: int = Field(
        2048 * Megabytes, ge=1024, description="of a request that brings documents as files"
    )
    name_chars: int = Field(500, ge=1, description="of a session's name")
    description_chars: int = Field(20_000, ge=1, description="of a session's description")
    tags: int = Field(100, ge=0, description="of one session")
    tag_chars: int = Field(100, ge=1, description="of one tag")
    json_bytes: int = Field(256 * 1024, ge=2, description="metadata, configuration: each at most")
    json_depth: int = Field(32, ge=1, le=200, description="of the same")
    collaborators: int = Field(1_000, ge=0, description="of one session")
    sessions_per_owner: int = Field(100_000, ge=1, description="not counting deleted ones")
    page_size: int = Field(1_000, ge=1, description="the largest `limit` of a list")
    compare_sessions: int = Field(50, ge=2, description="in one comparison")
    document_bytes: int = Field(500 * Megabytes, ge=1, description="of one document")
    documents: int = Field(10_000, ge=1, description="in one request")
    extraction_seconds: float = Field(300.0, gt=0, description="to get the text out of a document")
    extraction_megabytes: int = Field(1_500, ge=200, description="memory for the same")
    query_chars: int = Field(20_000, ge=1, description="of a question")
    search_sessions: int = Field(50, ge=1, description="in one search")
    points: int = Field(1_000, ge=1, le=1_000, description="in one request")


class LogSettings(Group):
    level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="what is told at least"
    )
    format: Literal["text", "json"] = Field("text", description="for people, or for machines")


class TracingSettings(Group):
    endpoint: str | None = Field(
        None, pattern=r"^https?://", description="an OTLP/HTTP collector, `http://host:4318`"
    )


class OriginalNames(PydanticBaseSettingsSource):
    """QDRANT_HOST and QDRANT_PORT, as the original session service read them."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        return None, field_name, False

    def __call__(self) -> dict[str, Any]:
        host = os.environ.get("QDRANT_HOST")
        port = os.environ.get("QDRANT_PORT") or "6333"
        return {"qdrant": {"url": f"http://{host}:{port}"}} if host else {}


class Settings(BaseSettings):
    """Everything that can be set, with the defaults of a single machine."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_nested_delimiter="_",
        env_nested_max_split=1,
        env_ignore_empty=True,
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
        validate_default=True,
    )

    host: str = Field("127.0.0.1", description="other than loopback only with auth configured")
    port: int = Field(8087, ge=0, le=65535, description="0: one that is free")
    data_dir: Path = Field(Path("data"), description="everything the embedded default keeps")
    hot_sessions_max: int = Field(200, ge=1, le=100_000, description="collections open at once")
    database: DatabaseSettings = DatabaseSettings()
    qdrant: QdrantSettings = QdrantSettings()
    blob: BlobSettings = BlobSettings()
    auth: AuthSettings = AuthSettings()
    jobs: JobSettings = JobSettings()
    embedding: EmbeddingSettings = EmbeddingSettings()
    query: QuerySettings = QuerySettings()
    retention: RetentionSettings = RetentionSettings()
    limits: LimitSettings = LimitSettings()
    log: LogSettings = LogSettings()
    tracing: TracingSettings = TracingSettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, env_settings, OriginalNames(settings_cls)

    @field_validator("data_dir")
    @classmethod
    def _absolute(cls, path: Path) -> Path:
        return path.expanduser().absolute()

    @model_validator(mode="after")
    def _workers_share_a_database(self) -> Self:
        if not self.jobs.in_process and self.database.url is None:
            raise ValueError(
                "QUIRE_JOBS_IN_PROCESS=false needs QUIRE_DATABASE_URL: "
                "separate workers meet the API in PostgreSQL"
            )
        return self

    @property
    def is_loopback(self) -> bool:
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    def require_safe_host(self) -> None:
        """Refuse to serve the world without authentication."""
        if not self.is_loopback and not self.auth.configured:
            raise ConfigurationError(
                f"QUIRE_HOST={self.host} would serve other machines without authentication",
                recovery="Set QUIRE_AUTH_SECRET or QUIRE_AUTH_JWKS, or keep QUIRE_HOST=127.0.0.1.",
            )


def load_settings() -> Settings:
    """Read and check the settings; a `ConfigurationError` names every variable that is wrong."""
    problems = list(_unknown_variables(os.environ))
    try:
        settings = Settings()
    except ValidationError as error:
        problems += [_describe(problem) for problem in error.errors(include_input=False)]
    except SettingsError as error:
        problems.append(str(error))
    if problems:
        raise ConfigurationError("; ".join(dict.fromkeys(problems)))
    return settings


def environment_names() -> set[str]:
    """Every environment variable that sets something."""
    return {variable for variable, _ in _variables()}


def describe_settings() -> Iterator[tuple[str, str, str]]:
    """(variable, default, meaning) for each setting: the table in the README."""
    for variable, path in _variables():
        model: type[BaseModel] = Settings
        for name in path[:-1]:
            model = cast("type[BaseModel]", model.model_fields[name].annotation)
        field = model.model_fields[path[-1]]
        default = "" if field.default is None else str(field.default)
        if isinstance(field.default, bool):
            default = default.lower()
        yield variable, default, field.description or ""


def _variables() -> Iterator[tuple[str, tuple[str, ...]]]:
    for name, field in Settings.model_fields.items():
        annotation = field.annotation
        if isinstance(annotation, type) and issubclass(annotation, Group):
            for inner in annotation.model_fields:
                yield f"{PREFIX}{name}_{inner}".upper(), (name, inner)
        else:
            yield f"{PREFIX}{name}".upper(), (name,)


def _unknown_variables(given: Mapping[str, str]) -> Iterator[str]:
    known = environment_names()
    for variable in sorted(given):
        if not variable.startswith(PREFIX) or variable.startswith(FOREIGN_PREFIXES):
            continue
        if variable not in known:
            close = difflib.get_close_matches(variable, known, n=1)
            hint = f"; did you mean {close[0]}?" if close else ""
            yield f"{variable} is not a setting of Quire{hint}"


def _describe(problem: Mapping[str, Any]) -> str:
    location = problem["loc"]
    if not location:
        return str(problem["msg"]).removeprefix("Value error, ")
    variable = PREFIX + "_".join(str(part) for part in location).upper()
    message = str(problem["msg"]).removeprefix("Value error, ")
    return f"{variable}: {message[:1].lower()}{message[1:]}"
