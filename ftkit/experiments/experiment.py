"""An experiment: trainings that differ in what is asked about, made one by one and kept in one file."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from ftkit.errors import FtkitError
from ftkit.experiments.fine_tuning import fine_tune
from ftkit.experiments.machine import Machine
from ftkit.experiments.measures import MEASURES
from ftkit.experiments.run import Run
from ftkit.methods import as_method
from ftkit.paths import data_folder, write_text
from ftkit.tasks import Split, Task, load_task

CLASS_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True)
class Condition:
    """One training of an experiment.

    Attributes
    ----------
    task
        Name of a ready-made task.
    method, settings
        Name of the method and its settings that differ from the usual ones.
    examples
        Training examples; None is the task's usual number. Fewer are drawn by the seed, so that a seed stands for
        another draw too.
    learning_rate, epochs
        None takes those of `fine_tune`.
    seed
        See `fine_tune`.
    label_noise
        Share of the training labels that are replaced by another class at random, default 0.
    options
        More arguments of `fine_tune`, such as ``label_smoothing`` or ``patience``.
    """

    task: str
    method: str
    settings: dict[str, Any] = field(default_factory=dict)
    examples: int | None = None
    learning_rate: float | None = None
    epochs: int | None = None
    seed: int = 0
    label_noise: float = 0.0
    options: dict[str, Any] = field(default_factory=dict)

    def load(self) -> Task:
        """Load the task with the examples and the labels that this condition trains on."""
        if self.examples is None:
            task = load_task(self.task)
        else:
            task = load_task(self.task, limit=self.examples, seed=self.seed)
        if not self.label_noise:
            return task
        return replace(task, train=with_label_noise(task.train, self.label_noise, len(task.label_names), self.seed))

    def train(self, task: Task) -> Run:
        """Train as this condition says."""
        return fine_tune(
            task,
            as_method(self.method, **self.settings),
            lr=self.learning_rate,
            epochs=self.epochs,
            seed=self.seed,
            progress=False,
            **self.options,
        )

    def matches(self, wanted: dict[str, Any]) -> bool:
        """Whether all the fields that are named have the values that are wanted; a list wants one of several."""
        return all(
            self.value(name) in (value if isinstance(value, list) else [value]) for name, value in wanted.items()
        )

    def value(self, name: str) -> Any:
        """A field's value; ``settings.rank`` and ``options.patience`` look inside.

        Raises
        ------
        FtkitError
            If there is no such field.
        """
        part, _, inner = name.partition(".")
        if part not in {each.name for each in fields(self)}:
            raise FtkitError(f"A condition has no {part!r}. It has {', '.join(each.name for each in fields(self))}.")
        found = getattr(self, part)
        return found.get(inner) if inner else found


def with_label_noise(split: Split, share: float, classes: int, seed: int) -> Split:
    """Replace a share of a split's labels, drawn at random, by another class each.

    Examples
    --------
    >>> split = Split(["a", "b", "c", "d"], np.array([0, 1, 0, 1]), None, np.array(list("abcd")))
    >>> int((with_label_noise(split, 0.5, classes=2, seed=0).labels != split.labels).sum())
    2
    """
    generator = np.random.default_rng(seed)
    wrong = generator.permutation(len(split))[: round(share * len(split))]
    labels = split.labels.copy()
    labels[wrong] = (labels[wrong] + generator.integers(1, classes, size=len(wrong))) % classes
    return replace(split, labels=labels)


@dataclass(frozen=True)
class Experiment:
    """A question, and the trainings that answer it.

    Attributes
    ----------
    name
        By which it is called.
    title, question
        For people.
    conditions
        The trainings, in the order in which they are made.
    measures
        Names of `MEASURES` that are taken of every trained model.
    """

    name: str
    title: str
    question: str
    conditions: tuple[Condition, ...]
    measures: tuple[str, ...] = ()


def grid(**axes: Any) -> tuple[Condition, ...]:
    """Every combination of the values given; a list is an axis, anything else is the same for all.

    Examples
    --------
    >>> [(each.method, each.seed) for each in grid(task="movie-reviews", method=["full", "lora"], seed=[0, 1])]
    [('full', 0), ('full', 1), ('lora', 0), ('lora', 1)]
    """
    values = [value if isinstance(value, list) else [value] for value in axes.values()]
    return tuple(Condition(**dict(zip(axes, chosen, strict=True))) for chosen in itertools.product(*values))


@dataclass(frozen=True)
class Outcome:
    """What came out of one training.

    Attributes
    ----------
    condition
        How it was trained.
    scores, validation_score
        Test scores by metric and the selecting metric on validation, 0 to 1.
    answers
        Predicted class of every test item, a digit each (a letter from the tenth class on).
    learning_rate, epochs
        As they were after all defaults.
    best_epoch, train_loss, validation_loss
        The epoch whose weights were kept, and the losses of every epoch in nats.
    trainable, total, seconds, peak_memory_bytes, saved_bytes
        See `Cost`.
    measures
        What was measured of the trained model, by name.
    """

    condition: Condition
    scores: dict[str, float]
    validation_score: float
    answers: str
    learning_rate: float
    epochs: int
    best_epoch: int
    train_loss: list[float]
    validation_loss: list[float]
    trainable: int
    total: int
    seconds: float
    peak_memory_bytes: int
    saved_bytes: int
    measures: dict[str, Any]

    @classmethod
    def of(cls, condition: Condition, run: Run, measures: dict[str, Any]) -> Outcome:
        """Keep what an experiment needs of a run."""
        cost = run.cost
        return cls(
            condition=condition,
            scores={name: round(score.value, 5) for name, score in run.scores.items()},
            validation_score=round(run.history.best.validation_score, 5),
            answers="".join(CLASS_DIGITS[label] for label in run.predictions.predicted),
            learning_rate=run.spec.learning_rate,
            epochs=run.spec.epochs,
            best_epoch=run.history.best_epoch,
            train_loss=[round(epoch.train_loss, 4) for epoch in run.history.epochs],
            validation_loss=[round(epoch.validation_loss, 4) for epoch in run.history.epochs],
            trainable=cost.trainable,
            total=cost.total,
            seconds=round(cost.seconds, 2),
            peak_memory_bytes=cost.peak_memory_bytes,
            saved_bytes=cost.saved_bytes,
            measures=measures,
        )

    def predicted(self) -> np.ndarray:
        """Predicted class of every test item, int array (n,)."""
        return np.array([CLASS_DIGITS.index(digit) for digit in self.answers])


@dataclass(frozen=True)
class AnsweredItems:
    """The items that all outcomes on a task answered.

    Attributes
    ----------
    labels
        True class of every item, digits as in `Outcome.answers`.
    groups
        Index of every item's group, or None.
    fingerprint
        SHA-256 of the items.
    metric
        The metric that selects on the task.
    """

    labels: str
    groups: list[int] | None
    fingerprint: str
    metric: str

    @classmethod
    def of(cls, task: Task) -> AnsweredItems:
        """Keep what a task's test split says."""
        groups = None if task.test.groups is None else np.unique(task.test.groups, return_inverse=True)[1].tolist()
        labels = "".join(CLASS_DIGITS[label] for label in task.test.labels)
        return cls(labels, groups, task.test.fingerprint, task.metric)


@dataclass(frozen=True)
class Record:
    """All outcomes of an experiment so far, one file.

    Attributes
    ----------
    experiment
        Its name.
    machine
        Where it was made.
    tests
        Task name to its test split.
    outcomes
        In the order in which they were made.
    """

    experiment: str
    machine: dict[str, Any]
    tests: dict[str, AnsweredItems] = field(default_factory=dict)
    outcomes: tuple[Outcome, ...] = ()

    def done(self, condition: Condition) -> bool:
        """Whether a condition has its outcome."""
        return any(outcome.condition == condition for outcome in self.outcomes)

    def where(self, **wanted: Any) -> list[Outcome]:
        """Outcomes whose condition matches, see `Condition.matches`."""
        return [outcome for outcome in self.outcomes if outcome.condition.matches(wanted)]

    def adding(self, outcome: Outcome, task: Task) -> Record:
        """Return the record with one more outcome.

        Raises
        ------
        FtkitError
            If the task's test split is not the one that earlier outcomes answered.
        """
        test = AnsweredItems.of(task)
        if self.tests.get(task.name, test) != test:
            raise FtkitError(
                f"The test split of {task.name} is not the one that {self.experiment} began with. Move its file away "
                "and begin anew."
            )
        return replace(self, tests={**self.tests, task.name: test}, outcomes=(*self.outcomes, outcome))

    def save(self, path: Path) -> None:
        """Write as JSON, whole or not at all, one line an outcome."""
        lines = ",\n".join(json.dumps(asdict(outcome)) for outcome in self.outcomes)
        head = {"experiment": self.experiment, "machine": self.machine, "tests": _plain(self.tests)}
        write_text(path, json.dumps(head, indent=1)[:-2] + f',\n "outcomes": [\n{lines}\n]\n}}\n')

    @classmethod
    def load(cls, path: Path) -> Record:
        """Read what `save` wrote."""
        values = json.loads(path.read_text(encoding="utf-8"))
        return cls(
            experiment=values["experiment"],
            machine=values["machine"],
            tests={name: AnsweredItems(**test) for name, test in values["tests"].items()},
            outcomes=tuple(
                Outcome(**{**outcome, "condition": Condition(**outcome["condition"])}) for outcome in values["outcomes"]
            ),
        )


def record_path(name: str) -> Path:
    """File of an experiment's record that comes with the kit."""
    return data_folder() / "evidence" / "experiments" / f"{name}.json"


def run_experiment(
    experiment: Experiment, path: Path, on_outcome: Callable[[Outcome, int], None] | None = None
) -> Record:
    """Make what an experiment lacks; every training is kept as soon as it is done.

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
    record = Record.load(path) if path.is_file() else Record(experiment.name, asdict(Machine.this()))
    for condition, task, left in _missing(experiment, record):
        run = condition.train(task)
        if run.history.interrupted:
            raise KeyboardInterrupt
        measures = {name: MEASURES[name](run, task) for name in experiment.measures}
        outcome = Outcome.of(condition, run, measures)
        run.release()
        record = record.adding(outcome, task)
        record.save(path)
        if on_outcome is not None:
            on_outcome(outcome, left)
    return record


def _missing(experiment: Experiment, record: Record) -> Iterator[tuple[Condition, Task, int]]:
    """Conditions without an outcome, each with its task, loaded once for those that share it, and how many follow."""
    missing = [condition for condition in experiment.conditions if not record.done(condition)]
    known: tuple[Any, Task] | None = None
    for position, condition in enumerate(missing):
        data = (condition.task, condition.examples, condition.label_noise, condition.seed)
        if known is None or known[0] != data:
            known = (data, condition.load())
        yield condition, known[1], len(missing) - position - 1


def _plain(tests: dict[str, AnsweredItems]) -> dict[str, Any]:
    return {name: asdict(test) for name, test in tests.items()}


def check_library(experiments: Sequence[Experiment]) -> None:
    """Raise an `FtkitError` if an experiment names what there is not, or one condition twice."""
    for experiment in experiments:
        unknown = [name for name in experiment.measures if name not in MEASURES]
        if unknown:
            raise FtkitError(
                f"Experiment {experiment.name}: no measure {unknown[0]!r}; there are {', '.join(MEASURES)}."
            )
        for index, condition in enumerate(experiment.conditions):
            as_method(condition.method, **condition.settings)
            if condition in experiment.conditions[:index]:
                raise FtkitError(f"Experiment {experiment.name} holds {condition} twice.")
