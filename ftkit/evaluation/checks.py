"""Checks that say what is wrong with labels, probabilities or groups before a number is computed from them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ftkit.errors import DataError

Labels = NDArray[np.int64]
Probabilities = NDArray[np.float64]


def checked_labels(labels: ArrayLike, name: str = "labels") -> Labels:
    """Return `labels` as an int64 array (n,) of class indices.

    Raises
    ------
    DataError
        If they are not one-dimensional, empty, not whole numbers, or negative.
    """
    array = np.asarray(labels)
    if array.ndim != 1 or array.size == 0:
        raise DataError(f"{name} have shape {array.shape}; give one class index per item, shape (n,) with n at least 1")
    if array.dtype.kind not in "iub" and (array.dtype.kind != "f" or not np.array_equal(array, np.floor(array))):
        raise DataError(f"{name} are of type {array.dtype} and not whole numbers; give class indices 0, 1, ...")
    whole = array.astype(np.int64)
    if whole.min() < 0:
        raise DataError(f"{name} hold the class index {whole.min()}; class indices start at 0")
    return whole


def checked_predictions(labels: ArrayLike, probabilities: ArrayLike) -> tuple[Labels, Probabilities]:
    """Return labels (n,) as int64 and probabilities (n, classes) as float64 that belong together.

    Raises
    ------
    DataError
        If the shapes do not fit, a probability is NaN or infinite, or a label has no column.
    """
    whole = checked_labels(labels)
    table = np.asarray(probabilities, dtype=np.float64)
    if table.ndim != 2 or table.shape[0] != whole.size or table.shape[1] < 2:
        raise DataError(
            f"probabilities have shape {table.shape}; {whole.size} labels need shape ({whole.size}, classes) "
            "with at least 2 classes"
        )
    unusable = ~np.isfinite(table).all(axis=1)
    if unusable.any():
        raise DataError(
            f"probabilities of {int(unusable.sum())} of {whole.size} items are NaN or infinite "
            f"(first: item {int(unusable.argmax())}); the training diverged, try a lower learning rate"
        )
    if whole.max() >= table.shape[1]:
        raise DataError(
            f"labels hold the class index {whole.max()}, but probabilities have {table.shape[1]} columns "
            f"(0 to {table.shape[1] - 1})"
        )
    return whole, table


def checked_groups(groups: ArrayLike, n: int) -> NDArray[Any]:
    """Return `groups` as an array (n,), one group name per item.

    Raises
    ------
    DataError
        If there is not exactly one group per item.
    """
    names = np.asarray(groups)
    if names.shape != (n,):
        raise DataError(f"groups have shape {names.shape}; {n} items need one group each, shape ({n},)")
    return names
