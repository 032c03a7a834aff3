"""Small tasks of real data, and one short real training of every method on every kind of data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ftkit import METHODS, fine_tune, load_task
from ftkit.classifier import Classifier, build_classifier
from ftkit.experiments.experiment import Condition
from ftkit.experiments.machine import Machine
from ftkit.experiments.record import AnsweredItems, BaselineOutcome, Outcome, Record, as_digits
from ftkit.experiments.run import Run
from ftkit.tasks import Split, Task
from ftkit.training.callbacks import Callback
from ftkit.training.loop import Training

TASK_OF = {"text": "movie-reviews", "image": "solar-cells", "audio": "spoken-digits"}
# Items of each class in train, validation and test.
ITEMS = {"text": (8, 3, 6), "image": (4, 2, 4), "audio": (2, 1, 1)}
BATCH = {"text": 8, "image": 4, "audio": 10}
CELLS = [(name, modality) for name, method in METHODS.items() for modality in method.modalities]


def some_of_each(split: Split, count: int) -> Split:
    """Return the first items of every class."""
    return split.take(
        np.concatenate([np.flatnonzero(split.labels == label)[:count] for label in np.unique(split.labels)])
    )


@pytest.fixture(scope="session")
def small_task() -> Callable[[str], Task]:
    """Return a function from a modality to its ready-made task with 48 training and 40 test items at most."""
    kept: dict[str, Task] = {}

    def make(modality: str) -> Task:
        if modality not in kept:
            task = load_task(TASK_OF[modality], limit=48)
            per_class = 40 // len(task.label_names)
            kept[modality] = replace(task, test=some_of_each(task.test, per_class))
        return kept[modality]

    return make


@pytest.fixture(scope="session")
def tiny_task(small_task: Callable[[str], Task]) -> Callable[[str], Task]:
    """Return a function from a modality to a task of a few items of each class, enough for two steps of training."""

    def make(modality: str) -> Task:
        task = small_task(modality)
        train, validation, test = (
            some_of_each(split, count) for split, count in zip(task.splits.values(), ITEMS[modality], strict=True)
        )
        return replace(task, train=train, validation=validation, test=test)

    return make


@pytest.fixture(scope="session")
def new_classifier(tiny_task: Callable[[str], Task]) -> Callable[[str], Classifier]:
    """Return a function from a modality to its classifier, freshly built, always with the same head."""

    def make(modality: str) -> Classifier:
        return build_classifier(tiny_task(modality), seed=0).eval()

    return make


@pytest.fixture(scope="session")
def logits_of(tiny_task: Callable[[str], Task]) -> Callable[[nn.Module, str], Tensor]:
    """Return a function that gives a model's logits on the test items of its tiny task."""

    def compute(model: nn.Module, modality: str) -> Tensor:
        classifier = model.get_base_model() if hasattr(model, "get_base_model") else model
        backbone: Any = classifier.backbone
        with torch.inference_mode():
            return model.eval()(backbone.collate(backbone.prepare(tiny_task(modality).test.items)))

    return compute


@dataclass(frozen=True)
class Cell:
    """One method trained for two steps on one kind of data.

    Attributes
    ----------
    run, folder
        The run, its model released, and where it is saved.
    tensors
        Names of all parameters and buffers.
    changed
        Those of them that are not bit for bit what they were before the first step.
    logits
        Of the trained model on the test items.
    """

    run: Run
    folder: Path
    tensors: frozenset[str]
    changed: frozenset[str]
    logits: np.ndarray

    @property
    def saved_bytes(self) -> int:
        """Size of the file that holds the tensors."""
        return sum(path.stat().st_size for path in self.folder.glob("*.safetensors"))


class Difference(Callback):
    """Compares all tensors after the training with those before it."""

    def on_start(self, training: Training) -> None:
        self.before = {name: tensor.clone() for name, tensor in training.trainable.model.state_dict().items()}

    def on_end(self, training: Training) -> None:
        after = training.trainable.model.state_dict()
        assert set(after) == set(self.before)
        self.changed = frozenset(name for name, tensor in after.items() if not torch.equal(tensor, self.before[name]))


@pytest.fixture(scope="session")
def cell(
    tiny_task: Callable[[str], Task],
    logits_of: Callable[[nn.Module, str], Tensor],
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[[str, str], Cell]:
    """Return a function from method and modality to the cell, trained when it is first asked for."""
    root = tmp_path_factory.mktemp("cells")
    kept: dict[tuple[str, str], Cell] = {}

    def make(method: str, modality: str) -> Cell:
        if (method, modality) not in kept:
            difference = Difference()
            run = fine_tune(
                tiny_task(modality),
                method,
                lr=METHODS[method].typical_rate,
                epochs=1,
                batch_size=BATCH[modality],
                precision="float32",
                callbacks=[difference],
                progress=False,
            )
            logits = logits_of(run.model.model, modality).numpy()
            folder = run.save(root / f"{method}-{modality}")
            run.release()
            tensors = frozenset(difference.before)
            kept[method, modality] = Cell(run, folder, tensors, difference.changed, logits)
        return kept[method, modality]

    return make


@pytest.fixture(scope="session")
def all_cells(cell: Callable[[str, str], Cell]) -> dict[tuple[str, str], Cell]:
    """Every method on every kind of data."""
    return {key: cell(*key) for key in CELLS}


METRIC_OF = {
    "movie-reviews": ("accuracy", 2),
    "solar-cells": ("balanced_accuracy", 2),
    "spoken-digits": ("accuracy", 10),
}


def invented_record(
    name: str,
    conditions: Sequence[Condition],
    accuracy: Callable[[Condition], float],
    measures: Callable[[Condition], dict[str, Any]] = lambda condition: {},
    items: int = 200,
) -> Record:
    """Return what an experiment would leave whose trainings get about such shares of the test items right.

    It is no evidence of anything: it shows that what reads records reads them rightly.
    """
    tests = {
        task: AnsweredItems(as_digits(np.arange(items) % METRIC_OF[task][1]), None, f"of {task}", METRIC_OF[task][0])
        for task in dict.fromkeys(condition.task for condition in conditions)
    }
    outcomes = []
    for condition in conditions:
        classes = METRIC_OF[condition.task][1]
        labels = np.arange(items) % classes
        drawn = np.random.default_rng([condition.seed, *condition.method.encode()])
        # Some items are hard for all methods, as they are in truth.
        hard = 0.5 * np.random.default_rng(0).random(items) + 0.5 * drawn.random(items)
        right = hard < np.quantile(hard, accuracy(condition))
        epochs = condition.epochs or 3
        inner = [value for value in condition.settings.values() if isinstance(value, int)]
        size = sum(condition.method.encode()) ** 2 * (1 + sum(inner))
        outcomes.append(
            Outcome(
                condition=condition,
                scores={METRIC_OF[condition.task][0]: round(float(right.mean()), 5)},
                validation_score=accuracy(condition),
                answers=as_digits(np.where(right, labels, (labels + 1) % classes)),
                learning_rate=condition.learning_rate or 1e-3,
                epochs=epochs,
                best_epoch=max(1, epochs // 3) + condition.seed % 2,
                train_loss=[1 - accuracy(condition) + 0.7 / (1 + epoch) for epoch in range(epochs)],
                validation_loss=[1.3 - accuracy(condition) + 0.02 * abs(epoch - epochs / 3) for epoch in range(epochs)],
                trainable=size,
                total=10**7,
                seconds=10 + size / 1e6 + condition.seed,
                peak_memory_bytes=10**9 + 100 * size,
                saved_bytes=4 * size,
                measures=measures(condition),
                created=f"2026-11-{10 + condition.seed}",
                commit="83bc2a4d0f1e" if condition.seed else "",
                total_seconds=20.0 if condition.seed else 0.0,
            )
        )
    machine = Machine("processor", 2, 2, 8 * 10**9, "Linux x86_64", "3.11.7", {"ftkit": "0"})
    fitted = {condition.data: invented_baseline(condition, items) for condition in conditions}
    return Record(name, (machine,), tests, tuple(outcomes), tuple(fitted.values()))


def invented_baseline(condition: Condition, items: int) -> BaselineOutcome:
    """What a classical method would answer that gets 58 % of the items right."""
    classes = METRIC_OF[condition.task][1]
    labels = np.arange(items) % classes
    right = np.random.default_rng(0).permutation(items) < 0.58 * items
    data = replace(condition, method="classical", settings={}, options={}, learning_rate=None, epochs=None)
    return BaselineOutcome(data, "Classical", as_digits(np.where(right, labels, (labels + 1) % classes)))


@pytest.fixture(scope="session", name="invented_record")
def invented_record_fixture() -> Callable[..., Record]:
    """Return the function `invented_record`."""
    return invented_record
