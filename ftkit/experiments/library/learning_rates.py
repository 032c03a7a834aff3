"""The learning rate swept for each method."""

from __future__ import annotations

from ftkit.experiments.experiment import EXAMPLES, Experiment, grid

RATES = {
    "linear-probe": [1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1],
    "full": [1e-5, 3e-5, 1e-4, 3e-4, 1e-3],
    "lora": [1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2],
    "adapter": [1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2],
    "prompt": [1e-3, 3e-3, 1e-2, 3e-2, 1e-1],
}

EXPERIMENT = Experiment(
    name="learning-rates",
    title="Scores over learning rates, method by method",
    question="Does each method need a learning rate of its own, and how much does a wrong one cost?",
    conditions=tuple(
        condition
        for method, rates in RATES.items()
        for condition in grid(
            task="movie-reviews", method=method, examples=EXAMPLES, learning_rate=rates, epochs=3, seed=[0, 1, 2, 3, 4]
        )
    ),
)
