"""Whether methods get the same test items wrong, and what their majority knows."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement, product
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ftkit.errors import DataError
from ftkit.evaluation import PairedTest, Score, jackknife, mean_score, paired_runs, student_interval
from ftkit.experiments.record import Outcome, Record, from_digits
from ftkit.experiments.scoring import answer_tables, best_on_validation, class_count, mean_test_score, tables_by_seed

if TYPE_CHECKING:
    import pandas

Answers = NDArray[np.int_]
Marked = NDArray[np.bool_]
Overlap = Callable[[Marked, Marked], float]
PARTS = 20
"""Parts of the test items, whole groups each, that are left out in turn to see how far a value moves with items."""


@dataclass(frozen=True)
class Mistakes:
    """What several methods get wrong on one task.

    Attributes
    ----------
    task
        Its name.
    methods
        Names, in the order of the overlap's rows.
    seeds
        How many all of them share.
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
    apart
        How much less two methods overlap than two trainings of one method, by `overlap_beyond_chance`, so that methods
        which make more mistakes are not taken to make others; mean over methods: value and the ends of its 95 %
        interval over seeds and items, Student's. Below zero methods differ in more than their luck.
    """

    task: str
    methods: tuple[str, ...]
    seeds: int
    overlap: NDArray[np.float64]
    vote: Score
    best: str
    best_score: Score
    gain: PairedTest
    apart: tuple[float, float, float]


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
    trained = _by_method_and_seed(record, task)
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
    overlap = overlaps(wrong, jaccard)
    best = best_on_validation({method: [trained[method][seed] for seed in shared] for method in methods})
    of_best = [trained[best][seed] for seed in shared]
    ranked = sorted(methods, key=lambda method: method != best)  # the first breaks ties
    votes = [majority([trained[method][seed].predicted() for method in ranked], class_count(test)) for seed in shared]
    tables = answer_tables(test, votes)
    votes_by_seed = dict(zip(shared, tables, strict=True))
    return Mistakes(
        task=task,
        methods=methods,
        seeds=len(shared),
        overlap=overlap,
        vote=mean_score(test.metric, labels, tables, test.groups),
        best=best,
        best_score=mean_test_score(record, of_best),
        gain=paired_runs(test.metric, labels, votes_by_seed, tables_by_seed(record, of_best), test.groups),
        apart=_apart(wrong, shared, None if test.groups is None else np.array(test.groups)),
    )


def mistaken_items(record: Record, task: str) -> pandas.DataFrame:
    """How often every test item was got wrong, by each method and by all, the hardest item first.

    Parameters
    ----------
    record, task
        See `mistakes_of`.

    Returns
    -------
    pandas.DataFrame
        A row an item, by its place in the test split: ``"class"``, the true one as a number; ``"all methods"`` and a
        column a method, shares in 0..1 of the trainings that got it wrong.

    Raises
    ------
    DataError
        As `mistakes_of`.
    """
    import pandas

    from ftkit.methods import METHODS  # only now: methods load torch, and claims do not need it

    labels = from_digits(record.tests[task].labels)
    trained = _by_method_and_seed(record, task)
    shares = {
        METHODS[method].title: np.mean([outcome.predicted() != labels for outcome in seeds.values()], axis=0)
        for method, seeds in trained.items()
    }
    columns = {"class": labels, "all methods": np.mean(list(shares.values()), axis=0), **shares}
    items = pandas.DataFrame(columns, index=pandas.RangeIndex(labels.size, name="test item"))
    return items.sort_values("all methods", ascending=False, kind="stable")


def _by_method_and_seed(record: Record, task: str) -> dict[str, dict[int, Outcome]]:
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
    return trained


def overlaps(wrong: Mapping[str, Mapping[int, Marked]], overlap: Overlap) -> NDArray[np.float64]:
    """Mean overlap of every two methods, see `mean_overlap`: array (methods, methods).

    Parameters
    ----------
    wrong
        Method to seed to bool array (n,), the items that a training got wrong.
    overlap
        Of two such arrays.
    """
    marked = list(wrong.values())
    found = np.empty((len(marked), len(marked)))
    for one, other in combinations_with_replacement(range(len(marked)), 2):
        found[one, other] = found[other, one] = mean_overlap(marked[one], marked[other], overlap)
    return found


def _apart(
    wrong: Mapping[str, Mapping[int, Marked]], seeds: Sequence[int], groups: NDArray | None
) -> tuple[float, float, float]:
    """Mean overlap of different methods minus that of one method's trainings, its interval over seeds and items."""

    def difference(kept: Sequence[int], items: Marked) -> float:
        among = {method: {seed: of_seed[seed][items] for seed in kept} for method, of_seed in wrong.items()}
        found = overlaps(among, overlap_beyond_chance)
        own = np.eye(len(found), dtype=bool)
        return float(found[~own].mean() - found[own].mean())

    if groups is None or np.unique(groups).size < 2:  # a single group can't be left out
        groups = np.arange(next(iter(next(iter(wrong.values())).values())).size)
    names, member = np.unique(groups, return_inverse=True)
    part = np.random.default_rng(0).permutation(names.size)[member] % min(names.size, PARTS)
    everything = np.ones(part.size, dtype=bool)
    value = difference(seeds, everything)
    if len(seeds) < 3:  # without one of two seeds, no two trainings of a method are left
        return value, -math.inf, math.inf
    without_seed = np.array([difference([each for each in seeds if each != seed], everything) for seed in seeds])
    without_part = np.array([difference(seeds, part != each) for each in np.unique(part)])
    return (value, *student_interval(value, [jackknife(without_seed), jackknife(without_part)]))


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


def jaccard(one: Marked, other: Marked) -> float:
    """Share of the items marked by either that are marked by both; 1 where nothing is marked.

    Examples
    --------
    >>> jaccard(np.array([True, True, False]), np.array([True, False, False]))
    0.5
    """
    either = int((one | other).sum())
    return int((one & other).sum()) / either if either else 1.0


def overlap_beyond_chance(one: Marked, other: Marked) -> float:
    """Overlap of two sets of items, on a scale from that of chance, 0, to the largest that their sizes allow, 1.

    Cole's coefficient of association (Cole, The Measurement of Interspecific Association, 1949) where two go together
    more than by chance; where they do less it is below 0. It is 1 where none or all items are marked by one of the two:
    then they overlap as they must.

    Parameters
    ----------
    one, other
        Bool arrays (n,), the marked items.

    Examples
    --------
    >>> some, more = np.array([True, False, False, False]), np.array([True, True, False, False])
    >>> overlap_beyond_chance(some, more), jaccard(some, more)
    (1.0, 0.5)
    """
    shares = one.mean(), other.mean()
    chance, most = shares[0] * shares[1], min(shares)
    return float(((one & other).mean() - chance) / (most - chance)) if most > chance else 1.0


def mean_overlap(one: Mapping[int, Marked], other: Mapping[int, Marked], overlap: Overlap) -> float:
    """Mean overlap over pairs of different seeds, or over all pairs where there is a single seed.

    Parameters
    ----------
    one, other
        Seed to bool array (n,), the items that a training got wrong.
    overlap
        Of two such arrays.
    """
    pairs = [(first, second) for first, second in product(one, other) if first != second]
    pairs = pairs or list(product(one, other))
    return float(np.mean([overlap(one[first], other[second]) for first, second in pairs]))
