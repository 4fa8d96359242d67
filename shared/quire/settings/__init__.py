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
from typing import Any, Self, cast

from pydantic import BaseModel, Field, ValidationError, field_validator, model_validator
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from quire.errors import ConfigurationError
from quire.settings.groups import (
    ActivitySettings,
    AuthSettings,
    BackupSettings,
    BlobSettings,
    ClusteringSettings,
    DatabaseSettings,
    EmbeddingSettings,
    EventSettings,
    Group,
    JobSettings,
    LimitSettings,
    LogSettings,
    McpSettings,
    QdrantSettings,
    QuerySettings,
    ResidencySettings,
    RetentionSettings,
    TracingSettings,
    TransferSettings,
    WebSettings,
)

__all__ = [
    "FOREIGN_PREFIXES",
    "PREFIX",
    "ActivitySettings",
    "AuthSettings",
    "BackupSettings",
    "BlobSettings",
    "ClusteringSettings",
    "DatabaseSettings",
    "EmbeddingSettings",
    "EventSettings",
    "JobSettings",
    "LimitSettings",
    "LogSettings",
    "McpSettings",
    "OriginalNames",
    "QdrantSettings",
    "QuerySettings",
    "ResidencySettings",
    "RetentionSettings",
    "Settings",
    "TracingSettings",
    "TransferSettings",
    "WebSettings",
    "describe_settings",
    "environment_names",
    "load_settings",
]

PREFIX = "QUIRE_"
# Read by Quire's own tests and setting up, and by who calls it; no settings of Quire.
FOREIGN_PREFIXES = ("QUIRE_TEST_", "QUIRE_BENCH_", "QUIRE_TOKEN")


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
    transfer: TransferSettings = TransferSettings()
    residency: ResidencySettings = ResidencySettings()
    backup: BackupSettings = BackupSettings()
    activity: ActivitySettings = ActivitySettings()
    events: EventSettings = EventSettings()
    web: WebSettings = WebSettings()
    mcp: McpSettings = McpSettings()
    clustering: ClusteringSettings = ClusteringSettings()
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
