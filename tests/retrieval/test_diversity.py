"""Diversity: near-duplicates go down, and nothing else moves without a reason."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from quire.retrieval.diversity import diversify


def rows(*vectors: tuple[float, ...]) -> NDArray[np.float32]:
    return np.array(vectors, dtype=np.float32)


RANDOM = np.random.default_rng(3).normal(size=(40, 8)).astype(np.float32)
SCORES = [1 - n / 40 for n in range(40)]


def test_without_diversity_the_order_stays() -> None:
    assert diversify(SCORES, RANDOM, 10, 0) == list(range(10))


def test_a_duplicate_of_the_best_goes_behind_what_is_new() -> None:
    vectors = rows((1, 0), (2, 0), (0, 1))

    assert diversify([0.9, 0.89, 0.7], vectors, 3, 0.5) == [0, 2, 1]
    assert diversify([0.9, 0.89, 0.1], vectors, 3, 0.1) == [0, 1, 2]


def test_small_scores_of_fusion_count_as_much_as_large_ones() -> None:
    vectors = rows((1, 0), (1, 0), (0, 1), (1, 1))
    scores = np.array([0.9, 0.89, 0.7, 0.2])

    assert diversify(list(scores / 100), vectors, 4, 0.4) == diversify(
        list(scores), vectors, 4, 0.4
    )


def test_distances_of_which_the_least_is_best_give_the_same_order() -> None:
    distances = [1 - score for score in SCORES]

    assert diversify(distances, RANDOM, 40, 0.3) == diversify(SCORES, RANDOM, 40, 0.3)


def test_a_candidate_without_a_vector_is_unlike_all_others() -> None:
    vectors = rows((1, 0), (1, 0), (0, 0), (0, 0))

    assert diversify([0.9, 0.8, 0.7, 0.6], vectors, 4, 0.5) == [0, 2, 3, 1]


def test_equal_candidates_keep_their_order() -> None:
    vectors = np.repeat(RANDOM[:1], 6, axis=0)

    assert diversify([0.5] * 6, vectors, 6, 0.7) == list(range(6))
    assert diversify([0.5] * 6, vectors, 6, 1) == list(range(6))


@pytest.mark.parametrize("diversity", [0.2, 0.5, 1.0])
def test_the_choice_is_the_one_that_the_definition_makes(diversity: float) -> None:
    units = RANDOM / np.linalg.norm(RANDOM, axis=1, keepdims=True)
    relevance = (np.array(SCORES) - SCORES[-1]) / (SCORES[0] - SCORES[-1])
    chosen = [0]
    while len(chosen) < 12:
        worth = {
            n: (1 - diversity) * relevance[n]
            - diversity * max(0.0, max(float(units[n] @ units[m]) for m in chosen))
            for n in range(40)
            if n not in chosen
        }
        chosen.append(max(worth, key=lambda n: (round(worth[n], 5), -n)))

    assert diversify(SCORES, RANDOM, 12, diversity) == chosen


@pytest.mark.parametrize(("count", "limit"), [(0, 5), (1, 5), (3, 5), (3, 0)])
def test_no_more_than_there_are_and_none_twice(count: int, limit: int) -> None:
    chosen = diversify(SCORES[:count], RANDOM[:count], limit, 0.5)

    assert sorted(chosen) == list(range(min(count, limit)))
