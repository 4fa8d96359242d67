"""The groups of settings, each one concern; `QUIRE_<GROUP>_<NAME>` sets a field of one."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator

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
        200, ge=1, le=10_000, description="queries kept of a session; the least used go first"
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


class TransferSettings(Group):
    """Moving points between sessions and files."""

    sources: int = Field(50, ge=2, description="sessions in one merge")
    parts: int = Field(200, ge=1, description="sessions that one split may make")
    undo_hours: float = Field(
        24.0, ge=0, description="merges and splits can be undone so long; 0: not at all"
    )
    checkpoints: int = Field(100, ge=1, description="of one session")
    bundle_bytes: int = Field(
        20_480 * Megabytes, ge=1024, description="of a file that is imported, unpacked"
    )
    upload_bytes: int = Field(20_480 * Megabytes, ge=1024, description="of a resumable upload")
    upload_hours: float = Field(24.0, gt=0, description="an unfinished upload is kept so long")


class ResidencySettings(Group):
    """When collections leave the engine's memory, and the engine."""

    idle_seconds: float = Field(
        900.0, ge=0.05, description="a session that nobody used so long goes cold"
    )
    pack_seconds: float = Field(
        604_800.0, ge=0.05, description="embedded engine: so long unused, it is packed away too"
    )
    sweep_seconds: float = Field(
        30.0, ge=0.05, description="how often idle sessions are looked for"
    )


class BackupSettings(Group):
    """Bundles of every session in the blob store."""

    every_hours: float = Field(0.0, ge=0, description="0: no backups are made by themselves")
    keep: int = Field(7, ge=1, description="the newest so many of each session are kept")


class ActivitySettings(Group):
    """What is kept of the work in a session; each limit is named in its error."""

    message_bytes: int = Field(Megabytes, ge=64, description="of one message")
    messages: int = Field(1_000, ge=1, le=10_000, description="in one request")
    data_bytes: int = Field(256 * 1024, ge=2, description="of one value of a session's data")
    data_keys: int = Field(1_000, ge=1, description="of one session's data")
    attachment_bytes: int = Field(50 * Megabytes, ge=1, description="of one attachment")
    attachments: int = Field(1_000, ge=1, description="of one session")
    attachments_bytes: int = Field(
        1_024 * Megabytes, ge=1, description="of all attachments of a session together"
    )
    ephemeral_seconds: float = Field(
        1_800.0, gt=0, description="what is to be ephemeral lives so long, unless asked otherwise"
    )


class EventSettings(Group):
    """Live events."""

    keep_hours: float = Field(24.0, gt=0, description="events can be replayed so long")
    heartbeat_seconds: float = Field(
        15.0, ge=0.05, description="a stream that has nothing to say says that it is alive"
    )
    queue: int = Field(
        256, ge=1, description="a subscriber so many events behind is dropped; it may come back"
    )
    subscribers: int = Field(2_000, ge=1, description="streams open at once in one process")


class WebSettings(Group):
    """Fetching from the web, on behalf of callers."""

    enabled: bool = Field(True, description="false: no address is ever fetched")
    allow: str = Field(
        "",
        description="hosts or networks that may be fetched though they are not public, "
        "comma-separated: `wiki.local,10.1.0.0/16,build.local:3000`",
    )
    page_bytes: int = Field(10 * Megabytes, ge=1024, description="of one page or file")
    page_seconds: float = Field(30.0, gt=0, description="for one page, redirects included")
    redirects: int = Field(5, ge=0, le=50, description="that are followed, each checked anew")
    crawl_pages: int = Field(1_000, ge=1, description="of one crawl")
    crawl_depth: int = Field(10, ge=0, description="links from where a crawl began")
    crawl_bytes: int = Field(500 * Megabytes, ge=1024, description="of one crawl")
    delay_seconds: float = Field(
        0.5,
        ge=0,
        description="between two requests of a crawl to one host, unless it asks for more",
    )
    user_agent: str = Field("Quire", min_length=1, description="how it names itself, and to robots")


class McpSettings(Group):
    """What agents are served."""

    answer_tokens: int = Field(
        8_000, ge=500, description="no answer is longer; what is, comes as a preview"
    )
    require_instructions: bool = Field(
        False, description="tools answer only once get_instructions was called"
    )
    read_only: bool = Field(False, description="no tool that changes anything is offered")
    idle_seconds: float = Field(
        3_600.0, gt=0, description="an agent that is silent so long has to begin anew"
    )
    url: str | None = Field(
        None,
        pattern=r"^https?://",
        description="of this API, as agents are told it; unset: as they reached it",
    )


class ClusteringSettings(Group):
    """Clustering a session's points."""

    sample: int = Field(
        20_000, ge=100, description="points that clusters are found in; the others are assigned"
    )
    seconds: float = Field(600.0, gt=0, description="for finding clusters")


class LogSettings(Group):
    level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="what is told at least"
    )
    format: Literal["text", "json"] = Field("text", description="for people, or for machines")


class TracingSettings(Group):
    endpoint: str | None = Field(
        None, pattern=r"^https?://", description="an OTLP/HTTP collector, `http://host:4318`"
    )
