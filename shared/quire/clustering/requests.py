"""What callers ask of a clustering, checked before anything is done."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from importlib.util import find_spec
from typing import Any

from quire.errors import InvalidInput
from quire.points.filters import parse_filter
from quire.points.requests import OF_CHUNKS, TEXT
from quire.vectors.port import (
    STAGE,
    AllOf,
    AnyOf,
    Condition,
    DatetimeRange,
    Match,
    Missing,
    NoneOf,
    Range,
)

MIN_POINTS = 10
"""Fewer points with a vector make no clusters worth the name."""

MAX_CLUSTERS = 1_000
SMALLEST_CLUSTER = 2
MAX_SEED = 2**32 - 1

_FIELD = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}")


class Algorithm(StrEnum):
    HDBSCAN = "hdbscan"
    KMEANS = "kmeans"


class Coordinates(StrEnum):
    """Where the points of a drawing come from."""

    NONE = "none"
    PCA = "pca"
    UMAP = "umap"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterRequest:
    """A clustering of a session's points, or of those that a filter selects."""

    algorithm: Algorithm = Algorithm.HDBSCAN
    clusters: int | None = None
    """How many k-means makes; None: as many as set the points apart best."""
    min_cluster_size: int | None = None
    """Points of the session that HDBSCAN takes for a cluster at least; None: by their number."""
    field: str = "cluster"
    """Where labels are written; names and numbers go to `<field>_name` and so on."""
    seed: int = 0
    filter: Any = None
    coordinates: Coordinates = Coordinates.NONE
    incremental: bool = False
    """Only give points that have no label to the clusters that are there."""

    def checked(self) -> ClusterRequest:
        """The same, or an error that names the field that cannot be."""
        if self.incremental and replace(self, incremental=False) != ClusterRequest():
            raise InvalidInput(
                "incremental goes by the clustering that is there; give it alone",
                field="incremental",
            )
        is_kmeans = self.algorithm is Algorithm.KMEANS
        if self.clusters is not None and not is_kmeans:
            raise InvalidInput("clusters is for kmeans; hdbscan finds how many", field="clusters")
        if self.min_cluster_size is not None and is_kmeans:
            raise InvalidInput("min_cluster_size is for hdbscan", field="min_cluster_size")
        if self.clusters is not None and not 2 <= self.clusters <= MAX_CLUSTERS:
            raise InvalidInput(f"clusters is from 2 to {MAX_CLUSTERS}", field="clusters")
        if self.min_cluster_size is not None and self.min_cluster_size < SMALLEST_CLUSTER:
            raise InvalidInput(
                f"min_cluster_size is at least {SMALLEST_CLUSTER}", field="min_cluster_size"
            )
        if not 0 <= self.seed <= MAX_SEED:
            raise InvalidInput(f"seed is from 0 to {MAX_SEED}", field="seed")
        reserved = {*OF_CHUNKS, TEXT, STAGE}
        if _FIELD.fullmatch(self.field) is None or reserved.intersection(Fields(self.field).all):
            raise InvalidInput(
                "field is a name of letters, digits, _ and -, at most 64, that no chunk has "
                f"already ({', '.join(sorted(reserved))})",
                field="field",
            )
        if self.coordinates is Coordinates.UMAP and find_spec("umap") is None:
            raise InvalidInput(
                "UMAP is not installed here; coordinates are none or pca",
                field="coordinates",
                recovery="Ask for pca, or have the operator install quire[umap].",
            )
        if named := Fields(self.field).all.intersection(_keys(self.condition())):
            raise InvalidInput(
                f"filter asks for {', '.join(sorted(named))}, which this clustering writes",
                field="filter",
                recovery="Give another `field` for the labels, then the filter may stay.",
            )
        return self

    def condition(self) -> Condition | None:
        """Which points are clustered; None: all."""
        return parse_filter(self.filter)

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> ClusterRequest:
        kinds = {
            "algorithm": Algorithm(told["algorithm"]),
            "coordinates": Coordinates(told["coordinates"]),
        }
        return cls(**{**told, **kinds})

    @classmethod
    def configured(cls, params: Mapping[str, Any]) -> ClusterRequest:
        """What a session's `clustering_params` say, as far as it is understood and valid."""
        known = {
            name: params[name]
            for name in ("algorithm", "clusters", "min_cluster_size", "seed")
            if name in params
        }
        try:
            if not all(type(value) is int for name, value in known.items() if name != "algorithm"):
                return cls()
            if "algorithm" in known:
                known["algorithm"] = Algorithm(known["algorithm"])
            return cls(**known).checked()
        except (ValueError, InvalidInput):
            return cls()


def _keys(condition: Condition | None) -> Iterator[str]:
    match condition:
        case AllOf(conditions) | AnyOf(conditions) | NoneOf(conditions):
            for inner in conditions:
                yield from _keys(inner)
        case Match(key=key) | Range(key=key) | DatetimeRange(key=key) | Missing(key=key):
            yield key


@dataclass(frozen=True, slots=True)
class Fields:
    """The payload fields that a clustering writes."""

    label: str

    @property
    def name(self) -> str:
        return f"{self.label}_name"

    @property
    def probability(self) -> str:
        return f"{self.label}_probability"

    @property
    def distance(self) -> str:
        return f"{self.label}_distance"

    @property
    def x(self) -> str:
        return f"{self.label}_x"

    @property
    def y(self) -> str:
        return f"{self.label}_y"

    @property
    def all(self) -> frozenset[str]:
        return frozenset({self.label, self.name, self.probability, self.distance, self.x, self.y})
