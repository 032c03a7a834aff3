"""Batch normalisation while every weight trains: statistics renewed by the task's batches, or kept."""

from __future__ import annotations

from ftkit.experiments.experiment import EXAMPLES, Condition, Experiment, grid
from ftkit.methods import METHODS

SEEDS = [5, 6, 7, 8, 9]
"""Others than elsewhere: trainings with the first five raised the question."""
RATES = [1e-4, 3e-4, 1e-3]
"""Learning rates of full fine-tuning, so that neither way is judged at a rate that fits the other better."""


def ways(statistics: str) -> tuple[Condition, ...]:
    """Full fine-tuning at several rates and LP-FT at its typical one, with the statistics renewed or kept."""
    common = {"task": "solar-cells", "examples": EXAMPLES, "epochs": 3, "seed": SEEDS}
    settings = {"statistics": statistics}
    return (
        *grid(method="full", settings=settings, learning_rate=RATES, **common),
        *grid(method="lp-ft", settings=settings, learning_rate=METHODS["lp-ft"].typical_rate, **common),
    )


EXPERIMENT = Experiment(
    name="batch-statistics",
    title="Statistics of batch normalisation",
    question="Do the batch statistics that training renews help or hurt where photographs are few?",
    conditions=(*ways("renewed"), *ways("kept")),
    measures=("forgetting",),
)
