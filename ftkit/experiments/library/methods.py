"""Full, partial and parameter-efficient fine-tuning on each task."""

from __future__ import annotations

from ftkit.experiments.experiment import Experiment, grid
from ftkit.methods import METHODS
from ftkit.tasks import TASKS

EXAMPLES = {"movie-reviews": 600, "solar-cells": 400, "spoken-digits": 400}

EXPERIMENT = Experiment(
    name="methods",
    title="Every method on every task",
    question="What does each way to fine-tune give, and what does it cost?",
    conditions=tuple(
        condition
        for task, examples in EXAMPLES.items()
        for condition in grid(
            task=task,
            method=[name for name, method in METHODS.items() if TASKS[task].modality in method.modalities],
            examples=examples,
            epochs=3,
            seed=[0, 1, 2, 3, 4],
        )
    ),
)
