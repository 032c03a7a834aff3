"""What an experiment's trainings came to, in one file."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ftkit.errors import FtkitError
from ftkit.experiments.experiment import Condition
from ftkit.paths import data_folder, write_text

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
    created
        Day of the training, as in 2026-11-25; empty where it was not kept.
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

    @classmethod
    def of(cls, condition: Condition, run: Run, measures: dict[str, Any]) -> Outcome:
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
        )

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
    """

    labels: str
    groups: list[int] | None
    fingerprint: str
    metric: str

    @classmethod
    def of(cls, task: Task) -> AnsweredItems:
        """Keep what a task's test split says."""
        groups = None if task.test.groups is None else np.unique(task.test.groups, return_inverse=True)[1].tolist()
        return cls(as_digits(task.test.labels), groups, task.test.fingerprint, task.metric)


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
        head = {
            "experiment": self.experiment,
            "machine": self.machine,
            "tests": {name: asdict(test) for name, test in self.tests.items()},
        }
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
