"""Claims that records decide, tried again here with one seed: the direction must be the same."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from ftkit.experiments.claims import COSTS, Claim, judge, load_claims
from ftkit.experiments.experiment import Experiment
from ftkit.experiments.library import EXPERIMENTS
from ftkit.experiments.record import Record, record_path
from ftkit.experiments.running import run_experiment

TRIED_AGAIN = (
    "pretraining-helps-movie-reviews",
    "pretraining-helps-spoken-digits",
)
CLAIMS = {claim.name: claim for claim in load_claims()}


def small(claim: Claim) -> Experiment:
    """The two sides of a claim with one seed, without measures that it does not ask for."""
    experiment = EXPERIMENTS[claim.experiment]
    sides = [
        condition
        for condition in experiment.conditions
        if condition.seed == 0 and (condition.matches(claim.first) or condition.matches(claim.second))
    ]
    measures = tuple(name for name in experiment.measures if claim.quantity.startswith(f"{name}."))
    return replace(experiment, conditions=tuple(sides), measures=measures)


@pytest.mark.parametrize("name", TRIED_AGAIN)
def test_a_small_run_points_the_same_way(name: str, tmp_path: Path):
    claim = CLAIMS[name]
    recorded = judge(claim, Record.load(record_path(claim.experiment)))
    live = judge(claim, run_experiment(small(claim), tmp_path / "record.json"))
    neutral = 1.0 if claim.quantity in COSTS else 0.0
    assert recorded.verdict in ("holds", "does not hold here")
    assert (live.effect > neutral) == (recorded.effect > neutral)
