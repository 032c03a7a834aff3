"""What a target is met by, and when scores can be compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from harness import Result, Sample
from measuring import Measured, Outcome, compared
from targets import IN_FLOAT32, TARGETS, Target, Value, score_pairs, verdict

ITEMS = 300


def peers(
    ours: float,
    peer: float,
    *,
    seconds: float = 1.0,
    items: int = ITEMS,
    method: str = "linear-probe",
    precision: str = "bf16",
    forced: bool = False,
) -> Result:
    """A training on film reviews, by default a linear probe, that scored so against a script that took ten seconds."""

    def sample(score: float, seconds: float) -> Sample:
        scores = {"accuracy": score, "balanced_accuracy": score}
        values: dict[str, Any] = {"fit_seconds": seconds, "scores": scores, "test_items": items, "precision": precision}
        return Sample(values, seconds, seconds, 10**9, {"processor": "Invented", "threads": 1})

    settings = {"task": "movie-reviews", "method": method, "epochs": 5, "peer": "trainer"}
    settings |= {"precision": precision} if forced else {}
    samples = {"ours": [sample(ours, seconds)], "trainer": [sample(peer, 10.0)]}
    return Result("peers", f"movie-reviews-{method}-trainer", settings, samples, "2026-01-01")


def value_of(result: Result) -> Value:
    (value,) = (value for target in TARGETS for value in target.values([result]))
    return value


@pytest.mark.parametrize(
    ("ours", "peer", "words"),
    [
        (0.70, 0.72, "within noise"),
        (0.80, 0.65, "better"),
        (0.65, 0.80, "worse"),
        (0.70, 0.54, "peer no better than guessing"),
        (0.50, 0.52, "ours and peer no better than guessing"),
    ],
)
def test_scores_are_compared_where_both_sides_learned(ours: float, peer: float, words: str):
    result = peers(ours, peer)
    assert verdict(result) == words
    (pair,) = score_pairs(result)
    assert bool(pair.guessing) == ("guessing" in words)


def test_more_items_tell_more_from_guessing():
    assert [score_pairs(peers(0.7, 0.55, items=items))[0].guessing for items in (ITEMS, 3000)] == [["peer"], []]


@pytest.mark.parametrize(("seconds", "ours", "met"), [(0.9, 0.7, True), (1.1, 0.7, False), (0.9, 0.55, False)])
def test_a_target_is_met_by_time_unless_a_score_was_given_for_it(seconds: float, ours: float, met: bool):
    assert value_of(peers(ours, 0.75, seconds=seconds)).met == met


@pytest.mark.parametrize(("precision", "bound"), [("bf16", 0.5), ("float32", 0.75)])
def test_methods_that_train_all_layers_have_a_target_for_each_precision(precision: str, bound: float):
    value = value_of(peers(0.7, 0.7, seconds=6.0, method="lora", precision=precision))
    assert value.bound == bound
    assert value.met == (precision == "float32")


def test_a_forced_precision_stands_apart_where_a_target_names_none():
    chosen, forced = (peers(0.7, 0.7, seconds=4.0, method="partial", forced=forced) for forced in (False, True))
    forced = replace(forced, settings={**forced.settings, "precision": "float32"})

    def values(targets: Sequence[Target]) -> list[Value]:
        return [value for target in targets for value in target.values([chosen, forced])]

    assert [value.source for value in values(TARGETS)] == [chosen]
    assert [(value.source, value.met) for value in values(IN_FLOAT32)] == [(forced, False)]


def test_repetitions_on_both_sides_of_a_bound_are_told():
    def twice(one: float, other: float) -> Value:
        first, second = (peers(0.7, 0.7, seconds=seconds) for seconds in (one, other))
        both = {case: first.samples[case] + second.samples[case] for case in first.samples}
        return value_of(replace(first, samples=both))

    assert twice(0.5, 1.2).torn
    assert not twice(0.5, 0.9).torn
    assert not twice(1.1, 1.2).torn


def test_a_whole_comparison_is_judged_method_by_method():
    result = peers(0.7, 0.7, seconds=2.0)

    def told(scores: dict[str, float]) -> dict[str, Any]:
        return {method: {"scores": {"accuracy": score}} for method, score in scores.items()}

    by_case = {
        "ours": {"full": 0.7, "lora": 0.6, "scratch": 0.5},
        "trainer": {"full": 0.7, "lora": 0.8, "scratch": 0.5},
    }
    samples = {
        case: [replace(sample, values={**sample.values, "by_method": told(by_case[case])}) for sample in taken]
        for case, taken in result.samples.items()
    }
    settings = {**result.settings, "methods": ["full", "lora", "scratch"]}
    whole = replace(result, part="grid", settings=settings, samples=samples)
    assert verdict(whole) == "1 within noise, 1 worse, 1 ours and peer no better than guessing"
    assert value_of(whole).worse
    assert not value_of(whole).met


def test_a_comparison_is_scored_at_the_rates_that_validation_chose():
    def part(method: str, seconds: float, *tried: tuple[float, float, float]) -> Measured:
        outcomes = [
            Outcome(method, rate, validation, {"accuracy": score, "balanced_accuracy": score})
            for rate, validation, score in tried
        ]
        return Measured(seconds, seconds, seconds, 10**9, outcomes[0].scores, ITEMS, "bf16", outcomes)

    whole = compared(
        [
            part("linear-probe", 2.0, (0.1, 0.6, 0.9), (0.1, 0.6, 0.7), (1.0, 0.5, 1.0)),
            part("full", 10.0, (0.001, 0.5, 0.5)),
            part("full", 20.0, (0.01, 0.9, 0.6)),
        ]
    )
    assert whole.fit_seconds == 32
    assert {method: total.fit_seconds for method, total in whole.by_method.items()} == {"linear-probe": 2, "full": 30}
    assert whole.by_method["linear-probe"].scores["accuracy"] == pytest.approx(0.8)
    assert whole.by_method["full"].scores["accuracy"] == 0.6
    assert whole.scores["accuracy"] == pytest.approx(0.7)
