"""Full, partial and parameter-efficient fine-tuning on each task."""

from __future__ import annotations

from collections.abc import Iterator

from ftkit.experiments.experiment import EXAMPLES, Condition, Experiment, grid
from ftkit.experiments.trials import kit_trials
from ftkit.methods import METHODS, Method, as_method
from ftkit.tasks import TASKS


def tuned(task: str) -> Iterator[Method]:
    """Every method that works on a task, with the settings that recorded trials found best."""
    trials = kit_trials(task, EXAMPLES)
    for name, method in METHODS.items():
        if TASKS[task].modality in method.modalities:
            yield as_method(name) if trials is None else trials.best_settings(as_method(name))


def ways(task: str) -> Iterator[Condition]:
    """Each of them from five seeds."""
    for method in tuned(task):
        yield from grid(
            task=task,
            method=method.name,
            settings=method.unusual_settings,
            examples=EXAMPLES,
            epochs=3,
            seed=[0, 1, 2, 3, 4],
        )


EXPERIMENT = Experiment(
    name="methods",
    title="Every method on every task",
    question="What does each way to fine-tune give, and what does it cost?",
    conditions=tuple(condition for task in TASKS for condition in ways(task)),
)
