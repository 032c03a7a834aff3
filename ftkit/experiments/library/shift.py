"""Inputs unlike those of the training: damaged ones, films and voices never met."""

from __future__ import annotations

from ftkit.experiments.experiment import Condition, Experiment, grid
from ftkit.methods import METHODS

SEEDS = [0, 1, 2, 3, 4]
WAYS = ("linear-probe", "partial", "surgical", "full", "lp-ft", "lora")


def ways(**common: object) -> tuple[Condition, ...]:
    """Each way to fine-tune at its typical rate, so that none has had more trials than another."""
    return tuple(
        condition
        for method in WAYS
        for condition in grid(method=method, learning_rate=METHODS[method].typical_rate, epochs=3, seed=SEEDS, **common)
    )


EXPERIMENT = Experiment(
    name="shift",
    title="Inputs unlike those of the training",
    question="Which ways to fine-tune hold up on damaged inputs, films and voices never met?",
    conditions=ways(task=["movie-reviews", "solar-cells", "spoken-digits"], examples=400),
    measures=("corruption", "groups"),
)
