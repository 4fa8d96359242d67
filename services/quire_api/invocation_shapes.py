"""The JSON of invocations and of what they and the conversation come to."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from quire.activity.invocation_models import Invocation, InvocationStatus, NewInvocation, digest
from quire.activity.statistics import Bucket, Durations, Statistics, ToolStatistics, Usage
from quire.errors import InvalidInput
from quire_api.shapes import Input

Json = dict[str, Any]
Count = Annotated[int, Field(ge=0, le=2**53, strict=True)]
Amount = Annotated[float, Field(ge=0, strict=True, allow_inf_nan=False)]


class RecordInvocation(Input):
    """An invocation, or what became of one: under the same `id` it goes from running to an end.

    Of started_at, finished_at and duration_ms two are enough; of input and output only the sha256
    is kept, of their canonical JSON.
    """

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "id": "inv_001",
                "tool": "git_tool",
                "status": "succeeded",
                "duration_ms": 150.5,
                "input": {"command": "diff", "revision": "HEAD~1"},
                "output": "3 files changed",
                "tokens_in": 412,
                "tokens_out": 88,
                "cost": 0.0031,
            }
        }
    )

    tool: str
    id: str | None = Field(None, description="chosen by you; makes recording idempotent")
    status: InvocationStatus | None = Field(
        None, description="unset: failed where there is an error, else succeeded"
    )
    started_at: AwareDatetime | None = None
    finished_at: AwareDatetime | None = None
    duration_ms: Amount | None = None
    input: Any = Field(None, description="any JSON; only its sha256 is kept")
    output: Any = Field(None, description="the same")
    input_sha256: str | None = None
    output_sha256: str | None = None
    attachments: list[str] | None = Field(None, description="names of the session's attachments")
    tokens_in: Count | None = None
    tokens_out: Count | None = None
    cost: Amount | None = None
    error: str | None = None
    metadata: Json | None = None

    def new(self, derived_id: str | None) -> NewInvocation:
        return NewInvocation(
            tool=self.tool,
            id=derived_id if self.id is None else self.id,
            status=self.status,
            started_at=self.started_at,
            finished_at=self.finished_at,
            duration_ms=self.duration_ms,
            input_sha256=self._digest("input"),
            output_sha256=self._digest("output"),
            attachments=self.attachments,
            tokens_in=self.tokens_in,
            tokens_out=self.tokens_out,
            cost=self.cost,
            error=self.error,
            metadata=self.metadata,
        )

    def _digest(self, name: str) -> str | None:
        """Null is an input too, if it was sent."""
        given: str | None = getattr(self, f"{name}_sha256")
        if name not in self.model_fields_set:
            return given
        if given is not None:
            raise InvalidInput(f"Give {name} or {name}_sha256, not both", field=f"{name}_sha256")
        return digest(name, getattr(self, name))


class InvocationShape(BaseModel):
    """An invocation as it is kept."""

    session_id: str
    id: str
    tool: str
    status: InvocationStatus
    started_at: datetime
    finished_at: datetime | None
    duration_ms: float | None
    input_sha256: str | None
    output_sha256: str | None
    attachments: list[str]
    tokens_in: int | None
    tokens_out: int | None
    cost: float | None
    error: str | None
    metadata: Json
    author: str | None = Field(description="who recorded it first")
    created_at: datetime


class DurationsShape(BaseModel):
    """Percentiles are durations that occurred: so many per cent took no longer."""

    count: int
    total_ms: float
    p50_ms: float | None
    p95_ms: float | None
    longest_ms: float | None


class UsageShape(BaseModel):
    count: int
    tokens_in: int
    tokens_out: int
    cost: float


class StatusesShape(BaseModel):
    running: int
    succeeded: int
    failed: int
    cancelled: int


class InvocationsShape(UsageShape, StatusesShape):
    durations: DurationsShape


class ToolShape(InvocationsShape):
    tool: str
    first_at: datetime
    last_at: datetime


class MessagesShape(UsageShape):
    roles: dict[str, UsageShape]


class TimelineShape(BaseModel):
    at: datetime
    invocations: int
    failed: int
    messages: int


class StatisticsShape(BaseModel):
    """What was said and done in a session; the first seven are the whole of it in brief."""

    session_id: str
    total_invocations: int
    total_messages: int
    total_duration_ms: float
    tools_used: list[str] = Field(description="the most used first, at most 200")
    token_usage: UsageShape = Field(description="of invocations and messages together")
    estimated_cost: float
    invocations: InvocationsShape
    messages: MessagesShape
    tools_count: int
    tools: list[ToolShape] = Field(description="the most used first, at most 200")
    bucket: Bucket
    timeline: list[TimelineShape] = Field(
        description="the latest 366 buckets in which anything began"
    )


def invocation_shape(invocation: Invocation) -> Json:
    return {name: getattr(invocation, name) for name in InvocationShape.model_fields} | {
        "status": invocation.status.value
    }


def statistics_shape(told: Statistics) -> Json:
    usage = told.usage
    statuses = {status.value: count for status, count in told.statuses.items()}
    return {
        "session_id": told.session_id,
        "total_invocations": told.invocations.count,
        "total_messages": told.messages.count,
        "total_duration_ms": told.durations.total_ms,
        "tools_used": [tool.tool for tool in told.tools],
        "token_usage": _usage(usage),
        "estimated_cost": usage.cost,
        "invocations": _usage(told.invocations)
        | statuses
        | {"durations": _durations(told.durations)},
        "messages": _usage(told.messages)
        | {"roles": {role: _usage(of_role) for role, of_role in told.roles.items()}},
        "tools_count": told.tools_count,
        "tools": [_tool(tool) for tool in told.tools],
        "bucket": told.bucket.value,
        "timeline": told.timeline,
    }


def _tool(tool: ToolStatistics) -> Json:
    shape = {name: getattr(tool, name) for name in ToolShape.model_fields}
    return shape | {"durations": _durations(tool.durations)}


def _usage(usage: Usage) -> Json:
    return {name: getattr(usage, name) for name in UsageShape.model_fields}


def _durations(durations: Durations) -> Json:
    return {name: getattr(durations, name) for name in DurationsShape.model_fields}
