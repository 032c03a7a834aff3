from __future__ import annotations

from dataclasses import replace
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


def outcome(method: str, right: np.ndarray, seed: int = 0, **measures: Any) -> Outcome:
    """What a training leaves that gets these items of the test right."""
    return bare_outcome(Condition("solar-cells", method, seed=seed), LABELS, right, measures=measures)


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


def own(*runs: np.ndarray) -> float:
    """What the variance of the mean of runs owes to what each gives by itself."""
    mean = np.mean(runs, axis=0)
    return float(np.mean([item_variation(run - mean, np.ones(40)).variance for run in runs])) / (len(runs) - 1)


def test_seeds_answer_together_and_what_one_answers_by_itself_is_no_variation_over_items():
    both = [outcome("full", MANY), outcome("full", FEW, seed=1)]
    (found,) = variation_of_difference(record("accuracy"), ("groups.seen", both), ("groups.unseen", both))
    together = item_variation((MANY.astype(float) + FEW) / 2, np.ones(40)).variance
    assert found.variance == pytest.approx(together - own(MANY, FEW))
    assert 0 < own(MANY, FEW) < together


def test_seeds_of_both_sides_are_compared_with_each_other_and_others_side_by_side():
    answers = {seed: {"answers": [outcome("full", each).answers]} for seed, each in enumerate((MANY, FEW))}
    quantity = "corruption.scores.0"
    one = [outcome("full", MANY, seed, corruption=answers[seed]) for seed in (0, 1)]
    same = [outcome("lora", MANY, seed, corruption=answers[1 - seed]) for seed in (0, 1)]
    others = [outcome("lora", MANY, seed + 2, corruption=answers[0]) for seed in (0, 1)]
    difference = MANY.astype(float) - FEW
    (found,) = variation_of_difference(record("accuracy"), (quantity, one), (quantity, same))
    assert found.variance == 0  # seed by seed the sides differ, and their means do not
    (found,) = variation_of_difference(record("accuracy"), (quantity, one), (quantity, others))
    assert found.variance == pytest.approx(
        max(0.0, item_variation(difference / 2, np.ones(40)).variance - own(MANY, FEW))
    )
    (alone,) = variation_of_difference(record("accuracy"), (quantity, one[:1]), (quantity, same[:1]))
    assert alone == item_variation(difference, np.ones(40))


@pytest.mark.parametrize("quantity", ["forgetting.after", "corruption.scores.1", "layers.probe.0"])
def test_a_record_without_items_tells_none(quantity: str):
    made = [outcome("full", MANY, forgetting={"after": 0.5}, corruption={"scores": [0.9, 0.8]})]
    assert variation_of_difference(record(), (quantity, made), (quantity, made)) == []


def test_what_probes_of_layers_get_right_varies_as_so_many_answers_of_their_own():
    """Of the solar cells' usual 300 validation items, half as many for half as many training examples."""
    condition = Condition("solar-cells", "full", examples=500)
    made = [
        bare_outcome(replace(condition, seed=seed), LABELS, MANY, measures={"layers": {"probe": [0.5, share]}})
        for seed, share in enumerate((0.7, 0.9))
    ]
    first, last = variation_of_difference(record(), ("layers.probe.0", made), ("layers.probe.-1", made))
    assert (first.variance, first.freedom) == (pytest.approx(0.25 / 150), 149)
    assert (last.variance, last.freedom) == (pytest.approx(0.16 / 150), 149)


def test_a_metric_that_is_no_share_tells_none():
    made = [outcome("full", MANY)]
    assert variation_of_difference(record("macro_f1"), ("kinds.poly", made), ("kinds.mono", made)) == []
