"""Statistics: what was done in a session, and several sessions side by side."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from quire_api.authentication import Caller
from quire_api.http import TheQuire, json_response
from quire_api.problems import problem_responses
from quire_api.shapes import Input, ModelUsageShape, ProcessingStatsShape, session_shape

router = APIRouter(prefix="/sessions", tags=["statistics"])

Count = Annotated[int, Field(ge=0, strict=True)]


class StatsUpdate(Input):
    """Amounts to add to the counters; metadata is merged."""

    model_config = ConfigDict(
        json_schema_extra={"example": {"urls_processed": 12, "metadata": {"run": "nightly"}}}
    )

    urls_processed: Count = 0
    content_analyzed: Count = 0
    clusters_generated: Count = 0
    embeddings_created: Count = 0
    metadata: dict[str, Any] | None = None


class CollaborationInfo(BaseModel):
    is_shared: bool
    collaborator_count: int


class SessionStats(BaseModel):
    session_id: str
    session_stats: ProcessingStatsShape
    model_usage: ModelUsageShape
    collection_stats: dict[str, Any]
    session_age_days: int
    last_activity: datetime
    collaboration_info: CollaborationInfo


class ComparisonSummary(BaseModel):
    total_sessions: int
    status_distribution: dict[str, int]
    model_usage_overlap: dict[str, Any]
    processing_differences: dict[str, Any]


class ComparisonShape(BaseModel):
    sessions: list[dict[str, Any]]
    comparison_summary: ComparisonSummary


class Message(BaseModel):
    message: str


@router.get(
    "/compare",
    response_model=ComparisonShape,
    responses=problem_responses(400, 401, 404, 410, 422, 503),
)
async def compare_sessions(
    caller: Caller,
    quire: TheQuire,
    session_ids: Annotated[str, Query(description="a,b,c: two or more", max_length=20_000)],
) -> Response:
    """Several sessions side by side: statuses, models in common, how far the counters differ."""
    ids = [part.strip() for part in session_ids.split(",") if part.strip()]
    comparison = await quire.comparer.compare(caller, ids)
    shown = ("id", "name", "created_at", "status", "processing_stats", "tags")
    shapes = [session_shape(session) for session in comparison.sessions]
    return json_response(
        {
            "sessions": [
                {name: shape[name] for name in shown}
                | {"model_usage": shape["model_usage_history"]}
                for shape in shapes
            ],
            "comparison_summary": {
                "total_sessions": len(comparison.sessions),
                "status_distribution": comparison.statuses,
                "model_usage_overlap": {
                    "unique_llm_models": comparison.llm_models,
                    "unique_embedding_models": comparison.embedding_models,
                    "total_unique_models": len(comparison.llm_models)
                    + len(comparison.embedding_models),
                    "common_models": comparison.common_models,
                },
                "processing_differences": comparison.counters,
            },
        }
    )


@router.get(
    "/{session_id}/stats",
    response_model=SessionStats,
    responses=problem_responses(401, 403, 404, 410, 503),
)
async def get_stats(session_id: str, caller: Caller, quire: TheQuire) -> Response:
    """Counters, models used, and what the collection holds."""
    statistics = await quire.statistics.read(caller, session_id)
    session = statistics.session
    return json_response(
        {
            "session_id": session.id,
            "session_stats": session.processing_stats,
            "model_usage": session.model_usage,
            "collection_stats": statistics.collection,
            "session_age_days": statistics.age_days,
            "last_activity": session.last_activity_at,
            "collaboration_info": {
                "is_shared": bool(session.collaborators),
                "collaborator_count": len(session.collaborators),
            },
        }
    )


@router.put(
    "/{session_id}/stats",
    response_model=Message,
    responses=problem_responses(400, 401, 403, 404, 409, 410, 413, 422, 503),
)
async def add_to_stats(
    session_id: str, body: StatsUpdate, caller: Caller, quire: TheQuire
) -> Response:
    """Add to the counters, as pipelines do when they have done something."""
    counts = body.model_dump(exclude={"metadata"}, exclude_unset=True)
    await quire.statistics.add(caller, session_id, counts, body.metadata)
    return json_response({"message": "Session statistics updated successfully"})


@router.put(
    "/{session_id}/model-usage",
    response_model=Message,
    responses=problem_responses(401, 403, 404, 409, 410, 422, 503),
)
async def note_model_usage(
    session_id: str,
    caller: Caller,
    quire: TheQuire,
    model_type: Literal["llm", "embedding"],
    model_name: Annotated[str, Query(max_length=256)],
) -> Response:
    """Note that a model was used in the session."""
    await quire.statistics.note_model(caller, session_id, model_type, model_name)
    return json_response({"message": "Session model usage updated successfully"})
