from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import ArrayLike

from ftkit.errors import DataError
from ftkit.evaluation import PairedTest, holm, mcnemar, paired_against, paired_bootstrap, paired_runs


def predictions(right_a: np.ndarray, right_b: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    labels = np.arange(right_a.size) % 2
    return labels, np.where(right_a, labels, 1 - labels), np.where(right_b, labels, 1 - labels)


def counted(both: int, only_a: int, only_b: int, neither: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    right_a = np.repeat([True, True, False, False], [both, only_a, only_b, neither])
    right_b = np.repeat([True, False, True, False], [both, only_a, only_b, neither])
    return predictions(right_a, right_b)


def test_mcnemar_known_values() -> None:
    test = mcnemar(*counted(80, 9, 1, 10))
    # 2 * (C(10, 0) + C(10, 1)) / 2**10
    assert test.p_value == pytest.approx(22 / 1024)
    assert test.difference == pytest.approx(0.08)
    assert (test.n, test.n_discordant) == (100, 10)


def test_mcnemar_interval_is_that_of_bonett_and_price() -> None:
    test = mcnemar(*counted(36, 10, 4, 0))
    share_a, share_b = 11 / 52, 5 / 52
    half = 1.959964 * np.sqrt((share_a + share_b - (share_a - share_b) ** 2) / 52)
    assert (test.low, test.high) == pytest.approx((share_a - share_b - half, share_a - share_b + half))


def test_mcnemar_of_equal_predictions_finds_nothing() -> None:
    test = mcnemar(*counted(30, 0, 0, 10))
    assert (test.difference, test.p_value, test.n_discordant) == (0, 1, 0)
    assert test.low < 0 < test.high


def test_mcnemar_of_exchanged_models_changes_only_the_sign() -> None:
    labels, a, b = counted(50, 12, 5, 33)
    one, other = mcnemar(labels, a, b), mcnemar(labels, b, a)
    assert (one.difference, one.low, one.high) == pytest.approx((-other.difference, -other.high, -other.low))
    assert one.p_value == other.p_value


def test_mcnemar_keeps_its_false_alarms_below_one_in_twenty() -> None:
    generator = np.random.default_rng(0)
    tests = [mcnemar(*predictions(*(generator.random((2, 150)) < 0.8))) for _ in range(500)]
    assert np.mean([test.p_value < 0.05 for test in tests]) < 0.06
    assert np.mean([test.low <= 0 <= test.high for test in tests]) == pytest.approx(0.95, abs=0.03)


def test_mcnemar_refuses_predictions_of_other_items() -> None:
    with pytest.raises(DataError, match="3 predictions b"):
        mcnemar([0, 1], [0, 1], [0, 1, 1])


def test_paired_bootstrap_of_accuracy_agrees_with_mcnemar() -> None:
    labels, a, b = counted(700, 90, 50, 160)
    exact, resampled = mcnemar(labels, a, b), paired_bootstrap("accuracy", labels, np.eye(2)[a], np.eye(2)[b])
    assert resampled.difference == pytest.approx(exact.difference)
    assert (resampled.low, resampled.high) == pytest.approx((exact.low, exact.high), abs=0.005)
    assert resampled.n_discordant == exact.n_discordant == 140
    assert resampled.p_value < 0.01
    assert exact.p_value < 0.01


def test_paired_interval_is_narrower_than_that_of_unpaired_models() -> None:
    labels, a, b = counted(780, 20, 10, 190)
    paired = paired_bootstrap("accuracy", labels, np.eye(2)[a], np.eye(2)[b])
    assert paired.high - paired.low < 0.5 * (2 * 1.96 * np.sqrt(2 * 0.8 * 0.2 / 1000))


def test_paired_bootstrap_over_groups_is_wider_where_groups_decide() -> None:
    right_b = np.repeat(np.random.default_rng(0).random(40) < 0.8, 25)
    labels, a, b = predictions(np.ones(1000, dtype=bool), right_b)
    groups = np.repeat(np.arange(40), 25)
    items = paired_bootstrap("macro_f1", labels, np.eye(2)[a], np.eye(2)[b])
    whole_groups = paired_bootstrap("macro_f1", labels, np.eye(2)[a], np.eye(2)[b], groups)
    assert whole_groups.high - whole_groups.low > 2 * (items.high - items.low)
    assert items == paired_bootstrap("macro_f1", labels, np.eye(2)[a], np.eye(2)[b])


def test_paired_bootstrap_of_equal_models_finds_nothing() -> None:
    labels, a, _ = counted(50, 10, 5, 35)
    test = paired_bootstrap("roc_auc", labels, np.eye(2)[a], np.eye(2)[a])
    assert (test.difference, test.p_value, test.n_discordant) == (0, 1, 0)


def test_nan_is_refused() -> None:
    good, bad = np.full((4, 2), 0.5), np.full((4, 2), np.nan)
    with pytest.raises(DataError, match="NaN"):
        paired_bootstrap("accuracy", [0, 1, 0, 1], good, bad)


def sure(labels: np.ndarray, right: np.ndarray) -> np.ndarray:
    return np.eye(2)[np.where(right, labels, 1 - labels)] * 0.8 + 0.1


def by_seed(tables: Iterable[ArrayLike]) -> dict[int, ArrayLike]:
    return dict(enumerate(tables))


def test_one_seed_each_is_the_paired_bootstrap() -> None:
    generator = np.random.default_rng(0)
    labels = np.arange(300) % 2
    one, other = (sure(labels, generator.random(300) < share) for share in (0.8, 0.7))
    assert paired_runs("accuracy", labels, {0: one}, {0: other}) == paired_bootstrap("accuracy", labels, one, other)


def test_a_difference_that_only_a_lucky_seed_makes_is_not_one() -> None:
    generator = np.random.default_rng(0)
    labels = np.arange(1000) % 2
    one = by_seed(sure(labels, generator.random(1000) < share) for share in (0.95, 0.7, 0.7))
    other = by_seed(sure(labels, generator.random(1000) < share) for share in (0.7, 0.72, 0.7))
    assert paired_bootstrap("accuracy", labels, one[0], other[0]).p_value < 0.01
    assert paired_runs("accuracy", labels, one, other).p_value > 0.05


def test_a_difference_of_all_seeds_is_found() -> None:
    generator = np.random.default_rng(0)
    labels = np.arange(1000) % 2
    one, other = (
        by_seed(sure(labels, generator.random(1000) < share + shift) for shift in (-0.01, 0.0, 0.01, 0.0, 0.0))
        for share in (0.85, 0.75)
    )
    test = paired_runs("accuracy", labels, one, other)
    assert test.p_value < 0.01
    assert test.low < 0.1 < test.high
    assert 200 < test.n_discordant < 500


def test_what_an_easy_seed_gives_to_both_is_no_difference() -> None:
    generator = np.random.default_rng(0)
    labels, luck = np.arange(1000) % 2, generator.random((5, 1000))
    shares = (0.6, 0.7, 0.8, 0.9, 0.75)
    one, other = (
        {
            seed: sure(labels, chance < share + gain)
            for seed, (chance, share) in enumerate(zip(luck, shares, strict=True))
        }
        for gain in (0.02, 0.0)
    )
    together = paired_runs("accuracy", labels, one, other)
    apart = paired_runs("accuracy", labels, one, {seed + 5: table for seed, table in other.items()})
    assert together.difference == pytest.approx(apart.difference)
    assert 0 < together.low < together.high < 0.04
    assert apart.low < -0.1 < 0.1 < apart.high
    backwards = dict(reversed(other.items()))
    assert paired_runs("accuracy", labels, one, backwards) == together


def test_equally_good_methods_seldom_differ_over_five_seeds() -> None:
    generator = np.random.default_rng(0)
    labels = np.arange(200) % 2
    found = []
    for _ in range(200):
        hard = generator.random(200)
        one, other = (
            by_seed(
                sure(labels, 0.5 * (hard + generator.random(200)) < share) for share in generator.normal(0.6, 0.06, 5)
            )
            for _ in range(2)
        )
        found.append(paired_runs("accuracy", labels, one, other, resamples=400).p_value < 0.05)
    assert np.mean(found) < 0.08


def test_an_interval_is_no_wider_than_the_difference_varies() -> None:
    """Methods whose seeds differ by their own answers alone."""
    generator = np.random.default_rng(0)
    labels = np.arange(400) % 2
    tests = []
    for _ in range(100):
        one, other = (by_seed(sure(labels, generator.random(400) < 0.75) for _ in range(5)) for _ in range(2))
        tests.append(paired_runs("accuracy", labels, one, other, resamples=400))
    needed = 1.96 * np.std([test.difference for test in tests])
    assert 0.9 * needed < np.mean([test.high - test.low for test in tests]) / 2 < 1.6 * needed
    assert 0.89 < np.mean([test.low <= 0 <= test.high for test in tests]) <= 1


@pytest.mark.parametrize("seeds", [2, 3, 5])
@pytest.mark.parametrize("groups", [None, np.repeat(np.arange(6), 20), np.repeat(np.arange(30), 4)])
def test_interval_and_p_value_of_several_seeds_never_contradict_each_other(
    seeds: int, groups: np.ndarray | None
) -> None:
    generator = np.random.default_rng(0)
    labels = np.arange(120) % 2
    decided = []
    for _ in range(60):
        one, other = (
            by_seed(sure(labels, generator.random(120) < share) for share in generator.normal(mean, 0.03, seeds))
            for mean in (0.75, 0.65)
        )
        test = paired_runs("accuracy", labels, one, other, groups, resamples=100)
        assert (test.p_value < 0.05) == (test.low > 0 or test.high < 0)
        decided.append(test.p_value < 0.05)
    assert 0 < np.mean(decided) < 1


def test_the_correction_for_many_tests_is_not_stopped_by_the_number_of_resamples() -> None:
    labels = np.arange(300) % 2
    generator = np.random.default_rng(0)
    runs = {
        name: {0: sure(labels, generator.random(300) < share)}
        for name, share in [("a", 0.95), *((f"b{index}", 0.6) for index in range(30))]
    }
    found = paired_against("a", "accuracy", labels, runs)
    assert max(test.p_value for test in found.values()) < 0.01


def test_many_groups_in_which_two_differ_alike_leave_the_doubt_of_their_items() -> None:
    right, groups = [[0.9, 0.1], [0.1, 0.9]], np.repeat(np.arange(20), 10)
    poorer = (right * 4 + [right[0], right[0]]) * 20
    found = paired_runs("accuracy", [0, 1] * 100, {0: right * 100}, {0: poorer}, groups)
    assert found.difference == pytest.approx(0.1)
    assert found.low < 0.08 < 0.12 < found.high


def test_scores_that_differ_where_all_answers_are_the_same_have_no_interval_around_zero() -> None:
    labels, sorted_well, guesses = [0, 1] * 5, [[0.9, 0.1], [0.55, 0.45]] * 5, [[0.6, 0.4]] * 10
    found = paired_bootstrap("roc_auc", labels, sorted_well, guesses)
    assert found.n_discordant == 0
    assert found.low <= found.difference == 0.5 <= found.high


def test_a_method_without_runs_is_refused() -> None:
    with pytest.raises(DataError, match="at least one run of each"):
        paired_runs("accuracy", [0, 1], {}, {0: [[0.9, 0.1], [0.1, 0.9]]})


def test_holm_corrects_step_by_step() -> None:
    # the smallest times 4, the next times 3, and none below one before it
    assert holm([0.2, 0.01, 0.02, 0.05]) == pytest.approx([0.2, 0.04, 0.06, 0.1])
    assert holm([0.01]) == [0.01]
    assert holm([]) == []
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([3e-15, 0.5]) == [6e-15, 0.5]


def test_no_p_value_is_written_as_nothing() -> None:
    found = PairedTest(0.35, 0.3, 0.4, 6e-15, 1000, 400)
    assert str(found) == "+35.0 points (+30.0 to +40.0), p < 1e-12"
    assert str(replace(found, p_value=0.0321)).endswith("p = 0.032")


def test_holm_keeps_the_rate_of_false_findings() -> None:
    generator = np.random.default_rng(0)
    families = generator.random((2000, 6))  # all hypotheses true
    assert np.mean([min(holm(family)) < 0.05 for family in families]) == pytest.approx(0.05, abs=0.015)
    assert np.mean(families.min(axis=1) < 0.05) > 0.2


@pytest.mark.parametrize(("items", "width"), [(10, 0.25), (1000, 0.003)])
def test_two_that_were_never_told_apart_may_differ_on_other_items(items: int, width: float):
    labels, table = [0, 1] * (items // 2), [[0.9, 0.1], [0.1, 0.9]] * (items // 2)
    found = paired_runs("accuracy", labels, by_seed([table] * 2), by_seed([table] * 2))
    single = mcnemar(labels, labels, labels)
    assert (found.difference, found.p_value) == (0.0, 1.0)
    assert (found.low, found.high) == pytest.approx((single.low, single.high), rel=0.01)
    assert found.high == pytest.approx(width, rel=0.1)


def test_two_that_score_alike_by_nature_though_items_tell_them_apart_differ_by_nothing():
    always, never = [[0.9, 0.1]] * 20, [[0.1, 0.9]] * 20
    found = paired_runs("balanced_accuracy", [0, 1] * 10, {0: always}, {0: never})
    assert (found.difference, found.low, found.high, found.n_discordant) == (0.0, 0.0, 0.0, 20)


def test_a_difference_that_is_alike_in_few_groups_by_chance_leaves_the_doubt_of_their_items():
    right, groups = [[0.9, 0.1], [0.1, 0.9]], np.repeat(["a", "b", "c"], 20)
    good, poorer = right * 30, (right * 9 + [right[0], right[0]]) * 3
    found = paired_runs("accuracy", [0, 1] * 30, {0: good}, {0: poorer}, groups)
    assert found.difference == pytest.approx(3 / 60)
    assert found.low < 3 / 60 < found.high
    assert found.low <= 0 or found.p_value < 0.05


@pytest.mark.parametrize("seeds", [3, 5])
def test_few_seeds_seldom_make_a_very_small_p_value(seeds: int) -> None:
    """Where seeds vary much more than items, and the methods are equally good."""
    generator = np.random.default_rng(0)
    labels = np.arange(300) % 2
    found = []
    for _ in range(400):
        one, other = (
            by_seed(sure(labels, generator.random(300) < share) for share in generator.normal(0.6, 0.12, seeds))
            for _ in range(2)
        )
        found.append(paired_runs("accuracy", labels, one, other, resamples=100).p_value)
    assert np.mean(np.array(found) < 0.01) < 0.025
    assert np.mean(np.array(found) < 0.001) < 0.006


def test_a_method_with_one_seed_is_taken_to_vary_as_the_other() -> None:
    generator = np.random.default_rng(0)
    labels = np.arange(2000) % 2
    several = by_seed(sure(labels, generator.random(2000) < share) for share in (0.70, 0.75, 0.80))
    single = {1: sure(labels, generator.random(2000) < 0.84)}
    test, back = (paired_runs("accuracy", labels, *sides) for sides in ((single, several), (several, single)))
    assert test.difference == pytest.approx(0.09, abs=0.02)
    assert test.low < 0 < test.high
    assert test.p_value > 0.1
    assert (back.low, back.high, back.p_value) == pytest.approx((-test.high, -test.low, test.p_value))


@pytest.mark.parametrize("runs", [1, 3])
def test_a_difference_of_everything_may_be_smaller_on_other_items(runs: int) -> None:
    labels = np.arange(20) % 2
    right, wrong = (by_seed(sure(labels, np.full(20, is_right)) for _ in range(runs)) for is_right in (True, False))
    test = paired_runs("accuracy", labels, right, wrong)
    alone = mcnemar(labels, labels, 1 - labels)
    assert (test.difference, test.low, test.high) == (1.0, alone.low, alone.high)
    assert paired_runs("accuracy", labels, wrong, right).high == -alone.low
