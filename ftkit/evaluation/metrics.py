"""Metrics of classification, each a number in 0..1, higher is better.

A metric is written once, for many weightings of the items at the same time: the score is the case where every item
counts once, and a bootstrap resample is the case where item i counts as often as it was drawn. That makes a thousand
resamples a few matrix products instead of a thousand calls.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ftkit.errors import DataError, UnknownNameError
from ftkit.evaluation.checks import Labels, Probabilities, checked_predictions

Counts = NDArray[np.float64]
Values = NDArray[np.float64]


@dataclass(frozen=True)
class Metric:
    """A score of predicted class probabilities against labels.

    Attributes
    ----------
    name : str
        The key in `METRICS`.
    title : str
        How figures and tables name it.
    unit : str
        The unit in which it is shown, "%".
    chance : callable
        Number of classes -> the value expected of guessing every class equally often (of equally large classes).
    counted : callable
        (labels (n,), probabilities (n, classes), counts (resamples, n)) -> values (resamples,), where
        ``counts[r, i]`` says how often item i counts in resample r. NaN where the metric is undefined; a class that
        a resample lacks has its value on all items.
    """

    name: str
    title: str
    unit: str
    chance: Callable[[int], float]
    counted: Callable[[Labels, Probabilities, Counts], Values]

    def function(self, labels: ArrayLike, probabilities: ArrayLike) -> float:
        """Return the metric of all items, a number in 0..1.

        Parameters
        ----------
        labels : array_like of int, shape (n,)
            The true class of each item.
        probabilities : array_like of float, shape (n, classes)
            The predicted probability of each class.

        Raises
        ------
        DataError
            If the shapes do not fit, a value is NaN, or the labels hold too few classes for the metric.

        Examples
        --------
        >>> METRICS["accuracy"].function([0, 1, 1], [[0.9, 0.1], [0.2, 0.8], [0.7, 0.3]])
        0.6666666666666666
        """
        whole, table = checked_predictions(labels, probabilities)
        value = float(self.counted(whole, table, np.ones((1, whole.size)))[0])
        if np.isnan(value):
            raise DataError(
                f"{self.name} needs at least 2 classes among the labels, but all {whole.size} items are of class "
                f"{whole[0]}; use more items or the metric 'accuracy'"
            )
        return value


def find_metric(name: str) -> Metric:
    """Return the metric of this name.

    Raises
    ------
    UnknownNameError
        If `METRICS` has no such name.
    """
    if name not in METRICS:
        raise UnknownNameError("metric", name, list(METRICS))
    return METRICS[name]


def _accuracy(labels: Labels, probabilities: Probabilities, counts: Counts) -> Values:
    correct = (probabilities.argmax(axis=1) == labels).astype(np.float64)
    values: Values = counts @ correct / counts.sum(axis=1)
    return values


def _balanced_accuracy(labels: Labels, probabilities: Probabilities, counts: Counts) -> Values:
    members = _one_hot(labels, probabilities.shape[1])
    correct = (probabilities.argmax(axis=1) == labels)[:, None]

    def recall(counts: Counts) -> NDArray[np.float64]:
        return _divided(counts @ (members * correct), counts @ members)

    return _mean_over_classes(recall, counts)


def _macro_f1(labels: Labels, probabilities: Probabilities, counts: Counts) -> Values:
    members = _one_hot(labels, probabilities.shape[1])
    chosen = _one_hot(probabilities.argmax(axis=1), probabilities.shape[1])

    def f1(counts: Counts) -> NDArray[np.float64]:
        found = _divided(2 * (counts @ (members * chosen)), counts @ (members + chosen))
        found[(counts @ members == 0) & members.any(axis=0)] = np.nan  # not zero: it was not asked for
        return found

    return _mean_over_classes(f1, counts)


def _roc_auc(labels: Labels, probabilities: Probabilities, counts: Counts) -> Values:
    classes = [1] if probabilities.shape[1] == 2 else range(probabilities.shape[1])

    def areas(counts: Counts) -> NDArray[np.float64]:
        return np.stack(
            [_area_under_roc(labels == index, probabilities[:, index], counts) for index in classes], axis=1
        )

    return _mean_over_classes(areas, counts)


def _area_under_roc(positive: NDArray[np.bool_], scores: NDArray[np.float64], counts: Counts) -> Values:
    """Return the share of (positive, negative) pairs ranked rightly, ties counting one half (Mann and Whitney)."""
    order = np.argsort(scores, kind="stable")
    counts, positive, scores = counts[:, order], positive[order], scores[order]
    negatives = counts * ~positive
    at_or_below = np.cumsum(negatives, axis=1)
    # Items of equal score share one place: the negatives below it, and half of those in it.
    starts = np.flatnonzero(np.r_[True, scores[1:] != scores[:-1]])
    ends = np.r_[starts[1:], scores.size] - 1
    place = np.cumsum(np.r_[False, scores[1:] != scores[:-1]])
    below_or_in = at_or_below[:, ends]
    below = np.concatenate([np.zeros((len(counts), 1)), below_or_in[:, :-1]], axis=1)
    halfway = ((below + below_or_in) / 2)[:, place[positive]]
    positives = counts[:, positive]
    right = np.einsum("rp,rp->r", positives, halfway)
    return _divided(right, positives.sum(axis=1) * at_or_below[:, -1])


def _one_hot(labels: NDArray[np.integer], classes: int) -> NDArray[np.float64]:
    return np.eye(classes)[labels]


def _divided(above: NDArray[np.float64], below: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.divide(above, below, out=np.full_like(above, np.nan), where=below > 0)


def _mean_over_classes(of_each: Callable[[Counts], NDArray[np.float64]], counts: Counts) -> Values:
    """Return the mean over the classes of a value of each, (resamples, classes), leaving out those that have none.

    A class that a resample lacks has its value on all items: without it the mean would be that of other classes.
    """
    whole, values = of_each(np.ones((1, counts.shape[1]))), of_each(counts)
    values = np.where(np.isnan(values), whole, values)
    defined = ~np.isnan(values)
    return _divided(np.where(defined, values, 0.0).sum(axis=1), defined.sum(axis=1).astype(np.float64))


def _one_in_classes(classes: int) -> float:
    return 1 / classes


def _one_half(classes: int) -> float:
    return 0.5


METRICS: Mapping[str, Metric] = MappingProxyType(
    {
        metric.name: metric
        for metric in (
            Metric("accuracy", "Accuracy", "%", _one_in_classes, _accuracy),
            Metric("balanced_accuracy", "Balanced accuracy", "%", _one_in_classes, _balanced_accuracy),
            Metric("roc_auc", "Area under the ROC curve", "%", _one_half, _roc_auc),
            Metric("macro_f1", "Macro F1", "%", _one_in_classes, _macro_f1),
        )
    }
)
"""The metrics by name.

Classes that no label holds are left out of the mean over classes (one that is predicted all the same counts as 0 in
macro F1, as in scikit-learn); `roc_auc` is that of class 1 for two classes, and the mean of each class against the rest
for more (Fawcett, An introduction to ROC analysis, 2006).
"""
