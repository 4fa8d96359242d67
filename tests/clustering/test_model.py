"""What a clustering keeps: whole in its file, and right about points that it has never seen."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, replace
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from quire.clustering.finding import Found, Order, find
from quire.clustering.model import NOISE, ClusterModel

WIDTH = 40


@pytest.fixture(autouse=True)
def _in_one_thread() -> Iterator[None]:
    """As in the process that finds clusters."""
    with threadpool_limits(1):
        yield


def vectors(subject: int, count: int, *, seed: int = 0, scale: float = 1.0) -> np.ndarray[Any, Any]:
    chance = np.random.default_rng([seed, subject])
    return scale * (8 * np.eye(WIDTH)[subject] + chance.normal(size=(count, WIDTH)))


def found_in(sample: np.ndarray[Any, Any], *more: np.ndarray[Any, Any], **asked: Any) -> Found:
    order = {
        "algorithm": "hdbscan",
        "clusters": None,
        "min_cluster_size": None,
        "seed": 1,
        "coordinates": "pca",
        "unit": False,
        "total": len(sample) + sum(map(len, more)),
    }
    ids = np.array([str(n).encode() for n in range(len(sample))])
    others: Iterator[Any] = iter([block.astype(np.float32) for block in more])
    return find(Order(**{**order, **asked}), ids, sample.astype(np.float32), others)


SAMPLE = np.concatenate([vectors(subject, 60) for subject in range(3)])


def test_a_model_is_the_same_from_its_file() -> None:
    model = found_in(SAMPLE).model
    again = ClusterModel.loaded(model.dumped())
    for field in fields(ClusterModel):
        assert np.array_equal(getattr(model, field.name), getattr(again, field.name)), field.name


@pytest.mark.parametrize("asked", [{}, {"algorithm": "kmeans", "clusters": 3}, {"unit": True}])
@pytest.mark.parametrize("scale", [1.0, 1e-20, 1e18])
def test_new_points_go_where_they_belong(asked: dict[str, Any], scale: float) -> None:
    # given clusters of vectors of any length
    model = found_in(SAMPLE * scale, **asked).model
    # when points come that were not in the sample
    new = np.concatenate([vectors(subject, 20, seed=7, scale=scale) for subject in range(3)])
    assigned = model.assigned([f"new {n}" for n in range(60)], new, drawn=True)
    # then those about the same are together, and no number is strange
    own = model.assigned(list(range(0, 180, 60)), SAMPLE[::60] * scale, drawn=False).labels
    for subject in range(3):
        labels = assigned.labels[20 * subject : 20 * subject + 20]
        assert (labels == own[subject]).mean() >= 0.9
        assert set(labels.tolist()) <= {int(own[subject]), NOISE}
    assert assigned.distances is not None
    assert assigned.places is not None
    assert np.isfinite(assigned.distances).all()
    assert assigned.places.shape == (60, 2)
    assert ((assigned.probabilities >= 0) & (assigned.probabilities <= 1)).all()


def test_a_sampled_point_keeps_its_label_unless_its_vector_was_replaced() -> None:
    # given a point of the sample that was found to be noise
    odd = 8 * np.eye(WIDTH)[30:31] - 5
    model = found_in(np.concatenate([SAMPLE, odd])).model
    number = len(SAMPLE)
    assert model.assigned([number], odd, drawn=False).labels[0] == NOISE
    # when the point of that id is another
    replaced = model.assigned([number], vectors(1, 1, seed=5), drawn=False)
    # then it counts as one that was never seen
    assert replaced.labels[0] == model.assigned([60], SAMPLE[60:61], drawn=False).labels[0]


def test_what_is_alike_throughout_is_no_error() -> None:
    same = np.ones((50, WIDTH))
    for asked in ({}, {"algorithm": "kmeans", "clusters": 4}, {"algorithm": "kmeans"}):
        model = found_in(same, **asked).model
        assigned = model.assigned(["a", "b"], np.ones((2, WIDTH)), drawn=True)
        assert assigned.places is not None
        assert np.isfinite(assigned.places).all()
        assert np.isfinite(assigned.probabilities).all()


def test_where_nothing_is_dense_all_is_noise() -> None:
    scattered = np.random.default_rng(0).normal(size=(40, WIDTH)) * np.arange(1, 41)[:, None] ** 3
    model = found_in(scattered, min_cluster_size=15).model
    assert not len(model.centres)
    assigned = model.assigned([3, "b"], scattered[:2], drawn=False)
    assert assigned.labels.tolist() == [NOISE, NOISE]
    assert assigned.distances is None


def test_means_learn_from_points_that_are_not_in_the_sample() -> None:
    # given a sample in which one subject is hardly there
    few = np.concatenate([vectors(0, 60), vectors(1, 60), vectors(2, 2)])
    others = [vectors(2, 200, seed=n) for n in range(1, 6)]
    alone, all_of_them = (
        found_in(few, *more, algorithm="kmeans", clusters=3).model for more in ([], others)
    )

    def spread(model: ClusterModel) -> float:
        distances = model.assigned([f"n{n}" for n in range(200)], others[0], drawn=False).distances
        assert distances is not None
        return float(distances.mean())

    assert spread(all_of_them) < spread(alone)


def test_the_same_seed_finds_the_same_and_as_many_as_there_are() -> None:
    one, two = (found_in(SAMPLE, algorithm="kmeans").model for _ in range(2))
    assert one.dumped() == two.dumped()
    assert len(one.centres) == 3


def test_a_drawing_that_follows_from_no_axes_places_new_points_among_their_neighbours() -> None:
    # given a drawing in which each cluster has a corner of its own
    model = found_in(SAMPLE).model
    corners = np.array([[0.0, 0.0], [100.0, 0.0], [0.0, 100.0]])
    places = np.repeat(corners, 60, axis=0)
    drawn = replace(model, sample_places=places, sample_reduced=model.reduced(SAMPLE))
    # when new points come, then each is in the corner of its kind
    for subject, corner in enumerate(corners):
        new = vectors(subject, 10, seed=8)
        assigned = drawn.assigned([f"n{n}" for n in range(10)], new, drawn=True)
        assert assigned.places is not None
        assert np.allclose(assigned.places, corner)


@pytest.mark.soak
@pytest.mark.filterwarnings("ignore")  # what it lacks, and what a seed costs
@pytest.mark.skipif(find_spec("umap") is None, reason="umap-learn is not installed")
def test_umap_draws_clusters_apart() -> None:
    model = found_in(SAMPLE, coordinates="umap").model
    middles = model.sample_places.reshape(3, 60, 2).mean(axis=1)
    widths = model.sample_places.reshape(3, 60, 2).std(axis=1).max()
    for one, other in ((0, 1), (1, 2), (0, 2)):
        assert np.linalg.norm(middles[one] - middles[other]) > 2 * widths
