"""Test scores of an experiment's outcomes, from the answers that its record keeps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ftkit.errors import DataError
from ftkit.evaluation import Score, find_metric, mean_score
from ftkit.experiments.record import Answered, AnsweredItems, Outcome, Record, from_digits
from ftkit.processor import libraries_limited


def test_of(record: Record, outcomes: Sequence[Answered]) -> AnsweredItems:
    """The test split that outcomes answered.

    Raises
    ------
    DataError
        If there is no outcome, or they are of several tasks.
    """
    tasks = sorted({outcome.condition.task for outcome in outcomes})
    if len(tasks) != 1:
        raise DataError(f"Outcomes of one task are needed; these are of {', '.join(tasks) or 'none'}.")
    return record.tests[tasks[0]]


def answer_tables(test: AnsweredItems, answers: Sequence[NDArray[np.int_]]) -> list[NDArray[np.float64]]:
    """Write answered classes as probabilities: 1 for the answer and 0 for every other class.

    Parameters
    ----------
    test
        What was answered.
    answers
        Int arrays (n,), the class of every item.

    Returns
    -------
    list of array
        Floats (n, classes), one array for each of the answers.
    """
    classes = class_count(test)
    return [np.eye(classes)[each] for each in answers]


def tables_by_seed(record: Record, outcomes: Sequence[Answered]) -> dict[int, NDArray[np.float64]]:
    """Answers of outcomes on one task as `answer_tables` writes them, by seed.

    Raises
    ------
    DataError
        If there is no outcome, they are of several tasks, or a seed comes twice.
    """
    seeds = [outcome.condition.seed for outcome in outcomes]
    if len(set(seeds)) < len(seeds):
        raise DataError(
            "Several trainings are of one seed. Name what tells them apart, such as the method or its settings."
        )
    answers = [outcome.predicted() for outcome in outcomes]
    return dict(zip(seeds, answer_tables(test_of(record, outcomes), answers), strict=True))


def best_on_validation(outcomes: Mapping[str, Sequence[Outcome]]) -> str:
    """The method with the highest mean score on validation; ``outcomes`` are by method, at least one of each.

    Of equal ones it is the one with the lower loss there, as in `Comparison.best_method`.
    """

    def rank(method: str) -> list[float]:
        kept = [(each.validation_score, -each.validation_loss[each.best_epoch - 1]) for each in outcomes[method]]
        return np.mean(kept, axis=0).tolist()

    return max(outcomes, key=rank)


def class_count(test: AnsweredItems) -> int:
    """Number of classes of a test split, every one of which it holds."""
    return int(from_digits(test.labels).max()) + 1


@libraries_limited()
def mean_test_score(record: Record, outcomes: Sequence[Answered]) -> Score:
    """Mean score over outcomes (seeds) by the metric that selects on their task, with its 95 % interval.

    Raises
    ------
    DataError
        If there is no outcome, or they are of several tasks.
    """
    test = test_of(record, outcomes)
    tables = answer_tables(test, [outcome.predicted() for outcome in outcomes])
    return mean_score(test.metric, from_digits(test.labels), tables, test.groups)


def guess_score(test: AnsweredItems) -> float:
    """Score of answering the most frequent class every time, 0 to 1.

    Examples
    --------
    >>> guess_score(AnsweredItems(labels="0111", groups=None, fingerprint="", metric="accuracy"))
    0.75
    """
    labels = from_digits(test.labels)
    (table,) = answer_tables(test, [np.full_like(labels, np.bincount(labels).argmax())])
    return find_metric(test.metric).function(labels, table)
