"""Records of learning rates and settings tried on the validation split."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftkit.methods import Method, as_method
from ftkit.paths import data_folder, write_text

if TYPE_CHECKING:
    from ftkit.tasks.base import Task


@dataclass(frozen=True)
class Trial:
    """One learning rate, with one choice of settings, tried.

    Attributes
    ----------
    method, settings
        Name of the method and its settings.
    learning_rate, epochs, seed, precision, train_examples
        How it was trained.
    metric, validation_score, validation_loss, best_epoch
        What came out on validation, at the epoch with the best score. The test split was not read.
    seconds
        Training time.
    processor, created
        Where and when.
    """

    method: str
    settings: dict[str, Any]
    learning_rate: float
    epochs: int
    seed: int
    precision: str
    train_examples: int
    metric: str
    validation_score: float
    validation_loss: float
    best_epoch: int
    seconds: float
    processor: str
    created: str


@dataclass(frozen=True)
class Trials:
    """All trials on one task.

    Attributes
    ----------
    task, fingerprint
        Name of the task and SHA-256 of its data.
    trials
        In the order in which they were made.
    """

    task: str
    fingerprint: str
    trials: tuple[Trial, ...] = ()

    def of(self, method: Method) -> list[Trial]:
        """Trials of a method with exactly these settings, by rising learning rate."""
        mine = [trial for trial in self.trials if as_method(trial.method, **trial.settings) == method]
        return sorted(mine, key=lambda trial: trial.learning_rate)

    def named(self, name: str) -> list[Trial]:
        """Trials of a method with any settings, by rising learning rate."""
        return sorted((trial for trial in self.trials if trial.method == name), key=lambda trial: trial.learning_rate)

    def best(self, method: Method) -> Trial | None:
        """The trial with the best validation score; equal scores are decided by the lower loss."""
        return _best(self.of(method))

    def best_settings(self, method: Method) -> Method:
        """The method with the settings of its best trial, as it is where there are no trials."""
        best = _best(self.named(method.name))
        return method if best is None else as_method(best.method, **best.settings)

    def best_at_edge(self, method: Method) -> bool:
        """Whether the best learning rate is the lowest or highest tried, so that a better one may lie beyond."""
        mine, best = self.named(method.name), self.best(method)
        return best is not None and best.learning_rate in (mine[0].learning_rate, mine[-1].learning_rate)

    def save(self, path: Path) -> None:
        """Write all trials as JSON."""
        write_text(path, json.dumps(asdict(self), indent=1) + "\n")

    @classmethod
    def load(cls, path: Path) -> Trials:
        """Read what `save` wrote."""
        values = json.loads(path.read_text(encoding="utf-8"))
        return cls(values["task"], values["fingerprint"], tuple(Trial(**trial) for trial in values["trials"]))


def _best(trials: Sequence[Trial]) -> Trial | None:
    return max(trials, key=lambda trial: (trial.validation_score, -trial.validation_loss), default=None)


def read_trials(path: Path, task: Task) -> Trials:
    """Trials recorded for exactly this task's data, none where there is no such file."""
    if path.is_file():
        recorded = Trials.load(path)
        if recorded.fingerprint == task.fingerprint:
            return recorded
    return Trials(task.name, task.fingerprint)


def evidence_path(task_name: str) -> Path:
    """File of the trials that come with the kit."""
    return data_folder() / "evidence" / "tuning" / f"{task_name}.json"


def recorded_trials(task: Task) -> Trials | None:
    """Trials that come with the kit for a ready-made task, which say what size they had; None for one's own data."""
    path = evidence_path(task.name)
    return Trials.load(path) if task.assets and path.is_file() else None


def joined(recorded: Trials | None, own: Trials, methods: Sequence[Method]) -> Trials:
    """For each method the trials that come with the kit where there are some, else one's own.

    Parameters
    ----------
    recorded
        From `recorded_trials`.
    own
        Made on this data.
    methods
        Whose trials are wanted.
    """
    if recorded is None:
        return own
    chosen = [trial for method in methods for trial in (recorded.of(method) or own.of(method))]
    return Trials(own.task, own.fingerprint, tuple(chosen))


def recorded_rate(task: Task, method: Method) -> float:
    """Learning rate that recorded trials found best, else the method's typical one.

    Trials made on a task's usual size serve for parts of it too.
    """
    recorded = recorded_trials(task)
    best = recorded.best(method) if recorded is not None else None
    return best.learning_rate if best is not None else method.typical_rate
