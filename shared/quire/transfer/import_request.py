"""What callers ask of an import."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from quire.access.policy import Role
from quire.bundle.formats.mapping import ColumnMapping, parse_mapping
from quire.bundle.formats.models import Format
from quire.errors import InvalidInput
from quire.sessions.models import CHUNKER_VERSION, Collaborator, Embedding
from quire.vectors.port import Distance
from quire.vectors.validation import MAX_DIMENSION


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportRequest:
    """A file into a new session; what is None, the file says."""

    name: str | None = None
    session_id: str | None = None
    derived_id: str | None = None
    """What the session is called otherwise, so that a repeated request means the same one."""
    group: str | None = None
    format: Format | None = None
    mapping: Mapping[str, Any] | None = None
    """Which columns of a stranger's file are what."""
    provider: str | None = None
    model: str | None = None
    dimension: int | None = None
    distance: str | None = None
    new_ids: bool = False
    """Every point gets another id, which follows from the one it had, and tells its origin."""
    file_name: str | None = None
    content_type: str | None = None

    def checked(self) -> ImportRequest:
        """The same, or an error that names the field that cannot be."""
        if self.distance is not None and self.distance not in set(Distance):
            valid = ", ".join(Distance)
            raise InvalidInput(f"distance must be one of {valid}", field="distance")
        if self.dimension is not None and not 1 <= self.dimension <= MAX_DIMENSION:
            raise InvalidInput(f"dimension must be 1 to {MAX_DIMENSION}", field="dimension")
        _ = self.columns
        return self

    @property
    def columns(self) -> ColumnMapping | None:
        return None if self.mapping is None else parse_mapping(self.mapping)

    @property
    def names_model(self) -> bool:
        return self.provider is not None or self.model is not None

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> ImportRequest:
        format = told["format"]
        return cls(**{**told, "format": None if format is None else Format(format)})


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """What an operator's backup tells besides the bundle: the session comes back as it was."""

    owner_id: str | None
    group: str | None
    collaborators: Mapping[str, str]
    """The role of each."""
    hold: bool

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> Restored:
        """Out of the JSON of `asdict`, or of anything that has its fields."""
        return cls(**{name: told[name] for name in cls.__dataclass_fields__})

    @property
    def sharers(self) -> tuple[Collaborator, ...]:
        return tuple(Collaborator(user, Role(role)) for user, role in self.collaborators.items())


@dataclass(frozen=True, slots=True)
class Inspected:
    """What an import found in its file, as its job remembers it."""

    format: Format
    sha256: str
    points: int | None
    documents: int
    embeds: bool
    """Whether points that have a text and no vector get one."""
    origin: str | None
    """The session that the file was made of."""
    next_seq: int
    indexes: Mapping[str, str]
    digest: str | None = None
    """Of the points, where the file says so and they are taken over as they are."""
    activity: Mapping[str, int] = field(default_factory=dict)
    """How many messages, invocations, data and attachments."""

    @property
    def is_bundle(self) -> bool:
        return self.format is Format.BUNDLE

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "indexes": dict(self.indexes), "activity": dict(self.activity)}

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> Inspected:
        return cls(**{**told, "format": Format(told["format"])})


PLACEHOLDER = Embedding("external", "external", 1, "cosine", chunker=CHUNKER_VERSION)
"""What a session is embedded with while nobody has looked into its file."""
