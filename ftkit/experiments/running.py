"""Make an experiment: train what its record lacks, one condition after the other."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

from ftkit.experiments.condition_data import load
from ftkit.experiments.experiment import Condition, Experiment
from ftkit.experiments.fine_tuning import fine_tune
from ftkit.experiments.measures import MEASURES
from ftkit.experiments.record import Outcome, Record
from ftkit.experiments.run import Run
from ftkit.methods import as_method
from ftkit.tasks import Task


def run_experiment(
    experiment: Experiment, path: Path, on_outcome: Callable[[Outcome, int], None] | None = None
) -> Record:
    """Make what an experiment lacks; every training is kept as soon as it is done.

    Trainings on the same data are made one after the other, so that what their frozen blocks compute serves all.

    Parameters
    ----------
    experiment
        What to make.
    path
        File of its record; trainings that it holds are not made again.
    on_outcome
        Called after every training with its outcome and how many are left.

    Raises
    ------
    KeyboardInterrupt
        After Ctrl-C; what was done is kept.
    """
    record = Record.load(path) if path.is_file() else Record(experiment.name)
    missing = [condition for condition in experiment.conditions if not record.done(condition)]
    began = time.perf_counter()
    for left, (condition, task) in zip(reversed(range(len(missing))), _with_tasks(missing), strict=True):
        run = train(condition, task)
        if run.history.interrupted:
            raise KeyboardInterrupt
        measures = {name: MEASURES[name](run, task, condition) for name in experiment.measures}
        run.release()
        outcome = Outcome.of(condition, run, measures, time.perf_counter() - began)
        began = time.perf_counter()
        record = record.adding(outcome, task, run.machine)
        record.save(path)
        if on_outcome is not None:
            on_outcome(outcome, left)
    return record


def _with_tasks(conditions: list[Condition]) -> Iterator[tuple[Condition, Task]]:
    """Conditions with their tasks, those that share their data together, in the order in which data first occur."""
    together: dict[tuple[object, ...], list[Condition]] = {}
    for condition in conditions:
        together.setdefault(condition.data, []).append(condition)
    for sharing in together.values():
        task = load(sharing[0])
        for condition in sharing:
            yield condition, task


def train(condition: Condition, task: Task) -> Run:
    """Train on a loaded task as a condition says."""
    return fine_tune(
        task,
        as_method(condition.method, **condition.settings),
        lr=condition.learning_rate,
        epochs=condition.epochs,
        seed=condition.seed,
        progress=False,
        **condition.options,
    )
