"""Lineage: where a session comes from, and what came of it."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Header, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from quire.transfer.lineage import Descent
from quire.transfer.lineage_graph import Edge, Graph, Node
from quire.transfer.mermaid import drawn
from quire_api.authentication import Caller
from quire_api.http import TheQuire, json_response
from quire_api.problems import problem_responses

router = APIRouter(prefix="/sessions/{session_id}", tags=["transfer"])

MERMAID = "text/vnd.mermaid"
DRAWING: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "the graph; with `format=mermaid`, or asked for by `Accept`, as a diagram",
        "content": {MERMAID: {"schema": {"type": "string"}}},
    }
}


class NodeShape(BaseModel):
    """A session. One that you may not see, or that is gone, has neither id nor name."""

    key: str = Field(description="what edges call it: its id, or `:` and a number")
    id: str | None
    name: str | None
    status: Literal["active", "archived", "shared", "deleted", "hidden", "gone", "outside"]
    points: int | None
    chunks: int | None
    created_at: datetime | None


class EdgeShape(BaseModel):
    """One session's part in another; where an end is hidden or gone, not how large it was."""

    parent: str = Field(alias="from")
    child: str = Field(alias="to")
    kind: Descent
    points: int | None
    documents: int | None
    at: datetime
    job_id: str | None
    undone: bool


class LineageShape(BaseModel):
    """The graph around a session."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "session_id": "spring-archive",
                "nodes": [
                    {
                        "key": "spring-archive",
                        "id": "spring-archive",
                        "name": "Spring",
                        "status": "active",
                        "points": 120,
                        "chunks": 120,
                        "created_at": "2026-11-20T09:30:00Z",
                    },
                    {
                        "key": ":1",
                        "id": None,
                        "name": None,
                        "status": "gone",
                        "points": None,
                        "chunks": None,
                        "created_at": None,
                    },
                ],
                "edges": [
                    {
                        "from": ":1",
                        "to": "spring-archive",
                        "kind": "forked_from",
                        "points": None,
                        "documents": None,
                        "at": "2026-11-20T09:30:00Z",
                        "job_id": None,
                        "undone": False,
                    }
                ],
                "truncated": False,
            }
        }
    )

    session_id: str
    nodes: list[NodeShape]
    edges: list[EdgeShape] = Field(description="from what was there before to what came of it")
    truncated: bool = Field(description="whether there is more, further off than `depth` or many")


@router.get(
    "/lineage",
    response_model=LineageShape,
    responses={**DRAWING, **problem_responses(401, 404, 410, 422, 503)},
)
async def get_lineage(
    session_id: str,
    caller: Caller,
    quire: TheQuire,
    depth: Annotated[int, Query(ge=1, le=50, description="how many steps away")] = 10,
    format: Annotated[Literal["json", "mermaid"] | None, Query()] = None,
    accept: Annotated[str | None, Header()] = None,
) -> Response:
    """Where the session comes from and what came of it, as far as you may see it."""
    graph = await quire.history.lineage.around(caller, session_id, depth=depth)
    if format == "mermaid" or (format is None and _wants_drawing(accept)):
        return Response(drawn(graph), media_type=MERMAID, headers={"Vary": "Accept"})
    return json_response(_graph_shape(graph), headers={"Vary": "Accept"})


def _wants_drawing(accept: str | None) -> bool:
    kinds = [kind.partition(";")[0].strip().lower() for kind in (accept or "").split(",")]
    return kinds[0] in (MERMAID, "text/plain")


def _graph_shape(graph: Graph) -> dict[str, Any]:
    return {
        "session_id": graph.session_id,
        "nodes": [_node_shape(node) for node in graph.nodes],
        "edges": [_edge_shape(edge) for edge in graph.edges],
        "truncated": graph.is_cut,
    }


def _node_shape(node: Node) -> dict[str, Any]:
    session = node.session
    return {
        "key": node.key,
        "id": session and session.id,
        "name": session.name if session is not None else node.name,
        "status": node.status,
        "points": session and session.points_count,
        "chunks": session and session.chunks_count,
        "created_at": session and session.created_at,
    }


def _edge_shape(edge: Edge) -> dict[str, Any]:
    line = edge.line
    return {
        "from": edge.parent,
        "to": edge.child,
        "kind": edge.kind.value,
        "points": line and line.points,
        "documents": line and line.documents,
        "at": edge.at,
        "job_id": line and line.job_id,
        "undone": edge.is_undone,
    }
