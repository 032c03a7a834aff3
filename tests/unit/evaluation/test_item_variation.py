from __future__ import annotations

import numpy as np
import pytest

from ftkit.errors import DataError
from ftkit.evaluation import bootstrap, item_variation


def right_and_tables(labels: np.ndarray, share: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Which items are answered rightly, and the answers as probabilities."""
    right = np.random.default_rng(seed).random(labels.size) < share
    return right, np.eye(labels.max() + 1)[np.where(right, labels, (labels + 1) % (labels.max() + 1))]


def test_an_accuracy_varies_as_a_share_does() -> None:
    right = np.arange(200) < 150
    assert item_variation(right, np.ones(200)).variance == pytest.approx(0.75 * 0.25 / 199)
    assert item_variation(right, np.ones(200)).freedom == 199


def test_a_balanced_accuracy_varies_as_the_bootstrap_says() -> None:
    labels = np.array([0] * 300 + [1] * 40)
    right, table = right_and_tables(labels, 0.8)
    found = item_variation(right, np.ones(labels.size), strata=labels)
    drawn = bootstrap("balanced_accuracy", labels, table, resamples=4000)
    assert found.variance**0.5 == pytest.approx((drawn.high - drawn.low) / 3.92, rel=0.1)


def test_groups_vary_as_the_bootstrap_of_groups_says() -> None:
    groups = np.repeat(np.arange(60), 10)
    labels = np.arange(600) % 2
    of_group = np.random.default_rng(1).random(60) < 0.7
    right = of_group[groups] | (np.random.default_rng(2).random(600) < 0.2)
    table = np.eye(2)[np.where(right, labels, 1 - labels)]
    found = item_variation(right, np.ones(600), groups=groups)
    drawn = bootstrap("accuracy", labels, table, groups, resamples=4000)
    assert found.variance**0.5 == pytest.approx((drawn.high - drawn.low) / 3.92, rel=0.1)
    assert found.variance > 4 * item_variation(right, np.ones(600)).variance
    assert found.freedom == 59


def test_a_share_of_words_varies_by_sentence() -> None:
    generator = np.random.default_rng(3)
    said = generator.integers(5, 12, 400)
    wrong = generator.binomial(said, 0.3)
    draws = generator.integers(400, size=(4000, 400))
    rates = wrong[draws].sum(axis=1) / said[draws].sum(axis=1)
    assert item_variation(wrong, said).variance ** 0.5 == pytest.approx(rates.std(), rel=0.1)


def test_items_that_do_not_differ_leave_a_difference_without_variation() -> None:
    assert item_variation(np.zeros(10), np.ones(10)).variance == 0


def test_a_single_group_is_taken_as_none() -> None:
    right = np.arange(50) < 20
    assert item_variation(right, np.ones(50), groups=["a"] * 50) == item_variation(right, np.ones(50))


@pytest.mark.parametrize(
    ("parts", "sizes", "message"),
    [([1, 0], [1], r"shapes \(2,\), \(1,\)"), ([1], [1], "two items at least"), ([1, 0], [1, 0], "a size is 0")],
)
def test_what_is_no_share_is_refused(parts: list[int], sizes: list[int], message: str) -> None:
    with pytest.raises(DataError, match=message):
        item_variation(parts, sizes)
