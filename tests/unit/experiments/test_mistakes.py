from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from ftkit.errors import DataError
from ftkit.experiments.experiment import grid
from ftkit.experiments.mistakes import (
    jaccard,
    majority,
    mean_overlap,
    mistaken_items,
    mistakes_of,
    overlap_beyond_chance,
)
from ftkit.experiments.record import Record, as_digits, from_digits

METHODS = ["full", "lora", "linear-probe"]


@pytest.fixture
def record(invented_record: Callable[..., Record]) -> Record:
    skill = {"full": 0.8, "lora": 0.75, "linear-probe": 0.7}
    conditions = grid(task="spoken-digits", method=METHODS, seed=[0, 1])
    return invented_record("methods", conditions, lambda condition: skill[condition.method])


def test_overlap_is_that_of_trainings_with_other_seeds(record: Record) -> None:
    found = mistakes_of(record, "spoken-digits")
    labels = from_digits(record.tests["spoken-digits"].labels)
    wrong = [record.where(method="full", seed=seed)[0].predicted() != labels for seed in (0, 1)]
    assert found.methods == tuple(METHODS)
    assert found.overlap[0, 0] == pytest.approx(jaccard(*wrong))
    assert found.overlap == pytest.approx(found.overlap.T)
    assert (found.overlap >= 0).all()
    assert (found.overlap <= 1).all()


def test_the_best_method_is_chosen_on_validation(record: Record) -> None:
    favoured = [
        replace(each, validation_score=0.99 if each.condition.method == "linear-probe" else 0.5)
        for each in record.outcomes
    ]
    found = mistakes_of(replace(record, outcomes=tuple(favoured)), "spoken-digits")
    assert found.best == "linear-probe"
    assert found.best_score.value == pytest.approx(0.7, abs=0.01)
    assert found.gain.difference == pytest.approx(found.vote.value - found.best_score.value)


def test_the_vote_is_right_where_most_methods_are(record: Record) -> None:
    labels = from_digits(record.tests["spoken-digits"].labels)
    outcomes = []
    for each in record.outcomes:  # each method is wrong on a tenth of its own
        wrong = np.arange(len(labels)) % 10 == METHODS.index(each.condition.method)
        outcomes.append(replace(each, answers=as_digits(np.where(wrong, (labels + 1) % 10, labels))))
    found = mistakes_of(replace(record, outcomes=tuple(outcomes)), "spoken-digits")
    assert found.vote.value == 1
    assert found.best_score.value == pytest.approx(0.9)
    assert found.overlap == pytest.approx(np.eye(3))


def test_a_tie_goes_to_the_first_voter() -> None:
    answers = [np.array(each) for each in ([2, 0], [1, 1], [0, 1])]
    assert majority(answers, classes=3).tolist() == [2, 1]
    for first in (0, 1):  # two against two, where the first voter is alone in being first
        votes = [np.array([each]) for each in (first, 1 - first, 1 - first, first)]
        assert majority(votes, classes=2).tolist() == [first]


def test_a_single_seed_overlaps_with_itself() -> None:
    wrong = {0: np.array([True, False])}
    assert mean_overlap(wrong, wrong, jaccard) == 1


def test_overlap_by_chance_is_none_and_all_that_sizes_allow_is_whole() -> None:
    generator = np.random.default_rng(0)
    some = generator.random(100_000) < 0.1
    others, more = generator.random(100_000) < 0.6, some | (generator.random(100_000) < 0.5)
    assert overlap_beyond_chance(some, others) == pytest.approx(0, abs=0.02)
    assert overlap_beyond_chance(some, more) == overlap_beyond_chance(more, some) == pytest.approx(1)
    assert overlap_beyond_chance(some, ~some) < 0
    nothing = np.zeros(100_000, dtype=bool)
    assert overlap_beyond_chance(nothing, some) == overlap_beyond_chance(~nothing, some) == 1


def test_a_method_that_makes_the_same_mistakes_and_more_makes_no_others(record: Record) -> None:
    labels = from_digits(record.tests["spoken-digits"].labels)
    outcomes = []
    for seed, (method, tenths) in product(range(3), {"full": 1, "lora": 4}.items()):
        (each, *_) = record.where(method=method)
        answers = as_digits(np.where(np.arange(len(labels)) % 10 < tenths, (labels + 1) % 10, labels))
        outcomes.append(replace(each, condition=replace(each.condition, seed=seed), answers=answers))
    found = mistakes_of(replace(record, outcomes=tuple(outcomes)), "spoken-digits")
    assert found.overlap[0, 1] == pytest.approx(0.25)
    assert found.apart[0] == pytest.approx(0)


def test_too_few_methods_or_no_common_seed_is_refused(record: Record) -> None:
    alone = replace(record, outcomes=tuple(record.where(method="full")))
    with pytest.raises(DataError, match="has 1 methods"):
        mistakes_of(alone, "spoken-digits")
    apart = (*record.where(method="full", seed=0), *record.where(method="lora", seed=1))
    with pytest.raises(DataError, match="share no seed"):
        mistakes_of(replace(record, outcomes=apart), "spoken-digits")


def test_methods_whose_trainings_agree_differ_by_more_than_their_luck(record: Record) -> None:
    labels = from_digits(record.tests["spoken-digits"].labels)
    first = [each for each in record.outcomes if each.condition.seed == 0]
    outcomes = []
    for seed, each in product(range(3), first):  # two trainings of a method share half of what they get wrong
        of_method = np.arange(len(labels)) % 10 == METHODS.index(each.condition.method)
        wrong = of_method & (np.arange(len(labels)) % 3 != seed)
        answers = as_digits(np.where(wrong, (labels + 1) % 10, labels))
        outcomes.append(replace(each, condition=replace(each.condition, seed=seed), answers=answers))
    found = mistakes_of(replace(record, outcomes=tuple(outcomes)), "spoken-digits")
    value, low, high = found.apart
    assert low <= value <= high < 0
    share = 1 / 15  # of the items are wrong in a training; of these half in two of one method, none in two methods
    own, others = (share / 2 - share**2) / (share - share**2), -(share**2) / (share - share**2)
    assert value == pytest.approx(others - own, abs=0.03)
    assert mistakes_of(record, "spoken-digits").apart[1:] == (-np.inf, np.inf)


def test_items_are_told_by_how_often_they_were_wrong(record: Record) -> None:
    labels = from_digits(record.tests["spoken-digits"].labels)
    places = np.arange(len(labels))
    outcomes = [
        replace(each, answers=as_digits(np.where((places == 7) | (places == 5 + each.condition.seed), 9, labels)))
        for each in record.outcomes
    ]
    items = mistaken_items(replace(record, outcomes=tuple(outcomes)), "spoken-digits")
    assert items.index[:3].tolist() == [7, 5, 6]
    assert items["all methods"].head(4).tolist() == [1.0, 0.5, 0.5, 0.0]
    assert items["class"].head(3).tolist() == labels[[7, 5, 6]].tolist()
    assert items.columns[2:].tolist() == ["Full fine-tuning", "LoRA", "Linear probe"]
