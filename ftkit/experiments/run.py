"""A run: what decided it, what came out, and the model."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ftkit.errors import FtkitError
from ftkit.evaluation import METRICS, Score
from ftkit.experiments.machine import Machine
from ftkit.memory import release_memory
from ftkit.paths import write_text
from ftkit.training.history import History

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ftkit.methods import Trainable
    from ftkit.tasks.base import Modality

RUN_FILE = "run.json"
DECIMALS = 5
"""Decimal places of stored probabilities."""


@dataclass(frozen=True)
class Spec:
    """Everything that decides a run.

    Attributes
    ----------
    task, fingerprint
        Name of the task and SHA-256 of its data.
    modality, backbone, backbone_settings
        What reads the data.
    method, settings
        Name of the method and its settings.
    learning_rate, epochs, batch_size, weight_decay, warmup, clip_norm, label_smoothing, class_weights, patience, \
augmentation, precision, seed, dropout, keep
        How it was trained, see `ftkit.training.loop.TrainingSettings` and `fine_tune`.
    train_examples, validation_examples
        How much data it saw.
    metric
        Told which epoch was best.
    """

    task: str
    fingerprint: str
    modality: Modality
    backbone: str
    backbone_settings: dict[str, Any]
    method: str
    settings: dict[str, Any]
    learning_rate: float
    epochs: int
    batch_size: int
    weight_decay: float
    warmup: float
    clip_norm: float
    label_smoothing: float
    class_weights: bool
    patience: int | None
    augmentation: str | None
    precision: str
    seed: int
    train_examples: int
    validation_examples: int
    dropout: float = 0.0
    keep: str = "best"
    metric: str = "accuracy"

    @property
    def run_id(self) -> str:
        """Twelve hexadecimal digits that only this specification has."""
        decides = asdict(self)
        metric = "balanced_accuracy" if self.class_weights else "accuracy"
        for name, usual in (("dropout", 0.0), ("keep", "best"), ("metric", metric)):
            if decides[name] == usual:
                del decides[name]  # runs that were saved before there was such a choice keep their digits
        return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()[:12]

    @property
    def folder_name(self) -> str:
        """A name for the run's folder that people can read."""
        return f"{self.task}/{self.method}-seed{self.seed}-{self.run_id}"


@dataclass(frozen=True)
class Predictions:
    """Answers on a split.

    Attributes
    ----------
    identifiers
        Name of each item.
    labels
        True classes, int array (n,).
    probabilities
        Float array (n, classes).
    groups
        Film or speaker of each item, or None.
    """

    identifiers: list[str]
    labels: np.ndarray
    probabilities: np.ndarray
    groups: list[str] | None = None

    @property
    def predicted(self) -> np.ndarray:
        """Most probable class of each item, int array (n,)."""
        return self.probabilities.argmax(axis=1)

    def to_dict(self) -> dict[str, Any]:
        """Lists for JSON, probabilities rounded."""
        return {
            "identifiers": list(self.identifiers),
            "labels": self.labels.tolist(),
            "probabilities": np.round(self.probabilities.astype(float), DECIMALS).tolist(),
            "groups": self.groups,
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Predictions:
        """Rebuild from what `to_dict` returned."""
        return cls(
            values["identifiers"],
            np.asarray(values["labels"], dtype=np.int64),
            np.asarray(values["probabilities"], dtype=np.float64),
            values["groups"],
        )


@dataclass(frozen=True)
class Cost:
    """What a run took.

    Attributes
    ----------
    trainable, head, total
        Parameters: those that trained (head included), the head's, all.
    seconds
        Training, evaluation excluded. Work of frozen blocks counts in the run that did it, together with what another
        had done on the way to it. Linear probes that train together have a share each.
    evaluation_seconds
        Validation after every epoch and the test.
    peak_memory_bytes
        Highest resident memory of the process while it trained.
    saved_bytes
        Size of the tensors that must be kept to use the result beside the pretrained weights.
    frozen_depth
        Blocks whose work was done once and kept, default 0; see `Trainable.frozen_depth`.
    checkpointing
        Whether the blocks were computed again in the backward pass, default False: less memory, more seconds.
    """

    trainable: int
    head: int
    total: int
    seconds: float
    evaluation_seconds: float
    peak_memory_bytes: int
    saved_bytes: int
    frozen_depth: int = 0
    checkpointing: bool = False

    @property
    def share(self) -> float:
        """Trained share of all parameters, head included, in 0..1."""
        return self.trainable / self.total


@dataclass(frozen=True)
class Answers:
    """Predictions for new items.

    Attributes
    ----------
    labels
        Name of the most probable class of each item.
    probabilities
        Float array (items, classes).
    label_names
        Names of the classes, in the order of the columns.
    """

    labels: list[str]
    probabilities: np.ndarray
    label_names: tuple[str, ...]

    def __repr__(self) -> str:
        confidences = self.probabilities.max(axis=1)
        return "\n".join(f"{label} ({share:.0%})" for label, share in zip(self.labels, confidences, strict=True))


def percent(share: float) -> str:
    """Write a share, 0..1, with two digits where it is small.

    Examples
    --------
    >>> percent(1.0), percent(0.0000341)
    ('100 %', '0.0034 %')
    """
    return f"{100 * share:.0f} %" if share >= 0.1 else f"{100 * share:.2g} %"


def file_size(count: int) -> str:
    """Write a number of bytes.

    Examples
    --------
    >>> file_size(90_300_000), file_size(3_080)
    ('90.3 MB', '3 kB')
    """
    return f"{count / 1e6:,.1f} MB" if count >= 1e6 else f"{count / 1e3:,.0f} kB"


@dataclass
class Run:
    """The result of fine-tuning once.

    Attributes
    ----------
    spec
        What decided it.
    label_names
        Names of the classes.
    metric
        Name of the metric that selected on validation.
    history
        Every step and epoch.
    scores, validation_scores
        Test and validation scores by metric name, each with its 95 % interval.
    predictions
        Answers on the test split.
    cost
        What it took.
    machine
        Where it was made.
    created
        When, ISO 8601 in UTC.
    folder
        Where it is saved, or None.
    stopped
        Whether Ctrl-C came after the training, while the test was answered: the run is whole, and whoever trains
        several stops behind it. Not saved.

    Examples
    --------
    ``run = ftkit.fine_tune(task, "lora"); run.scores; run.plot(); run.predict(["A fine film."]); run.save("my-run")``
    """

    spec: Spec
    label_names: tuple[str, ...]
    metric: str
    history: History
    scores: dict[str, Score]
    validation_scores: dict[str, Score]
    predictions: Predictions
    cost: Cost
    machine: Machine
    created: str
    folder: Path | None = None
    trainable: Trainable | None = field(default=None, repr=False)
    stopped: bool = field(default=False, repr=False, compare=False)

    @property
    def score(self) -> Score:
        """Test score by the task's own metric."""
        return self.scores[self.metric]

    @property
    def seconds(self) -> float:
        """Seconds of training, evaluation excluded."""
        return self.cost.seconds

    @property
    def model(self) -> Trainable:
        """The trained model; read from the run's folder where it is not in memory.

        Raises
        ------
        FtkitError
            If the run was never saved with its weights.
        """
        if self.trainable is None:
            if self.folder is None:
                raise FtkitError(
                    f"Run {self.spec.run_id} holds scores only, its weights were not kept. Run `ftkit.fine_tune` again."
                )
            from ftkit.experiments.rebuilding import load_model

            self.trainable = load_model(self.spec, len(self.label_names), self.folder)
        return self.trainable

    def release(self) -> None:
        """Let go of the model and give its memory back; a saved run reads it again when it is asked for."""
        self.trainable = None
        release_memory()

    def predict(self, items: Sequence[Any]) -> Answers:
        """Classify new items.

        Parameters
        ----------
        items
            Texts; or paths of pictures or recordings, or arrays such as a task holds. Of recordings longer than those
            of the training only the beginning is heard, which a warning says.

        Returns
        -------
        Answers

        Raises
        ------
        DataError
            If a file can't be read.
        """
        from ftkit.experiments.rebuilding import read_items
        from ftkit.tasks.reading import IMAGE_SIZE, LONGEST_SECONDS
        from ftkit.training.loop import new_accelerator, predict
        from ftkit.training.precision import answering_precision

        model = self.model
        backbone = model.classifier.backbone
        size, seconds = (
            backbone.settings.get(name, most)
            for name, most in (("image_size", IMAGE_SIZE), ("seconds", LONGEST_SECONDS))
        )
        prepared = backbone.prepare(read_items(self.spec.modality, items, size, seconds))
        accelerator = new_accelerator(answering_precision(self.spec.precision))
        probabilities = predict(
            model.model, backbone, prepared, most=backbone.evaluation_length, accelerator=accelerator
        )
        labels = [self.label_names[index] for index in probabilities.argmax(axis=1)]
        return Answers(labels, probabilities, self.label_names)

    def plot(self) -> Figure:
        """Draw the learning curves."""
        from ftkit.figures import learning_curves

        return learning_curves(self)

    def save(self, folder: str | Path) -> Path:
        """Write the run and what was trained into a folder.

        ``run.json`` is written last, so a folder that has one is whole.

        Parameters
        ----------
        folder
            Made where it is missing.

        Returns
        -------
        Path
            The folder.
        """
        folder = Path(folder)
        model = self.model  # read before its own folder loses its mark
        (folder / RUN_FILE).unlink(missing_ok=True)
        model.save(folder)
        write_text(folder / RUN_FILE, json.dumps(self.to_dict()))
        self.folder = folder
        return folder

    def to_dict(self) -> dict[str, Any]:
        """Everything but the model, for JSON."""
        return {
            "run_id": self.spec.run_id,
            "spec": asdict(self.spec),
            "label_names": list(self.label_names),
            "metric": self.metric,
            "history": self.history.to_dict(),
            "scores": {name: asdict(score) for name, score in self.scores.items()},
            "validation_scores": {name: asdict(score) for name, score in self.validation_scores.items()},
            "predictions": self.predictions.to_dict(),
            "cost": asdict(self.cost),
            "machine": asdict(self.machine),
            "created": self.created,
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any], folder: Path | None = None) -> Run:
        """Rebuild from what `to_dict` returned."""
        return cls(
            spec=Spec(**{"metric": values["metric"], **values["spec"]}),  # earlier specifications had none
            label_names=tuple(values["label_names"]),
            metric=values["metric"],
            history=History.from_dict(values["history"]),
            scores={name: Score(**score) for name, score in values["scores"].items()},
            validation_scores={name: Score(**score) for name, score in values["validation_scores"].items()},
            predictions=Predictions.from_dict(values["predictions"]),
            cost=Cost(**values["cost"]),
            machine=Machine(**values["machine"]),
            created=values["created"],
            folder=folder,
        )

    def __repr__(self) -> str:
        title = METRICS[self.metric].title.lower()
        return (
            f"Run {self.spec.run_id}: {self.spec.method} on {self.spec.task}, {title} {self.score}, "
            f"{self.cost.trainable:,} of {self.cost.total:,} parameters trained in {self.seconds:.0f} s"
        )


def load_run(folder: str | Path) -> Run:
    """Open a saved run; its model is read when it is first needed.

    Parameters
    ----------
    folder
        The folder that `Run.save` or `compare` wrote.

    Raises
    ------
    FtkitError
        If there is no run in the folder, or it can't be read.
    """
    path = Path(folder) / RUN_FILE
    if not path.is_file():
        raise FtkitError(
            f"There is no run in {folder}: {RUN_FILE} is missing. Give what `run.save` or `ftkit train` named."
        )
    try:
        return Run.from_dict(json.loads(path.read_text(encoding="utf-8")), path.parent)
    except (ValueError, KeyError, TypeError) as error:
        raise FtkitError(
            f"{path} is not a run of this version of ftkit ({type(error).__name__}: {error}). "
            "Move it away and run again."
        ) from error
