"""How large what is added should be: rank, adapter width, prompt length."""

from __future__ import annotations

from ftkit.experiments.experiment import Experiment, grid

COMMON = {"task": "movie-reviews", "examples": 600, "epochs": 3, "seed": [0, 1, 2, 3, 4]}

EXPERIMENT = Experiment(
    name="sizes",
    title="Rank, adapter width, prompt length",
    question="What does more of a parameter-efficient method buy?",
    conditions=(
        *grid(method="lora", settings=[{"rank": rank, "alpha": 2 * rank} for rank in (1, 2, 8, 32)], **COMMON),
        *grid(method="adapter", settings=[{"width": width} for width in (2, 16, 64)], **COMMON),
        *grid(method="prompt", settings=[{"length": length} for length in (2, 16, 64)], **COMMON),
    ),
)
