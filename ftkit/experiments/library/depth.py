"""How deep to train: blocks added from the output, and from the input."""

from __future__ import annotations

from ftkit.experiments.experiment import Condition, Experiment, grid

BLOCKS = {"movie-reviews": 6, "solar-cells": 8, "spoken-digits": 4}
"""Blocks of the backbone, by task."""
EXAMPLES = 400


def depths(task: str, blocks: int) -> tuple[Condition, ...]:
    """Every number of blocks from the output, none to all, and from the input, one to all but one."""
    common = {"task": task, "examples": EXAMPLES, "epochs": 3, "seed": [0, 1, 2, 3, 4]}
    return (
        *grid(method="partial", settings=[{"blocks": count} for count in range(blocks + 1)], **common),
        *grid(method="surgical", settings=[{"first": 1, "last": count} for count in range(1, blocks)], **common),
    )


EXPERIMENT = Experiment(
    name="depth",
    title="How deep to train",
    question="How many blocks are worth training, and is the top or the bottom the better end to begin with?",
    conditions=tuple(condition for task, blocks in BLOCKS.items() for condition in depths(task, blocks)),
)
