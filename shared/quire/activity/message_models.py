"""A message and what surrounds it, as values that never change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

Part = Mapping[str, Any]
"""One part of a message: `{"type": "text", "text": …}` and its like."""

Content = str | Sequence[Part]
"""What a message says: a text, or a list of parts."""


class MessageRole(StrEnum):
    """Who speaks."""

    USER = "user"
    ASSISTANT = "assistant"
    TOOL = "tool"
    SYSTEM = "system"


class MessageMode(StrEnum):
    """How messages are searched."""

    KEYWORD = "keyword"  # by words
    SEMANTIC = "semantic"  # by meaning
    HYBRID = "hybrid"  # by both, fused by rank


class TranscriptFormat(StrEnum):
    JSONL = "jsonl"  # a message a line, with everything that is known of it
    MARKDOWN = "markdown"  # to be read


@dataclass(frozen=True, slots=True, kw_only=True)
class NewMessage:
    """A message to be appended; with an `id` of the client's, doing it twice does it once."""

    role: MessageRole
    content: Content
    id: str | None = None
    tool: str | None = None
    invocation_id: str | None = None
    tokens_in: int | None = None
    tokens_out: int | None = None
    cost: float | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A message as it is kept; `ordinal` is its place in the conversation, from 0."""

    id: str
    session_id: str
    ordinal: int
    role: MessageRole
    content: Content
    tool: str | None
    invocation_id: str | None
    tokens_in: int | None
    tokens_out: int | None
    cost: float | None
    metadata: Mapping[str, Any]
    author: str | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class MessagePage:
    """Messages in the order that was asked for, and where the next page starts."""

    messages: Sequence[Message]
    next_cursor: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageFilter:
    """Which messages are listed; what is None does not matter."""

    role: MessageRole | None = None
    tool: str | None = None
    invocation_id: str | None = None


@dataclass(frozen=True, slots=True)
class MessageHit:
    message: Message
    score: float


@dataclass(frozen=True, slots=True)
class MessagesFound:
    """Hits, best first; `pending` messages were not embedded yet and could not be found."""

    hits: Sequence[MessageHit]
    pending: int


@dataclass(frozen=True, slots=True)
class ConversationSettings:
    """Whether messages are found by meaning, how many there are, and how many still wait for it."""

    semantic: bool
    messages: int
    pending: int
