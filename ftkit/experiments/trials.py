"""Records of learning rates and settings tried on the validation split."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftkit.errors import DataError
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
        What came out on validation, at the epoch with the best score; a score of 0 and no loss where the training
        diverged. The test split was not read.
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
    validation_loss: float | None
    best_epoch: int
    seconds: float
    processor: str
    created: str

    @property
    def tried(self) -> tuple[object, ...]:
        """What was tried: trials that are equal in this are one trial made twice."""
        settings = tuple(sorted(self.settings.items()))
        return self.method, settings, self.learning_rate, self.epochs, self.seed, self.train_examples, self.metric


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

    def over(self, epochs: int, seed: int) -> Trials:
        """Those that passed so often through the training data, with this seed."""
        same = tuple(trial for trial in self.trials if (trial.epochs, trial.seed) == (epochs, seed))
        return Trials(self.task, self.fingerprint, same)

    def chosen_by(self, metric: str) -> Trials:
        """Those that this metric scored: others can't be ranked among them."""
        same = tuple(trial for trial in self.trials if trial.metric == metric)
        return Trials(self.task, self.fingerprint, same)

    def named(self, name: str) -> list[Trial]:
        """Trials of a method with any settings, by rising learning rate."""
        return sorted((trial for trial in self.trials if trial.method == name), key=lambda trial: trial.learning_rate)

    def best(self, method: Method) -> Trial | None:
        """The trial with the best validation score, None where all diverged; the lower loss decides between equals."""
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
        """Read what `save` wrote.

        Raises
        ------
        DataError
            If the file holds anything else.
        """
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            return cls(values["task"], values["fingerprint"], tuple(Trial(**trial) for trial in values["trials"]))
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"{path} holds no trials of this version of ftkit ({type(error).__name__}: {error}). Name another "
                "file, or move this one away."
            ) from error


def _best(trials: Sequence[Trial]) -> Trial | None:
    finished = [(trial, trial.validation_loss) for trial in trials if trial.validation_loss is not None]
    best = max(finished, key=lambda pair: (pair[0].validation_score, -pair[1]), default=None)
    return None if best is None else best[0]


def read_trials(path: Path, task: Task) -> Trials:
    """Trials recorded for a task's data, none where there is no such file.

    Raises
    ------
    DataError
        If the file holds trials on other data.
    """
    if not path.is_file():
        return Trials(task.name, task.fingerprint)
    recorded = Trials.load(path)
    if recorded.fingerprint != task.fingerprint:
        raise DataError(
            f"{path} holds trials on other data ({recorded.task}, {_sizes(recorded)} training examples) than these "
            f"({task.name}, {len(task.train):,}). Name another file, or move this one away."
        )
    return recorded


def _sizes(trials: Trials) -> str:
    return " and ".join(f"{size:,}" for size in sorted({trial.train_examples for trial in trials.trials})) or "no"


def own_path(folder: Path, task_name: str, fingerprint: str) -> Path:
    """File of one's own trials among the runs in a folder; other data have another."""
    return folder / task_name / f"trials-{fingerprint[:12]}.json"


def kit_trials(task_name: str, examples: int, folder: Path | None = None) -> Trials | None:
    """Trials that come with the kit for a ready-made task: of each method those on the size nearest to a training's.

    Parameters
    ----------
    task_name
        Name of the task.
    examples
        Training examples of the training that wants a learning rate.
    folder
        Holds a file for each task and size; default: the kit's.

    Returns
    -------
    Trials or None
        None where there are none on the task.
    """
    folder = data_folder() / "evidence" / "tuning" if folder is None else folder
    files = sorted(folder.glob(f"{task_name}-[0-9]*.json"))
    return nearest([_loaded(path, path.stat().st_mtime_ns) for path in files], examples)


@lru_cache(maxsize=16)
def _loaded(path: Path, modified: int) -> Trials:
    """Read a file once for every change of it."""
    return Trials.load(path)


def nearest(recorded: Sequence[Trials], examples: int) -> Trials | None:
    """Put together of each method the trials on one size, the nearest to a number of examples as a ratio.

    Parameters
    ----------
    recorded
        On parts of one task, of several sizes.
    examples
        The number.
    """
    trials = [trial for each in recorded for trial in each.trials]
    sizes: dict[str, set[int]] = {}
    for trial in trials:
        sizes.setdefault(trial.method, set()).add(trial.train_examples)
    wanted = max(examples, 1)  # a split without any is refused where it is trained on
    size = {name: min(sorted(found), key=lambda each: abs(math.log(each / wanted))) for name, found in sizes.items()}
    kept = tuple(trial for trial in trials if trial.train_examples == size[trial.method])
    return Trials(recorded[0].task, recorded[0].fingerprint, kept) if kept else None


def recorded_trials(task: Task) -> Trials | None:
    """Trials by the task's metric that come with the kit, see `kit_trials`; None for one's own data."""
    recorded = kit_trials(task.name, len(task.train)) if task.assets else None
    return None if recorded is None else recorded.chosen_by(task.metric)


def joined(recorded: Trials | None, own: Trials, methods: Sequence[Method]) -> Trials:
    """For each method the trials that come with the kit where its settings were tried, else one's own.

    With them come the trials of its other settings, beside which they were chosen.

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
    chosen = [trial for method in methods for trial in (recorded if recorded.of(method) else own).named(method.name)]
    return Trials(own.task, own.fingerprint, tuple(chosen))


def recorded_rate(task: Task, method: Method) -> float:
    """Learning rate that recorded trials found best on about as many examples, else the method's typical one."""
    return usual_rate(task.name, method, len(task.train)) if task.assets else method.typical_rate


def usual_rate(task_name: str, method: Method, examples: int) -> float:
    """Learning rate that the trials of the kit found best on a ready-made task, else the method's typical one."""
    recorded = kit_trials(task_name, examples)
    best = None if recorded is None else recorded.best(method)
    return method.typical_rate if best is None else best.learning_rate
