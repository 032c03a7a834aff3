"""Fine-tune a pretrained model on a task: all the parts put together."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np
import torch

from ftkit.classifier import backbone_settings, build_classifier
from ftkit.evaluation import Score
from ftkit.evaluation import score as score_with_interval
from ftkit.experiments.machine import Machine, MemoryWatch
from ftkit.experiments.run import DIGITS, Cost, Predictions, Run, Spec
from ftkit.experiments.trials import recorded_rate
from ftkit.methods import Method, Trainable, as_method
from ftkit.training.callbacks import BestWeights, Callback, ProgressBar
from ftkit.training.loop import Inputs, Training, TrainingSettings, new_accelerator, predict
from ftkit.training.precision import choose_precision

if TYPE_CHECKING:
    from ftkit.tasks.base import Split, Task

DEFAULT_EPOCHS = 3


@dataclass(frozen=True)
class Prepared:
    """A model ready to train."""

    trainable: Trainable

    def inputs(self, split: Split) -> Inputs:
        """Return a split as the model reads it."""
        return Inputs(self.trainable.classifier.backbone.prepare(split.items), split.labels)


def fine_tune(
    task: Task,
    method: str | Method,
    *,
    lr: float | None = None,
    epochs: int | None = None,
    seed: int = 0,
    batch_size: int = 32,
    weight_decay: float = 0.01,
    warmup: float = 0.1,
    clip_norm: float = 1.0,
    label_smoothing: float = 0.0,
    class_weights: bool | None = None,
    patience: int | None = None,
    precision: str = "auto",
    callbacks: Sequence[Callback] = (),
    progress: bool = True,
) -> Run:
    """Adapt a pretrained model to a task and measure the result on the task's test split.

    The weights of the epoch with the best validation score are kept. After Ctrl-C the best weights so far are kept
    and the run comes back with ``history.interrupted`` set.

    Parameters
    ----------
    task
        From `load_task` or `own_task`.
    method
        A name of `METHODS`, or a method with its settings, such as ``LoRA(rank=4)``.
    lr
        Peak learning rate. None takes the rate that recorded trials found best for this task and method, else the
        method's typical one.
    epochs
        Passes through the training data, default 3.
    seed
        Decides the head's initialisation, the order of the data and dropout. The same seed gives the same run on
        the same machine.
    batch_size
        Examples a step, default 32.
    weight_decay, warmup, clip_norm, label_smoothing
        See `TrainingSettings`.
    class_weights
        Weigh classes by the inverse of their frequency. None does so where the task selects by balanced accuracy.
    patience
        Stop after so many epochs without a better validation score; None never stops early.
    precision
        ``"auto"`` measures whether bf16 is faster here; or ``"float32"``, ``"bf16"``, ``"fp16"``.
    callbacks
        More callbacks that watch the training.
    progress
        Show a progress bar, default True.

    Returns
    -------
    Run

    Raises
    ------
    UnknownNameError
        If there is no such method.
    TrainingError
        If a setting is out of its range or the loss stops being finite.
    DataError
        If the training split is empty or holds one class only.

    Examples
    --------
    ``run = fine_tune(load_task("movie-reviews", limit=200), "lora", epochs=1)``
    """
    method = as_method(method)
    usual = default_settings(task, method, seed=seed)
    settings = replace(
        usual,
        learning_rate=usual.learning_rate if lr is None else lr,
        epochs=usual.epochs if epochs is None else epochs,
        batch_size=batch_size,
        weight_decay=weight_decay,
        warmup=warmup,
        clip_norm=clip_norm,
        label_smoothing=label_smoothing,
        class_weights=usual.class_weights if class_weights is None else class_weights,
        precision=choose_precision(precision),
    )
    spec = describe(task, method, settings, patience)
    watching = [BestWeights(patience), *callbacks]
    if progress:
        watching.append(ProgressBar(f"{task.name}, {method.name}"))
    with MemoryWatch() as memory:
        prepared = prepare(task, method, seed)
        train, evaluation = prepared.inputs(task.train), prepared.inputs(task.validation)
        started = time.perf_counter()
        history = Training(prepared.trainable, train, evaluation, settings, task.metric, watching).run()
        validation = _answers(task.validation, prepared, evaluation, settings.precision)
        test = _answers(task.test, prepared, prepared.inputs(task.test), settings.precision)
        elapsed = time.perf_counter() - started
    count = prepared.trainable.count()
    return Run(
        spec=spec,
        label_names=task.label_names,
        metric=task.metric,
        history=history,
        scores=_scores(task, test),
        validation_scores=_scores(task, validation),
        predictions=test,
        cost=Cost(
            trainable=count.trainable,
            head=count.head,
            total=count.total,
            seconds=history.seconds,
            evaluation_seconds=elapsed - history.seconds,
            peak_memory_bytes=memory.peak_bytes,
            saved_bytes=sum(tensor.nbytes for tensor in prepared.trainable.trained_state().values()),
        ),
        machine=Machine.this(),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        trainable=prepared.trainable,
    )


def prepare(task: Task, method: Method, seed: int) -> Prepared:
    """Build the task's classifier and apply the method to it."""
    classifier = build_classifier(task, seed=seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Prepared(method.apply(classifier))


def default_settings(task: Task, method: Method, *, seed: int = 0) -> TrainingSettings:
    """How a method is trained on a task unless told otherwise."""
    return TrainingSettings(
        learning_rate=recorded_rate(task, method),
        epochs=DEFAULT_EPOCHS,
        class_weights=task.metric == "balanced_accuracy",
        precision=choose_precision("auto"),
        seed=seed,
    )


def describe(task: Task, method: Method, settings: TrainingSettings, patience: int | None) -> Spec:
    """Write down everything that decides a run."""
    return Spec(
        task=task.name,
        fingerprint=task.fingerprint,
        modality=task.modality,
        backbone=task.backbone,
        backbone_settings=backbone_settings(task),
        method=method.name,
        settings=method.settings,
        learning_rate=settings.learning_rate,
        epochs=settings.epochs,
        batch_size=settings.batch_size,
        weight_decay=settings.weight_decay,
        warmup=settings.warmup,
        clip_norm=settings.clip_norm,
        label_smoothing=settings.label_smoothing,
        class_weights=settings.class_weights,
        patience=patience,
        precision=settings.precision,
        seed=settings.seed,
        train_examples=len(task.train),
        validation_examples=len(task.validation),
    )


def _answers(split: Split, prepared: Prepared, inputs: Inputs, precision: str) -> Predictions:
    trainable = prepared.trainable
    probabilities = predict(
        trainable.model, trainable.classifier.backbone, inputs.inputs, accelerator=new_accelerator(precision)
    )
    return Predictions(
        identifiers=[str(name) for name in split.identifiers],
        labels=split.labels,
        probabilities=np.round(probabilities.astype(np.float64), DIGITS),
        groups=None if split.groups is None else [str(group) for group in split.groups],
    )


def _scores(task: Task, predictions: Predictions) -> dict[str, Score]:
    return {
        name: score_with_interval(name, predictions.labels, predictions.probabilities, predictions.groups)
        for name in task.metrics
    }
