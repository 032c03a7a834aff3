"""Catastrophic forgetting, and what prevents it."""

from __future__ import annotations

from ftkit.experiments.experiment import EXAMPLES, Condition, Experiment, grid

SEEDS = {
    "movie-reviews": [0, 1, 2, 3, 4],
    "solar-cells": [5, 6, 7, 8, 9],
    "spoken-digits": [5, 6, 7, 8, 9],
}
"""Speech has others than text: trainings with the first five suggested some of the claims, and the usual strength of
L2-SP. Pictures share theirs with the experiment on batch statistics."""
LOW_RATE, USUAL_RATE, HIGH_RATE = 1e-5, 1e-4, 1e-3


def ways(task: str) -> tuple[Condition, ...]:
    """Full fine-tuning at three rates, the remedies at the middle one, and full fine-tuning and LoRA at their best."""
    common = {"task": task, "examples": EXAMPLES, "epochs": 3, "seed": SEEDS[task]}
    return (
        *grid(method="full", learning_rate=[LOW_RATE, USUAL_RATE, HIGH_RATE], **common),
        *grid(method=["gradual", "lp-ft", "l2-sp", "replay"], learning_rate=USUAL_RATE, **common),
        *grid(method=["full", "lora"], **common),
    )


EXPERIMENT = Experiment(
    name="forgetting",
    title="Catastrophic forgetting",
    question="What does a model forget while it learns a task, and which ways to learn forget less?",
    conditions=tuple(condition for task in SEEDS for condition in ways(task)),
    measures=("forgetting",),
)
