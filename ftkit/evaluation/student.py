"""Student's intervals and p-values, for what consists of too few independent parts to be drawn again."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtr, stdtrit

from ftkit.evaluation.metrics import Metric, Values

FEW_GROUPS = 20
"""With fewer groups the bootstrap's intervals are too narrow: it does not know how little so few tell of the spread."""

ROUNDING = 1e-12
"""Differences below this are of computing, not of groups: equal ones would seem to differ, and to leave no doubt."""


@dataclass(frozen=True)
class Variation:
    """How far a value would move with other items, or with other seeds.

    Attributes
    ----------
    variance : float
        Square of the standard error.
    freedom : int
        Degrees of freedom: independent items, groups or runs, less one.
    """

    variance: float
    freedom: int


def run_variation(values: ArrayLike) -> list[Variation]:
    """Return the variation over runs of their mean value: one, or none where a single run tells nothing of it.

    Examples
    --------
    >>> run_variation([0.5, 0.7, 0.6])[0].freedom
    2
    >>> run_variation([0.5])
    []
    """
    each = np.asarray(values, dtype=float)
    return [Variation(float(each.var(ddof=1)) / each.size, each.size - 1)] if each.size > 1 else []


def own_variance(of_deviations: ArrayLike) -> float:
    """Return what the variance over items of the mean of runs owes to answers that each run gives by itself.

    Parameters
    ----------
    of_deviations : array_like of float, shape (runs,)
        Variance over items of the difference of each run from the mean. Of a single run nothing can be told: 0.

    References
    ----------
    A. B. Owen, The pigeonhole bootstrap, The Annals of Applied Statistics 1 (2007).

    Examples
    --------
    >>> own_variance([0.25, 0.75])
    0.5
    """
    each = np.asarray(of_deviations, dtype=float)
    return float(each.mean()) / (each.size - 1) if each.size > 1 else 0.0


def without_own(found: Variation, of_deviations: Sequence[Variation]) -> Variation:
    """Return the variation over items of the mean of runs, without what each run answers by itself.

    That moves the mean with other items and with other runs; it is part of `run_variation`, and would count twice.

    Parameters
    ----------
    found : Variation
        Of the mean of the runs.
    of_deviations : sequence of Variation
        Of the difference of each run from that mean, see `own_variance`.

    Examples
    --------
    >>> without_own(Variation(0.5, 9), [Variation(0.25, 9), Variation(0.75, 9)]).variance
    0.0
    """
    own = own_variance([each.variance for each in of_deviations])
    return replace(found, variance=max(0.0, found.variance - own))


def scores_without_groups(metric: Metric, labels: NDArray, tables: Sequence[NDArray], groups: NDArray) -> Values:
    """Return the scores of several runs on the items of all groups but one, for each group left out.

    Parameters
    ----------
    metric : Metric
        The metric.
    labels : array of int, shape (n,)
        The true class of each item, checked.
    tables : sequence of arrays of float, each of shape (n, classes)
        The predicted probabilities of each run, checked.
    groups : array, shape (n,)
        The group of each item, two at least.

    Returns
    -------
    array of float, shape (runs, groups)
        NaN where what is left leaves the metric undefined, or, of metrics by class, lacks a class.
    """
    names, member = np.unique(groups, return_inverse=True)
    counts = (member[None, :] != np.arange(names.size)[:, None]).astype(np.float64)
    scores = np.stack([metric.counted(labels, table, counts) for table in tables])
    if metric.name != "accuracy":
        left = [np.unique(labels[member != group]).size for group in range(names.size)]
        scores[:, np.array(left) < np.unique(labels).size] = np.nan
    return scores


def group_variation(parts: Sequence[Values]) -> Variation:
    """Return the variation over groups of the sum of the parts' mean scores, without what runs answer by themselves.

    Parameters
    ----------
    parts : sequence of arrays of float, each of shape (runs, groups)
        Scores, or their differences, without each of the groups, see `scores_without_groups`.

    Examples
    --------
    >>> runs = np.array([[0.5, 0.7, 0.6], [0.5, 0.7, 0.6]])  # which differ in nothing
    >>> group_variation([runs]) == jackknife(runs[0])
    True
    """
    found = jackknife(sum_of_means(parts))
    for part in parts:
        found = without_own(found, [jackknife(run - part.mean(axis=0)) for run in part])
    return found


def variations_of_groups_and_runs(parts: Sequence[Values], of_runs: Sequence[Variation]) -> list[Variation]:
    """Return the variations over groups and over runs of the sum of the parts' mean scores.

    Where runs agree by chance both may be nothing. What each run answers by itself, of which their agreement tells
    nothing, stays in that over groups then.

    Parameters
    ----------
    parts : sequence of arrays of float, each of shape (runs, groups)
        As in `group_variation`.
    of_runs : sequence of Variation
        Of the same sum over runs, see `run_variation`.

    Examples
    --------
    >>> agree = np.array([[0.5, 0.7, 0.6], [0.7, 0.5, 0.6]])  # two runs that are right on other groups
    >>> [round(each.variance, 4) for each in variations_of_groups_and_runs([agree], run_variation([0.6, 0.6]))]
    [0.0, 0.0]
    >>> one_sided = np.array([[0.5, 0.7, 0.6], [0.6, 0.6, 0.6]])
    >>> [round(each.variance, 4) for each in variations_of_groups_and_runs([one_sided], run_variation([0.6, 0.6]))]
    [0.0033, 0.0]
    """
    variations = [group_variation(parts), *of_runs]
    return [jackknife(sum_of_means(parts)), *of_runs] if negligible(variations) else variations


def sum_of_means(parts: Sequence[Values]) -> Values:
    """Return the sum of the parts' means over runs, array (columns,).

    Parameters
    ----------
    parts : sequence of arrays of float, each of shape (runs, columns)
        A column a group that is left out, or a resample.

    Examples
    --------
    >>> sum_of_means([np.array([[0.5, 1.0], [0.5, 0.0]]), np.array([[0.25, 0.25]])]).tolist()
    [0.75, 0.75]
    """
    summed: Values = np.sum([part.mean(axis=0) for part in parts], axis=0)
    return summed


def jackknife(without_one: Values) -> Variation:
    """Return the variation over groups of a value, from what it would be without each of them.

    Parameters
    ----------
    without_one : array of float, shape (groups,)
        The value of all groups but one, for each left out; two at least.

    References
    ----------
    B. Efron and R. J. Tibshirani, An Introduction to the Bootstrap (1993), chapter 11.

    Examples
    --------
    >>> groups = np.array([0.5, 0.7, 0.6])  # the mean of these without one each varies as their mean does
    >>> jackknife((groups.sum() - groups) / 2) == run_variation(groups)[0]
    True
    """
    count = without_one.size
    deviations = without_one - without_one.mean()
    deviations[np.abs(deviations) < ROUNDING] = 0
    return Variation(float(np.square(deviations).sum()) * (count - 1) / count, count - 1)


def student_interval(value: float, variations: Sequence[Variation], confidence: float = 0.95) -> tuple[float, float]:
    """Return the ends of Student's interval of a value whose variations add up.

    Parameters
    ----------
    value : float
        The value.
    variations : sequence of Variation
        From independent causes, one at least: runs, items. The degrees of freedom are Satterthwaite's.
    confidence : float, default 0.95
        How often such intervals hold the true value.

    References
    ----------
    F. E. Satterthwaite, An approximate distribution of estimates of variance components, Biometrics Bulletin 2 (1946).

    Examples
    --------
    >>> [round(end, 2) for end in student_interval(1.0, [Variation(0.01, 4)])]
    [0.72, 1.28]
    """
    error, freedom = _added(variations)
    half = error * float(stdtrit(freedom, 0.5 + confidence / 2)) if error else 0.0
    return value - half, value + half


def student_p_value(value: float, variations: Sequence[Variation]) -> float:
    """Return how often a value at least as far from zero would be seen were it zero in truth, two-sided.

    A value other than zero that has not varied at all is as unlikely as so many tosses of a coin that agree.

    Examples
    --------
    >>> round(student_p_value(0.28, [Variation(0.01, 4)]), 3)
    0.049
    >>> student_p_value(0.5, [Variation(0.0, 5)])
    0.03125
    """
    error, freedom = _added(variations)
    if not value:
        return 1.0
    return float(2 * stdtr(freedom, -abs(value) / error)) if error else 0.5**freedom


def negligible(variations: Sequence[Variation]) -> bool:
    """Whether variations are together no more than rounding: equal values seem to differ a little.

    Examples
    --------
    >>> negligible(run_variation([0.1 + 0.2, 0.3]))
    True
    """
    return sum(each.variance for each in variations) < ROUNDING**2


def _added(variations: Sequence[Variation]) -> tuple[float, float]:
    """Standard error and degrees of freedom of variations together."""
    if negligible(variations):
        return 0.0, float(max(each.freedom for each in variations))
    total = sum(each.variance for each in variations)
    return math.sqrt(total), total**2 / sum(each.variance**2 / each.freedom for each in variations)
