"""Pretrained against scratch over data size."""

from __future__ import annotations

from ftkit.experiments.experiment import Experiment, grid

SIZES = {
    "movie-reviews": (16, 32, 128, 512, 2048, 5000),
    "solar-cells": (16, 128, 1000),
    "spoken-digits": (40, 160, 800),
}
"""Training examples, by task: from a few a class to the task's usual number."""
STEPS = 64
"""Updates to aim at, so that a small set is passed over more often rather than hardly learned."""


def epochs(examples: int) -> int:
    """Passes that make enough updates of a batch of 32: three at least, twenty at most."""
    return min(20, max(3, -(-STEPS * 32 // examples)))


EXPERIMENT = Experiment(
    name="data-size",
    title="Pretrained against scratch over data size",
    question="How many examples does a pretrained model save, and do the curves ever cross?",
    conditions=tuple(
        condition
        for task, sizes in SIZES.items()
        for examples in sizes
        for condition in grid(
            task=task,
            method=["scratch", "linear-probe", "full", "lora"],
            examples=examples,
            epochs=epochs(examples),
            seed=[0, 1, 2, 3, 4],
        )
    ),
)
