"""Catastrophic forgetting, and what prevents it."""

from __future__ import annotations

from ftkit.experiments.experiment import Condition, Experiment, grid

COMMON = {
    "task": ["movie-reviews", "solar-cells", "spoken-digits"],
    "examples": 400,
    "epochs": 3,
    "seed": [0, 1, 2, 3, 4],
}
LOW_RATE, USUAL_RATE, HIGH_RATE = 1e-5, 1e-4, 1e-3


def ways() -> tuple[Condition, ...]:
    """Full fine-tuning at three rates, the remedies at the middle one, and LoRA at its own."""
    return (
        *grid(method="full", learning_rate=[LOW_RATE, USUAL_RATE, HIGH_RATE], **COMMON),
        *grid(method=["gradual", "lp-ft", "l2-sp", "replay"], learning_rate=USUAL_RATE, **COMMON),
        *grid(method="lora", **COMMON),
    )


EXPERIMENT = Experiment(
    name="forgetting",
    title="Catastrophic forgetting",
    question="What does a model forget while it learns a task, and which ways to learn forget less?",
    conditions=ways(),
    measures=("forgetting",),
)
