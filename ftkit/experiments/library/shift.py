"""Inputs unlike those of the training: damaged ones, and another kind of solar cell."""

from __future__ import annotations

from ftkit.experiments.experiment import Experiment, grid

METHODS = ["linear-probe", "partial", "surgical", "full", "lp-ft", "lora"]

EXPERIMENT = Experiment(
    name="shift",
    title="Inputs unlike those of the training",
    question="Which ways to fine-tune hold up when inputs are damaged or of another kind?",
    conditions=(
        *grid(
            task=["movie-reviews", "solar-cells", "spoken-digits"],
            method=METHODS,
            examples=400,
            epochs=3,
            seed=[0, 1, 2, 3, 4],
        ),
        *grid(task="solar-cells", method=METHODS, kind="mono", examples=400, epochs=3, seed=[0, 1, 2, 3, 4]),
    ),
    measures=("corruption", "kinds"),
)
