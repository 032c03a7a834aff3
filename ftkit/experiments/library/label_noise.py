"""Wrong labels in the training data."""

from __future__ import annotations

from ftkit.experiments.experiment import Experiment, grid

EXPERIMENT = Experiment(
    name="label-noise",
    title="Wrong labels",
    question="What do wrong labels cost, can they be found, and what would fewer right ones or another method give?",
    conditions=(
        *grid(
            task="movie-reviews",
            method=["linear-probe", "full", "lora"],
            examples=600,
            label_noise=[0.0, 0.1, 0.2, 0.4],
            epochs=3,
            seed=[0, 1, 2, 3, 4],
        ),
        *grid(
            task="movie-reviews",
            method=["linear-probe", "full", "lora"],
            examples=600,
            label_noise=[0.2, 0.4],
            repaired=True,
            epochs=3,
            seed=[0, 1, 2, 3, 4],
        ),
        *grid(
            task="movie-reviews", method=["linear-probe", "full", "lora"], examples=300, epochs=3, seed=[0, 1, 2, 3, 4]
        ),
    ),
    measures=("label errors",),
)
