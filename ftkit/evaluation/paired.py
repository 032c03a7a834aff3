"""Tests of whether two models differ, paired: both answered the same items."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import bdtr, ndtri

from ftkit.errors import DataError
from ftkit.evaluation.checks import checked_labels, checked_predictions
from ftkit.evaluation.intervals import (
    RunScores,
    drawable_groups,
    few,
    independent_draws,
    means_over_runs,
    percentile_interval,
    variance_over_items,
)
from ftkit.evaluation.metrics import Metric, Values, find_metric
from ftkit.evaluation.student import (
    Variation,
    negligible,
    run_variation,
    scores_without_groups,
    student_interval,
    student_p_value,
    variations_of_groups_and_runs,
)

SMALLEST_P = 1e-12
"""No test is so exact that a smaller p-value would mean more."""


@dataclass(frozen=True)
class PairedTest:
    """The difference between two models on the same items.

    Attributes
    ----------
    difference, low, high : float
        Score of model a minus score of model b, and its 95 % interval, in -1..1.
    p_value : float
        How often a difference at least this large would be seen if the models were equally good.
    n : int
        Number of items.
    n_discordant : int
        Number of items that exactly one of the two got right.
    """

    difference: float
    low: float
    high: float
    p_value: float
    n: int
    n_discordant: int

    def __str__(self) -> str:
        # first to more digits, or the same difference, computed in two ways, could be written in two
        middle, low, high = (f"{round(100 * each, 6):+.1f}" for each in (self.difference, self.low, self.high))
        p_value = f"p = {self.p_value:.2g}" if self.p_value >= SMALLEST_P else f"p < {SMALLEST_P:.0e}"
        return f"{middle} points ({low} to {high}), {p_value}"


def mcnemar(labels: ArrayLike, predicted_a: ArrayLike, predicted_b: ArrayLike) -> PairedTest:
    """Return McNemar's exact test of the accuracies of two models.

    Only items that one model gets right and the other wrong tell them apart; were the models equally good, these would
    fall to either side like a fair coin. The p-value is the two-sided binomial one. It takes items as independent:
    where they come in groups use `paired_bootstrap`.

    Parameters
    ----------
    labels : array_like of int, shape (n,)
        The true class of each item.
    predicted_a, predicted_b : array_like of int, shape (n,)
        The class that each model predicts.

    Raises
    ------
    DataError
        If the three are not of the same length or hold no class indices.

    References
    ----------
    Q. McNemar, Note on the sampling error of the difference between correlated proportions or percentages,
    Psychometrika 12 (1947). The interval is the adjusted one of D. G. Bonett and R. M. Price, Adjusted Wald confidence
    interval for a difference of binomial proportions based on paired data, Journal of Educational and Behavioral
    Statistics 37 (2012).

    Examples
    --------
    >>> labels = [1] * 20
    >>> print(mcnemar(labels, [1] * 20, [1] * 12 + [0] * 8))
    +40.0 points (+12.6 to +60.1), p = 0.0078
    """
    truth = checked_labels(labels)
    chosen_a, chosen_b = checked_labels(predicted_a, "predictions a"), checked_labels(predicted_b, "predictions b")
    if not truth.size == chosen_a.size == chosen_b.size:
        raise DataError(
            f"{truth.size} labels, {chosen_a.size} predictions a and {chosen_b.size} predictions b; "
            "a paired test needs the same items in the same order"
        )
    right_a, right_b = chosen_a == truth, chosen_b == truth
    n, only_a, only_b = truth.size, int((right_a & ~right_b).sum()), int((right_b & ~right_a).sum())
    p_value = min(1.0, float(2 * bdtr(min(only_a, only_b), only_a + only_b, 0.5)))
    low, high = _difference_interval(only_a, only_b, n)
    return PairedTest((only_a - only_b) / n, low, high, p_value, n, only_a + only_b)


def _difference_interval(only_a: int, only_b: int, n: int) -> tuple[float, float]:
    """Bonett and Price's 95 % interval of the difference, from the items that only one of two got right."""
    share_a, share_b = (only_a + 1) / (n + 2), (only_b + 1) / (n + 2)
    half = ndtri(0.975) * np.sqrt((share_a + share_b - (share_a - share_b) ** 2) / (n + 2))
    low, high = np.clip([share_a - share_b - half, share_a - share_b + half], -1, 1)
    return float(low), float(high)


def paired_bootstrap(
    metric_name: str,
    labels: ArrayLike,
    probabilities_a: ArrayLike,
    probabilities_b: ArrayLike,
    groups: ArrayLike | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> PairedTest:
    """Return the bootstrap test of any metric of two models.

    Each resample of the items (or of whole groups) serves both models, and the difference of their metrics is taken on
    it. The p-value is twice the share of resampled differences on the other side of zero, and never below
    2 / (resamples + 1).

    Parameters
    ----------
    metric_name : str
        A name in `METRICS`.
    labels : array_like of int, shape (n,)
        The true class of each item.
    probabilities_a, probabilities_b : array_like of float, shape (n, classes)
        The predicted probabilities of each model.
    groups : array_like, shape (n,), optional
        The group of each item.
    resamples : int, default 1000
        Number of resamples.
    seed : int, default 0
        Seed of the draws.

    Raises
    ------
    UnknownNameError
        If there is no such metric.
    DataError
        If shapes do not fit, a value is NaN, or there is only one group.

    References
    ----------
    B. Efron and R. J. Tibshirani, An Introduction to the Bootstrap (1993), chapters 13 and 15.

    Examples
    --------
    >>> labels, good, poor = [0, 1] * 10, [[0.9, 0.1], [0.1, 0.9]] * 10, [[0.9, 0.1], [0.8, 0.2]] * 10
    >>> paired_bootstrap("balanced_accuracy", labels, good, poor).difference
    0.5
    """
    return _paired(metric_name, labels, {0: probabilities_a}, {0: probabilities_b}, groups, resamples, seed)


def paired_runs(
    metric_name: str,
    labels: ArrayLike,
    runs_a: Mapping[int, ArrayLike],
    runs_b: Mapping[int, ArrayLike],
    groups: ArrayLike | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> PairedTest:
    """Return the test of two methods, each trained with several seeds, on the same items.

    With one seed each this is `paired_bootstrap`. A seed stands for one draw of the training data and one order of
    it. Where both methods have the same seeds, a seed's difference is one value: what an easy draw gave to both is
    no difference. Else each method's runs vary by themselves. With several seeds, interval and p-value are
    Student's, so that they never contradict each other: the variance of the difference over items (or groups), from
    resamples of these that serve both methods, and its variance over seeds are added. Means of few seeds drawn
    again hardly ever come to lie far out, which is why seeds are not drawn. With fewer than twenty groups the
    variance over these is taken from what the difference would be without each of them; where all groups agree by
    chance, the items are drawn. A single run of one method against several of the other is taken to vary over seeds
    as these do.

    Parameters
    ----------
    metric_name : str
        A name in `METRICS`.
    labels : array_like of int, shape (n,)
        The true class of each item.
    runs_a, runs_b : mapping of int to array_like of float, each of shape (n, classes)
        By seed, the predicted probabilities of each run.
    groups : array_like, shape (n,), optional
        The group of each item; a single group is taken as none.
    resamples, seed
        As in `paired_bootstrap`.

    Returns
    -------
    PairedTest
        Its ``n_discordant`` is the mean over the pairs of runs, rounded.

    Raises
    ------
    UnknownNameError
        If there is no such metric.
    DataError
        If a method has no run, shapes do not fit or a value is NaN.

    References
    ----------
    F. E. Satterthwaite, An approximate distribution of estimates of variance components, Biometrics Bulletin 2 (1946),
    for the degrees of freedom of added variances.

    Examples
    --------
    >>> labels, good, poor = [0, 1] * 10, [[0.9, 0.1], [0.1, 0.9]] * 10, [[0.9, 0.1], [0.8, 0.2]] * 10
    >>> paired_runs("accuracy", labels, {0: good, 1: good}, {0: poor, 1: good}).difference
    0.25
    """
    if not (runs_a and runs_b):
        raise DataError("a paired test of methods needs at least one run of each")
    groups = drawable_groups(groups, np.size(labels))
    if few(groups):
        by_groups = _paired_by_few_groups(metric_name, labels, runs_a, runs_b, groups, resamples, seed)
        if by_groups is not None:
            return by_groups
    return _paired(metric_name, labels, runs_a, runs_b, groups, resamples, seed)


def paired_against(
    reference: str,
    metric_name: str,
    labels: ArrayLike,
    runs: Mapping[str, Mapping[int, ArrayLike]],
    groups: ArrayLike | None = None,
) -> dict[str, PairedTest]:
    """Return the tests of several methods against one of them, the p-values corrected for their number (`holm`).

    Parameters
    ----------
    reference : str
        The method that the others are compared with.
    metric_name, labels, groups
        As in `paired_runs`.
    runs : mapping of str to mapping of int to array_like of float, each of shape (n, classes)
        By method and seed, the predicted probabilities of each run.

    Returns
    -------
    dict of str to PairedTest
        For every other method its score minus the reference's.

    Raises
    ------
    UnknownNameError, DataError
        As `paired_runs`.

    Examples
    --------
    >>> labels, good, poor = [0, 1] * 10, [[0.9, 0.1], [0.1, 0.9]] * 10, [[0.9, 0.1], [0.8, 0.2]] * 10
    >>> tests = paired_against("a", "accuracy", labels, {"a": {0: good}, "b": {0: poor}})
    >>> tests["b"].difference
    -0.5
    """
    others = [name for name in runs if name != reference]
    resamples = 1000 * max(1, len(others))  # the least p-value, times the number of tests, stays as small
    tests = {name: paired_runs(metric_name, labels, runs[name], runs[reference], groups, resamples) for name in others}
    corrected = holm([test.p_value for test in tests.values()])
    return {name: replace(test, p_value=value) for (name, test), value in zip(tests.items(), corrected, strict=True)}


def _paired(
    metric_name: str,
    labels: ArrayLike,
    runs_a: Mapping[int, ArrayLike],
    runs_b: Mapping[int, ArrayLike],
    groups: ArrayLike | None,
    resamples: int,
    seed: int,
) -> PairedTest:
    metric, truth, sides = _checked_sides(metric_name, labels, runs_a, runs_b)
    one, other = (RunScores.of(metric, truth, tables, groups, resamples=resamples, seed=seed) for tables in sides)
    parts = [one - other] if runs_a.keys() == runs_b.keys() else [one, -other]
    difference = float(one.whole.mean() - other.whole.mean())
    of_runs = _run_variations([part.whole for part in parts])
    if of_runs:
        variations = _item_variations(parts, independent_draws(truth.size, groups)) + of_runs
        if negligible(variations):  # seeds that agree by chance: items tell more
            variations = _item_variations(parts, independent_draws(truth.size, groups), with_own=True) + of_runs
        interval, p_value = student_interval(difference, variations), student_p_value(difference, variations)
    else:
        differences = means_over_runs(parts)
        interval, p_value = percentile_interval(differences, 0.95), _p_value(differences)
    low, high = np.clip(interval, -1, 1)
    discordant = _discordant(truth, sides)
    found = PairedTest(difference, float(low), float(high), p_value, truth.size, round(discordant))
    over_items = partial(_paired, metric_name, labels, runs_a, runs_b, None, resamples, seed)
    return _in_doubt(found, discordant, groups, over_items)


def _paired_by_few_groups(
    metric_name: str,
    labels: ArrayLike,
    runs_a: Mapping[int, ArrayLike],
    runs_b: Mapping[int, ArrayLike],
    groups: NDArray,
    resamples: int,
    seed: int,
) -> PairedTest | None:
    """Student's test; None where the metric is undefined without one of the groups, or a class is in one alone."""
    metric, truth, sides = _checked_sides(metric_name, labels, runs_a, runs_b)
    one, other = (scores_without_groups(metric, truth, tables, groups) for tables in sides)
    if np.isnan(one).any() or np.isnan(other).any():
        return None
    scores = [[metric.function(truth, table) for table in tables] for tables in sides]
    difference = float(np.mean(scores[0]) - np.mean(scores[1]))
    together = runs_a.keys() == runs_b.keys()
    by_seed = [np.subtract(scores[0], scores[1])] if together else [np.array(each) for each in scores]
    parts = [one - other] if together else [one, -other]
    variations = variations_of_groups_and_runs(parts, _run_variations(by_seed))
    low, high = np.clip(student_interval(difference, variations), -1, 1)
    discordant, p_value = _discordant(truth, sides), student_p_value(difference, variations)
    found = PairedTest(difference, float(low), float(high), p_value, truth.size, round(discordant))
    over_items = partial(_paired, metric_name, labels, runs_a, runs_b, None, resamples, seed)
    return _in_doubt(found, discordant, groups, over_items)


def _in_doubt(
    found: PairedTest, discordant: float, groups: ArrayLike | None, over_items: Callable[[], PairedTest]
) -> PairedTest:
    """Return a difference with an interval where it was found without one, which would seem to leave no doubt.

    Two that no item told apart, or every item alike, may differ otherwise on other items. Where the difference is
    the same in all groups, by chance, the items tell more.
    """
    if found.low < found.high:
        return found
    if abs(found.difference) == 1 or not (found.difference or discordant):
        drawn = independent_draws(found.n, groups)
        low, high = _difference_interval(drawn * (found.difference == 1), drawn * (found.difference == -1), drawn)
        return replace(found, low=low, high=high)
    return over_items() if discordant and groups is not None else found


def _item_variations(parts: Sequence[RunScores], drawn: int, *, with_own: bool = False) -> list[Variation]:
    """Variation of the difference over items, of which so many are drawn; none where a single one can't vary."""
    variance = variance_over_items(parts) + (sum(part.own_variance for part in parts) if with_own else 0.0)
    return [Variation(variance, drawn - 1)] if drawn > 1 else []


def _run_variations(by_side: Sequence[Values]) -> list[Variation]:
    """Variation over runs of each side's mean; a single run beside several is taken to vary as these do."""
    found = [each for values in by_side for each in run_variation(values)]
    if len(by_side) == 2 and len(found) == 1:
        (several,) = [values for values in by_side if len(values) > 1]
        runs = len(several)
        # one variation, of which nothing more is known than what so many runs tell
        return [Variation(float(several.var(ddof=1)) * (1 + 1 / runs), runs - 1)]
    return found


def _checked_sides(
    metric_name: str, labels: ArrayLike, *sides: Mapping[int, ArrayLike]
) -> tuple[Metric, NDArray, list[list[NDArray]]]:
    """The metric, the labels, and the predicted probabilities of each run on either side, in the order of seeds."""
    metric = find_metric(metric_name)
    pairs = [[checked_predictions(labels, runs[seed]) for seed in sorted(runs)] for runs in sides]
    return metric, pairs[0][0][0], [[table for _, table in side] for side in pairs]


def _discordant(truth: NDArray, sides: Sequence[Sequence[NDArray]]) -> float:
    """Number of items that exactly one of two runs got right, mean over the pairs of runs."""
    right = [[table.argmax(axis=1) == truth for table in tables] for tables in sides]
    return float(np.mean([(first != second).sum() for first in right[0] for second in right[1]]))


def holm(p_values: Sequence[float]) -> list[float]:
    """Correct the p-values of several tests so that, all true, one of them is below 0.05 in 5 % of cases only.

    Parameters
    ----------
    p_values : sequence of float
        One a test, 0 to 1.

    Returns
    -------
    list of float
        The corrected values, in the order given.

    References
    ----------
    S. Holm, A simple sequentially rejective multiple test procedure, Scandinavian Journal of Statistics 6 (1979).

    Examples
    --------
    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    count = len(p_values)
    order = np.argsort(np.asarray(p_values), kind="stable")
    corrected = np.empty(count)
    highest = 0.0
    for rank, index in enumerate(order):
        highest = max(highest, min(1.0, (count - rank) * p_values[index]))
        corrected[index] = highest
    return [float(f"{value:.12g}") for value in corrected]  # equal ones, computed in two ways, stay equal


def _p_value(differences: Values) -> float:
    """Twice the share of resampled differences on the smaller side of zero."""
    defined = differences[~np.isnan(differences)]
    smaller_side = min((defined <= 0).sum(), (defined >= 0).sum())
    return float(min(1.0, 2 * (smaller_side + 1) / (defined.size + 1)))
