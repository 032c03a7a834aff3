"""Fine-tune a pretrained model on a task: all the parts put together."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from ftkit.classifier import backbone_settings, build_classifier
from ftkit.errors import TrainingError
from ftkit.evaluation import Score
from ftkit.evaluation import score as score_with_interval
from ftkit.experiments.machine import Machine, MemoryWatch
from ftkit.experiments.run import DECIMALS, Cost, Predictions, Run, Spec
from ftkit.experiments.trials import recorded_rate
from ftkit.memory import release_memory
from ftkit.methods import Method, Trainable, as_method
from ftkit.processor import libraries_limited
from ftkit.progress import progress_bar
from ftkit.randomness import seeded
from ftkit.training.activations import Activations, Allocate, compute_activations
from ftkit.training.augmentation import Augmentation, ChangedItems, as_augmentation
from ftkit.training.cache import ActivationCache, activation_key, shared_cache, weights_digests
from ftkit.training.callbacks import BestWeights, Callback, ProgressBar, as_keeper
from ftkit.training.history import History
from ftkit.training.loop import Inputs, Training, TrainingSettings, new_accelerator, predict
from ftkit.training.precision import choose_precision

if TYPE_CHECKING:
    from ftkit.tasks.base import Split, Task

logger = logging.getLogger(__name__)

PREPARED_AT_ONCE = 256
"""Items that a backbone prepares between two moves of a progress bar."""


@dataclass(frozen=True)
class Prepared:
    """A model ready to train.

    Attributes
    ----------
    trainable
        The model with its trainable parts marked.
    precision
        In which it computes.
    cache
        Keeps what the frozen blocks compute; None computes it anew in every epoch.
    start_seconds
        Time spent on a method that trained the head first, default 0.
    description
        What its progress bars begin with; None, the default, shows none.
    """

    trainable: Trainable
    precision: str
    cache: ActivationCache | None
    start_seconds: float = 0.0
    description: str | None = None

    def bar(self, work: str) -> str | None:
        """What the progress bar of some of its work says, None where it shows none."""
        return None if self.description is None else f"{self.description}, {work}"

    @property
    def frozen_depth(self) -> int:
        """Blocks whose work need be done once only, see `Trainable.frozen_depth`; 0 without a cache."""
        return 0 if self.cache is None else self.trainable.frozen_depth()

    @cached_property
    def _weights(self) -> list[str]:
        """Digests of the frozen blocks' weights, up to every depth: the same before and after training."""
        return weights_digests(self.trainable.classifier, self.frozen_depth)

    @cached_property
    def _device(self) -> str:
        return str(new_accelerator(self.precision).device)

    def inputs(self, split: Split, augmentation: Augmentation | None = None) -> Inputs:
        """Return a split as the model reads it, or as it is after the frozen blocks, or changed whenever it is read."""
        if augmentation is not None and augmentation.changes_items:
            backbone = self.trainable.classifier.backbone
            lengths = [backbone.length(each) for each in self._read(split)]
            return Inputs(ChangedItems(split.items, augmentation, backbone.prepare), split.labels, lengths=lengths)
        if self.cache is not None and self.frozen_depth:
            activations, seconds = self._activations(split, self.cache)
            if activations is not None:
                return Inputs(activations, split.labels, activations, seconds)
        return Inputs(self._read(split), split.labels)

    def _activations(self, split: Split, cache: ActivationCache) -> tuple[Activations | None, float]:
        """Find or compute a split's activations, and tell what that took: with what others had computed on the way."""
        classifier, depth = self.trainable.classifier, self.frozen_depth
        label = f"{len(split):,} items after {depth} stages of {classifier.backbone.name}, {self.precision}"

        of_others = 0.0

        def build(allocate: Allocate) -> Activations:
            nonlocal of_others
            below = self._kept_below(split, cache)
            of_others = 0.0 if below is None else below.seconds
            accelerator = new_accelerator(self.precision)
            inputs = below or self._read(split)
            return compute_activations(
                classifier,
                inputs,
                depth,
                accelerator=accelerator,
                allocate=allocate,
                bar=self.bar("frozen blocks"),
            )

        started = time.perf_counter()
        found = cache.activations(self._key(split, depth), label, build)
        return found, of_others + time.perf_counter() - started

    def _kept_below(self, split: Split, cache: ActivationCache) -> Activations | None:
        """Activations of the deepest stage below that are there, from another method."""
        lower = (cache.find(self._key(split, depth)) for depth in reversed(range(1, self.frozen_depth)))
        return next((each for each in lower if each is not None), None)

    def _key(self, split: Split, depth: int) -> str:
        return activation_key(
            self.trainable.classifier.backbone,
            self._weights[depth],
            depth,
            split.fingerprint,
            precision=self.precision,
            device=self._device,
        )

    def _read(self, split: Split) -> list[Any]:
        """Prepare a split; where that takes long, what was prepared for an earlier run is used again."""
        backbone = self.trainable.classifier.backbone
        if self.cache is None or not backbone.preparation_is_slow:
            return self._prepare(split)
        key = f"{backbone.name} {backbone.settings} {split.fingerprint}"
        prepared = self.cache.remembered(key)
        if prepared is None:
            prepared = self._prepare(split)
            self.cache.remember(key, prepared, sum(backbone.nbytes(item) for item in prepared))
        return prepared

    def _prepare(self, split: Split) -> list[Any]:
        prepared: list[Any] = []
        with progress_bar(self.bar("inputs"), len(split)) as advance:
            for start in range(0, len(split), PREPARED_AT_ONCE):
                part = split.items[start : start + PREPARED_AT_ONCE]
                prepared += self.trainable.classifier.backbone.prepare(part)
                advance(len(part))
        return prepared


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
    dropout: float = 0.0,
    class_weights: bool | None = None,
    patience: int | None = None,
    keep: str = "best",
    precision: str = "auto",
    augmentation: Augmentation | str | None = None,
    checkpointing: bool = False,
    cache: ActivationCache | bool = True,
    callbacks: Sequence[Callback] = (),
    progress: bool = True,
) -> Run:
    """Adapt a pretrained model to a task and measure the result on the task's test split.

    The weights of the epoch with the best validation score are kept. After Ctrl-C the best weights so far are kept
    and the run comes back with ``history.interrupted`` set. Pressed while the test is answered, it comes back whole,
    with ``stopped`` set; pressed once more, it gives up.

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
        Passes through the training data, by default the task's own number.
    seed
        Decides the head's initialisation, the order of the data and dropout. The same seed gives the same run on
        the same processor; a GPU may add in another order, so that the last digits differ.
    batch_size
        Examples a step, default 32.
    weight_decay, warmup, clip_norm, label_smoothing, dropout
        See `TrainingSettings`.
    class_weights
        Weigh classes by the inverse of their frequency. None does so where the task selects by balanced accuracy.
    patience
        Stop after so many epochs without a better validation score; None never stops early.
    keep
        Which epoch's weights the run keeps: the ``"best"`` by validation, the default, or the ``"last"``, which tells
        what training too long costs.
    precision
        ``"auto"`` (see `choose_precision`), ``"float32"``, ``"bf16"``, or, on a GPU only, ``"fp16"``.
    augmentation
        Random changes of the training data: a name of `AUGMENTATIONS`, or one with its settings, such as
        ``TokenDropout(share=0.2)``; None, the default, changes nothing.
    checkpointing
        Compute the blocks again in the backward pass rather than keep their activations, default False: less memory,
        more time, the same results.
    cache
        Compute what lies below the first trained block once and keep it, default True; the results are the same
        either way. An `ActivationCache` sets where and how much. With an augmentation it steps aside.
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
        If a setting is out of its range, fp16 is asked for without a GPU, or the loss stops being finite.
    DataError
        If the training split is empty or holds one class only.

    Examples
    --------
    ``run = fine_tune(load_task("movie-reviews", limit=200), "lora", epochs=1)``
    """
    method = as_method(method)
    method.check_applies(task.modality)
    usual = default_settings(task, method, seed=seed, precision=precision)
    settings = replace(
        usual,
        learning_rate=usual.learning_rate if lr is None else lr,
        epochs=usual.epochs if epochs is None else epochs,
        batch_size=batch_size,
        weight_decay=weight_decay,
        warmup=warmup,
        clip_norm=clip_norm,
        label_smoothing=label_smoothing,
        dropout=dropout,
        class_weights=usual.class_weights if class_weights is None else class_weights,
    )
    augmentation = as_augmentation(augmentation)
    _check_augmentation(augmentation, task)
    spec = describe(task, method, settings, patience, augmentation, keep)
    watching: list[Callback] = [as_keeper(keep, patience), *callbacks]
    if progress:
        watching.append(ProgressBar(f"{task.name}, {method.name}"))
    with MemoryWatch() as memory:
        prepared = prepare(task, method, settings, _cache_for(cache, augmentation), progress=progress)
        if augmentation is not None and cache is not False and prepared.trainable.frozen_depth():
            logger.warning(
                "%s changes the inputs in every epoch: frozen activations are not reused.", type(augmentation).__name__
            )
        train, evaluation = prepared.inputs(task.train, augmentation), prepared.inputs(task.validation)
        release_memory()  # what loading, and a training of the head before, left behind
        started = time.perf_counter()
        history, chances = _train(
            Training(
                prepared.trainable,
                train,
                evaluation,
                settings,
                task.metric,
                watching,
                augmentation,
                checkpointing=checkpointing,
                validation_bar=prepared.bar("validation"),
            )
        )
        release_memory()  # the optimizer's, and what a step needs; the test comes on top of nothing else
        validation = as_predictions(task.validation, chances)
        test, stopped = _test_answers(task, prepared)
        elapsed = time.perf_counter() - started
    run = finished_run(
        task,
        spec,
        prepared,
        history,
        validation,
        test,
        seconds=history.seconds + train.seconds + prepared.start_seconds,
        evaluation_seconds=elapsed - history.seconds + evaluation.seconds,
        peak_memory_bytes=memory.peak_bytes,
        frozen_depth=0 if train.reader is None else prepared.frozen_depth,
        checkpointing=checkpointing,
    )
    run.stopped = stopped
    return run


def finished_run(
    task: Task,
    spec: Spec,
    prepared: Prepared,
    history: History,
    validation: Predictions,
    test: Predictions,
    *,
    seconds: float,
    evaluation_seconds: float,
    peak_memory_bytes: int,
    frozen_depth: int,
    checkpointing: bool = False,
) -> Run:
    """Put together what came out of one training; see `Cost` for the figures."""
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
            seconds=seconds,
            evaluation_seconds=evaluation_seconds,
            peak_memory_bytes=peak_memory_bytes,
            saved_bytes=sum(tensor.nbytes for tensor in prepared.trainable.trained_tensors().values()),
            frozen_depth=frozen_depth,
            checkpointing=checkpointing,
        ),
        machine=Machine.this(),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        trainable=prepared.trainable,
    )


def prepare(
    task: Task,
    method: Method,
    settings: TrainingSettings,
    cache: ActivationCache | None = None,
    *,
    progress: bool = False,
) -> Prepared:
    """Build the task's classifier, train its head first where the method wants that, and apply the method to it.

    Parameters
    ----------
    task, method, settings, cache
        See `fine_tune`.
    progress
        Show a progress bar where something takes long, default False.

    Raises
    ------
    KeyboardInterrupt
        If the user stops the first training.
    """
    classifier = build_classifier(task, seed=settings.seed, dropout=settings.dropout)
    seconds = 0.0
    if method.starts_with is not None:
        head, seconds = _first_head(task, method.starts_with, settings, cache, progress)
        classifier.head.load_state_dict(head)
    with seeded(settings.seed):
        description = f"{task.name}, {method.name}" if progress else None
        return Prepared(method.apply(classifier), settings.precision, cache, seconds, description)


def _train(training: Training) -> tuple[History, np.ndarray]:
    """Train, and return what came of it with the probabilities on validation at the epoch that was kept.

    Nothing refers to the training itself any more, nor to its optimizer.
    """
    history = training.run()
    return history, training.validation_probabilities[history.best_epoch - 1]


def _test_answers(task: Task, prepared: Prepared) -> tuple[Predictions, bool]:
    """Answer the test split, and say whether Ctrl-C came meanwhile: it loses nothing, unless it is pressed again."""
    try:
        return answers(task.test, prepared, prepared.inputs(task.test)), False
    except KeyboardInterrupt:
        return answers(task.test, prepared, prepared.inputs(task.test)), True


def plain_training(task: Task, prepared: Prepared, settings: TrainingSettings, bar: str | None) -> Training:
    """A training that changes no input and keeps the best weights.

    Parameters
    ----------
    task, settings
        See `prepare`.
    prepared
        From `prepare`.
    bar
        What its progress bar says; None shows none.

    Returns
    -------
    Training
        Ready to `run`.

    Raises
    ------
    DataError
        If the training split is empty or holds one class only.

    Examples
    --------
    ``history = plain_training(task, prepare(task, method, settings), settings, bar=None).run()``
    """
    watching: list[Callback] = [BestWeights()]
    if bar is not None:
        watching.append(ProgressBar(bar))
    return Training(
        prepared.trainable,
        prepared.inputs(task.train),
        prepared.inputs(task.validation),
        settings,
        task.metric,
        watching,
        validation_bar=prepared.bar("validation"),
    )


def _first_head(
    task: Task, start: tuple[Method, float], usual: TrainingSettings, cache: ActivationCache | None, progress: bool
) -> tuple[dict[str, Tensor], float]:
    """Train with another method at a rate of its own; return the head's weights and the seconds that it took."""
    method, rate = start
    prepared = prepare(task, method, usual, cache, progress=progress)
    settings = usual.with_rate_and_seed(rate, usual.seed)
    training = plain_training(task, prepared, settings, f"{task.name}, {method.name} first" if progress else None)
    history = training.run()
    if history.interrupted:
        raise KeyboardInterrupt
    return prepared.trainable.head.state_dict(), history.seconds + training.train.seconds


def _cache_for(wanted: ActivationCache | bool, augmentation: Augmentation | None) -> ActivationCache | None:
    if wanted is False or augmentation is not None:
        return None
    return shared_cache() if wanted is True else wanted


def _check_augmentation(augmentation: Augmentation | None, task: Task) -> None:
    if augmentation is not None and augmentation.modality != task.modality:
        raise TrainingError(
            f"{type(augmentation).__name__} changes {augmentation.modality} data; {task.name} holds {task.modality} "
            "data. Choose an augmentation of that kind."
        )


def default_settings(task: Task, method: Method, *, seed: int = 0, precision: str = "auto") -> TrainingSettings:
    """How a method is trained on a task unless told otherwise."""
    return TrainingSettings(
        learning_rate=recorded_rate(task, method),
        epochs=task.epochs,
        class_weights=task.metric == "balanced_accuracy",
        precision=choose_precision(precision, task.modality),
        seed=seed,
    )


def describe(
    task: Task,
    method: Method,
    settings: TrainingSettings,
    patience: int | None = None,
    augmentation: Augmentation | None = None,
    keep: str = "best",
) -> Spec:
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
        augmentation=None if augmentation is None else repr(augmentation),
        precision=settings.precision,
        seed=settings.seed,
        train_examples=len(task.train),
        validation_examples=len(task.validation),
        dropout=settings.dropout,
        keep=keep,
        metric=task.metric,
    )


def answers(split: Split, prepared: Prepared, inputs: Inputs) -> Predictions:
    """Let the model answer a split.

    Parameters
    ----------
    split
        Names the items and their true classes.
    prepared
        Holds the model.
    inputs
        The same split as `Prepared.inputs` gave it.
    """
    trainable = prepared.trainable
    backbone = trainable.classifier.backbone
    probabilities = predict(
        trainable.model,
        inputs.reader or backbone,
        inputs.inputs,
        most=backbone.evaluation_length,
        accelerator=new_accelerator(prepared.precision),
        bar=prepared.bar("answers"),
    )
    return as_predictions(split, probabilities)


def as_predictions(split: Split, probabilities: np.ndarray) -> Predictions:
    """Put a split's items and the model's answers, (examples, classes), side by side."""
    return Predictions(
        identifiers=[str(name) for name in split.identifiers],
        labels=split.labels,
        probabilities=np.round(probabilities.astype(np.float64), DECIMALS),
        groups=None if split.groups is None else [str(group) for group in split.groups],
    )


@libraries_limited()
def _scores(task: Task, predictions: Predictions) -> dict[str, Score]:
    return {
        name: score_with_interval(name, predictions.labels, predictions.probabilities, predictions.groups)
        for name in task.metrics
    }
