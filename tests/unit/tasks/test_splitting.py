from __future__ import annotations

import numpy as np
import pytest

from ftkit.errors import DataError
from ftkit.tasks.splitting import split_by_group, split_by_stratum, stratified_draw


def test_strata_have_the_same_share_in_every_part() -> None:
    strata = np.repeat(["a", "b", "c"], [100, 50, 10])
    parts = split_by_stratum(strata, [0.6, 0.2, 0.2])
    assert [[int((strata[part] == name).sum()) for name in "abc"] for part in parts] == [
        [60, 30, 6],
        [20, 10, 2],
        [20, 10, 2],
    ]
    assert sorted(np.concatenate(parts)) == list(range(160))


def test_a_stratum_of_three_is_in_all_three_parts() -> None:
    parts = split_by_stratum(np.array([0] * 97 + [1] * 3), [0.8, 0.1, 0.1])
    assert [int((part >= 97).sum()) for part in parts] == [1, 1, 1]


def test_group_split_covers_everything_and_shares_nothing() -> None:
    generator = np.random.default_rng(1)
    groups = np.repeat([f"film {n}" for n in range(80)], generator.integers(1, 30, 80))
    labels = generator.integers(0, 2, len(groups))
    parts = split_by_group(labels, groups, [0.7, 0.1, 0.2])
    assert sorted(np.concatenate(parts)) == list(range(len(groups)))
    for first in range(3):
        for second in range(first):
            assert not set(groups[parts[first]]) & set(groups[parts[second]])
    assert [len(part) / len(groups) for part in parts] == pytest.approx([0.7, 0.1, 0.2], abs=0.02)
    assert [labels[part].mean() for part in parts] == pytest.approx([labels.mean()] * 3, abs=0.03)


def test_fewer_groups_than_parts_is_an_error() -> None:
    with pytest.raises(DataError, match="2 groups for 3 splits"):
        split_by_group(np.array([0, 1, 0, 1]), np.array(["a", "a", "b", "b"]), [0.6, 0.2, 0.2])


def test_draw_keeps_class_shares_and_spreads_over_groups() -> None:
    labels = np.tile([0, 0, 0, 1], 100)
    groups = np.repeat([f"speaker {n}" for n in range(20)], 20)
    chosen = stratified_draw(labels, 80, groups)
    assert np.bincount(labels[chosen]).tolist() == [60, 20]
    assert np.unique(groups[chosen], return_counts=True)[1].tolist() == [4] * 20


def test_larger_draw_holds_the_smaller_one() -> None:
    labels = np.tile([0, 1], 200)
    assert set(stratified_draw(labels, 40, seed=3)) < set(stratified_draw(labels, 80, seed=3))


def test_draw_of_more_than_there_is_is_an_error() -> None:
    with pytest.raises(DataError, match="Cannot draw 5 of 4 items"):
        stratified_draw(np.array([0, 1, 0, 1]), 5)
