"""Small data, long training: overfitting, with each remedy on and off."""

from __future__ import annotations

from typing import Any

from ftkit.experiments.experiment import Condition, Experiment, grid

RATE = 1e-4
"""Learning rate of all ways to train every weight, so that a remedy differs in nothing else."""


def common(task: str, examples: int) -> dict[str, Any]:
    """What all trainings on a task share."""
    return {"task": task, "examples": examples, "epochs": 15, "seed": [0, 1, 2, 3, 4]}


REVIEWS = common("movie-reviews", examples=128)
CELLS = common("solar-cells", examples=128)
DIGITS = common("spoken-digits", examples=80)


def full(on: dict[str, Any], **options: object) -> tuple[Condition, ...]:
    """Full fine-tuning with more arguments of `fine_tune`."""
    return grid(method="full", options=options, learning_rate=RATE, **on)


def remedies(on: dict[str, Any]) -> tuple[Condition, ...]:
    """Every remedy that any kind of data knows, beside training without one and training on to the last epoch.

    LoRA trains at the rate that trials chose, and so does full fine-tuning once more, for LoRA to be compared with.
    """
    return (
        *full(on),
        *grid(method="full", **on),
        *full(on, keep="last"),
        *full(on, patience=2),
        *full(on, label_smoothing=0.1),
        *full(on, weight_decay=0.1),
        *full(on, weight_decay=10.0),
        *full(on, dropout=0.3),
        *grid(method="l2-sp", learning_rate=RATE, **on),
        *grid(method="lora", **on),
    )


EXPERIMENT = Experiment(
    name="regularizers",
    title="Overfitting and its remedies",
    question="How much is lost by training too long on little data, and what helps?",
    conditions=(
        *remedies(REVIEWS),
        *full(REVIEWS, augmentation="token-dropout"),
        *remedies(CELLS),
        *full(CELLS, augmentation="flip"),
        *full(CELLS, augmentation="crop"),
        *full(CELLS, augmentation="jitter"),
        *remedies(DIGITS),
        *full(DIGITS, augmentation="spec-augment"),
        *full(DIGITS, augmentation="noise"),
    ),
)
