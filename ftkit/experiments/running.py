"""Make experiments: train what their records lack, one condition after the other."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ftkit.errors import DivergedError, TrainingError
from ftkit.experiments.condition_data import load
from ftkit.experiments.experiment import Condition, Experiment
from ftkit.experiments.fine_tuning import fine_tune
from ftkit.experiments.library import EXPERIMENTS
from ftkit.experiments.machine import Machine
from ftkit.experiments.measures import MEASURES
from ftkit.experiments.record import (
    AnsweredItems,
    BaselineOutcome,
    Outcome,
    Record,
    as_digits,
    learning_rate_of,
    training_of,
)
from ftkit.experiments.run import Run
from ftkit.methods import as_method
from ftkit.paths import claimed, locked
from ftkit.tasks import Task
from ftkit.tasks.baselines import fit_baselines


@dataclass(frozen=True)
class _Wish:
    """A condition that an experiment's record lacks."""

    experiment: Experiment
    folder: Path
    condition: Condition

    @property
    def path(self) -> Path:
        return self.folder / f"{self.experiment.name}.json"

    def is_done(self) -> bool:
        """Whether the record has it by now, of another process."""
        return self.path.is_file() and Record.load(self.path).done(self.condition)

    def keep(self, outcome: Outcome, task: Task, machine: Machine) -> None:
        """Add what came out to the record, in the place of what it held at another learning rate."""
        measures = {name: outcome.measures[name] for name in self.experiment.measures}
        own = replace(outcome, condition=self.condition, measures=measures)
        with locked(self.path):
            record = Record.load(self.path) if self.path.is_file() else Record(self.experiment.name)
            if not record.done(self.condition):
                _asked(record, self.experiment).without(self.condition).adding(own, task, machine).save(self.path)


def run_experiment(
    experiment: Experiment, folder: Path, on_outcome: Callable[[Outcome, int], None] | None = None
) -> Record:
    """Make what one experiment lacks and return its record, see `run_experiments`."""
    (record,) = run_experiments([experiment], folder, on_outcome)
    return record


def run_experiments(
    experiments: Sequence[Experiment],
    folder: Path,
    on_outcome: Callable[[Outcome, int], None] | None = None,
    on_baseline: Callable[[BaselineOutcome], None] | None = None,
) -> list[Record]:
    """Make what experiments lack; every training is kept as soon as it is done.

    A training that several of them want is made once, with all that any of them measures, and one that the record of
    another of the kit's experiments holds, made on this machine, is taken from there. Trainings on the same data are
    made one after the other, so that what their frozen blocks compute serves all. Several processes may work in one
    folder: each takes what no other is training.

    Parameters
    ----------
    experiments
        What to make.
    folder
        Of the records, one file each, by name. Trainings that they hold are not made again, unless the kit's trials
        have found another learning rate since.
    on_outcome
        Called after every training with its outcome and how many are left.
    on_baseline
        Called after every classical method that was fitted on the data of some trainings, as they all have one beside
        them.

    Returns
    -------
    list of Record
        In the order of the experiments.

    Raises
    ------
    KeyboardInterrupt
        After Ctrl-C; what was done is kept.
    TrainingError
        At the end, if trainings diverged.
    """
    alike: dict[str, list[_Wish]] = {}
    for experiment in experiments:
        record = _read(experiment, folder)
        for condition in experiment.conditions:
            if not record.done(condition):
                alike.setdefault(training_of(condition), []).append(_Wish(experiment, folder, condition))
    waiting, wait = list(alike.values()), False
    left, diverged = len(waiting), list[str]()
    while waiting:
        others: list[list[_Wish]] = []
        began = time.perf_counter()
        for wishes, task in _with_tasks(waiting):
            asked = time.perf_counter()
            with claimed(claim_path(wishes[0].condition, folder), wait=wait) as ours:
                if not ours:
                    others.append(wishes)
                    began = time.perf_counter()
                    continue
                began += time.perf_counter() - asked  # to wait for another process takes no time of this training's
                try:
                    outcome = _fulfilled([wish for wish in wishes if not wish.is_done()], task, began)
                except DivergedError as error:  # the others are made all the same
                    diverged.append(f"{wishes[0].condition}: {error}")
                    outcome = None
            left -= 1
            began = time.perf_counter()
            if outcome is not None and on_outcome is not None:
                on_outcome(outcome, left)
        # What other processes are at is looked at again when all else is done; where nothing else is left, wait.
        waiting, wait = others, len(others) == len(waiting)
    for experiment in experiments:
        _fit_baselines(experiment, folder, on_baseline)
    if diverged:
        raise TrainingError("All but these are made and kept:\n" + "\n".join(diverged))
    return [_read(experiment, folder) for experiment in experiments]


def claim_path(condition: Condition, folder: Path) -> Path:
    """Return the name that stands for a training while a process makes it, whichever experiments want it.

    Parameters
    ----------
    condition
        Conditions that want the same training have the same name.
    folder
        Of the records; the name, for `ftkit.paths.claimed`, lies in it.
    """
    return folder / _hashed(training_of(condition))


def _hashed(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _read(experiment: Experiment, folder: Path) -> Record:
    path = folder / f"{experiment.name}.json"
    return Record.load(path).up_to_date() if path.is_file() else Record(experiment.name)


def _asked(record: Record, experiment: Experiment) -> Record:
    """Leave out what the kit's experiment asks no more, such as a method with settings that trials no longer prefer."""
    if experiment.name not in EXPERIMENTS:
        return record
    conditions = (*experiment.conditions, *EXPERIMENTS[experiment.name].conditions)
    return replace(record, outcomes=tuple(each for each in record.outcomes if each.condition in conditions))


def _fit_baselines(experiment: Experiment, folder: Path, on_baseline: Callable[[BaselineOutcome], None] | None) -> None:
    """Fit a classical method on every set of data of an experiment whose record lacks it."""
    path = folder / f"{experiment.name}.json"
    known = _read(experiment, folder)
    data = {each.data: each for each in reversed(experiment.conditions) if not known.has_baseline(each)}
    for condition in reversed(data.values()):
        # another process that fits it may do so for another experiment, whose record it is then taken from
        with claimed(folder / _hashed(repr(condition.data)), wait=True):
            record = _read(experiment, folder)
            if condition.task not in record.tests or record.has_baseline(condition):
                continue
            made = _baseline_of_another(condition, record.tests[condition.task], folder) or _fitted(condition)
            with locked(path):
                record = Record.load(path)
                replace(record, baselines=(*record.baselines, made)).save(path)
        if on_baseline is not None:
            on_baseline(made)


def _fitted(condition: Condition) -> BaselineOutcome:
    """Fit the classical method of the task's modality on a condition's data."""
    _, classical = fit_baselines(load(condition))
    data = Condition(
        condition.task,
        classical.name,
        examples=condition.examples,
        seed=condition.seed,
        label_noise=condition.label_noise,
        repaired=condition.repaired,
        kind=condition.kind,
    )
    return BaselineOutcome(data, classical.title, as_digits(classical.probabilities.argmax(axis=1)))


def _baseline_of_another(condition: Condition, test: AnsweredItems, folder: Path) -> BaselineOutcome | None:
    """Find it in the record of another experiment, on the same test items."""
    for name in EXPERIMENTS:
        path = folder / f"{name}.json"
        record = Record.load(path) if path.is_file() else Record(name)
        if record.tests.get(condition.task) == test:
            for each in record.baselines:
                if each.condition.data == condition.data:
                    return each
    return None


def _taken(wish: _Wish, task: Task) -> tuple[Outcome, Machine] | None:
    """Find the same training, with all that is measured, in the record of another experiment, and its machine.

    It must be this machine: time and memory of one record should be comparable.
    """
    condition, training, here = wish.condition, training_of(wish.condition), Machine.this()
    for name in EXPERIMENTS:
        other = wish.folder / f"{name}.json"
        if name == wish.experiment.name or not other.is_file():
            continue
        record = Record.load(other)
        if record.tests.get(task.name) != AnsweredItems.of(task):
            continue
        for outcome in record.where(task=condition.task, method=condition.method, seed=condition.seed):
            machine = record.machines[outcome.machine]
            measured = set(wish.experiment.measures) <= set(outcome.measures)
            if measured and machine == here and outcome.training == training:
                return outcome, machine
    return None


def _fulfilled(wishes: Sequence[_Wish], task: Task, began: float) -> Outcome | None:
    """Take a training from another record, else make it, and keep it for all who want it; None where none does."""
    if not wishes:
        return None
    untrained = []
    for wish in wishes:
        found = _taken(wish, task)
        if found is None:
            untrained.append(wish)
        else:
            outcome, machine = found
            wish.keep(outcome, task, machine)
    if untrained:
        outcome, run = _made(untrained, task, began)
        for wish in untrained:
            wish.keep(outcome, task, run.machine)
        if run.stopped:
            raise KeyboardInterrupt
    return outcome


def _made(wishes: Sequence[_Wish], task: Task, began: float) -> tuple[Outcome, Run]:
    """Train and measure; what has passed since it began, such as loading the data, counts too.

    After Ctrl-C while the test was answered the training is whole, and is measured all the same; one more gives it up.
    """
    condition = wishes[0].condition
    run = train(condition, task)
    if run.history.interrupted:
        raise KeyboardInterrupt
    names = dict.fromkeys(name for wish in wishes for name in wish.experiment.measures)
    measures = {name: MEASURES[name](run, task, condition) for name in names}
    run.release()
    return Outcome.of(condition, run, measures, time.perf_counter() - began), run


def _with_tasks(alike: Sequence[list[_Wish]]) -> Iterator[tuple[list[_Wish], Task]]:
    """Wishes with their tasks, those that share their data together, in the order in which data first occur."""
    together: dict[tuple[object, ...], list[list[_Wish]]] = {}
    for wishes in alike:
        together.setdefault(wishes[0].condition.data, []).append(wishes)
    for sharing in together.values():
        task = load(sharing[0][0].condition)
        for wishes in sharing:
            yield wishes, task


def train(condition: Condition, task: Task) -> Run:
    """Train on a loaded task as a condition says, at the learning rate by which its record is judged up to date."""
    return fine_tune(
        task,
        as_method(condition.method, **condition.settings),
        lr=learning_rate_of(condition),
        epochs=condition.epochs,
        seed=condition.seed,
        progress=False,
        **condition.options,
    )
