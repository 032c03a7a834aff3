from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest

from ftkit.errors import DataError
from ftkit.evaluation import (
    METRICS,
    bootstrap,
    mean_score,
    run_variation,
    score,
    score_by_group,
    student_interval,
    wilson,
)


def answers(correct: np.ndarray, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return labels of two classes and probabilities that are right exactly where `correct` is true."""
    labels = np.random.default_rng(seed).integers(2, size=correct.size)
    return labels, 0.2 + 0.6 * np.eye(2)[np.where(correct, labels, 1 - labels)]


@pytest.mark.parametrize(("correct", "n"), [(0, 5), (1, 1), (7, 10), (81, 263), (991, 1000), (500, 500)])
@pytest.mark.parametrize("confidence", [0.8, 0.95])
def test_wilson_equals_the_interval_of_scipy(correct: int, n: int, confidence: float) -> None:
    expected = binomtest(correct, n).proportion_ci(confidence, method="wilson")
    interval = wilson(correct, n, confidence)
    assert (interval.low, interval.high) == pytest.approx((expected.low, expected.high), abs=1e-12)
    assert 0 <= interval.low <= interval.value <= interval.high <= 1


def test_wilson_known_value() -> None:
    # Newcombe, Two-sided confidence intervals for the single proportion (1998), table I.
    interval = wilson(81, 263)
    assert (round(interval.low, 4), round(interval.high, 4)) == (0.2553, 0.3662)


@pytest.mark.parametrize("share", [0.5, 0.85, 0.97])
def test_wilson_holds_the_true_share_as_often_as_it_says(share: float) -> None:
    drawn = np.random.default_rng(0).binomial(200, share, size=2000)
    held = [wilson(int(correct), 200) for correct in drawn]
    assert np.mean([interval.low <= share <= interval.high for interval in held]) == pytest.approx(0.95, abs=0.02)


@pytest.mark.parametrize(("correct", "n", "confidence"), [(-1, 5, 0.95), (6, 5, 0.95), (0, 0, 0.95), (1, 2, 95)])
def test_wilson_refuses_what_is_not_possible(correct: int, n: int, confidence: float) -> None:
    with pytest.raises(DataError):
        wilson(correct, n, confidence)


@pytest.mark.parametrize("metric", list(METRICS))
def test_bootstrap_is_the_same_for_the_same_seed_only(metric: str) -> None:
    labels, probabilities = answers(np.random.default_rng(3).random(300) < 0.8)
    probabilities = probabilities + np.random.default_rng(4).normal(scale=0.01, size=probabilities.shape)
    first, again, other = (bootstrap(metric, labels, probabilities, seed=seed) for seed in (7, 7, 8))
    assert first == again
    assert (first.low, first.high) != (other.low, other.high)
    assert first.low < first.value < first.high


def test_bootstrap_of_accuracy_agrees_with_wilson() -> None:
    labels, probabilities = answers(np.arange(1000) < 850)
    by_resampling, by_formula = bootstrap("accuracy", labels, probabilities, resamples=4000), wilson(850, 1000)
    assert by_resampling.low == pytest.approx(by_formula.low, abs=0.004)
    assert by_resampling.high == pytest.approx(by_formula.high, abs=0.004)


def test_blocks_of_resamples_do_not_change_the_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    labels, probabilities = answers(np.arange(200) < 150)
    whole = bootstrap("accuracy", labels, probabilities)
    monkeypatch.setattr("ftkit.evaluation.intervals._COUNTS_PER_BLOCK", 30_000)
    assert bootstrap("accuracy", labels, probabilities) == whole


def clustered(groups: int = 30, members: int = 20, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return answers that go right or wrong mostly together in each group, with a true accuracy of 0.7."""
    generator = np.random.default_rng(seed)
    ease = np.repeat(generator.beta(1.4, 0.6, size=groups), members)
    labels, probabilities = answers(generator.random(ease.size) < ease, seed)
    return labels, probabilities, np.repeat([f"film {index}" for index in range(groups)], members)


def test_cluster_interval_is_wider_where_items_of_a_group_resemble_each_other() -> None:
    labels, probabilities, groups = clustered()
    items, whole_groups = score("accuracy", labels, probabilities), score("accuracy", labels, probabilities, groups)
    assert (items.method, whole_groups.method) == ("wilson", "cluster bootstrap")
    assert items.value == whole_groups.value
    assert whole_groups.high - whole_groups.low > 1.5 * (items.high - items.low)


def test_cluster_interval_covers_where_the_item_interval_does_not() -> None:
    covered: dict[str, list[bool]] = {"wilson": [], "cluster bootstrap": []}
    for seed in range(200):
        labels, probabilities, groups = clustered(seed=seed)
        for given in (None, groups):
            found = score("accuracy", labels, probabilities, given)
            covered[found.method].append(found.low <= 0.7 <= found.high)
    assert np.mean(covered["cluster bootstrap"]) > 0.88
    assert np.mean(covered["wilson"]) < 0.7


def test_groups_of_one_item_give_the_item_interval() -> None:
    labels, probabilities = answers(np.arange(100) < 80)
    names = [f"{index:03}" for index in range(100)]
    items, single = bootstrap("accuracy", labels, probabilities), bootstrap("accuracy", labels, probabilities, names)
    assert (items.low, items.high) == (single.low, single.high)


def test_one_group_is_refused_by_the_bootstrap_and_told_by_score() -> None:
    labels, probabilities = answers(np.arange(10) < 8)
    with pytest.raises(DataError, match="'only'"):
        bootstrap("accuracy", labels, probabilities, ["only"] * 10)
    assert score("accuracy", labels, probabilities, ["only"] * 10).method == "wilson"
    assert score("macro_f1", labels, probabilities, ["only"] * 10).method == "bootstrap"


@pytest.mark.parametrize("metric", list(METRICS))
@pytest.mark.parametrize("classes", [2, 10])
def test_the_score_of_guesses_in_groups_lies_within_an_interval_that_holds_chance(metric: str, classes: int) -> None:
    generator = np.random.default_rng(0)
    labels, probabilities = generator.integers(classes, size=1500), generator.random((1500, classes))
    found = score(metric, labels, probabilities, generator.integers(60, size=1500))
    assert found.method == "cluster bootstrap"
    assert found.low < found.value < found.high
    assert found.low < (0.5 if metric == "roc_auc" else 1 / classes) < found.high


def test_mean_score_is_the_mean_over_runs_and_of_one_run_its_score() -> None:
    correct = np.random.default_rng(0).random((3, 400)) < 0.8
    labels = answers(correct[0])[0]
    runs = [answers(one)[1] for one in correct]
    singles = [score("balanced_accuracy", labels, run) for run in runs]
    together = mean_score("balanced_accuracy", labels, runs)
    assert together.value == pytest.approx(np.mean([single.value for single in singles]))
    assert together.method == "hierarchical bootstrap"
    assert mean_score("balanced_accuracy", labels, runs[:1]) == singles[0]


def test_mean_score_of_equal_runs_is_that_of_one() -> None:
    labels, probabilities, groups = clustered()
    together, single = (
        mean_score("macro_f1", labels, [probabilities] * 3, groups),
        bootstrap("macro_f1", labels, probabilities, groups),
    )
    assert (together.value, together.low, together.high) == pytest.approx((single.value, single.low, single.high))


def test_the_interval_of_a_mean_holds_the_spread_of_seeds_too() -> None:
    generator = np.random.default_rng(0)
    labels = np.arange(2000) % 2
    luck = [0.6, 0.7, 0.8, 0.9, 0.75]  # seeds that differ by far more than 2,000 items explain
    runs = [np.eye(2)[np.where(generator.random(2000) < share, labels, 1 - labels)] * 0.8 + 0.1 for share in luck]
    found = mean_score("accuracy", labels, runs)
    half = student_interval(0, run_variation(luck))[1]  # five seeds tell less of their spread than their own shows
    assert (found.high - found.low) / 2 == pytest.approx(half, rel=0.15)


# Mean of 1 - 2 (1 - s)^2, the chance that half the sum of two uniform numbers is below s, over s from N(0.75, 0.05).
TRUE_MEAN = 1 - 2 * (0.25**2 + 0.05**2)


def test_such_intervals_hold_the_true_mean_as_often_as_they_say() -> None:
    """Items and seeds both vary; over many experiments the interval holds the mean over all of both."""
    generator = np.random.default_rng(1)
    held = []
    for _ in range(150):
        labels = np.arange(200) % 2
        hard = generator.random(200)  # some items are harder for every seed
        shares = generator.normal(0.75, 0.05, size=8)
        runs = [
            np.eye(2)[np.where(hard * 0.5 + generator.random(200) * 0.5 < share, labels, 1 - labels)] * 0.8 + 0.1
            for share in shares
        ]
        found = mean_score("accuracy", labels, runs)
        held.append(found.low <= TRUE_MEAN <= found.high)
    assert 0.9 < np.mean(held) < 0.99


def test_what_each_run_answers_by_itself_is_counted_once() -> None:
    """Where runs differ by nothing else, their mean is known as well as so many more answers make it."""
    generator = np.random.default_rng(2)
    values, halves = [], []
    for _ in range(100):
        tables = [answers(generator.random(400) < 0.75) for _ in range(5)]
        found = mean_score("accuracy", tables[0][0], [table for _, table in tables])
        values.append(found.value)
        halves.append((found.high - found.low) / 2)
    needed = 1.96 * np.sqrt(0.75 * 0.25 / 2000)
    assert 1.96 * np.std(values) == pytest.approx(needed, rel=0.2)
    assert (
        needed < np.mean(halves) < 1.6 * needed
    )  # five runs tell little of their spread: Student's is 1.4 times normal


def test_many_groups_that_score_alike_by_chance_leave_the_doubt_of_their_items() -> None:
    labels, groups = [0, 1] * 100, np.repeat(np.arange(20), 10)
    table = (SURE * 4 + [SURE[0], SURE[0]]) * 20  # one mistake in each group
    for found in (score("accuracy", labels, table, groups), mean_score("accuracy", labels, [table] * 2, groups)):
        assert (found.value, found.low) == (0.9, pytest.approx(wilson(180, 200).low, abs=0.01))


def test_score_by_group_is_wilson_of_each_group() -> None:
    labels, probabilities = answers(np.array([True] * 9 + [False] + [True] * 5))
    found = score_by_group(labels, probabilities, ["b"] * 10 + ["a"] * 5)
    assert found == {"a": wilson(5, 5), "b": wilson(9, 10)}
    assert list(found) == ["a", "b"]


def test_groups_of_another_length_are_refused() -> None:
    labels, probabilities = answers(np.arange(10) < 8)
    for refuse in (
        lambda: score("accuracy", labels, probabilities, ["a", "b"]),
        lambda: score_by_group(labels, probabilities, ["a", "b"]),
    ):
        with pytest.raises(DataError, match=r"\(2,\)"):
            refuse()


SURE = [[0.9, 0.1], [0.1, 0.9]]


@pytest.mark.parametrize("metric", ["accuracy", "balanced_accuracy", "roc_auc"])
def test_few_right_answers_may_be_luck_though_no_resample_has_a_wrong_one(metric: str):
    labels, table = [0, 1] * 5, SURE * 5
    found = [bootstrap(metric, labels, table), mean_score(metric, labels, [table] * 3)]
    assert [(each.value, each.low, each.high) for each in found] == [(1.0, wilson(10, 10).low, 1.0)] * 2
    wrong = bootstrap("accuracy", labels, SURE[::-1] * 5)
    assert (wrong.value, wrong.low, wrong.high) == (0.0, 0.0, wilson(0, 10).high)


def test_where_groups_are_drawn_as_many_as_there_are_may_be_luck():
    labels, table, groups = [0, 1] * 5, SURE * 5, ["a", "b"] * 5
    assert score("accuracy", labels, table, groups).low == wilson(2, 2).low
    assert mean_score("accuracy", labels, [table] * 3, groups).low == wilson(2, 2).low


def test_what_cannot_vary_is_a_point():
    """One answer to everything has a balanced accuracy of one half on any items."""
    always = [[0.9, 0.1]] * 20
    found = [
        bootstrap("balanced_accuracy", [0, 1] * 10, always),
        mean_score("balanced_accuracy", [0, 1] * 10, [always] * 2),
    ]
    assert [(each.value, each.low, each.high) for each in found] == [(0.5, 0.5, 0.5)] * 2


def test_few_groups_that_score_alike_by_chance_leave_the_doubt_of_their_items():
    labels, groups = [0, 1] * 30, np.repeat(["a", "b", "c"], 20)
    table = (SURE * 9 + [SURE[0], SURE[0]]) * 3  # one mistake in each group
    found = score("accuracy", labels, table, groups)
    assert (found.value, found.low, found.high) == (57 / 60, wilson(57, 60).low, wilson(57, 60).high)
    several = mean_score("accuracy", labels, [table, table], groups)
    assert several.low < 57 / 60 < several.high


def test_one_answer_to_everything_is_a_point_in_groups_that_are_mixed_alike():
    always = score("accuracy", [0, 1] * 30, [[0.9, 0.1]] * 60, np.repeat(["a", "b", "c"], 20))
    assert (always.low, always.value, always.high) == (0.5, 0.5, 0.5)


def test_a_resample_that_lacks_a_rare_class_does_not_score_the_other_alone():
    """The rare one is never right: no resample may come to the score of the easy one, whatever it holds."""
    labels = np.repeat([0, 1], [119, 1])
    probabilities = np.tile([0.8, 0.2], (120, 1))
    probabilities[:6] = [0.2, 0.8]
    found = score("balanced_accuracy", labels, probabilities)
    assert found.value == pytest.approx(113 / 119 / 2)
    assert 0.4 < found.low < found.high < 0.52


def test_a_class_in_one_of_few_groups_leaves_no_group_out():
    generator = np.random.default_rng(0)
    groups = np.repeat(np.arange(6), 20)
    labels = np.where((groups == 5) & (np.arange(120) % 4 == 0), 1, 0)
    correct = generator.random(120) < np.where(labels, 0.4, 0.9)
    found = score("balanced_accuracy", labels, 0.2 + 0.6 * np.eye(2)[np.where(correct, labels, 1 - labels)], groups)
    assert found.method == "cluster bootstrap"
    assert 0 < found.low < found.value < found.high < 0.9
