"""What fine-tuning moves: how far each block goes, and in how many directions."""

from __future__ import annotations

from ftkit.experiments.experiment import EXAMPLES, Experiment, grid

EXPERIMENT = Experiment(
    name="moved-weights",
    title="What moved",
    question="Which blocks does fine-tuning change, and is the change of low rank?",
    conditions=grid(
        task=["movie-reviews", "solar-cells", "spoken-digits"],
        method=["full", "lora", "discriminative", "l2-sp"],
        examples=EXAMPLES,
        epochs=3,
        seed=[0, 1, 2, 3, 4],
    ),
    measures=("moved weights",),
)
