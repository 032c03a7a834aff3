"""How large what is added should be: rank, adapter width, prompt length."""

from __future__ import annotations

from ftkit.experiments.experiment import EXAMPLES, Condition, Experiment, grid
from ftkit.methods import METHODS

COMMON = {"task": "movie-reviews", "examples": EXAMPLES, "epochs": 3, "seed": [0, 1, 2, 3, 4]}


def sweep(method: str, *settings: dict[str, int]) -> tuple[Condition, ...]:
    """One method with other settings, all at its typical learning rate."""
    return grid(method=method, settings=list(settings), learning_rate=METHODS[method].typical_rate, **COMMON)


EXPERIMENT = Experiment(
    name="sizes",
    title="Rank, adapter width, prompt length",
    question="What does more of a parameter-efficient method buy?",
    conditions=(
        *sweep("lora", *({"rank": rank, "alpha": 2 * rank} for rank in (1, 2, 8, 32))),
        *sweep("adapter", *({"width": width} for width in (2, 16, 64))),
        *sweep("prompt", *({"length": length} for length in (2, 16, 64))),
    ),
)
