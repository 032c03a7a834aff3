"""Accuracy of each group of items: of each speaker, each film."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from ftkit.evaluation.checks import checked_groups, checked_predictions
from ftkit.evaluation.intervals import Score, wilson


def score_by_group(labels: ArrayLike, probabilities: ArrayLike, groups: ArrayLike) -> dict[str, Score]:
    """Return the accuracy of each group with Wilson's interval, by group name in sorted order.

    Parameters
    ----------
    labels : array_like of int, shape (n,)
        The true class of each item.
    probabilities : array_like of float, shape (n, classes)
        The predicted probability of each class.
    groups : array_like, shape (n,)
        The group of each item.

    Raises
    ------
    DataError
        If shapes do not fit or a value is NaN.

    Examples
    --------
    >>> right = [[0.9, 0.1]]
    >>> print(score_by_group([0, 0, 1], right * 3, ["ana", "ben", "ben"])["ben"].value)
    0.5
    """
    truth, table = checked_predictions(labels, probabilities)
    names, member = np.unique(checked_groups(groups, truth.size), return_inverse=True)
    sizes = np.bincount(member)
    correct = np.bincount(member, weights=table.argmax(axis=1) == truth).astype(int)
    return {str(name): wilson(int(right), int(n)) for name, right, n in zip(names, correct, sizes, strict=True)}
