"""Whether methods get the same test items wrong, and what their majority knows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from ftkit.errors import DataError
from ftkit.evaluation import PairedTest, Score, mean_score, paired_runs
from ftkit.experiments.record import Outcome, Record, from_digits
from ftkit.experiments.scoring import answer_tables, best_on_validation, class_count, mean_test_score

Answers = NDArray[np.int_]


@dataclass(frozen=True)
class Mistakes:
    """What several methods get wrong on one task.

    Attributes
    ----------
    task
        Its name.
    methods
        Names, in the order of the overlap's rows.
    overlap
        Shares in 0..1 (methods, methods): of the items that one or the other gets wrong, those that both do (Jaccard).
        Mean over pairs of trainings with different seeds, so that the diagonal says how alike two trainings of one
        method are; with a single seed it is 1.
    vote
        Test score of the majority of the methods' answers, mean over seeds.
    best, best_score
        The method with the best validation score, mean over seeds, and its test score.
    gain
        The vote minus the best method, paired by item.
    """

    task: str
    methods: tuple[str, ...]
    overlap: NDArray[np.float64]
    vote: Score
    best: str
    best_score: Score
    gain: PairedTest


def mistakes_of(record: Record, task: str) -> Mistakes:
    """Compare what methods get wrong.

    Parameters
    ----------
    record
        With outcomes of two methods at least, each with one choice of settings.
    task
        The task that is looked at.

    Raises
    ------
    DataError
        If there are fewer than two methods, a method comes twice with one seed, or no seed is shared by all methods.
    """
    trained: dict[str, dict[int, Outcome]] = {}
    for outcome in record.where(task=task):
        method, seed = outcome.condition.method, outcome.condition.seed
        if seed in trained.setdefault(method, {}):
            raise DataError(
                f"{record.experiment!r} has {method!r} on {task!r} twice with seed {seed}, set up differently."
            )
        trained[method][seed] = outcome
    if len(trained) < 2:
        raise DataError(f"{record.experiment!r} has {len(trained)} methods on {task!r}; two at least are compared.")
    shared = sorted(set.intersection(*(set(seeds) for seeds in trained.values())))
    if not shared:
        raise DataError(f"The methods of {record.experiment!r} on {task!r} share no seed, so that none can vote.")
    test = record.tests[task]
    labels = from_digits(test.labels)
    wrong = {
        method: {seed: outcome.predicted() != labels for seed, outcome in seeds.items()}
        for method, seeds in trained.items()
    }
    methods = tuple(trained)
    overlap = np.array([[mean_overlap(wrong[one], wrong[other]) for other in methods] for one in methods])
    best = best_on_validation({method: [trained[method][seed] for seed in shared] for method in methods})
    of_best = [trained[best][seed] for seed in shared]
    ranked = sorted(methods, key=lambda method: method != best)  # the first breaks ties
    votes = [majority([trained[method][seed].predicted() for method in ranked], class_count(test)) for seed in shared]
    tables = answer_tables(test, votes)
    best_tables = answer_tables(test, [outcome.predicted() for outcome in of_best])
    return Mistakes(
        task=task,
        methods=methods,
        overlap=overlap,
        vote=mean_score(test.metric, labels, tables, test.groups),
        best=best,
        best_score=mean_test_score(record, of_best),
        gain=paired_runs(test.metric, labels, tables, best_tables, test.groups),
    )


def majority(answers: Sequence[Answers], classes: int) -> Answers:
    """The class that most answers name for each item; of those named as often, the one that an earlier voter names.

    Parameters
    ----------
    answers
        Int arrays (n,), one a voter.
    classes
        Number of classes.

    Examples
    --------
    >>> majority([np.array([0, 1, 2]), np.array([1, 1, 0]), np.array([1, 2, 1])], classes=3).tolist()
    [1, 1, 2]
    """
    # A voter's vote counts more than those of all later ones would add, and all of it together less than one vote.
    weights = 1 + 0.5 ** np.arange(2, len(answers) + 2)
    counts = sum(weight * np.eye(classes)[each] for weight, each in zip(weights, answers, strict=True))
    return np.asarray(counts).argmax(axis=1)


def jaccard(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    """Share of the items marked by either that are marked by both; 1 where nothing is marked.

    Examples
    --------
    >>> jaccard(np.array([True, True, False]), np.array([True, False, False]))
    0.5
    """
    either = int((one | other).sum())
    return int((one & other).sum()) / either if either else 1.0


def mean_overlap(one: Mapping[int, NDArray[np.bool_]], other: Mapping[int, NDArray[np.bool_]]) -> float:
    """Mean Jaccard index over pairs of different seeds, or over all pairs where there is a single seed.

    Parameters
    ----------
    one, other
        Seed to bool array (n,), the items that a training got wrong.
    """
    pairs = [(first, second) for first, second in product(one, other) if first != second]
    pairs = pairs or list(product(one, other))
    return float(np.mean([jaccard(one[first], other[second]) for first, second in pairs]))
