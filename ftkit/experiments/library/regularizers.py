"""Small data, long training: overfitting, with each remedy on and off."""

from __future__ import annotations

from ftkit.experiments.experiment import Condition, Experiment, grid

COMMON = {"task": "movie-reviews", "examples": 128, "epochs": 15, "seed": [0, 1, 2, 3, 4]}
RATE = 1e-4
"""Learning rate of all ways to train every weight, so that a remedy differs in nothing else."""


def full(**options: object) -> tuple[Condition, ...]:
    """Full fine-tuning with more arguments of `fine_tune`."""
    return grid(method="full", options=options, learning_rate=RATE, **COMMON)


EXPERIMENT = Experiment(
    name="regularizers",
    title="Overfitting and its remedies",
    question="How much is lost by training too long on little data, and what helps?",
    conditions=(
        *full(),
        *full(keep="last"),
        *full(patience=2),
        *full(label_smoothing=0.1),
        *full(weight_decay=0.1),
        *full(dropout=0.3),
        *full(augmentation="token-dropout"),
        *grid(method="l2-sp", learning_rate=RATE, **COMMON),
        *grid(method="lora", **COMMON),
    ),
)
