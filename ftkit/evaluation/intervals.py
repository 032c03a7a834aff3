"""A score and its interval: Wilson's for a plain share of right answers, else bootstrap; of few groups, Student's."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeGuard

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri, stdtrit

from ftkit.errors import DataError
from ftkit.evaluation.checks import checked_groups, checked_predictions
from ftkit.evaluation.metrics import Counts, Metric, Values, find_metric
from ftkit.evaluation.student import (
    FEW_GROUPS,
    own_variance,
    run_variation,
    scores_without_groups,
    student_interval,
    sum_of_means,
    variations_of_groups_and_runs,
)

# Resamples are drawn in blocks of about this many counts (16 MB), so that large test sets fit in memory.
_COUNTS_PER_BLOCK = 2_000_000


@dataclass(frozen=True)
class Score:
    """A score with its interval.

    Attributes
    ----------
    value, low, high : float
        The score and the ends of its interval, in 0..1.
    n : int
        Number of items it was measured on.
    method : str
        How the interval was made: "wilson", "bootstrap", "cluster bootstrap", where seeds were drawn too "hierarchical
        bootstrap", or, where groups are too few to be drawn, "student".

    Examples
    --------
    >>> print(Score(0.912, 0.874, 0.94, 300, "wilson"))
    91.2 % (87.4 to 94.0)
    """

    value: float
    low: float
    high: float
    n: int
    method: str

    def __str__(self) -> str:
        return f"{100 * self.value:.1f} % ({100 * self.low:.1f} to {100 * self.high:.1f})"


def wilson(correct: int, n: int, confidence: float = 0.95) -> Score:
    """Return the share of right answers with Wilson's score interval.

    Unlike the textbook interval (value +- 2 standard errors) it keeps its promise for few items and near 0 and 1, and
    never leaves 0..1.

    Parameters
    ----------
    correct : int
        Number of right answers.
    n : int
        Number of items.
    confidence : float, default 0.95
        How often such intervals hold the true share.

    Raises
    ------
    DataError
        If `n` is not positive, `correct` is not in 0..n, or `confidence` is not between 0 and 1.

    References
    ----------
    E. B. Wilson, Probable inference, the law of succession, and statistical inference, Journal of the American
    Statistical Association 22 (1927).

    Examples
    --------
    >>> print(wilson(10, 10))
    100.0 % (72.2 to 100.0)
    """
    if n < 1 or not 0 <= correct <= n:
        raise DataError(f"{correct} right of {n} items is not possible; give n >= 1 and correct in 0..n")
    z = ndtri(0.5 + _checked_confidence(confidence) / 2)
    share = correct / n
    centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    # At a share of exactly 0 or 1 the end of the interval is the share; rounding must not push it past.
    low = 0.0 if correct == 0 else float(centre - half)
    high = 1.0 if correct == n else float(centre + half)
    return Score(share, low, high, n, "wilson")


def bootstrap(
    metric: Metric | str,
    labels: ArrayLike,
    probabilities: ArrayLike,
    groups: ArrayLike | None = None,
    resamples: int = 1000,
    seed: int = 0,
    confidence: float = 0.95,
) -> Score:
    """Return a metric with its percentile bootstrap interval.

    Items are drawn again with replacement, the metric is computed on each such resample, and the interval is the
    central part of those values. Where all are right, or all wrong, no resample differs, and Wilson's interval of as
    many draws is taken. With `groups`, whole groups (films, speakers) are drawn instead: items of one group
    resemble each other, so that many items of few groups say less than they seem to. The cluster interval can be
    trusted from about twenty groups on; with fewer it is too narrow. Groups that score all the same, by chance, would
    seem to leave no doubt: the items are drawn then.

    Parameters
    ----------
    metric : Metric or str
        The metric, or its name in `METRICS`.
    labels : array_like of int, shape (n,)
        The true class of each item.
    probabilities : array_like of float, shape (n, classes)
        The predicted probability of each class.
    groups : array_like, shape (n,), optional
        The group of each item.
    resamples : int, default 1000
        Number of resamples.
    seed : int, default 0
        Seed of the draws: the same seed gives the same interval.
    confidence : float, default 0.95
        The share of the resampled values that the interval holds.

    Raises
    ------
    DataError
        If shapes do not fit, a value is NaN, there is only one group, or the labels hold too few classes.

    References
    ----------
    B. Efron and R. J. Tibshirani, An Introduction to the Bootstrap (1993), chapters 13 and 8.

    Examples
    --------
    >>> labels = [0, 1] * 50
    >>> probabilities = [[0.8, 0.2], [0.3, 0.7]] * 45 + [[0.4, 0.6], [0.6, 0.4]] * 5
    >>> bootstrap("accuracy", labels, probabilities).value
    0.9
    """
    metric = find_metric(metric) if isinstance(metric, str) else metric
    whole, table = checked_predictions(labels, probabilities)
    value = metric.function(whole, table)
    values = np.concatenate(
        [metric.counted(whole, table, counts) for counts in resampled_counts(whole.size, groups, resamples, seed)]
    )
    low, high = percentile_interval(values, confidence)
    found = Score(value, low, high, whole.size, "bootstrap" if groups is None else "cluster bootstrap")
    over_items = partial(bootstrap, metric, whole, table, None, resamples, seed, confidence)
    return _in_doubt(found, [table], groups, over_items, confidence)


def score(
    metric_name: str, labels: ArrayLike, probabilities: ArrayLike, groups: ArrayLike | None = None, *, seed: int = 0
) -> Score:
    """Return a metric with the interval that suits it.

    Wilson's interval for accuracy of independent items, else the bootstrap, over whole groups when given; with fewer
    than twenty groups Student's, from the score without each of them, or where these agree by chance that of
    independent items. With a single group none can be left out or drawn
    again: the interval is then the one of independent items, and its `method` says so.

    Parameters
    ----------
    metric_name : str
        A name in `METRICS`.
    labels : array_like of int, shape (n,)
        The true class of each item.
    probabilities : array_like of float, shape (n, classes)
        The predicted probability of each class.
    groups : array_like, shape (n,), optional
        The group of each item.
    seed : int, default 0
        Seed of the bootstrap.

    Raises
    ------
    UnknownNameError
        If there is no such metric.
    DataError
        If shapes do not fit or a value is NaN.

    Examples
    --------
    >>> score("accuracy", [0, 1], [[0.9, 0.1], [0.2, 0.8]]).method
    'wilson'
    """
    metric = find_metric(metric_name)
    whole, table = checked_predictions(labels, probabilities)
    groups = drawable_groups(groups, whole.size)
    if metric_name == "accuracy" and groups is None:
        return wilson(int((table.argmax(axis=1) == whole).sum()), whole.size)
    by_groups = _student_score(metric, whole, [table], groups, seed) if few(groups) else None
    if by_groups is not None:
        return by_groups
    return bootstrap(metric, whole, table, groups, seed=seed)


def mean_score(
    metric_name: str,
    labels: ArrayLike,
    probabilities: Sequence[ArrayLike],
    groups: ArrayLike | None = None,
    *,
    seed: int = 0,
) -> Score:
    """Return the mean score of several runs (seeds) on the same items, with its hierarchical bootstrap interval.

    Each resample draws runs again, and items (or groups), which serve all runs. The interval tells how the mean would
    move with other seeds and with other test items. What each run answers by itself moves it with both, and is counted
    once. Drawing few runs again shows too little of the spread between seeds: what they add is widened, by as much as
    Student's interval of so many values is wider than theirs. With fewer than twenty groups the whole interval is
    Student's, the variances of runs and of groups added, in which it counts once, too.

    Parameters
    ----------
    metric_name : str
        A name in `METRICS`.
    labels : array_like of int, shape (n,)
        The true class of each item.
    probabilities : sequence of array_like of float, each of shape (n, classes)
        The predicted probabilities of each run. For a single run the result is that of `score`.
    groups : array_like, shape (n,), optional
        The group of each item.
    seed : int, default 0
        Seed of the bootstrap.

    Raises
    ------
    UnknownNameError
        If there is no such metric.
    DataError
        If there is no run, shapes do not fit, or a value is NaN.

    References
    ----------
    A. C. Davison and D. V. Hinkley, Bootstrap Methods and their Application (1997), section 3.8. That drawing both
    counts the rest three times: A. B. Owen, The pigeonhole bootstrap, The Annals of Applied Statistics 1 (2007). The
    widening is that of the expanded percentile interval: T. C. Hesterberg, What Teachers Should Know About the
    Bootstrap, The American Statistician 69 (2015).

    Examples
    --------
    >>> runs = [[[0.9, 0.1], [0.2, 0.8]], [[0.9, 0.1], [0.7, 0.3]]]
    >>> mean_score("accuracy", [0, 1], runs).value
    0.75
    """
    if len(probabilities) == 0:
        raise DataError("no run to take the mean score of; give the probabilities of at least one run")
    if len(probabilities) == 1:
        return score(metric_name, labels, probabilities[0], groups, seed=seed)
    metric = find_metric(metric_name)
    pairs = [checked_predictions(labels, table) for table in probabilities]
    whole, tables = pairs[0][0], [table for _, table in pairs]
    value = float(np.mean([metric.function(whole, table) for table in tables]))
    groups = drawable_groups(groups, whole.size)
    by_groups = _student_score(metric, whole, tables, groups, seed) if few(groups) else None
    if by_groups is not None:
        return by_groups
    means = resampled_means(RunScores.of(metric, whole, tables, groups, seed=seed), seed)
    low, high = np.clip(percentile_interval(means, 0.95), 0, 1)
    found = Score(value, float(low), float(high), whole.size, "hierarchical bootstrap")
    return _in_doubt(found, tables, groups, partial(mean_score, metric_name, whole, tables, seed=seed))


def _student_score(
    metric: Metric, labels: NDArray, tables: Sequence[NDArray], groups: NDArray, seed: int
) -> Score | None:
    """Mean score of runs with the interval of few groups; None where one of these holds all that a metric needs."""
    without = scores_without_groups(metric, labels, tables, groups)
    if np.isnan(without).any():
        return None
    scores = [metric.function(labels, table) for table in tables]
    value = float(np.mean(scores))
    variations = variations_of_groups_and_runs([without], run_variation(scores))
    low, high = np.clip(student_interval(value, variations), 0, 1)
    found = Score(value, float(low), float(high), labels.size, "student")
    return _in_doubt(found, tables, groups, partial(mean_score, metric.name, labels, tables, seed=seed))


def _in_doubt(
    found: Score,
    tables: Sequence[NDArray],
    groups: ArrayLike | None,
    over_items: Callable[[], Score],
    confidence: float = 0.95,
) -> Score:
    """Return a score with an interval where it was found without one, which would seem to leave no doubt.

    Where all are right, or all wrong, it is Wilson's of as many items, or groups, as a resample draws. Where groups
    score alike by chance, it is that of independent items; who gives one answer to everything scores alike by design.
    """
    if found.low < found.high:
        return found
    if found.value in (0.0, 1.0):
        drawn = independent_draws(found.n, groups)
        bounds = wilson(round(found.value * drawn), drawn, confidence)
        return Score(found.value, bounds.low, bounds.high, found.n, "wilson")
    several_answers = any(np.unique(table.argmax(axis=1)).size > 1 for table in tables)
    return over_items() if groups is not None and several_answers else found


def independent_draws(n: int, groups: ArrayLike | None) -> int:
    """Count what a resample draws: groups, or n items where there are none."""
    return n if groups is None else np.unique(checked_groups(groups, n)).size


def drawable_groups(groups: ArrayLike | None, n: int) -> NDArray | None:
    """Return the groups of n items, or None where there is one group only, which can't be drawn again."""
    checked = None if groups is None else checked_groups(groups, n)
    return None if checked is None or np.unique(checked).size < 2 else checked


def few(groups: NDArray | None) -> TypeGuard[NDArray]:
    """Whether there are groups, and too few of them for the bootstrap; see `FEW_GROUPS`."""
    return groups is not None and np.unique(groups).size < FEW_GROUPS


@dataclass(frozen=True)
class RunScores:
    """Scores of several runs, or their differences, on all items and on resamples of them.

    Attributes
    ----------
    whole : array of float, shape (runs,)
        On all items.
    resampled : array of float, shape (runs, resamples)
        On each resample of the items, the same for all runs.
    """

    whole: Values
    resampled: Values

    @classmethod
    def of(
        cls,
        metric: Metric,
        labels: NDArray,
        tables: Sequence[NDArray],
        groups: ArrayLike | None,
        *,
        resamples: int = 1000,
        seed: int = 0,
    ) -> RunScores:
        """Score the predicted probabilities (n, classes) of each run; see `resampled_counts` for the rest."""
        resampled = [
            np.stack([metric.counted(labels, table, counts) for table in tables])
            for counts in resampled_counts(labels.size, groups, resamples, seed)
        ]
        return cls(np.array([metric.function(labels, table) for table in tables]), np.concatenate(resampled, axis=1))

    def __sub__(self, other: RunScores) -> RunScores:
        return RunScores(self.whole - other.whole, self.resampled - other.resampled)

    def __neg__(self) -> RunScores:
        return RunScores(-self.whole, -self.resampled)

    @property
    def own_variance(self) -> float:
        """What the variance of the mean over items owes to answers that each run gives by itself.

        It is part of how runs differ, too; 0 for a single run, in which it can't be told from the rest.
        """
        return own_variance(np.nanvar(self.resampled - self.resampled.mean(axis=0), axis=1))


def resampled_means(scores: RunScores, seed: int = 0) -> Values:
    """Return the mean score of several runs on each resample of items and runs, array (resamples,).

    Runs that answer items by themselves move the mean both with other items and with other runs. So that this counts
    once, the spread over items is without it. Drawing few runs again shows too little of their spread, which is
    therefore widened.

    Parameters
    ----------
    scores : RunScores
        Of the runs.
    seed : int, default 0
        Seed of the draws of runs.
    """
    on_items = means_over_runs([scores])
    if np.isnan(on_items).all():
        return on_items
    centre, spread = np.nanmean(on_items), np.nanvar(on_items)
    common = variance_over_items([scores]) / spread if spread else 1.0
    runs = len(scores.whole)
    drawn = np.random.default_rng([seed, 0, 1]).integers(runs, size=(runs, on_items.size))
    over_runs = widening(runs) * (scores.whole[drawn].mean(axis=0) - scores.whole.mean())
    means: Values = centre + np.sqrt(common) * (on_items - centre) + over_runs
    return means


def variance_over_items(parts: Sequence[RunScores]) -> float:
    """Return how the sum of the parts' mean scores varies over resamples, without what runs answer by themselves.

    Parameters
    ----------
    parts : sequence of RunScores
        On the same resamples of the items.
    """
    return max(0.0, float(np.nanvar(means_over_runs(parts))) - sum(part.own_variance for part in parts))


def means_over_runs(parts: Sequence[RunScores]) -> Values:
    """Return the sum of the parts' mean scores on each resample of the items, array (resamples,).

    Parameters
    ----------
    parts : sequence of RunScores
        On the same resamples of the items.

    Examples
    --------
    >>> runs = RunScores(np.array([0.5, 0.7]), np.array([[0.25, 0.5], [0.75, 0.5]]))
    >>> means_over_runs([runs, -runs]).tolist()
    [0.0, 0.0]
    """
    return sum_of_means([part.resampled for part in parts])


def widening(n: int) -> float:
    """Return by how much Student's 95 % interval of a mean is wider than that of drawing the values again.

    Parameters
    ----------
    n : int
        Number of values; a single one, which can't be drawn otherwise, widens nothing.

    Returns
    -------
    float
        A factor, 1 or more.

    References
    ----------
    T. C. Hesterberg, What Teachers Should Know About the Bootstrap, The American Statistician 69 (2015), on the
    expanded percentile interval.

    Examples
    --------
    >>> [round(widening(n), 2) for n in (3, 5, 100)]
    [2.69, 1.58, 1.02]
    """
    return float(np.sqrt(n / (n - 1)) * stdtrit(n - 1, 0.975) / ndtri(0.975)) if n > 1 else 1.0


def resampled_counts(n: int, groups: ArrayLike | None, resamples: int, seed: int) -> Iterator[Counts]:
    """Yield blocks of counts (block, n): how often each item is drawn in each resample.

    Without groups, n items are drawn with replacement; with groups, as many whole groups as there are.

    Raises
    ------
    DataError
        If there is no resample or fewer than two groups.
    """
    if resamples < 1:
        raise DataError(f"resamples is {resamples}; the bootstrap needs at least 1, usually 1000")
    generator = np.random.default_rng(seed)
    member = np.arange(n)
    drawn = n
    if groups is not None:
        names, member = np.unique(checked_groups(groups, n), return_inverse=True)
        drawn = names.size
        if drawn < 2:
            raise DataError(f"all {n} items are of the group {names[0]!r}; drawing groups needs at least 2 of them")
    block = max(1, _COUNTS_PER_BLOCK // n)
    for start in range(0, resamples, block):
        size = min(block, resamples - start)
        draws = generator.integers(drawn, size=(size, drawn)) + drawn * np.arange(size)[:, None]
        counts = np.bincount(draws.ravel(), minlength=size * drawn).reshape(size, drawn)
        yield counts[:, member].astype(np.float64)


def percentile_interval(values: Values, confidence: float) -> tuple[float, float]:
    """Return the ends of the central `confidence` part of resampled values, leaving out undefined (NaN) ones.

    Raises
    ------
    DataError
        If no resample left the metric defined.
    """
    tail = (1 - _checked_confidence(confidence)) / 2
    defined: NDArray[np.float64] = values[~np.isnan(values)]
    if defined.size == 0:
        raise DataError(f"none of {values.size} resamples held 2 classes; use more items per class")
    low, high = np.quantile(defined, [tail, 1 - tail])
    return float(low), float(high)


def _checked_confidence(confidence: float) -> float:
    if not 0 < confidence < 1:
        raise DataError(f"confidence is {confidence}; give a share between 0 and 1, usually 0.95")
    return confidence
