"""The trail of the work: what was said, which tools were used, what to know before answering."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from pydantic import Field
from typing_extensions import TypedDict

from quire.activity.context import TOKENS_MAX, ContextRequest
from quire.activity.invocation_models import InvocationStatus, NewInvocation
from quire.activity.message_content import text_of
from quire.activity.message_models import Message, MessageFilter, MessageRole, NewMessage
from quire_mcp.arguments import Cursor, SessionId
from quire_mcp.callers import caller
from quire_mcp.shapes import call, moment
from quire_mcp.toolbox import Toolbox

Tokens = Annotated[int | None, Field(description="As the model counted them.", ge=0)]
Cost = Annotated[float | None, Field(description="In the currency you count in.", ge=0)]


class AddedMessage(TypedDict):
    session_id: str
    message_id: str
    ordinal: Annotated[int, Field(description="Its place in the conversation, from 0.")]
    created_at: str
    next: str


class MessageBrief(TypedDict):
    message_id: str
    ordinal: int
    role: str
    text: str
    tool: str | None
    invocation_id: str | None
    created_at: str


class MessageList(TypedDict):
    session_id: str
    messages: list[MessageBrief]
    next_cursor: str | None
    is_cut: Annotated[bool, Field(description="Whether texts were cut to fit.")]
    next: str


class LinkedInvocation(TypedDict):
    session_id: str
    invocation_id: str
    tool: str
    status: str
    duration_ms: float | None
    created: Annotated[bool, Field(description="False: it was known, and was brought up to date.")]
    next: str


class ContextAnswer(TypedDict):
    session_id: str
    query: str | None
    text: Annotated[str, Field(description="Sources and recent turns, as one block.")]
    is_cut: bool
    messages_left_out: int
    passages_left_out: int
    next: str


def offer(toolbox: Toolbox) -> None:
    """The tools of this module."""
    quire, budget = toolbox.quire, toolbox.budget

    @toolbox.writes("Add a message", idempotent=True)
    async def add_message(
        session_id: SessionId,
        role: Annotated[MessageRole, Field(description="Who says it.")],
        content: Annotated[
            str | list[dict[str, Any]],
            Field(
                description="A text, or a list of parts.",
                examples=["What files were changed?", [{"type": "text", "text": "Two files."}]],
            ),
        ],
        id: Annotated[
            str | None, Field(description="Your own; repeating the call is then harmless.")
        ] = None,
        tool_name: Annotated[
            str | None, Field(description="Which tool speaks.", examples=["git"])
        ] = None,
        invocation_id: Annotated[
            str | None, Field(description="Which of its invocations said this.")
        ] = None,
        tokens_in: Tokens = None,
        tokens_out: Tokens = None,
        cost: Cost = None,
        metadata: Annotated[
            dict[str, Any] | None,
            Field(description="Anything else, as JSON.", examples=[{"model": "large"}]),
        ] = None,
    ) -> AddedMessage:
        """Write down a turn of the conversation; its order is kept, and it is never changed."""
        new = NewMessage(
            role=role,
            content=content,
            id=id,
            tool=tool_name,
            invocation_id=invocation_id,
            tokens_in=tokens_in,
            tokens_out=tokens_out,
            cost=cost,
            metadata=metadata or {},
        )
        (message,) = await quire.activity.messages.append(caller().principal, session_id, [new])
        return {
            "session_id": session_id,
            "message_id": message.id,
            "ordinal": message.ordinal,
            "created_at": moment(message.created_at),
            "next": f"Before you answer: {call('get_context', session_id=session_id)}",
        }

    @toolbox.reads("List messages")
    async def list_messages(
        session_id: SessionId,
        role: Annotated[MessageRole | None, Field(description="Only theirs; unset: all.")] = None,
        newest_first: Annotated[bool, Field(description="False: from the beginning.")] = True,
        limit: Annotated[int, Field(description="How many.", ge=1, le=100)] = 20,
        cursor: Cursor = None,
    ) -> MessageList:
        """The conversation of a session."""
        page = await quire.activity.messages.page(
            caller().principal,
            session_id,
            cursor=cursor,
            limit=limit,
            newest_first=newest_first,
            wanted=MessageFilter(role=role),
        )
        texts = [text_of(message.content) for message in page.messages]
        longest = max(map(len, texts), default=0)
        following = "This is all of it."
        if page.next_cursor is not None:
            following = call("list_messages", session_id=session_id, cursor=page.next_cursor)

        def built(characters: int) -> MessageList:
            return {
                "session_id": session_id,
                "messages": [
                    _brief(message, text[:characters])
                    for message, text in zip(page.messages, texts, strict=True)
                ],
                "next_cursor": page.next_cursor,
                "is_cut": characters < longest,
                "next": following,
            }

        return budget.fit(longest, built)

    @toolbox.writes("Link an invocation", idempotent=True)
    async def link_invocation(
        session_id: SessionId,
        tool_name: Annotated[str, Field(description="Which tool was used.", examples=["git"])],
        invocation_id: Annotated[
            str | None,
            Field(description="Your own; a second call brings it up to date.", examples=["inv_1"]),
        ] = None,
        status: Annotated[
            InvocationStatus | None, Field(description="Unset: succeeded, or failed with an error.")
        ] = None,
        duration_ms: Annotated[
            float | None, Field(description="How long it took.", ge=0, examples=[150.5])
        ] = None,
        started_at: Annotated[
            datetime | None, Field(description="RFC 3339.", examples=["2026-11-20T08:00:00Z"])
        ] = None,
        finished_at: Annotated[
            datetime | None, Field(description="RFC 3339.", examples=["2026-11-21T08:00:03Z"])
        ] = None,
        input_sha256: Annotated[
            str | None, Field(description="Digest of what it was given.")
        ] = None,
        output_sha256: Annotated[str | None, Field(description="Digest of what it gave.")] = None,
        attachments: Annotated[
            list[str] | None,
            Field(description="Names of the session's attachments.", examples=[["chart.png"]]),
        ] = None,
        tokens_in: Tokens = None,
        tokens_out: Tokens = None,
        cost: Cost = None,
        error: Annotated[
            str | None, Field(description="What went wrong.", examples=["exit status 1"])
        ] = None,
        metadata: Annotated[
            dict[str, Any] | None,
            Field(description="Anything else, as JSON.", examples=[{"model": "large"}]),
        ] = None,
    ) -> LinkedInvocation:
        """Write down that a tool was used for the work in a session."""
        new = NewInvocation(
            tool=tool_name,
            id=invocation_id,
            status=status,
            duration_ms=duration_ms,
            started_at=started_at,
            finished_at=finished_at,
            input_sha256=input_sha256,
            output_sha256=output_sha256,
            attachments=attachments,
            tokens_in=tokens_in,
            tokens_out=tokens_out,
            cost=cost,
            error=error,
            metadata=metadata,
        )
        found, created = await quire.activity.invocations.record(
            caller().principal, session_id, new
        )
        return {
            "session_id": session_id,
            "invocation_id": found.id,
            "tool": found.tool,
            "status": found.status.value,
            "duration_ms": found.duration_ms,
            "created": created,
            "next": 'Write down what it said: add_message(role="tool", '
            f'invocation_id="{found.id}").',
        }

    @toolbox.reads("What to know before answering")
    async def get_context(
        session_id: SessionId,
        query: Annotated[
            str | None,
            Field(
                description="Unset: what the last user message asks.",
                examples=["why is the checkout slow?"],
            ),
        ] = None,
        tokens: Annotated[
            int,
            Field(
                description="At most, as the session's model counts.",
                ge=1,
                le=TOKENS_MAX,
                examples=[4000],
            ),
        ] = 2_000,
    ) -> ContextAnswer:
        """Recent turns and the passages that fit a question, with citations."""
        request = ContextRequest(query=query, tokens=tokens)
        found = await quire.activity.context.assemble(caller().principal, session_id, request)
        text = found.text

        def built(characters: int) -> ContextAnswer:
            is_cut = characters < len(text)
            return {
                "session_id": session_id,
                "query": found.query,
                "text": text[:characters],
                "is_cut": is_cut,
                "messages_left_out": found.messages_left_out,
                "passages_left_out": found.passages_left_out,
                "next": "Ask for fewer tokens: this was cut."
                if is_cut
                else "Answer, citing the sources, and write it down with add_message.",
            }

        return budget.fit(len(text), built)


def _brief(message: Message, text: str) -> MessageBrief:
    return {
        "message_id": message.id,
        "ordinal": message.ordinal,
        "role": message.role.value,
        "text": text,
        "tool": message.tool,
        "invocation_id": message.invocation_id,
        "created_at": moment(message.created_at),
    }
