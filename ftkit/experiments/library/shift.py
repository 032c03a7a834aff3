"""Inputs unlike those of the training: damaged ones, films and voices never met."""

from __future__ import annotations

from ftkit.experiments.experiment import EXAMPLES, Condition, Experiment, grid

SEEDS = [0, 1, 2, 3, 4]
WAYS = ("linear-probe", "partial", "surgical", "full", "lp-ft", "lora")


def ways(**common: object) -> tuple[Condition, ...]:
    """Each way to fine-tune, at the learning rate that validation found best on the task."""
    return grid(method=list(WAYS), epochs=3, seed=SEEDS, **common)


EXPERIMENT = Experiment(
    name="shift",
    title="Inputs unlike those of the training",
    question="Which ways to fine-tune hold up on damaged inputs, films and voices never met?",
    conditions=ways(task=["movie-reviews", "solar-cells", "spoken-digits"], examples=EXAMPLES),
    measures=("corruption", "groups"),
)
