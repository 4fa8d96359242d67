"""Retention: the policy, and carrying it out now."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from quire.access.policy import require_operator
from quire.sessions.lifecycle import Action
from quire.sessions.retention_policy import RetentionPolicy
from quire_api.authentication import Caller
from quire_api.http import TheQuire, json_response
from quire_api.problems import problem_responses
from quire_api.shapes import Input

router = APIRouter(prefix="/sessions", tags=["retention"])

MOST_LISTED = 1_000

Days = Annotated[int, Field(ge=1, le=36_500)]


class RetentionPolicyShape(Input):
    """What happens to sessions that nobody uses; null switches a rule off."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "max_age_days": None,
                "max_sessions_per_user": 500,
                "auto_archive_inactive_days": 30,
                "auto_delete_archived_days": 90,
            }
        }
    )

    max_age_days: Days | None = None
    max_sessions_per_user: Annotated[int, Field(ge=1, le=36_500)] | None = None
    auto_archive_inactive_days: Days | None = 30
    auto_delete_archived_days: Days | None = 90


class PolicyInForce(BaseModel):
    retention_policy: RetentionPolicyShape
    description: str


class PolicyChanged(BaseModel):
    message: str
    new_policy: RetentionPolicyShape


class CleanupDone(BaseModel):
    message: str
    cleanup_stats: dict[str, int]
    policy_applied: RetentionPolicyShape
    dry_run: bool
    actions: list[dict[str, Any]] = Field(description="the first thousand, each with its reason")


@router.post(
    "/cleanup",
    response_model=CleanupDone,
    responses=problem_responses(400, 401, 403, 422, 503),
)
async def cleanup(
    caller: Caller,
    quire: TheQuire,
    body: RetentionPolicyShape | None = None,
    dry_run: Annotated[bool, Query(description="only tell what would happen, and why")] = False,
) -> Response:
    """Carry out a retention policy now: the one given, or the one in force."""
    require_operator(caller)
    policy = (
        RetentionPolicy(**body.model_dump()) if body is not None else await quire.policies.get()
    )
    sweep = await quire.retention.sweep(policy, dry_run=dry_run)
    done = "would be done" if dry_run else "completed successfully"
    return json_response(
        {
            "message": f"Session cleanup {done}",
            "cleanup_stats": {
                "archived_count": sweep.count(Action.ARCHIVE),
                "deleted_count": sweep.count(Action.DELETE, Action.PURGE),
                "processed_count": sweep.processed,
                "purged_count": sweep.count(Action.PURGE),
            },
            "policy_applied": asdict(policy),
            "dry_run": dry_run,
            "actions": [
                {
                    "session_id": verdict.session_id,
                    "name": verdict.name,
                    "action": verdict.action.value,
                    "reason": verdict.reason,
                }
                for verdict in sweep.verdicts[:MOST_LISTED]
            ],
        }
    )


@router.get(
    "/retention-policy", response_model=PolicyInForce, responses=problem_responses(401, 503)
)
async def get_policy(caller: Caller, quire: TheQuire) -> Response:
    """The retention policy in force."""
    policy = await quire.policies.get()
    return json_response(
        {
            "retention_policy": asdict(policy),
            "description": "Current retention policy settings",
        }
    )


@router.put(
    "/retention-policy",
    response_model=PolicyChanged,
    responses=problem_responses(400, 401, 403, 422, 503),
)
async def put_policy(body: RetentionPolicyShape, caller: Caller, quire: TheQuire) -> Response:
    """Change the policy for everyone; the next sweep obeys it."""
    require_operator(caller)
    policy = RetentionPolicy(**body.model_dump())
    await quire.policies.put(policy)
    return json_response(
        {"message": "Retention policy updated successfully", "new_policy": asdict(policy)}
    )
