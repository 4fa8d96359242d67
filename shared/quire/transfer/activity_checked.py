"""What a bundle tells of a session's activity, as rows of the tables: every row is looked at.

What is taken in could have been written by a client too, with the same names, sizes and shapes; who
wrote it is believed to an operator's backup alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import orjson

from quire.activity import invocation_telling, message_content
from quire.activity.attachment_models import NAME_CHARS
from quire.activity.data import KEY_CHARS
from quire.activity.invocation_models import InvocationStatus, NewInvocation
from quire.activity.message_models import MessageRole, NewMessage
from quire.activity.message_words import MessageWords
from quire.activity.names import client_id, path_name
from quire.bundle.parts import table_name
from quire.errors import FileRefused, InvalidInput, LimitExceeded, QuireError
from quire.sessions import validation
from quire.settings import Settings
from quire.transfer.activity_plan import Kind

Told = Mapping[str, Any]

MEDIA_TYPE_CHARS = 256


class ActivityChecks:
    """Makes rows of what a file tells, or raises `FileRefused` naming the part and the line."""

    def __init__(self, settings: Settings, words: MessageWords) -> None:
        self._settings = settings
        self._words = words

    def row(self, kind: Kind, told: Told, number: int, *, with_author: bool) -> dict[str, Any]:
        """The row that the line with this number comes to; without session and job."""
        check: Callable[[Told], dict[str, Any]] = {
            Kind.ATTACHMENTS: self._attachment,
            Kind.DATA: self._data,
            Kind.INVOCATIONS: self._invocation,
            Kind.MESSAGES: self._message,
        }[kind]
        try:
            row = check(told)
            if kind is not Kind.DATA:
                author = _text(told, "author")
                if author is not None:
                    validation.someone("author", author)
                row["author"] = author if with_author else None
            return row
        except QuireError as error:
            reason = error.message
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
            reason = "it is not described as one must be"
        raise refused(kind, number, reason)

    def _message(self, told: Told) -> dict[str, Any]:
        content = told["content"]
        if not isinstance(content, str) and not _is_list_of(content, dict):
            raise InvalidInput("content is a text, or a list of parts", field="content")
        new = NewMessage(
            role=MessageRole(told["role"]),
            content=content,
            id=told["id"],
            tool=_text(told, "tool"),
            invocation_id=_text(told, "invocation_id"),
            tokens_in=_count(told, "tokens_in"),
            tokens_out=_count(told, "tokens_out"),
            cost=_number(told, "cost"),
            metadata=_object(told, "metadata"),
        )
        client_id("id", told["id"])
        raw = message_content.checked(new, "", self._settings)
        return {
            "id": new.id,
            "role": new.role.value,
            "content": raw,
            "words": self._words.of(message_content.text_of(content)),
            "fingerprint": message_content.fingerprint(new, raw),
            "tool": new.tool,
            "invocation_id": new.invocation_id,
            "tokens_in": new.tokens_in,
            "tokens_out": new.tokens_out,
            "cost": new.cost,
            "metadata": new.metadata,
            "created_at": _moment(told, "created_at"),
        }

    def _invocation(self, told: Told) -> dict[str, Any]:
        names = told["attachments"]
        if not _is_list_of(names, str):
            raise InvalidInput("attachments is a list of names", field="attachments")
        status = InvocationStatus(told["status"])
        finished_at = None if told["finished_at"] is None else _moment(told, "finished_at")
        if status.is_final and finished_at is None:
            raise InvalidInput("What is over has its finished_at", field="finished_at")
        client_id("id", told["id"])
        new = NewInvocation(
            tool=told["tool"],
            id=told["id"],
            status=status,
            started_at=_moment(told, "started_at"),
            finished_at=finished_at,
            duration_ms=_number(told, "duration_ms"),
            input_sha256=_text(told, "input_sha256"),
            output_sha256=_text(told, "output_sha256"),
            attachments=names,
            tokens_in=_count(told, "tokens_in"),
            tokens_out=_count(told, "tokens_out"),
            cost=_number(told, "cost"),
            error=_text(told, "error"),
            metadata=_object(told, "metadata"),
        )
        created_at = _moment(told, "created_at")
        new = invocation_telling.checked(new, self._settings.limits)
        invocation_telling.begun(new, "", None, created_at)  # whether its times go together
        return {
            **{name: getattr(new, name) for name in new.__dataclass_fields__},
            "status": status.value,
            "attachments": list(new.attachments or ()),
            "created_at": created_at,
        }

    def _data(self, told: Told) -> dict[str, Any]:
        value = told["value"].encode()
        most = self._settings.activity.data_bytes
        if len(value) > most:
            raise LimitExceeded(f"value is over {most} bytes (QUIRE_ACTIVITY_DATA_BYTES)")
        orjson.loads(value)
        return {
            "key": path_name("key", told["key"], KEY_CHARS),
            "value": value,
            "sha256": hashlib.sha256(value).hexdigest(),
            "created_at": _moment(told, "created_at"),
            "updated_at": _moment(told, "updated_at"),
        }

    def _attachment(self, told: Told) -> dict[str, Any]:
        """What its bytes are is not known yet: `sha256` and `media_type` are as they are told."""
        media_type = told["media_type"]
        if not isinstance(media_type, str) or len(media_type) > MEDIA_TYPE_CHARS:
            raise InvalidInput("media_type is a text", field="media_type")
        expires_at = told["expires_at"]
        return {
            "name": path_name("name", told["name"], NAME_CHARS),
            "sha256": told["sha256"],
            "size": told["content"]["end"] - told["content"]["start"],
            "media_type": media_type,
            "metadata": validation.json_object(
                "metadata", _object(told, "metadata"), self._settings.limits
            ),
            "created_at": _moment(told, "created_at"),
            "updated_at": _moment(told, "updated_at"),
            "expires_at": None if expires_at is None else _moment(told, "expires_at"),
        }


def refused(kind: Kind, number: int, reason: str) -> FileRefused:
    part = table_name(kind.value)
    return FileRefused(f"Line {number} of {part} cannot be taken in: {reason}", part=part)


def _text(told: Told, name: str) -> str | None:
    value = told[name]
    if value is None or isinstance(value, str):
        return value
    raise InvalidInput(f"{name} is a text", field=name)


def _count(told: Told, name: str) -> int | None:
    value = told[name]
    if value is None or type(value) is int:
        return value
    raise InvalidInput(f"{name} is a whole number", field=name)


def _number(told: Told, name: str) -> float | None:
    value = told[name]
    if value is None or type(value) in (int, float):
        return None if value is None else float(value)
    raise InvalidInput(f"{name} is a number", field=name)


def _object(told: Told, name: str) -> dict[str, Any]:
    value = told[name]
    if isinstance(value, dict):
        return value
    raise InvalidInput(f"{name} is an object", field=name)


def _moment(told: Told, name: str) -> datetime:
    moment = datetime.fromisoformat(told[name])
    if moment.tzinfo is None:
        raise InvalidInput(f"{name} needs a time zone", field=name)
    return moment.astimezone(UTC)


def _is_list_of(value: Any, kind: type) -> bool:
    return isinstance(value, list) and all(isinstance(one, kind) for one in value)
