"""What an experiment's trainings came to, in one file."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from ftkit.errors import FtkitError
from ftkit.experiments.experiment import Condition
from ftkit.experiments.machine import Machine
from ftkit.experiments.revision import revision
from ftkit.paths import data_folder, write_text
from ftkit.tasks import TASKS

if TYPE_CHECKING:
    from ftkit.experiments.run import Run
    from ftkit.tasks import Task

DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
"""One for each class, so that the answers to a test split are one short text."""


def as_digits(classes: Iterable[int]) -> str:
    """Write classes, 0 to 35, as a digit each.

    Examples
    --------
    >>> as_digits([0, 9, 10])
    '09a'
    """
    return "".join(DIGITS[each] for each in classes)


def from_digits(digits: str) -> np.ndarray:
    """Read what `as_digits` wrote: int array (n,).

    Examples
    --------
    >>> from_digits("09a").tolist()
    [0, 9, 10]
    """
    return np.array([DIGITS.index(digit) for digit in digits])


class Answered(Protocol):
    """What was trained or fitted on a condition's data and answered its test split."""

    @property
    def condition(self) -> Condition:
        """How, on what."""

    def predicted(self) -> np.ndarray:
        """Predicted class of every test item, int array (n,)."""


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
    created, commit
        Day of the training, as in 2026-11-25, and the kit's commit (see `revision`); empty where it was not kept.
    machine
        Index into the record's machines.
    total_seconds
        Wall time of everything: data, training, evaluation and measures; 0 where it was not kept.
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
    created: str = ""
    commit: str = ""
    machine: int = 0
    total_seconds: float = 0.0

    @classmethod
    def of(cls, condition: Condition, run: Run, measures: dict[str, Any], total_seconds: float) -> Outcome:
        """Keep what an experiment needs of a run."""
        cost = run.cost
        return cls(
            condition=condition,
            scores={name: round(score.value, 5) for name, score in run.scores.items()},
            validation_score=round(run.history.best.validation_score, 5),
            answers=as_digits(run.predictions.predicted),
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
            created=run.created[:10],
            commit=revision(),
            total_seconds=round(total_seconds, 1),
        )

    @property
    def training(self) -> str:
        """What decided the training, see `Condition.training`: outcomes of two experiments may be of one training."""
        return self.condition.training(self.learning_rate, self.epochs)

    @property
    def is_up_to_date(self) -> bool:
        """Whether it was trained at the rate that its condition asks for, or that the kit's trials give now."""
        return self.learning_rate == learning_rate_of(self.condition)

    def predicted(self) -> np.ndarray:
        """Predicted class of every test item, int array (n,)."""
        return from_digits(self.answers)


@dataclass(frozen=True)
class BaselineOutcome:
    """What a classical method answered that was fitted on the data of some trainings, see `fit_baselines`.

    Attributes
    ----------
    condition
        Those data; its method is the baseline's name, such as ``"tfidf-logistic"``.
    title
        The baseline's name for people.
    answers
        As in `Outcome`.
    """

    condition: Condition
    title: str
    answers: str

    def predicted(self) -> np.ndarray:
        """Predicted class of every test item, int array (n,)."""
        return from_digits(self.answers)


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
    kinds
        Kind of every item (`Split.kinds`), or None where items have none.
    """

    labels: str
    groups: list[int] | None
    fingerprint: str
    metric: str
    kinds: list[str] | None = None

    @classmethod
    def of(cls, task: Task) -> AnsweredItems:
        """Keep what a task's test split says."""
        test = task.test
        groups = None if test.groups is None else np.unique(test.groups, return_inverse=True)[1].tolist()
        kinds = test.kinds.tolist()
        return cls(as_digits(test.labels), groups, test.fingerprint, task.metric, kinds if any(kinds) else None)


@dataclass(frozen=True)
class Record:
    """All outcomes of an experiment so far, one file.

    Attributes
    ----------
    experiment
        Its name.
    machines
        Where it was made; an outcome's ``machine`` counts in it.
    tests
        Task name to its test split.
    outcomes
        In the order in which they were made.
    baselines
        One for each set of data that outcomes were trained on.
    """

    experiment: str
    machines: tuple[Machine, ...] = ()
    tests: dict[str, AnsweredItems] = field(default_factory=dict)
    outcomes: tuple[Outcome, ...] = ()
    baselines: tuple[BaselineOutcome, ...] = ()

    def done(self, condition: Condition) -> bool:
        """Whether a condition has its outcome, which no change of the kit's trials has overtaken."""
        return any(each.is_up_to_date for each in self.outcomes if each.condition == condition)

    def up_to_date(self) -> Record:
        """Return the record without outcomes that a change of the kit's trials has overtaken."""
        return replace(self, outcomes=tuple(each for each in self.outcomes if each.is_up_to_date))

    def without(self, condition: Condition) -> Record:
        """Return the record without the outcome of a condition."""
        return replace(self, outcomes=tuple(each for each in self.outcomes if each.condition != condition))

    def where(self, **wanted: Any) -> list[Outcome]:
        """Outcomes whose condition matches, see `Condition.matches`."""
        return [outcome for outcome in self.outcomes if outcome.condition.matches(wanted)]

    def baselines_where(self, **wanted: Any) -> list[BaselineOutcome]:
        """Baselines whose data match, see `Condition.matches`."""
        return [each for each in self.baselines if each.condition.matches(wanted)]

    def has_baseline(self, condition: Condition) -> bool:
        """Whether a classical method was fitted on the data of a condition."""
        return any(each.condition.data == condition.data for each in self.baselines)

    def adding(self, outcome: Outcome, task: Task, machine: Machine) -> Record:
        """Return the record with one more outcome, made on a task by a machine.

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
        machines = self.machines if machine in self.machines else (*self.machines, machine)
        made = replace(outcome, machine=machines.index(machine))
        return replace(self, machines=machines, tests={**self.tests, task.name: test}, outcomes=(*self.outcomes, made))

    def save(self, path: Path) -> None:
        """Write as JSON, whole or not at all, one line an outcome or baseline."""
        lines, baselines = (
            ",\n".join(json.dumps(asdict(each)) for each in made) for made in (self.outcomes, self.baselines)
        )
        head = {
            "experiment": self.experiment,
            "machines": [asdict(machine) for machine in self.machines],
            "tests": {name: asdict(test) for name, test in self.tests.items()},
        }
        write_text(
            path,
            json.dumps(head, indent=1)[:-2] + f',\n "outcomes": [\n{lines}\n],\n "baselines": [\n{baselines}\n]\n}}\n',
        )

    @classmethod
    def load(cls, path: Path) -> Record:
        """Read what `save` wrote.

        Raises
        ------
        FtkitError
            If the file holds anything else.
        """
        try:
            return cls._from_dict(json.loads(path.read_text(encoding="utf-8")))
        except (ValueError, KeyError, TypeError) as error:
            raise FtkitError(
                f"{path} is no record of this version of ftkit ({type(error).__name__}: {error}). Move it away."
            ) from error

    @classmethod
    def _from_dict(cls, values: dict[str, Any]) -> Record:
        return cls(
            experiment=values["experiment"],
            machines=tuple(Machine(**machine) for machine in values["machines"]),
            tests={name: AnsweredItems(**test) for name, test in values["tests"].items()},
            outcomes=tuple(Outcome(**_with_condition(outcome)) for outcome in values["outcomes"]),
            baselines=tuple(BaselineOutcome(**_with_condition(each)) for each in values.get("baselines", [])),
        )


def _with_condition(values: dict[str, Any]) -> dict[str, Any]:
    return {**values, "condition": Condition(**values["condition"])}


def learning_rate_of(condition: Condition) -> float:
    """Learning rate at which a condition is trained: its own, else its method's usual one on the task."""
    if condition.learning_rate is not None:
        return condition.learning_rate
    from ftkit.experiments.trials import usual_rate
    from ftkit.methods import as_method

    method = as_method(condition.method, **condition.settings)
    return usual_rate(condition.task, method, condition.examples or TASKS[condition.task].default_train)


def training_of(condition: Condition) -> str:
    """What will decide a condition's training, see `Condition.training`."""
    return condition.training(learning_rate_of(condition), condition.epochs or TASKS[condition.task].default_epochs)


def record_path(name: str) -> Path:
    """File of an experiment's record that comes with the kit."""
    return data_folder() / "evidence" / "experiments" / f"{name}.json"


def find_record(name: str, folder: Path | None = None) -> Record | None:
    """Load an experiment's record from a folder, by default that of the kit; None where it holds none.

    Raises
    ------
    FtkitError
        If the folder does not exist.
    """
    if folder is not None and not folder.is_dir():
        raise FtkitError(f"There is no folder {folder} of records. Name one that `ftkit experiment` wrote to.")
    path = record_path(name) if folder is None else folder / f"{name}.json"
    return Record.load(path) if path.is_file() else None


def load_record(name: str) -> Record:
    """Load an experiment's record that comes with the kit.

    Parameters
    ----------
    name
        Of the experiment, as ``ftkit experiment`` lists them.

    Raises
    ------
    FtkitError
        If none comes with the kit.

    Examples
    --------
    >>> load_record("methods").experiment
    'methods'
    """
    path = record_path(name)
    if not path.is_file():
        made = ", ".join(sorted(each.stem for each in path.parent.glob("*.json"))) or "none"
        raise FtkitError(
            f"No record of {name!r} comes with the kit; there are: {made}. `ftkit experiment {name}` makes one."
        )
    return Record.load(path)
