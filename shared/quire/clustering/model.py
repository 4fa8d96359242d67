"""What a clustering keeps, so that any point can be given to one of its clusters.

Everything happens along the principal axes of the points that the clusters were found in. The file
is an .npz of plain arrays; nothing in it is ever run.
"""

from __future__ import annotations

import io
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from quire.vectors.port import PointId

Numbers = npt.NDArray[np.float64]

NOISE = -1
NEIGHBOURS = 5
"""Of so many sampled points a point that was not sampled takes its place in a UMAP drawing."""

_SAME = 1e-4
_TINY = 1e-12


@dataclass(frozen=True, slots=True)
class Assigned:
    """For each point its label, and how surely and how near; its place in the drawing."""

    labels: npt.NDArray[np.int64]
    probabilities: Numbers
    distances: Numbers | None
    places: Numbers | None


@dataclass(frozen=True, kw_only=True)
class ClusterModel:
    """Centres, axes and limits. Arrays of the sample have one row for each of its points."""

    unit: bool
    """Whether only a vector's direction counts."""
    scale: float
    mean: npt.NDArray[Any]
    axes: npt.NDArray[Any]
    centres: npt.NDArray[Any]
    near: npt.NDArray[Any]
    """For each cluster, within what distance a point belongs to it surely."""
    far: npt.NDArray[Any]
    """For each cluster, beyond what distance a point is noise; infinite where nothing is."""
    variance: float
    """Of a cluster along one axis, where clusters share all points among them; else 0."""
    sample_ids: npt.NDArray[Any]
    sample_labels: npt.NDArray[Any]
    sample_probabilities: npt.NDArray[Any]
    sample_distances: npt.NDArray[Any]
    sample_places: npt.NDArray[Any]
    """Of a drawing that does not follow from the axes; empty otherwise."""
    sample_reduced: npt.NDArray[Any]
    """The sample along the axes, where such a drawing needs it; empty otherwise."""

    def dumped(self) -> bytes:
        file = io.BytesIO()
        values = {field.name: np.asarray(getattr(self, field.name)) for field in fields(self)}
        np.savez_compressed(file, allow_pickle=False, **values)
        return file.getvalue()

    @classmethod
    def loaded(cls, content: bytes) -> ClusterModel:
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            values = {field.name: file[field.name] for field in fields(cls)}
        for name in ("unit", "scale", "variance"):
            values[name] = values[name].item()
        return cls(**values)

    def assigned(self, ids: list[PointId], vectors: Numbers, *, drawn: bool) -> Assigned:
        """Give points to clusters: sampled ones to those they were found in, others to the nearest.

        A sampled point whose vector has been replaced meanwhile counts as another.
        """
        reduced = self.reduced(vectors)
        places = self._places(reduced) if drawn else None
        if not len(self.centres):
            count = len(ids)
            return Assigned(np.full(count, NOISE), np.zeros(count), None, places)
        apart = distances_between(reduced, self.centres)
        labels = apart.argmin(axis=1)
        nearest = apart[np.arange(len(labels)), labels]
        probabilities = self._probabilities(apart, labels, nearest)
        labels = np.where(nearest > self.far[labels], NOISE, labels)
        for row, identity in enumerate(ids):
            known = self._rows.get(str(identity).encode())
            if known is None:
                continue
            label = int(self.sample_labels[known])
            distance = nearest[row] if label == NOISE else apart[row, label]
            if abs(distance - self.sample_distances[known]) <= _SAME * (1 + distance):
                labels[row], nearest[row] = label, distance
                probabilities[row] = self.sample_probabilities[known]
        probabilities[labels == NOISE] = 0.0
        return Assigned(labels.astype(np.int64), probabilities, nearest, places)

    def reduced(self, vectors: Numbers) -> Numbers:
        """Vectors along the axes."""
        projected: Numbers = (normalised(vectors, self.unit, self.scale) - self.mean) @ self.axes.T
        return projected

    @cached_property
    def _rows(self) -> dict[bytes, int]:
        return {identity: row for row, identity in enumerate(self.sample_ids.tolist())}

    def _probabilities(
        self, apart: Numbers, labels: npt.NDArray[np.intp], nearest: Numbers
    ) -> Numbers:
        rows = np.arange(len(labels))
        if self.variance > 0:
            return shares(apart, self.variance)[rows, labels]
        span = np.maximum(self.far[labels] - self.near[labels], _TINY)
        beyond: Numbers = (nearest - self.near[labels]) / span
        return np.clip(1 - beyond, 0.0, 1.0)

    def _places(self, reduced: Numbers) -> Numbers:
        if not len(self.sample_places):
            flat = np.zeros((len(reduced), 2))
            flat[:, : reduced.shape[1]] = reduced[:, :2]
            return flat
        apart = distances_between(reduced, self.sample_reduced)
        count = min(NEIGHBOURS, apart.shape[1])
        close = np.argpartition(apart, count - 1, axis=1)[:, :count]
        weights = 1 / np.maximum(np.take_along_axis(apart, close, axis=1), _TINY)
        weights /= weights.sum(axis=1, keepdims=True)
        placed: Numbers = (self.sample_places[close] * weights[:, :, None]).sum(axis=1)
        return placed


def normalised(vectors: Numbers, unit: bool, scale: float) -> Numbers:
    """Vectors of length one, where only their direction counts; otherwise of a common scale."""
    if not unit:
        return vectors / scale
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(lengths > 0, lengths, 1.0)


def distances_between(points: npt.NDArray[Any], others: npt.NDArray[Any]) -> Numbers:
    """The Euclidean distance of each of the points to each of the others."""
    points, others = points.astype(np.float64), others.astype(np.float64)
    squares = (points**2).sum(axis=1)[:, None] + (others**2).sum(axis=1) - 2 * points @ others.T
    apart: Numbers = np.sqrt(np.maximum(squares, 0.0))
    return apart


def shares(apart: Numbers, variance: float) -> Numbers:
    """How surely each cluster has a point: as of round clusters that are all alike."""
    weights = -(apart**2) / (2 * variance)
    weights = np.exp(weights - weights.max(axis=1, keepdims=True))
    share: Numbers = weights / weights.sum(axis=1, keepdims=True)
    return share
