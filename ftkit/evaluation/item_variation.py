"""How far a score would move with other items, the runs staying as they are."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from ftkit.errors import DataError
from ftkit.evaluation.intervals import drawable_groups
from ftkit.evaluation.student import Variation


def item_variation(
    parts: ArrayLike, sizes: ArrayLike, strata: ArrayLike | None = None, groups: ArrayLike | None = None
) -> Variation:
    """Return the variation of a score that is made of shares: an accuracy, a word error rate, or a difference of two.

    A share is the sum of its items' parts over the sum of their sizes; the score is the mean of the strata's shares.
    Its variance is that of its first-order expansion in the items (linearisation), whole groups taken as one.

    Parameters
    ----------
    parts : array_like of float, shape (n,)
        What every item gives: 1 for a right answer, or its wrong words; where several runs answered, their mean; for a
        difference of two scores, the difference.
    sizes : array_like of float, shape (n,)
        Of how much: 1, or the words said.
    strata : array_like, shape (n,), optional
        The class of each item, for a score that is the mean over classes (balanced accuracy); by default all are one.
    groups : array_like, shape (n,), optional
        The group of each item (a film, a speaker); a single group is taken as none.

    Returns
    -------
    Variation

    Raises
    ------
    DataError
        If shapes do not fit, there are fewer than two items, or a size is not positive.

    References
    ----------
    W. G. Cochran, Sampling Techniques, 3rd edition (1977), chapters 6 (ratios) and 9A (groups of unequal size).

    Examples
    --------
    >>> right = [1] * 90 + [0] * 10
    >>> round(item_variation(right, [1] * 100).variance ** 0.5, 3)
    0.03
    """
    given, weights = np.asarray(parts, dtype=float), np.asarray(sizes, dtype=float)
    kinds = np.zeros(given.shape) if strata is None else np.asarray(strata)
    if given.ndim != 1 or given.size < 2 or not given.shape == weights.shape == kinds.shape:
        raise DataError(
            f"parts, sizes and strata have the shapes {given.shape}, {weights.shape} and {kinds.shape}; give one of "
            "each for every item, two items at least"
        )
    if not (weights > 0).all():
        raise DataError(f"a size is {weights.min():g}; give positive ones")
    names, place = np.unique(kinds, return_inverse=True)
    totals = np.bincount(place, weights)
    shares = np.bincount(place, given) / totals
    influence = (given - shares[place] * weights) / totals[place] / names.size
    whole = drawable_groups(groups, given.size)
    if whole is not None:
        influence = np.bincount(np.unique(whole, return_inverse=True)[1], influence)
    count = influence.size
    return Variation(float(np.square(influence).sum()) * count / (count - 1), count - 1)
