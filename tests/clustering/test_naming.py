"""What clusters are called."""

from __future__ import annotations

import numpy as np

from quire.clustering.naming import NOISE_NAME, named


def names_of(*groups: list[str], noise: list[str] | None = None) -> list[str]:
    texts = [text for group in groups for text in group] + (noise or [])
    labels = [label for label, group in enumerate(groups) for _ in group]
    labels += [-1] * len(noise or [])
    return [name for name, _ in named(lambda: texts, np.array(labels))]


def test_a_cluster_is_called_by_the_words_that_set_it_apart() -> None:
    names = names_of(
        ["der Hund und die Katze im Garten", "die Katze und der Hund im Haus"] * 3,
        ["die Rechnung und der Betrag im Brief", "der Brief und die Rechnung im Amt"] * 3,
    )
    # what stands everywhere is in no name, though nobody said what German's stop words are
    assert names == ["hund, katze, garten", "rechnung, brief, betrag"]


def test_forms_of_a_word_are_one_and_stop_words_none() -> None:
    (name, _) = names_of(["the invoices and an invoice for taxes"] * 3, ["wrens sing"] * 3)
    assert name == "invoices, taxes"


def test_names_are_unique() -> None:
    names = names_of(["red apple"] * 3, ["red apple"] * 3, [""] * 3, [NOISE_NAME] * 3)
    assert len(set(names)) == 4
    assert names[2] == "cluster 2"
    assert NOISE_NAME not in names


def test_a_single_cluster_is_told_from_the_noise() -> None:
    assert names_of(["a red apple"] * 4, noise=["a red car", "a red door"] * 3) == ["apple"]
    assert names_of(["a red apple"] * 4) == ["red, apple"]


def test_numbers_letters_and_endless_words_name_nothing() -> None:
    texts = [f"2024 x {'a' * 100} harbour"] * 3
    assert names_of(texts, ["meadow"] * 3) == ["harbour", "meadow"]
