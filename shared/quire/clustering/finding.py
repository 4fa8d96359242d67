"""Finding clusters in a sample of vectors: runs in a process of its own, and loads scikit-learn."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.cluster import HDBSCAN, MiniBatchKMeans
from sklearn.decomposition import PCA
from sklearn.metrics import silhouette_score

from quire.clustering.model import NOISE, ClusterModel, distances_between, normalised, shares

Array = npt.NDArray[Any]

AXES = 32
"""HDBSCAN slows down with every dimension; the vectors of texts have little beyond so many."""
OUTERMOST = 0.99
MARGIN = 1.2
"""A cluster reaches so much farther than nearly all of the points that it was found in."""
DENSITY_POINTS = 10
SMALLEST = 5
TRIED = (2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 25, 32, 40, 50)
TRIED_ON = 5_000
JUDGED = 2_000
"""Points that numbers of clusters are judged by; judging is quadratic."""
BATCH = 1_024


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be found, and in what."""

    algorithm: str
    clusters: int | None
    min_cluster_size: int | None
    seed: int
    coordinates: str
    unit: bool
    total: int
    """Points there are; the sample may be fewer."""


@dataclass(frozen=True, slots=True)
class Found:
    """The model, and of each cluster how sure and how near its sampled points are on average."""

    model: ClusterModel
    probabilities: Sequence[float]
    spreads: Sequence[float]


def find(order: Order, ids: Array, sample: Array, more: Iterator[Array]) -> Found:
    """Cluster the sample. `more` are the other vectors, in batches, for what learns from all."""
    scale = _scale(sample, order.unit)
    points = normalised(sample.astype(np.float64), order.unit, scale).astype(np.float32)
    size = min(AXES, *points.shape)
    pca = PCA(size, random_state=order.seed).fit(points)
    mean, axes = pca.mean_.astype(np.float64), pca.components_.astype(np.float64)
    reduced = ((points - mean) @ axes.T).astype(np.float32)
    del points
    if order.algorithm == "kmeans":

        def others() -> Iterator[Array]:
            for batch in more:
                yield (
                    (normalised(batch.astype(np.float64), order.unit, scale) - mean) @ axes.T
                ).astype(np.float32)

        labels, probabilities, centres, variance = _by_means(order, reduced, others())
    else:
        labels, probabilities = _by_density(order, reduced)
        centres, variance = _centres(reduced, labels), 0.0
    distances = _distances(reduced, labels, centres)
    near, far = _reach(labels, distances, len(centres), bounded=order.algorithm != "kmeans")
    is_placed = order.coordinates == "umap"
    nothing = np.zeros((0, 2), np.float32)
    model = ClusterModel(
        unit=order.unit,
        scale=scale,
        mean=mean,
        axes=axes,
        centres=centres,
        near=near,
        far=far,
        variance=variance,
        sample_ids=ids,
        sample_labels=labels,
        sample_probabilities=probabilities,
        sample_distances=distances,
        sample_places=_umap(reduced, order.seed) if is_placed else nothing,
        sample_reduced=reduced if is_placed else nothing,
    )
    members = [labels == label for label in range(len(centres))]
    return Found(
        model,
        [float(probabilities[those].mean()) if those.any() else 0.0 for those in members],
        [float(distances[those].mean()) if those.any() else 0.0 for those in members],
    )


def _scale(sample: Array, unit: bool) -> float:
    """So that no square of a coordinate is too large for a float, however long vectors are."""
    if unit:
        return 1.0
    length = float(np.sqrt((sample.astype(np.float64) ** 2).sum(axis=1).mean()))
    return length if length > 0 else 1.0


def _by_density(order: Order, reduced: Array) -> tuple[Array, Array]:
    size = order.min_cluster_size
    if size is None:
        size = max(SMALLEST, math.isqrt(order.total) // 2)
    # It counts points of the session, of which the sample has only a part.
    size = max(2, min(math.ceil(size * len(reduced) / order.total), len(reduced)))
    found = HDBSCAN(min_cluster_size=size, min_samples=min(size, DENSITY_POINTS), copy=True).fit(
        reduced
    )
    return _by_size(found.labels_), np.nan_to_num(found.probabilities_)


def _by_means(
    order: Order, reduced: Array, others: Iterator[Array]
) -> tuple[Array, Array, Array, float]:
    count = order.clusters or _best_count(reduced, order.seed)
    means = _means(count, order.seed).fit(reduced)
    for batch in others:
        means.partial_fit(batch)
    apart = distances_between(reduced, means.cluster_centers_)
    nearest = apart.argmin(axis=1)
    # A centre that nothing is nearest to is no cluster.
    order_of = np.argsort(-np.bincount(nearest, minlength=count), kind="stable")
    kept = order_of[: len(np.unique(nearest))]
    apart = apart[:, kept]
    labels = apart.argmin(axis=1)
    own = apart[np.arange(len(labels)), labels]
    variance = max(float((own**2).mean()) / reduced.shape[1], 1e-12)
    probabilities = shares(apart, variance)[np.arange(len(labels)), labels]
    return labels, probabilities, means.cluster_centers_[kept].astype(np.float64), variance


def _means(count: int, seed: int, *, attempts: int = 3) -> MiniBatchKMeans:
    return MiniBatchKMeans(count, random_state=seed, n_init=attempts, batch_size=BATCH)


def _best_count(reduced: Array, seed: int) -> int:
    """The number of clusters that sets points apart best, of those that are tried."""
    tried_on = reduced[np.random.default_rng(seed).permutation(len(reduced))[:TRIED_ON]]
    judged = tried_on[:JUDGED]
    best, best_score = 2, -1.0
    for count in TRIED:
        if count * 2 > len(tried_on):
            break
        labels = _means(count, seed, attempts=1).fit(tried_on).predict(judged)
        if not 1 < len(np.unique(labels)) < len(judged):
            continue
        score = float(silhouette_score(judged, labels))
        if score > best_score:
            best, best_score = count, score
    return best


def _by_size(labels: Array) -> Array:
    """The same clusters, the largest of them called 0."""
    count = int(labels.max(initial=NOISE)) + 1
    sizes = np.bincount(labels[labels >= 0], minlength=count)
    names = np.empty(count, np.int64)
    names[np.argsort(-sizes, kind="stable")] = np.arange(count)
    renamed = np.full(len(labels), NOISE)
    renamed[labels >= 0] = names[labels[labels >= 0]]
    return renamed


def _centres(reduced: Array, labels: Array) -> Array:
    count = int(labels.max(initial=NOISE)) + 1
    centres = [reduced[labels == label].mean(axis=0, dtype=np.float64) for label in range(count)]
    return np.array(centres).reshape(count, reduced.shape[1])


def _distances(reduced: Array, labels: Array, centres: Array) -> Array:
    """Of each point to its cluster's centre; of noise to the nearest."""
    if not len(centres):
        return np.zeros(len(reduced))
    apart = distances_between(reduced, centres)
    return np.where(labels == NOISE, apart.min(axis=1), apart[np.arange(len(labels)), labels])


def _reach(labels: Array, distances: Array, count: int, *, bounded: bool) -> tuple[Array, Array]:
    near, far = np.zeros(count), np.full(count, np.inf)
    for label in range(count if bounded else 0):
        own = distances[labels == label]
        near[label], outer = np.quantile(own, (0.5, OUTERMOST))
        far[label] = MARGIN * outer
    return near, far


def _umap(reduced: Array, seed: int) -> Array:
    from umap import UMAP  # noqa: PLC0415 - an extra, and slow to load

    neighbours = min(15, len(reduced) - 1)
    # Of few points no spectrum can be taken.
    start = "spectral" if len(reduced) > 4 * neighbours else "random"
    places = UMAP(
        n_components=2, n_neighbors=neighbours, init=start, random_state=seed, n_jobs=1
    ).fit_transform(reduced)
    return np.nan_to_num(np.asarray(places, np.float32))
