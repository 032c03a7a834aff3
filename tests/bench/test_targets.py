"""What a target is met by, and when scores can be compared."""

from __future__ import annotations

from typing import Any

import pytest
from harness import Result, Sample
from measuring import Measured, Outcome, compared
from targets import TARGETS, Value, verdict

ITEMS = 300


def peers(
    ours: float,
    peer: float,
    *,
    seconds: float = 1.0,
    items: int = ITEMS,
    method: str = "linear-probe",
    precision: str = "bf16",
) -> Result:
    """A training on film reviews, by default a linear probe, that scored so against a script that took ten seconds."""

    def sample(score: float, seconds: float) -> Sample:
        scores = {"accuracy": score, "balanced_accuracy": score}
        values: dict[str, Any] = {"fit_seconds": seconds, "scores": scores, "test_items": items, "precision": precision}
        return Sample(values, seconds, seconds, 10**9, {"processor": "Invented", "threads": 1})

    settings = {"task": "movie-reviews", "method": method, "epochs": 5, "peer": "trainer"}
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
    assert value_of(result).comparable == ("guessing" not in words)


def test_more_items_tell_more_from_guessing():
    assert not value_of(peers(0.7, 0.55)).comparable
    assert value_of(peers(0.7, 0.55, items=3000)).comparable


@pytest.mark.parametrize(("seconds", "ours", "met"), [(0.9, 0.7, True), (1.1, 0.7, False), (0.9, 0.55, False)])
def test_a_target_is_met_by_time_unless_a_score_was_given_for_it(seconds: float, ours: float, met: bool):
    assert value_of(peers(ours, 0.75, seconds=seconds)).met == met


@pytest.mark.parametrize(("precision", "bound"), [("bf16", 0.5), ("float32", 0.75)])
def test_methods_that_train_all_layers_have_a_target_for_each_precision(precision: str, bound: float):
    value = value_of(peers(0.7, 0.7, seconds=6.0, method="lora", precision=precision))
    assert value.bound == bound
    assert value.met == (precision == "float32")


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
