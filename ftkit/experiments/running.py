"""Make an experiment: train what its record lacks, one condition after the other."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from ftkit.experiments.condition_data import load
from ftkit.experiments.experiment import Condition, Experiment
from ftkit.experiments.fine_tuning import fine_tune
from ftkit.experiments.library import EXPERIMENTS
from ftkit.experiments.machine import Machine
from ftkit.experiments.measures import MEASURES
from ftkit.experiments.record import AnsweredItems, Outcome, Record, learning_rate_of
from ftkit.experiments.run import Run
from ftkit.methods import as_method
from ftkit.paths import locked
from ftkit.tasks import Task


def run_experiment(
    experiment: Experiment, path: Path, on_outcome: Callable[[Outcome, int], None] | None = None
) -> Record:
    """Make what an experiment lacks; every training is kept as soon as it is done.

    Trainings on the same data are made one after the other, so that what their frozen blocks compute serves all. One
    that the record of another experiment in the same folder holds, with all that this one measures, is taken from
    there. Several processes may make one experiment, or several, at a time.

    Parameters
    ----------
    experiment
        What to make.
    path
        File of its record; trainings that it holds are not made again, unless the kit's trials have found another
        learning rate since.
    on_outcome
        Called after every training with its outcome and how many are left.

    Raises
    ------
    KeyboardInterrupt
        After Ctrl-C; what was done is kept.
    """
    record = _read(experiment, path)
    missing = [condition for condition in experiment.conditions if not record.done(condition)]
    began = time.perf_counter()
    for left, (condition, task) in zip(reversed(range(len(missing))), _with_tasks(missing), strict=True):
        outcome, machine = _taken(condition, task, experiment, path.parent) or _made(condition, task, experiment, began)
        began = time.perf_counter()
        with locked(path):
            record = _read(experiment, path)
            if not record.done(condition):  # another process may have been faster
                record = record.adding(outcome, task, machine)
                record.save(path)
        if on_outcome is not None:
            on_outcome(outcome, left)
    return record


def _read(experiment: Experiment, path: Path) -> Record:
    return Record.load(path).up_to_date() if path.is_file() else Record(experiment.name)


def _taken(condition: Condition, task: Task, experiment: Experiment, folder: Path) -> tuple[Outcome, Machine] | None:
    """Find the same training, with all that is measured, in the record of another experiment, and its machine."""
    epochs = task.epochs if condition.epochs is None else condition.epochs
    training = condition.training(learning_rate_of(condition), epochs)
    for name in EXPERIMENTS:
        other = folder / f"{name}.json"
        if name == experiment.name or not other.is_file():
            continue
        record = Record.load(other)
        if record.tests.get(task.name) != AnsweredItems.of(task):
            continue
        for outcome in record.where(task=condition.task, method=condition.method, seed=condition.seed):
            if outcome.training == training and set(experiment.measures) <= set(outcome.measures):
                measures = {name: outcome.measures[name] for name in experiment.measures}
                return replace(outcome, condition=condition, measures=measures), record.machines[outcome.machine]
    return None


def _made(condition: Condition, task: Task, experiment: Experiment, began: float) -> tuple[Outcome, Machine]:
    """Train and measure; what has passed since it began, such as loading the data, counts too."""
    run = train(condition, task)
    if run.history.interrupted:
        raise KeyboardInterrupt
    measures = {name: MEASURES[name](run, task, condition) for name in experiment.measures}
    run.release()
    return Outcome.of(condition, run, measures, time.perf_counter() - began), run.machine


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
