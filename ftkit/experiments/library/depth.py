"""How deep to train: blocks added from the output, and from the input."""

from __future__ import annotations

from ftkit.experiments.experiment import EXAMPLES, Condition, Experiment, grid
from ftkit.methods import METHODS

BLOCKS = {"movie-reviews": 6, "solar-cells": 8, "spoken-digits": 4}
"""Blocks of the backbone, by task."""
RATE = METHODS["partial"].typical_rate
"""Learning rate of every depth; the linear probe, depth 0, has its own."""


def depths(task: str, blocks: int) -> tuple[Condition, ...]:
    """Every number of blocks from the output, none to all, and from the input, one to all but one."""
    common = {"task": task, "examples": EXAMPLES, "epochs": 3, "seed": [0, 1, 2, 3, 4]}
    from_output = [{"blocks": count} for count in range(1, blocks + 1)]
    from_input = [{"first": 1, "last": count} for count in range(1, blocks)]
    return (
        *grid(method="linear-probe", **common),
        *grid(method="partial", settings=from_output, learning_rate=RATE, **common),
        *grid(method="surgical", settings=from_input, learning_rate=RATE, **common),
    )


EXPERIMENT = Experiment(
    name="depth",
    title="How deep to train",
    question="How many blocks are worth training, and is the top or the bottom the better end to begin with?",
    conditions=tuple(condition for task, blocks in BLOCKS.items() for condition in depths(task, blocks)),
)
