"""What to tell a model before it answers."""

from __future__ import annotations

from fastapi import APIRouter, Response

from quire_api.authentication import Caller
from quire_api.http import TheQuire, json_response
from quire_api.message_shapes import AssembleContext, ContextShape, context_shape
from quire_api.problems import problem_responses

router = APIRouter(tags=["messages"])


@router.post(
    "/sessions/{session_id}/context",
    response_model=ContextShape,
    responses=problem_responses(400, 401, 404, 409, 410, 413, 422, 503),
)
async def assemble_context(
    session_id: str, body: AssembleContext, caller: Caller, quire: TheQuire
) -> Response:
    """Recent turns and retrieved passages with citations, never more than the budget of tokens."""
    context = await quire.activity.context.assemble(caller, session_id, body.request())
    return json_response(context_shape(context))
