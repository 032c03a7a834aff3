"""Claims that records decide, tried again here with one seed on half the data: the direction must be the same."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import pytest

from ftkit.experiments.claims import COSTS, Claim, judge, load_claims
from ftkit.experiments.library import EXPERIMENTS
from ftkit.experiments.record import Record, record_path
from ftkit.experiments.running import run_experiment

TRIED_AGAIN = (
    "probe-beats-full-out-of-distribution",
    "lp-ft-out-of-distribution",
    "bottom-for-another-sound",
    "a-high-rate-forgets-speech",
    "lora-at-its-best-forgets-less-images",
    "lora-equals-full-spoken-digits",
    "a-rate-too-low-hardly-learns",
    "lora-wants-a-higher-rate",
)
CLAIMS = [claim for claim in load_claims() if claim.name in TRIED_AGAIN]
EXAMPLES = 200


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Record]:
    """Return a function from an experiment to a small record of all that the claims above need of it."""
    made: dict[str, Record] = {}
    folder = tmp_path_factory.mktemp("records")  # one for all: experiments take from each other what they share

    def make(name: str) -> Record:
        if name not in made:
            sides = [side for claim in CLAIMS if claim.experiment == name for side in (claim.first, claim.second)]
            wanted = [each for each in EXPERIMENTS[name].conditions if any(map(each.matches, sides))]
            first_seed = {each.task: min(other.seed for other in wanted if other.task == each.task) for each in wanted}
            tried = [each for each in wanted if each.seed == first_seed[each.task]]
            small = replace(EXPERIMENTS[name], conditions=tuple(replace(each, examples=EXAMPLES) for each in tried))
            made[name] = run_experiment(small, folder)
        return made[name]

    return make


def test_all_of_them_are_claims_of_the_kit():
    assert {claim.name for claim in CLAIMS} == set(TRIED_AGAIN)
    assert len(CLAIMS) >= 8


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.name)
def test_a_small_run_points_the_same_way(claim: Claim, live: Callable[[str], Record]):
    recorded = judge(claim, Record.load(record_path(claim.experiment)))
    assert recorded.verdict in ("holds", "does not hold here")
    # a file's size does not depend on how much was trained: it must lie on the same side of what the claim says
    neutral = claim.margin if claim.quantity in COSTS else 0.0
    again = judge(claim, live(claim.experiment))
    assert math.isfinite(again.effect)
    assert (again.effect > neutral) == (recorded.effect > neutral)
