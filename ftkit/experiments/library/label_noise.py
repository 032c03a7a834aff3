"""Wrong labels in the training data; those of the validation split, which choose the epoch, stay right."""

from __future__ import annotations

from ftkit.experiments.experiment import EXAMPLES, Experiment, grid

METHODS = ["linear-probe", "full", "lora"]
COMMON = {"task": "movie-reviews", "method": METHODS, "epochs": 3, "seed": [0, 1, 2, 3, 4]}

EXPERIMENT = Experiment(
    name="label-noise",
    title="Wrong labels",
    question="What do wrong training labels cost, can they be found, and what would other data or another method give?",
    conditions=(
        *grid(examples=EXAMPLES, label_noise=[0.0, 0.1, 0.2, 0.4], **COMMON),
        *grid(examples=EXAMPLES, label_noise=[0.2, 0.4], repaired=True, **COMMON),
        *grid(examples=EXAMPLES // 2, **COMMON),
        *grid(examples=2 * EXAMPLES, label_noise=[0.2, 0.4], **COMMON),
    ),
    measures=("label errors",),
)
