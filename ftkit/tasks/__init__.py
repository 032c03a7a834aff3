"""Tasks: data in train, validation and test splits, with labels, groups and a metric."""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Integral
from types import MappingProxyType

from ftkit.errors import DataError, UnknownNameError
from ftkit.tasks import movie_reviews, solar_cells, spoken_digits
from ftkit.tasks.base import SAMPLE_RATE, Split, Task, TaskInfo
from ftkit.tasks.own import own_task

__all__ = ["SAMPLE_RATE", "TASKS", "Split", "Task", "TaskInfo", "load_task", "own_task"]

_LOADERS = {module.INFO.name: module.load for module in (movie_reviews, solar_cells, spoken_digits)}

TASKS: Mapping[str, TaskInfo] = MappingProxyType(
    {module.INFO.name: module.INFO for module in (movie_reviews, solar_cells, spoken_digits)}
)
"""The ready-made tasks by name; looking at it loads nothing."""


def load_task(name: str, *, limit: int | None = None, seed: int = 0) -> Task:
    """Load a ready-made task.

    The first call fetches and prepares the data (seconds to a minute or two); later calls take a moment.

    Parameters
    ----------
    name
        ``"movie-reviews"``, ``"solar-cells"`` or ``"spoken-digits"``; see `TASKS`.
    limit
        Number of training examples, drawn with the class shares of the whole; validation is cut in
        proportion, to no fewer than ten of each class as far as there are any. None is the usual size: 5,000 of
        movie-reviews (there are about 9,000), all 1,000 of solar-cells, 800 of spoken-digits (there are 2,000).
        The test is always whole and the same.
    seed
        Seed of the draw. It never changes which examples are test.

    Returns
    -------
    Task
        The data and how they are scored.

    Raises
    ------
    UnknownNameError
        When there is no such task.
    DataError
        When `limit` is below one a class or above the number of training examples there are.
    AssetError
        When the data cannot be had.
    """
    if name not in _LOADERS:
        raise UnknownNameError("task", name, list(_LOADERS))
    if limit is not None and (isinstance(limit, bool) or not isinstance(limit, Integral)):
        raise DataError(f"limit={limit!r} is not a whole number of training examples. Give one, such as limit=200.")
    return _LOADERS[name](limit=limit, seed=seed)
