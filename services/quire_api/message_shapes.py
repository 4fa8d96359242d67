"""The JSON of conversations and contexts, in and out."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Discriminator, Field, StrictBool, StrictInt, Tag

from quire.activity.context import PASSAGES_MAX, TOKENS_MAX, AssembledContext, ContextRequest
from quire.activity.message_models import (
    ConversationSettings,
    MessageMode,
    MessageRole,
    MessagesFound,
    NewMessage,
)
from quire.activity.passages import Passage
from quire.activity.transcript import message_item
from quire.retrieval.requests import NEIGHBOURS_MAX, Mode
from quire_api.shapes import Input, Json

PARTS = (
    'a text, or parts: `{"type": "text", "text"}`, `{"type": "image" | "file", "attachment" | '
    '"url", "media_type"?}`, `{"type": "data", "data"}`'
)


class MessageInput(Input):
    """A message to be appended."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "id": "turn-1",
                "role": "user",
                "content": "How are leaves bound together?",
                "metadata": {"channel": "web"},
            }
        }
    )

    role: MessageRole
    content: str | list[Json] = Field(description=PARTS)
    id: str | None = Field(None, description="chosen by you; the same id again is not a second one")
    tool: str | None = Field(None, description="the tool that speaks, or is spoken of")
    invocation_id: str | None = Field(None, description="of the session's invocations")
    tokens_in: StrictInt | None = None
    tokens_out: StrictInt | None = None
    cost: float | None = Field(None, description="0 or more, in a currency of your own")
    metadata: Json = Field(default_factory=dict)

    def message(self) -> NewMessage:
        return NewMessage(
            role=self.role,
            content=self.content,
            id=self.id,
            tool=self.tool,
            invocation_id=self.invocation_id,
            tokens_in=self.tokens_in,
            tokens_out=self.tokens_out,
            cost=self.cost,
            metadata=self.metadata,
        )


class MessagesInput(Input):
    """Several at once, one after the other: all are appended, or none."""

    messages: Annotated[list[MessageInput], Field(min_length=1)]


def _how_many(body: Any) -> str:
    if isinstance(body, MessagesInput) or (isinstance(body, dict) and "messages" in body):
        return "several"
    return "one"


AppendInput = Annotated[
    Annotated[MessageInput, Tag("one")] | Annotated[MessagesInput, Tag("several")],
    Discriminator(_how_many),
]


class MessageShape(BaseModel):
    """A message; `ordinal` is its place in the conversation, from 0."""

    id: str
    session_id: str
    ordinal: int
    role: MessageRole
    content: str | list[Json]
    tool: str | None
    invocation_id: str | None
    tokens_in: int | None
    tokens_out: int | None
    cost: float | None
    metadata: Json
    author: str | None
    created_at: datetime


class SearchMessages(Input):
    model_config = ConfigDict(
        json_schema_extra={"example": {"query": "what did we say about glue?", "limit": 5}}
    )

    query: str
    mode: MessageMode = Field(
        MessageMode.KEYWORD, description="semantic and hybrid where `semantic` is set"
    )
    limit: StrictInt = 10


class FoundMessageShape(MessageShape):
    score: float = Field(description="BM25, cosine or fused rank")


class FoundMessagesShape(BaseModel):
    """Messages, best first."""

    items: list[FoundMessageShape]
    pending: int = Field(description="messages that were not embedded yet, and so not found")


class MessageSettingsInput(Input):
    model_config = ConfigDict(json_schema_extra={"example": {"semantic": True}})

    semantic: StrictBool = Field(description="messages are embedded, and found by meaning")


class MessageSettingsShape(BaseModel):
    semantic: bool
    messages: int
    pending: int = Field(description="messages that are still to be embedded")


class AssembleContext(Input):
    model_config = ConfigDict(json_schema_extra={"example": {"tokens": 4000, "passages": 12}})

    query: str | None = Field(None, description="unset: what the last user message asks")
    tokens: StrictInt = Field(4_000, description=f"the budget, 1 to {TOKENS_MAX}")
    messages_share: float = Field(
        0.5, description="of the budget for messages, 0 to 1; what is left over goes to passages"
    )
    passages: StrictInt = Field(12, description=f"the most that are looked for, to {PASSAGES_MAX}")
    neighbours: StrictInt = Field(
        1, description=f"chunks on either side of each passage, to {NEIGHBOURS_MAX}"
    )
    mode: Mode | None = Field(
        None, description="of the search; unset: hybrid, or keyword where vectors are brought"
    )

    def request(self) -> ContextRequest:
        return ContextRequest(
            query=self.query,
            tokens=self.tokens,
            messages_share=self.messages_share,
            passages=self.passages,
            neighbours=self.neighbours,
            mode=self.mode,
        )


class PassageShape(BaseModel):
    """What was found, with its neighbours; a pipeline's own point has no document and no seq."""

    citation: int = Field(description="as it stands in the text: `[1]`")
    document_id: str | None
    title: str | None
    source_url: str | None
    url: str
    seq_start: int | None
    seq_end: int | None
    context: str | None
    text: str
    score: float


class LeftOutShape(BaseModel):
    messages: int
    passages: int


class ContextShape(BaseModel):
    """What fits into the budget; `text` is all of it, ready for a prompt."""

    query: str | None
    messages: list[MessageShape]
    passages: list[PassageShape]
    text: str
    tokens: int
    budget: int
    left_out: LeftOutShape


def found_shape(found: MessagesFound) -> Json:
    items = [{**message_item(hit.message), "score": hit.score} for hit in found.hits]
    return {"items": items, "pending": found.pending}


def settings_shape(settings: ConversationSettings) -> Json:
    return {
        "semantic": settings.semantic,
        "messages": settings.messages,
        "pending": settings.pending,
    }


def context_shape(context: AssembledContext) -> Json:
    return {
        "query": context.query,
        "messages": [message_item(message) for message in context.messages],
        "passages": [passage_shape(passage) for passage in context.passages],
        "text": context.text,
        "tokens": context.tokens,
        "budget": context.budget,
        "left_out": {
            "messages": context.messages_left_out,
            "passages": context.passages_left_out,
        },
    }


def passage_shape(passage: Passage) -> Json:
    return {
        "citation": passage.citation,
        "document_id": passage.document_id,
        "title": passage.title,
        "source_url": passage.source_url,
        "url": passage.url,
        "seq_start": passage.seq_start,
        "seq_end": passage.seq_end,
        "context": passage.context,
        "text": passage.text,
        "score": passage.score,
    }
