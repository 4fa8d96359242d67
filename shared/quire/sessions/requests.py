"""What callers ask for: a new session, a change of one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from quire.errors import InvalidInput
from quire.sessions import validation
from quire.sessions.models import Configuration, Session
from quire.settings import LimitSettings


class Unset:
    """The type of UNSET."""


UNSET = Unset()
"""Stands for a field that the caller did not mention, where null means something."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewSession:
    name: str
    id: str | None = None
    description: str | None = None
    owner_id: str | None = None
    group: str | None = None
    tags: tuple[str, ...] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)
    configuration: Configuration = field(default_factory=Configuration)
    provider: str | None = None
    model: str | None = None
    dimension: int | None = None
    distance: str | None = None
    ttl_seconds: float | None = None
    expires_at: datetime | None = None
    ephemeral: bool = False
    """Ending it removes it; and unless an expiry is given, it has a short one."""
    hold: bool = False

    def checked(self, limits: LimitSettings) -> NewSession:
        """The same, or an error that names the field that cannot be."""
        return replace(
            self,
            id=None if self.id is None else validation.session_id(self.id),
            name=validation.name(self.name, limits),
            description=validation.description(self.description, limits),
            owner_id=_someone("owner_id", self.owner_id),
            group=_someone("group", self.group),
            tags=validation.tags(self.tags, limits),
            metadata=validation.json_object("metadata", self.metadata, limits),
            configuration=_checked_configuration(self.configuration, limits),
            ttl_seconds=validation.ttl(self.ttl_seconds),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionChange:
    """A change of a session's metadata; what is UNSET stays.

    `metadata` is merged into what is there: key by key, or with `nulls_remove` as RFC 7396 says.
    """

    name: str | Unset = UNSET
    description: str | Unset | None = UNSET
    group: str | Unset | None = UNSET
    tags: tuple[str, ...] | Unset = UNSET
    metadata: Mapping[str, Any] | Unset = UNSET
    nulls_remove: bool = False
    configuration: Mapping[str, Any] | Unset = UNSET
    hold: bool | Unset = UNSET
    pinned: bool | Unset = UNSET
    ttl_seconds: float | Unset | None = UNSET
    expires_at: datetime | Unset | None = UNSET

    @property
    def is_for_admins(self) -> bool:
        """Who sees a session, how long it lasts and what it costs: not for every writer to say."""
        values = (self.group, self.hold, self.pinned, self.ttl_seconds, self.expires_at)
        return any(not isinstance(value, Unset) for value in values)

    def applied(self, session: Session, at: datetime, limits: LimitSettings) -> Session:
        """The session after the change, or an error that names the field that cannot be."""
        changes: dict[str, Any] = {}
        if not isinstance(self.name, Unset):
            changes["name"] = validation.name(self.name, limits)
        if not isinstance(self.description, Unset):
            changes["description"] = validation.description(self.description, limits)
        if not isinstance(self.group, Unset):
            changes["group"] = _someone("group", self.group)
        if not isinstance(self.tags, Unset):
            changes["tags"] = validation.tags(self.tags, limits)
        if not isinstance(self.metadata, Unset):
            merged = {**session.metadata, **self.metadata}
            if self.nulls_remove:
                merged = merge_patch(session.metadata, self.metadata)
            changes["metadata"] = validation.json_object("metadata", merged, limits)
        if not isinstance(self.configuration, Unset):
            changes["configuration"] = _checked_configuration(
                replace(session.configuration, **self.configuration), limits
            )
        if not isinstance(self.hold, Unset):
            changes["hold"] = self.hold
        if not isinstance(self.pinned, Unset):
            changes["pinned"] = self.pinned
        changes |= self._expiry(session, at)
        return replace(session, **changes)

    def _expiry(self, session: Session, at: datetime) -> dict[str, Any]:
        if not isinstance(self.ttl_seconds, Unset):
            if not isinstance(self.expires_at, Unset) and self.expires_at is not None:
                raise InvalidInput("Give expires_at or ttl_seconds, not both", field="expires_at")
            seconds = validation.ttl(self.ttl_seconds)
            return {"ttl_seconds": seconds, "expires_at": expiry(at, seconds, None)}
        if not isinstance(self.expires_at, Unset):
            return {"ttl_seconds": None, "expires_at": expiry(at, None, self.expires_at)}
        return {}


def expiry(at: datetime, ttl_seconds: float | None, expires_at: datetime | None) -> datetime | None:
    """When a session expires that is used at this moment."""
    if ttl_seconds is not None:
        if expires_at is not None:
            raise InvalidInput("Give expires_at or ttl_seconds, not both", field="expires_at")
        return at + timedelta(seconds=ttl_seconds)
    if expires_at is None:
        return None
    if expires_at.tzinfo is None:
        raise InvalidInput(
            "expires_at needs a time zone, like 2030-01-31T12:00:00Z", field="expires_at"
        )
    if expires_at <= at:
        raise InvalidInput("expires_at is in the past", field="expires_at")
    try:
        return expires_at.astimezone(UTC)
    except OverflowError:
        raise InvalidInput("expires_at is after the year 9999", field="expires_at") from None


def merge_patch(target: Mapping[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    """RFC 7396: objects merge, null removes, everything else replaces."""
    merged = dict(target)
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        elif isinstance(value, Mapping):
            before = merged.get(key)
            merged[key] = merge_patch(before if isinstance(before, Mapping) else {}, value)
        else:
            merged[key] = value
    return merged


def _someone(field: str, value: str | None) -> str | None:
    return None if value is None else validation.someone(field, value)


def _checked_configuration(value: Configuration, limits: LimitSettings) -> Configuration:
    for part in ("clustering_params", "processing_options"):
        validation.json_object(f"configuration.{part}", getattr(value, part), limits)
    for part in ("embedding_model", "llm_model"):
        if getattr(value, part) is not None:
            validation.someone(f"configuration.{part}", getattr(value, part))
    return value
