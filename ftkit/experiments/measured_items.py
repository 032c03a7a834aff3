"""What every item gave to a measured value, where a record tells it: how far the value would move with other items."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ftkit.evaluation import Variation, item_variation, without_own
from ftkit.experiments.record import AnsweredItems, Outcome, Record, from_digits
from ftkit.tasks import TASKS


@dataclass(frozen=True)
class Parts:
    """What the items gave to a value, see `item_variation`.

    Attributes
    ----------
    asked
        Which items these are: values of the same ones are compared item by item.
    parts, sizes
        One an item.
    strata, groups
        Class and group of every item, or None.
    """

    asked: str
    parts: np.ndarray
    sizes: np.ndarray
    strata: np.ndarray | None = None
    groups: np.ndarray | None = None

    def __sub__(self, other: Parts) -> Parts:
        return replace(self, parts=self.parts - other.parts)

    def __neg__(self) -> Parts:
        return replace(self, parts=-self.parts)


def variation_of_difference(
    record: Record, first: tuple[str, Sequence[Outcome]], second: tuple[str, Sequence[Outcome]]
) -> list[Variation]:
    """Variation over items of the difference between two measured values, each the mean of its outcomes.

    What each training answers by itself is not in it: it is part of how trainings differ, see `without_own`.

    Parameters
    ----------
    record
        That holds the outcomes.
    first, second
        A quantity, such as ``"forgetting.after"``, and whose.

    Returns
    -------
    list of Variation
        One where both sides were asked the same items, else one for each side whose items are known and the same for
        all its outcomes.
    """
    one, other = (_parts_by_seed(record, quantity, outcomes) for quantity, outcomes in (first, second))
    if not (one and other and _asked(one) == _asked(other)):
        known = [_variation([list(side.values())]) for side in (one, other) if side]
        return known or [each for side in (first, second) for each in _probed_items(*side)]
    if one.keys() == other.keys():
        return [_variation([[one[seed] - other[seed] for seed in one]])]
    return [_variation([list(one.values()), [-each for each in other.values()]])]


def _probed_items(quantity: str, outcomes: Sequence[Outcome]) -> list[Variation]:
    """Variation over the validation items of what linear classifiers on features get right there.

    Records do not tell which items these are: they are taken to be of their own for each side, and the same for all
    trainings, which makes the variation rather too large.
    """
    if not quantity.startswith("layers.probe") or any("layers" not in each.measures for each in outcomes):
        return []
    _, part, stage = quantity.split(".")
    shares = [each.measures["layers"][part][int(stage)] for each in outcomes]
    info = TASKS[outcomes[0].condition.task]
    examples = min(each.condition.examples or info.default_train for each in outcomes)
    items = round(info.default_validation * examples / info.default_train)
    share = float(np.mean(shares))
    return [Variation(share * (1 - share) / items, items - 1)]


def _variation(sides: Sequence[Sequence[Parts]]) -> Variation:
    """Of the sum of the sides' means, each over its trainings."""
    kind = sides[0][0]

    def of(parts: np.ndarray) -> Variation:
        return item_variation(parts, kind.sizes, kind.strata, kind.groups)

    means = [np.mean([each.parts for each in side], axis=0) for side in sides]
    found = of(np.sum(means, axis=0))
    for side, mean in zip(sides, means, strict=True):
        found = without_own(found, [of(each.parts - mean) for each in side])
    return found


def _asked(by_seed: Mapping[int, Parts]) -> str:
    return next(iter(by_seed.values())).asked


def _parts_by_seed(record: Record, quantity: str, outcomes: Sequence[Outcome]) -> dict[int, Parts]:
    """Parts of every outcome by its seed; none where one of them does not tell its own."""
    found = {outcome.condition.seed: _parts(record, quantity, outcome) for outcome in outcomes}
    told = {seed: parts for seed, parts in found.items() if parts is not None}
    return told if len(told) == len(found) else {}


def _parts(record: Record, quantity: str, outcome: Outcome) -> Parts | None:
    """Parts of one outcome's value, where it tells them."""
    name, *path = quantity.split(".")
    measure, test = outcome.measures.get(name, {}), record.tests[outcome.condition.task]
    if name == "forgetting" and "by_item" in measure:
        return Parts(measure["ability"], np.array(measure["by_item"][path[0]]), np.array(measure["sizes"]))
    if name == "corruption" and "answers" in measure:
        return _right_answers(outcome.condition.task, test, measure["answers"][int(path[-1])])
    if name == "kinds" and test.kinds is not None:
        return _right_answers(outcome.condition.task, test, outcome.answers, kind=path[0])
    if quantity == "groups.unseen":
        return _right_answers(outcome.condition.task, test, outcome.answers)
    return None


def _right_answers(task: str, test: AnsweredItems, answers: str, kind: str | None = None) -> Parts | None:
    """Right answers to a task's test split or to its items of one kind, where the metric is made of them."""
    if test.metric not in ("accuracy", "balanced_accuracy"):
        return None
    labels = from_digits(test.labels)
    chosen: Any = slice(None) if kind is None else np.array(test.kinds) == kind
    return Parts(
        asked=f"test of {task} {kind or ''}",
        parts=(from_digits(answers) == labels)[chosen].astype(float),
        sizes=np.ones(labels.size)[chosen],
        strata=labels[chosen] if test.metric == "balanced_accuracy" else None,
        groups=None if test.groups is None else np.array(test.groups)[chosen],
    )
