"""What every item gave to a measured value, where a record tells it: how far the value would move with other items."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ftkit.evaluation import Variation, item_variation
from ftkit.experiments.record import AnsweredItems, Outcome, Record, from_digits


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


def variation_of_difference(
    record: Record, first: tuple[str, Sequence[Outcome]], second: tuple[str, Sequence[Outcome]]
) -> list[Variation]:
    """Variation over items of the difference between two measured values, each the mean of its outcomes.

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
    one, other = (_mean_parts(record, quantity, outcomes) for quantity, outcomes in (first, second))
    if one is not None and other is not None and one.asked == other.asked:
        one, other = replace(one, parts=one.parts - other.parts), None
    return [item_variation(side.parts, side.sizes, side.strata, side.groups) for side in (one, other) if side]


def _mean_parts(record: Record, quantity: str, outcomes: Sequence[Outcome]) -> Parts | None:
    """Parts of the mean of outcomes, or None where one of them does not tell its own."""
    of_each = [each for each in (_parts(record, quantity, outcome) for outcome in outcomes) if each is not None]
    if not of_each or len(of_each) < len(outcomes):
        return None
    return replace(of_each[0], parts=np.mean([each.parts for each in of_each], axis=0))


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
