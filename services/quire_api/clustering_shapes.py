"""The JSON of clusterings, in and out."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt

from quire.clustering.clustering import Clustered
from quire.clustering.requests import Algorithm, ClusterRequest, Coordinates
from quire_api.point_shapes import Filter
from quire_api.shapes import Input

CLUSTERS: dict[str, Any] = {
    "session_id": "spring-archive",
    "job_id": "1f0c5d5e-8f0e-4a58-a0a0-2b1f0f0c9a11",
    "algorithm": "hdbscan",
    "field": "cluster",
    "coordinates": "pca",
    "seed": 0,
    "clusters": [
        {
            "label": 0,
            "name": "invoice, payment, tax",
            "terms": ["invoice", "payment", "tax", "due"],
            "size": 812,
            "probability": 0.8858,
            "spread": 0.227193,
        }
    ],
    "noise": 61,
    "stale": 12,
    "points_count": 873,
    "is_current": True,
    "created_at": "2026-11-23T09:30:00Z",
}
PLACE: dict[str, Any] = {"id": 7, "x": 0.654143, "y": -0.151057, "cluster": 0}
NOTED: dict[str, Any] = {
    "message": "Incremental clustering triggered successfully",
    "session_id": "spring-archive",
    "new_content_count": 3,
    "total_content_analyzed": 120,
    "job_id": "1f0c5d5e-8f0e-4a58-a0a0-2b1f0f0c9a11",
}


class ClusterSession(Input):
    """How to cluster: HDBSCAN finds how many clusters there are, k-means makes as many as asked."""

    model_config = ConfigDict(
        json_schema_extra={"example": {"algorithm": "hdbscan", "coordinates": "pca"}}
    )

    algorithm: Algorithm = Algorithm.HDBSCAN
    clusters: StrictInt | None = Field(
        None, ge=2, le=1_000, description="for kmeans; unset: as many as set points apart best"
    )
    min_cluster_size: StrictInt | None = Field(
        None,
        ge=2,
        description="for hdbscan: points of the smallest cluster; unset: by their number",
    )
    field: str = Field("cluster", description="the payload field that labels are written to")
    seed: StrictInt = Field(0, ge=0, le=2**32 - 1, description="the same seed, the same clusters")
    filter: Filter = None
    coordinates: Coordinates = Field(Coordinates.NONE, description="to be kept, for drawing")
    incremental: StrictBool = Field(
        False, description="alone: only give points without a label to the clusters that are there"
    )

    def request(self) -> ClusterRequest:
        return ClusterRequest(**self.model_dump())


class ClusterShape(BaseModel):
    label: int
    name: str
    terms: list[str] = Field(description="the words that set its texts apart, best first")
    size: int = Field(description="points that have the label now")
    probability: float = Field(description="how surely its points belong to it, on average")
    spread: float = Field(description="how far they are from its centre, on average")


class ClustersShape(BaseModel):
    """A session's last clustering."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": CLUSTERS})

    session_id: str
    job_id: str = Field(description="the job that found the clusters")
    algorithm: Algorithm
    field: str
    coordinates: Coordinates
    seed: int
    clusters: list[ClusterShape] = Field(description="the largest first, when they were found")
    noise: int = Field(description="points that belong to no cluster: their label is -1")
    stale: int = Field(description="points without a label: they came later, or have no vector")
    points_count: int = Field(description="points with a label")
    is_current: bool = Field(description="false once the session was embedded anew")
    created_at: datetime


class PlaceShape(BaseModel):
    """A point in the drawing."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": PLACE})

    id: int | str
    x: float
    y: float
    cluster: int


class ClusteringNoted(BaseModel):
    """The original service's answer, and the job that does it."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": NOTED})

    message: Literal["Incremental clustering triggered successfully"]
    session_id: str
    new_content_count: int
    total_content_analyzed: int
    job_id: str | None = Field(None, description="absent where there are too few points to cluster")


def clusters_shape(found: Clustered) -> dict[str, Any]:
    row = found.row
    return {
        "session_id": row.session_id,
        "job_id": row.job_id,
        "algorithm": row.request.algorithm,
        "field": row.request.field,
        "coordinates": row.request.coordinates,
        "seed": row.request.seed,
        "clusters": row.clusters,
        "noise": found.noise,
        "stale": found.stale,
        "points_count": sum(cluster.size for cluster in row.clusters) + found.noise,
        "is_current": found.is_current,
        "created_at": row.created_at,
    }
