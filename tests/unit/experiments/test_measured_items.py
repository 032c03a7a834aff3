from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from bare_outcomes import bare_outcome

from ftkit.evaluation import item_variation
from ftkit.experiments.experiment import Condition
from ftkit.experiments.measured_items import variation_of_difference
from ftkit.experiments.record import AnsweredItems, Outcome, Record, as_digits

LABELS = np.arange(40) % 2
KINDS = ["mono"] * 10 + ["poly"] * 30
GROUPS = (np.arange(40) // 4).tolist()


def outcome(method: str, right: np.ndarray, **measures: Any) -> Outcome:
    """What a training leaves that gets these items of the test right."""
    return bare_outcome(Condition("solar-cells", method), LABELS, right, measures=measures)


def record(metric: str = "balanced_accuracy", groups: list[int] | None = None) -> Record:
    return Record("shift", (), {"solar-cells": AnsweredItems(as_digits(LABELS), groups, "abc", metric, KINDS)})


MANY, FEW = np.arange(40) % 5 > 0, np.arange(40) % 3 > 0


def test_items_of_one_kind_are_compared_by_class():
    sides = [("kinds.poly", [outcome("full", MANY)]), ("kinds.poly", [outcome("lora", FEW)])]
    poly = np.array(KINDS) == "poly"
    parts = MANY[poly].astype(float) - FEW[poly]
    assert variation_of_difference(record(), *sides) == [item_variation(parts, np.ones(30), LABELS[poly])]


def test_damaged_items_are_compared_with_themselves():
    answers = {"answers": [outcome("full", each).answers for each in (MANY, FEW)]}
    one = [outcome("full", MANY, corruption=answers)]
    (found,) = variation_of_difference(
        record("accuracy", GROUPS), ("corruption.scores.0", one), ("corruption.scores.1", one)
    )
    assert found == item_variation(MANY.astype(float) - FEW, np.ones(40), groups=GROUPS)


def test_other_items_vary_by_themselves():
    one = [outcome("full", MANY)]
    sides = [("kinds.mono", one), ("kinds.poly", one)]
    assert [each.freedom for each in variation_of_difference(record(), *sides)] == [9, 29]
    (unseen,) = variation_of_difference(record("accuracy"), ("groups.seen", one), ("groups.unseen", one))
    assert unseen == item_variation(MANY, np.ones(40))


def test_seeds_answer_together():
    both = [outcome("full", MANY), outcome("full", FEW)]
    (found,) = variation_of_difference(record("accuracy"), ("groups.seen", both), ("groups.unseen", both))
    assert found == item_variation((MANY.astype(float) + FEW) / 2, np.ones(40))


@pytest.mark.parametrize("quantity", ["forgetting.after", "corruption.scores.1", "layers.probe.0"])
def test_a_record_without_items_tells_none(quantity: str):
    made = [outcome("full", MANY, forgetting={"after": 0.5}, corruption={"scores": [0.9, 0.8]})]
    assert variation_of_difference(record(), (quantity, made), (quantity, made)) == []


def test_a_metric_that_is_no_share_tells_none():
    made = [outcome("full", MANY)]
    assert variation_of_difference(record("macro_f1"), ("kinds.poly", made), ("kinds.mono", made)) == []
