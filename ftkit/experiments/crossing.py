"""Where two curves over the number of training examples cross, or that they fail to."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from ftkit.errors import FtkitError
from ftkit.evaluation import PairedTest
from ftkit.experiments.claims import score_difference
from ftkit.experiments.record import Record
from ftkit.methods import METHODS
from ftkit.tasks import TASKS

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True)
class Crossing:
    """Two methods over the number of training examples.

    Attributes
    ----------
    task, first, second
        Names of the task and of the two methods.
    differences
        Number of training examples, ascending, to the score of the first method minus that of the second there.
    """

    task: str
    first: str
    second: str
    differences: dict[int, PairedTest]

    @property
    def behind(self) -> list[int]:
        """Sizes at which the first method is behind by its 95 % interval: all of it lies below zero."""
        return [size for size, test in self.differences.items() if test.high < 0]

    @property
    def ahead(self) -> list[int]:
        """Sizes at which the first method is ahead by its 95 % interval."""
        return [size for size, test in self.differences.items() if test.low > 0]

    @property
    def undecided(self) -> list[int]:
        """All other sizes."""
        return [size for size in self.differences if size not in {*self.behind, *self.ahead}]

    @property
    def places(self) -> list[float]:
        """Numbers of examples at which the means meet or cross, on a straight line over the logarithm between sizes."""
        means = [(size, test.difference) for size, test in self.differences.items()]
        between = [
            math.exp(math.log(left) + (math.log(right) - math.log(left)) * before / (before - after))
            for (left, before), (right, after) in pairwise(means)
            if before * after < 0
        ]
        return sorted([*between, *(float(size) for size, difference in means if difference == 0)])

    @property
    def in_words(self) -> str:
        """Where the means cross; or which of the two lies higher everywhere.

        Examples
        --------
        >>> above = PairedTest(difference=0.1, low=0.05, high=0.15, p_value=0.01, n=100, n_discordant=20)
        >>> below = PairedTest(difference=-0.1, low=-0.15, high=-0.05, p_value=0.01, n=100, n_discordant=20)
        >>> Crossing("movie-reviews", "scratch", "full", {10: below, 1000: below}).in_words
        'nowhere: Full fine-tuning stays higher'
        >>> Crossing("movie-reviews", "scratch", "full", {10: below, 1000: above}).in_words
        'near 100'
        """
        if self.places:
            return ", ".join(f"near {place:,.0f}" for place in self.places)
        first_size = next(iter(self.differences.values()))
        higher = self.second if first_size.difference < 0 else self.first
        return f"nowhere: {METHODS[higher].title} stays higher"


def crossing(record: Record, task: str, first: str, second: str) -> Crossing:
    """Compare two methods at every number of training examples that a record has of both.

    Parameters
    ----------
    record
        Of the experiment "data-size": conditions with `examples`.
    task, first, second
        Names of the task and of the two methods.

    Raises
    ------
    FtkitError
        If there are fewer than two such numbers.
    """
    sizes = _common_sizes(record, task, first, second)
    if len(sizes) < 2:
        raise FtkitError(
            f"The record {record.experiment!r} has {len(sizes)} numbers of training examples of both {first} and "
            f"{second} on {task}; a crossing needs two. Run `ftkit experiment data-size`."
        )
    return Crossing(
        task,
        first,
        second,
        {
            size: score_difference(
                record, *(record.where(task=task, method=method, examples=size) for method in (first, second))
            )
            for size in sizes
        },
    )


def crossing_table(record: Record, first: str = "scratch") -> pandas.DataFrame:
    """One row a task and a method: where a method's curve lies below, above and across that of the first.

    Parameters
    ----------
    record
        Of the experiment "data-size".
    first
        Name of the method that all others are set against, default ``"scratch"``.

    Returns
    -------
    pandas.DataFrame
        The sizes at which the first is behind by its 95 % interval, at which that holds zero, at which it is
        ahead, and where the means cross. Without a row for methods of which the record has fewer than two
        sizes yet.
    """
    import pandas

    rows = [
        _row(crossing(record, task, first, method))
        for task in TASKS
        for method in METHODS
        if method != first and len(_common_sizes(record, task, first, method)) > 1
    ]
    title = METHODS[first].title
    columns = ["Task", f"{title} against", "behind at", "undecided at", "ahead at", "The means cross"]
    return pandas.DataFrame(rows, columns=columns)


def _row(found: Crossing) -> list[Any]:
    parts = (found.behind, found.undecided, found.ahead)
    listed = [", ".join(f"{size:,}" for size in sizes) or "–" for sizes in parts]
    return [TASKS[found.task].title, METHODS[found.second].title, *listed, found.in_words]


def _common_sizes(record: Record, task: str, *methods: str) -> list[int]:
    """Numbers of training examples that a record has of all the methods, ascending."""
    made = [{outcome.condition.examples for outcome in record.where(task=task, method=method)} for method in methods]
    return sorted(size for size in set.intersection(*made) if size is not None)
