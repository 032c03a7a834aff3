"""Another kind of item than those of the training: solar cells of one crystal and of many."""

from __future__ import annotations

from ftkit.experiments.experiment import Experiment
from ftkit.experiments.library.shift import ways

EXAMPLES = 200
"""As many as there are of one kind alone, so that both kinds together are not more."""

EXPERIMENT = Experiment(
    name="other-kind",
    title="Another kind of cell",
    question="What does a model that saw cells of one kind know of another kind, and which way to train knows most?",
    conditions=ways(task="solar-cells", kind=["", "mono"], examples=EXAMPLES),
    measures=("kinds",),
)
