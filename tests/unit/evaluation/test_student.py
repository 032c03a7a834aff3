"""Intervals of few groups and of few runs."""

from __future__ import annotations

import numpy as np
import pytest

from ftkit.evaluation import METRICS, bootstrap, mean_score, paired_against, paired_runs, score
from ftkit.evaluation.student import (
    Variation,
    group_variation,
    jackknife,
    run_variation,
    scores_without_groups,
    student_p_value,
)


def answered(groups: int, members: int, seed: int, mean: float = 0.7) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels, answers as probabilities and groups of which some are harder than others."""
    generator = np.random.default_rng(seed)
    ease = np.repeat(np.clip(generator.normal(mean, 0.12, groups), 0, 1), members)
    labels = generator.integers(2, size=ease.size)
    right = generator.random(ease.size) < ease
    return labels, np.eye(2)[np.where(right, labels, 1 - labels)], np.repeat(np.arange(groups), members)


def test_the_interval_of_six_groups_covers_where_the_bootstrap_is_too_narrow() -> None:
    covered: dict[str, list[bool]] = {"student": [], "cluster bootstrap": []}
    for seed in range(300):
        labels, table, groups = answered(6, 50, seed)
        for found in (score("accuracy", labels, table, groups), bootstrap("accuracy", labels, table, groups)):
            covered[found.method].append(found.low <= 0.7 <= found.high)
    assert 0.92 < np.mean(covered["student"]) <= 0.98
    assert np.mean(covered["cluster bootstrap"]) < 0.91


def test_twenty_groups_are_enough_for_the_bootstrap() -> None:
    assert score("accuracy", *answered(19, 10, seed=0)).method == "student"
    assert score("accuracy", *answered(20, 10, seed=0)).method == "cluster bootstrap"


def test_groups_of_equal_size_vary_as_their_means_do() -> None:
    labels, table, groups = answered(6, 50, seed=0)
    of_groups = [float((table.argmax(axis=1) == labels)[groups == group].mean()) for group in range(6)]
    (without,) = scores_without_groups(METRICS["accuracy"], labels, [table], groups)
    assert jackknife(without).variance == pytest.approx(run_variation(of_groups)[0].variance)
    assert jackknife(without).freedom == 5


@pytest.mark.parametrize("metric", list(METRICS))
def test_several_runs_widen_the_interval_by_how_they_differ(metric: str) -> None:
    labels, table, groups = answered(6, 50, seed=0)
    poor = np.eye(2)[np.random.default_rng(1).integers(2, size=labels.size)]
    alike, different = (mean_score(metric, labels, runs, groups) for runs in ([table, table], [table, poor]))
    assert alike.method == different.method == "student"
    assert alike.low < alike.value < alike.high
    assert different.high - different.low > alike.high - alike.low
    assert (alike.low, alike.high) == pytest.approx(
        (score(metric, labels, table, groups).low, score(metric, labels, table, groups).high)
    )


def trained(generator: np.random.Generator, ease: np.ndarray, luck: float, of_group: float) -> dict[int, np.ndarray]:
    """Five runs on sixty items a group, which differ by the luck of the seed, in each group, and by item."""
    runs = {}
    for seed in range(5):
        shares = 0.7 + ease + generator.normal(0, luck) + generator.normal(0, of_group, ease.size)
        right = generator.random(60 * ease.size) < np.clip(np.repeat(shares, 60), 0, 1)
        runs[seed] = np.eye(2)[np.where(right, 0, 1)]
    return runs


@pytest.mark.parametrize(
    ("hard", "luck", "of_group"), [(0.1, 0.03, 0.0), (0.02, 0.0, 0.1), (0.05, 0.03, 0.05), (0.0, 0.0, 0.0)]
)
def test_intervals_of_several_runs_and_few_groups_hold_the_truth_as_often_as_they_say(
    hard: float, luck: float, of_group: float
) -> None:
    """What runs answer by themselves counts once: counted with the groups as well, some would hold it always."""
    labels, groups = np.zeros(360, dtype=int), np.repeat(np.arange(6), 60)
    means, differences = [], []
    for seed in range(300):
        generator = np.random.default_rng([7, seed])
        ease = generator.normal(0, hard, 6)
        one, other = (trained(generator, ease, luck, of_group) for _ in range(2))
        found = mean_score("accuracy", labels, list(one.values()), groups)
        assert found.method == "student"
        means.append(found.low <= 0.7 <= found.high)
        paired = paired_runs("accuracy", labels, one, other, groups)
        differences.append(paired.low <= 0 <= paired.high)
    assert 0.92 < np.mean(means) < 0.985
    assert 0.92 < np.mean(differences) < 0.985


def test_runs_of_other_seeds_lose_what_either_side_answers_by_itself() -> None:
    generator = np.random.default_rng(3)
    one, other = (generator.normal(0.7, 0.05, (runs, 6)) for runs in (3, 5))
    both = jackknife(one.mean(axis=0) - other.mean(axis=0))
    own = [
        np.mean([jackknife(run - side.mean(axis=0)).variance for run in side]) / (len(side) - 1)
        for side in (one, other)
    ]
    found = group_variation([one, -other])
    assert found.freedom == 5
    assert found.variance == pytest.approx(max(0.0, max(0.0, both.variance - own[0]) - own[1]))


def test_all_right_in_every_group_leaves_an_interval() -> None:
    labels = np.zeros(60, dtype=int)
    found = score("accuracy", labels, np.eye(2)[labels], np.repeat(np.arange(6), 10))
    assert found.value == found.high == 1
    assert 0.5 < found.low < 0.7


def test_a_metric_that_needs_every_group_is_judged_by_the_bootstrap() -> None:
    labels, groups = np.repeat([0, 1], 20), np.repeat(["ana", "ben"], 20)  # without either, one class is left
    wrong = [0, 1, *range(5, 40, 5)]  # one more of ana's than of ben's
    table = np.eye(2)[np.where(np.isin(np.arange(40), wrong), 1 - labels, labels)]
    assert score("accuracy", labels, table, groups).method == "student"
    found = score("roc_auc", labels, table, groups)
    assert found.method == "bootstrap"  # of items: with both groups in it, every resample of groups is the whole
    assert found.low < found.value < found.high
    assert mean_score("roc_auc", labels, [table, table], groups).method == "hierarchical bootstrap"
    assert np.isfinite(paired_runs("roc_auc", labels, {0: table}, {0: 1 - table}, groups).p_value)


def test_the_same_difference_is_surer_the_more_groups_it_is_seen_in() -> None:
    def test_of(groups: int) -> float:
        labels, table, names = answered(groups, 600 // groups, seed=0, mean=0.85)
        poor = table.copy()
        worse = np.random.default_rng(0).random(labels.size) < 0.1
        poor[worse] = 1 - poor[worse]
        return paired_runs("accuracy", labels, {0: table}, {0: poor}, names).p_value

    assert test_of(3) > test_of(15)


def test_equally_good_models_seldom_differ_by_few_groups() -> None:
    found = []
    for seed in range(300):
        labels, table, groups = answered(6, 50, seed)
        other = answered(6, 50, seed)[1].copy()
        swapped = np.random.default_rng([seed, 1]).random(labels.size) < 0.3
        one = np.random.default_rng([seed, 2]).random(labels.size) < 0.5
        table[swapped & one] = 1 - table[swapped & one]
        other[swapped & ~one] = 1 - other[swapped & ~one]
        found.append(paired_runs("accuracy", labels, {0: table}, {0: other}, groups).p_value < 0.05)
    assert np.mean(found) < 0.08


def test_few_groups_correct_for_the_number_of_tests() -> None:
    labels, table, groups = answered(6, 50, seed=0)
    poor = np.eye(2)[1 - labels]
    alone = paired_against("good", "accuracy", labels, {"good": {0: table}, "poor": {0: poor}}, groups)
    three = {"good": {0: table}, "poor": {0: poor}, "worse": {0: poor}}
    among = paired_against("good", "accuracy", labels, three, groups)
    assert among["poor"].p_value == pytest.approx(2 * alone["poor"].p_value)
    assert alone["poor"].low < alone["poor"].difference < alone["poor"].high < 0


def test_what_does_not_vary_is_as_sure_as_tosses_that_agree() -> None:
    assert student_p_value(0.0, [Variation(0.0, 5)]) == 1
    assert student_p_value(0.3, [Variation(0.0, 5)]) == 2 / 2**6
    assert run_variation([0.5]) == []


def test_seeds_that_agree_by_chance_in_groups_that_do_leave_the_doubt_of_the_groups() -> None:
    """Two seeds of each method, of which each is right as often as the other, and on other groups."""
    right = {"one": [(8, 7), (7, 8)], "other": [(7, 6), (6, 7)]}
    labels, groups = np.zeros(20, dtype=int), np.repeat([0, 1], 10)
    answers = {
        name: {
            seed: np.eye(2)[np.concatenate([np.arange(10) >= count for count in counts]).astype(int)]
            for seed, counts in enumerate(by_group)
        }
        for name, by_group in right.items()
    }
    found = paired_runs("accuracy", labels, answers["one"], answers["other"], groups)
    assert found.difference == pytest.approx(0.1)
    assert found.low < 0.05
    assert found.high > 0.15
    assert found.p_value > 1e-3


def test_equal_seeds_that_are_right_as_often_in_every_group_leave_a_doubt() -> None:
    table = np.eye(2)[np.tile(np.arange(10) >= 8, 2).astype(int)]
    found = mean_score("accuracy", np.zeros(20, dtype=int), [table] * 3, np.repeat([0, 1], 10))
    assert found.value == pytest.approx(0.8)
    assert found.low < 0.7
    assert found.high > 0.85


def test_guesses_of_two_seeds_in_few_groups_are_never_sure() -> None:
    generator = np.random.default_rng(0)
    labels, groups = np.arange(120) % 2, np.repeat(np.arange(6), 20)
    for _ in range(200):
        one, other = ({seed: np.eye(2)[generator.integers(2, size=120)] for seed in range(2)} for _ in range(2))
        found = paired_runs("accuracy", labels, one, other, groups)
        assert found.p_value > 1e-6
        assert found.high - found.low > 0.01
