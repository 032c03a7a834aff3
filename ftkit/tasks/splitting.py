"""Which item goes into which split, and which items a smaller draw keeps."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ftkit.errors import DataError
from ftkit.tasks.base import Split

__all__ = ["draw", "draw_training", "split_by_group", "split_by_stratum", "stratified_draw"]

_DIVISIONS_TRIED = 200
_LEAST_VALIDATION_PER_CLASS = 10


def split_by_stratum(strata: np.ndarray, fractions: Sequence[float], seed: int = 0) -> list[np.ndarray]:
    """Divide items at random so that each part has the same share of every stratum.

    Parameters
    ----------
    strata
        Stratum of each item (its class, or class and kind together), shape (n,).
    fractions
        Share of each part; they sum to 1.
    seed
        Seed of the shuffle.

    Returns
    -------
    list of numpy.ndarray
        Sorted positions of each part. They are disjoint and cover every item; a stratum with at least as
        many items as there are parts with a share is in each of them.

    Examples
    --------
    >>> parts = split_by_stratum(np.array([0] * 10 + [1] * 10), [0.6, 0.2, 0.2])
    >>> [len(part) for part in parts]
    [12, 4, 4]
    """
    _check_fractions(fractions)
    generator = np.random.default_rng(seed)
    parts: list[list[int]] = [[] for _ in fractions]
    for stratum in np.unique(strata):
        positions = generator.permutation(np.flatnonzero(strata == stratum))
        sizes = _apportion(len(positions), fractions)
        for part, chosen in zip(parts, np.split(positions, np.cumsum(sizes)[:-1]), strict=True):
            part.extend(chosen.tolist())
    return [np.array(sorted(part), dtype=np.int64) for part in parts]


def split_by_group(
    labels: np.ndarray, groups: np.ndarray, fractions: Sequence[float], seed: int = 0
) -> list[np.ndarray]:
    """Divide items so that no group is in two parts, with class shares as equal as whole groups allow.

    Each part gets its share of the groups, at least one. Of many random divisions the one is kept whose
    worst-off class, over all parts, is closest to its wanted number.

    Parameters
    ----------
    labels
        Class of each item, shape (n,).
    groups
        Group of each item, shape (n,).
    fractions
        Wanted share of each part; they sum to 1.
    seed
        Seed of the divisions.

    Returns
    -------
    list of numpy.ndarray
        Sorted positions of each part.

    Raises
    ------
    DataError
        When there are fewer groups than parts.

    Examples
    --------
    >>> groups = np.repeat(["a", "b", "c", "d", "e"], 4)
    >>> train, test = split_by_group(np.tile([0, 1], 10), groups, [0.8, 0.2])
    >>> set(groups[train]) & set(groups[test])
    set()
    """
    _check_fractions(fractions)
    names, group_of = np.unique(groups, return_inverse=True)
    if len(names) < len(fractions):
        raise DataError(
            f"There are {len(names)} groups for {len(fractions)} splits, and a group is never shared. "
            "Give more groups, or leave the group out if the items are independent."
        )
    classes, class_of = np.unique(labels, return_inverse=True)
    counts = np.zeros((len(names), len(classes)))
    np.add.at(counts, (group_of, class_of), 1)
    wanted = np.outer(fractions, counts.sum(axis=0))
    generator = np.random.default_rng(seed)

    def rank(division: list[np.ndarray]) -> tuple[int, float]:
        filled = np.stack([counts[part].sum(axis=0) for part in division])
        # A class that is missing from a part can't be made good by shares that are more nearly right.
        return int(np.count_nonzero(filled == 0)), float((np.abs(filled - wanted) / wanted).max())

    best = min((_dealt([np.arange(len(names))], fractions, generator) for _ in range(_DIVISIONS_TRIED)), key=rank)
    if rank(best)[0]:  # many classes of few groups each do not all come by chance into every part
        most = counts.argmax(axis=1)
        of_class = [np.flatnonzero(most == each) for each in range(len(classes))]
        class_by_class = (_dealt(of_class, fractions, generator) for _ in range(_DIVISIONS_TRIED))
        best = min([best, *class_by_class], key=rank)
    return [np.flatnonzero(np.isin(group_of, part)) for part in best]


def _dealt(kinds: Sequence[np.ndarray], fractions: Sequence[float], generator: np.random.Generator) -> list[np.ndarray]:
    """Divide positions at random into parts of such shares, kind by kind."""
    divided = [
        np.split(generator.permutation(kind), np.cumsum(_apportion(len(kind), fractions))[:-1]) for kind in kinds
    ]
    return [np.concatenate(part) for part in zip(*divided, strict=True)]


def stratified_draw(
    labels: np.ndarray, size: int, groups: np.ndarray | None = None, *, minimum: int = 0, seed: int = 0
) -> np.ndarray:
    """Choose items at random in the class shares of the whole, spread over as many groups as possible.

    Parameters
    ----------
    labels
        Class of each item, shape (n,).
    size
        Number of items to choose, at most n.
    groups
        Group of each item, shape (n,). Within a class the draw takes one item from every group before it
        takes a second from any.
    minimum
        Least number of items of each class, where the class has as many; the draw may then exceed `size`.
    seed
        Seed of the draw. A larger draw with the same seed holds the smaller one wherever the class shares
        round alike.

    Returns
    -------
    numpy.ndarray
        Sorted positions.

    Examples
    --------
    >>> chosen = stratified_draw(np.array([0] * 30 + [1] * 10), 8)
    >>> np.bincount(np.array([0] * 30 + [1] * 10)[chosen]).tolist()
    [6, 2]
    """
    if not 0 < size <= len(labels):
        raise DataError(f"Cannot draw {size} of {len(labels)} items. Choose a number from 1 to {len(labels)}.")
    generator = np.random.default_rng(seed)
    classes, counts = np.unique(labels, return_counts=True)
    sizes = _apportion(size, counts / counts.sum())
    sizes = np.minimum(np.maximum(sizes, minimum), counts)
    chosen: list[int] = []
    for label, wanted in zip(classes, sizes, strict=True):
        positions = generator.permutation(np.flatnonzero(labels == label))
        if groups is not None:
            positions = positions[np.argsort(_turn_in_group(groups[positions]), kind="stable")]
        chosen.extend(positions[:wanted].tolist())
    return np.array(sorted(chosen), dtype=np.int64)


def draw(split: Split, size: int, *, minimum: int = 0, seed: int = 0) -> Split:
    """Return a stratified part of a split; see `stratified_draw`. The whole split comes back as it is."""
    if size == len(split):
        return split
    return split.take(stratified_draw(split.labels, size, split.groups, minimum=minimum, seed=seed))


def draw_training(
    train: Split, validation: Split, sizes: tuple[int, int], *, task_name: str, limit: int | None, seed: int = 0
) -> tuple[Split, Split]:
    """Draw the training and validation items of a task that has more of them than a lesson needs.

    Parameters
    ----------
    train, validation
        All there is.
    sizes
        Usual number of training and validation items.
    task_name
        For the error message.
    limit
        Number of training items; None is the usual number. Validation follows in proportion, with at
        least ten items of each class, as far as there are any.
    seed
        Seed of the draw.

    Returns
    -------
    tuple of Split
        The training and the validation part.

    Raises
    ------
    DataError
        When `limit` is below the number of classes or above what there is.

    Examples
    --------
    >>> names = np.array([f"review {n}" for n in range(100)])
    >>> pool = Split(names.tolist(), np.tile([0, 1], 50), None, names)
    >>> train, validation = draw_training(pool, pool, (60, 30), task_name="example", limit=20)
    >>> len(train), len(validation)
    (20, 20)
    """
    usual_train, usual_validation = sizes
    size = usual_train if limit is None else limit
    classes = len(np.unique(train.labels))
    if not classes <= size <= len(train):
        raise DataError(
            f"limit={limit} asks for {size} training examples of {task_name!r}; it has from {classes} (one a class) "
            f"to {len(train)}. Choose a limit in this range, or leave it out for the usual {usual_train}."
        )
    proportional = min(max(round(usual_validation * size / usual_train), classes), len(validation))
    return (
        draw(train, size, seed=seed),
        draw(validation, proportional, minimum=_LEAST_VALIDATION_PER_CLASS, seed=seed),
    )


def _turn_in_group(groups: np.ndarray) -> np.ndarray:
    """Number the items of each group 0, 1, ... in the order given."""
    turns = np.zeros(len(groups), dtype=np.int64)
    seen: dict[str, int] = {}
    for position, group in enumerate(groups.tolist()):
        turns[position] = seen.get(group, 0)
        seen[group] = turns[position] + 1
    return turns


def _apportion(total: int, shares: Sequence[float] | np.ndarray) -> np.ndarray:
    """Divide a whole number by shares: largest remainders, and one to each part as long as there are enough."""
    shares = np.asarray(shares, dtype=np.float64)
    exact = total * shares
    sizes = np.floor(exact).astype(np.int64)
    order = np.argsort(-(exact - sizes), kind="stable")
    sizes[order[: total - sizes.sum()]] += 1
    wanting = (sizes == 0) & (shares > 0)
    while wanting.any() and total >= (shares > 0).sum():
        sizes[np.argmax(sizes)] -= 1
        sizes[np.argmax(wanting)] += 1
        wanting = (sizes == 0) & (shares > 0)
    return sizes


def _check_fractions(fractions: Sequence[float]) -> None:
    if abs(sum(fractions) - 1) > 1e-9 or min(fractions) <= 0:
        raise DataError(f"The shares of the splits are {list(fractions)}. Give shares above 0 that sum to 1.")
