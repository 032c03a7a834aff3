"""What each block holds, before and after fine-tuning."""

from __future__ import annotations

from ftkit.experiments.experiment import EXAMPLES, Experiment, grid

EXPERIMENT = Experiment(
    name="layers",
    title="What each block holds",
    question="Do lower blocks hold what is general and stay as they are, and upper blocks what is the task's?",
    conditions=grid(
        task=["movie-reviews", "solar-cells", "spoken-digits"],
        method=["full", "lora"],
        examples=EXAMPLES,
        epochs=3,
        seed=[0, 1, 2, 3, 4],
    ),
    measures=("layers",),
)
