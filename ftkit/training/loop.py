"""The training loop: AdamW, warm-up and cosine, gradient clipping, validation after every epoch."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from numbers import Integral
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import DataLoaderConfiguration, send_to_device
from torch import Tensor, nn

from ftkit.errors import DataError, DivergedError, TrainingError
from ftkit.evaluation.metrics import METRICS
from ftkit.memory import reuse_freed_memory
from ftkit.processor import limit_threads
from ftkit.progress import progress_bar
from ftkit.randomness import seeded
from ftkit.training.batches import Collate, Part, evaluation_order, training_loader
from ftkit.training.history import Epoch, History, Step
from ftkit.training.optimizer import AdamW, clippable, gradients_by_row
from ftkit.training.precision import AUTOCAST_TYPES, frozen_weights_cast

if TYPE_CHECKING:
    from ftkit.methods.base import Trainable
    from ftkit.training.augmentation import Augmentation
    from ftkit.training.callbacks import Callback

SHORTEST_CLIP = 1e-6
"""Clipping to nothing would leave nothing to learn from; a very large ``clip_norm`` leaves every gradient as it is."""
PRECISIONS = {"float32": "no", "bf16": "bf16", "fp16": "fp16"}


@dataclass(frozen=True)
class TrainingSettings:
    """How to train.

    Attributes
    ----------
    learning_rate
        Peak learning rate.
    epochs
        Passes through the training data.
    batch_size
        Examples a step, default 32.
    weight_decay
        Decay of matrices, default 0.01; norms and biases never decay, nor, on a CPU, do embeddings of words that the
        training has not read yet.
    warmup
        Share of all steps over which the learning rate rises from zero, default 0.1; then it falls as a cosine.
    clip_norm
        Longest gradient, default 1; a very large number, such as 1e9, clips none.
    label_smoothing
        Share of the target spread over all labels, default 0.
    class_weights
        Weigh every class by the inverse of its frequency, default False.
    precision
        ``"float32"``, the default, ``"bf16"`` or ``"fp16"`` (autocast).
    seed
        Seed of the order of the examples and of dropout.
    dropout
        Probability of dropping a feature before the head while training, default 0.
    """

    learning_rate: float
    epochs: int
    batch_size: int = 32
    weight_decay: float = 0.01
    warmup: float = 0.1
    clip_norm: float = 1.0
    label_smoothing: float = 0.0
    class_weights: bool = False
    precision: str = "float32"
    seed: int = 0
    dropout: float = 0.0

    def with_rate_and_seed(self, learning_rate: float, seed: int) -> TrainingSettings:
        """The same settings with another learning rate and seed."""
        return replace(self, learning_rate=learning_rate, seed=seed)

    def __post_init__(self) -> None:
        for name, low, high in (
            ("learning_rate", 0.0, math.inf),
            ("weight_decay", 0.0, math.inf),
            ("clip_norm", SHORTEST_CLIP, math.inf),
            ("warmup", 0.0, 1.0),
            ("label_smoothing", 0.0, 0.999),
            ("dropout", 0.0, 0.999),
        ):
            value = getattr(self, name)
            if not (isinstance(value, int | float | np.floating) and math.isfinite(value) and low <= value <= high):
                raise TrainingError(f"{name} = {value!r}: choose a number from {low:g} to {high:g}.")
            object.__setattr__(self, name, float(value))  # NumPy's numbers can't be written as JSON
        for name, lowest in (("epochs", 1), ("batch_size", 1), ("seed", 0)):
            value = getattr(self, name)
            if not isinstance(value, Integral) or value < lowest:
                raise TrainingError(f"{name} = {value!r}: choose a whole number from {lowest}.")
            object.__setattr__(self, name, int(value))
        if self.precision not in PRECISIONS:
            raise TrainingError(f"precision = {self.precision!r}: choose one of {', '.join(PRECISIONS)}.")


class Reader(Protocol):
    """Makes batches of inputs: a backbone, or `Activations` of one."""

    def length(self, prepared: Any) -> int:
        """Cost of one input in positions."""

    def collate(self, inputs: Sequence[Any]) -> Any:
        """Stack inputs into a batch that the model takes."""


@dataclass(frozen=True)
class Inputs:
    """A split as the model reads it.

    Attributes
    ----------
    inputs
        One prepared input an example (`Backbone.prepare`), or `Activations`.
    labels
        Int64 array (examples,).
    reader
        What collates the inputs; None, the default, is the model's backbone.
    seconds
        Time spent on frozen blocks to get them, default 0.
    lengths
        Lengths by which batches are made; None, the default, asks the reader for every input's.
    """

    inputs: Sequence[Any]
    labels: np.ndarray
    reader: Reader | None = None
    seconds: float = 0.0
    lengths: Sequence[int] | None = None

    def __len__(self) -> int:
        return len(self.inputs)


class Training:
    """One training of one model; callbacks get it and may read it or `stop` it.

    Attributes
    ----------
    history
        Every step and epoch so far.
    validation_probabilities
        Answers on validation after every epoch, float32 (examples, classes).

    Parameters
    ----------
    trainable
        The model with its trainable parts marked.
    train, validation
        The prepared splits.
    settings
        How to train.
    metric
        Name of the metric that validation reports.
    callbacks
        What watches the training, called in this order.
    augmentation
        Changes every training batch; None, the default, changes nothing.
    checkpointing
        Compute the blocks again in the backward pass rather than keep their activations: less memory, more time, the
        same results. Default False.
    validation_bar
        What the progress bar of a validation says, shown where it takes longer than a moment; None, the default, shows
        none.

    Examples
    --------
    ``history = Training(trainable, train, validation, TrainingSettings(1e-3, epochs=3), "accuracy").run()``
    """

    def __init__(
        self,
        trainable: Trainable,
        train: Inputs,
        validation: Inputs,
        settings: TrainingSettings,
        metric: str,
        callbacks: Sequence[Callback] = (),
        augmentation: Augmentation | None = None,
        *,
        checkpointing: bool = False,
        validation_bar: str | None = None,
    ) -> None:
        check_split("training", train)
        check_split("validation", validation)
        self.trainable = trainable
        self.train = train
        self.validation = validation
        self.settings = settings
        self.callbacks = callbacks
        self.augmentation = augmentation
        self.checkpointing = checkpointing
        self.validation_bar = validation_bar
        self.history = History(metric)
        self.validation_probabilities: list[np.ndarray] = []
        self.backbone = trainable.classifier.backbone
        self.stopped = False

    @property
    def total_steps(self) -> int:
        """Updates of the weights in the whole training."""
        return self.settings.epochs * -(-len(self.train) // self.settings.batch_size)

    def stop(self) -> None:
        """End the training after the current epoch."""
        self.stopped = True

    def run(self) -> History:
        """Train; the model is changed in place and left in eval mode.

        Returns
        -------
        History
            Every step and epoch. After Ctrl-C it holds what was done, with ``interrupted`` set, provided that the
            weights of an epoch were kept; else the interrupt goes on to the caller.

        Raises
        ------
        DivergedError
            If the loss stops being a finite number.
        """
        settings = self.settings
        accelerator = new_accelerator(settings.precision)
        groups = [
            {**group, "lr": settings.learning_rate * group.get("rate_share", 1.0)}
            for group in self.trainable.parameter_groups(settings.weight_decay)
        ]
        optimizer = AdamW(groups)
        reader = self._reader(self.train)
        loader = training_loader(
            self.train.inputs,
            self.train.labels,
            self._lengths(reader),
            self._collate(reader),
            batch_size=settings.batch_size,
            seed=settings.seed,
            bucket=self.backbone.bucket,
            pass_length=self._pass_length(accelerator.device),
        )
        self.model, self.optimizer, self.loader = accelerator.prepare(self.trainable.model, optimizer, loader)
        self.accelerator = accelerator
        self.loss = self._loss_function().to(accelerator.device)
        self.peak_rates = [group["lr"] for group in self.optimizer.param_groups]
        self._call("on_start")
        usual = self.backbone.checkpointed_blocks
        if self.checkpointing:
            self.backbone.checkpointed_blocks = len(self.backbone.blocks)
        try:
            self.trained = [weight for group in self.optimizer.param_groups for weight in group["params"]]
            dtype = AUTOCAST_TYPES.get(settings.precision)
            with (
                seeded(settings.seed),
                frozen_weights_cast(self.trainable.model, self.trained, dtype),
                gradients_by_row(self.trainable.model),
            ):
                self._run_epochs()
        except KeyboardInterrupt:
            if not self.history.best_epoch:
                raise
            self.history.interrupted = True
        finally:
            self.backbone.checkpointed_blocks = usual
            # Accelerate wraps the model's forward in autocast; the model goes back as it came. What unwrapping leaves
            # in it, its own method bound to itself, would keep it in memory until garbage is collected.
            self.trainable.model = accelerator.unwrap_model(self.model, keep_fp32_wrapper=False)
            vars(self.trainable.model).pop("forward", None)
            self._call("on_end")
            self.trainable.end_training()
            self.trainable.model.eval()
        return self.history

    def _pass_length(self, device: torch.device) -> int | None:
        """Most that goes through the model at once; batch statistics need the whole batch together, GPUs are fed it."""
        whole = self.trainable.renews_statistics() or device.type == "cuda"
        return None if whole else self.backbone.pass_length

    def _lengths(self, reader: Reader) -> Sequence[int]:
        known = self.train.lengths
        return [reader.length(item) for item in self.train.inputs] if known is None else known

    def _collate(self, reader: Reader) -> Collate:
        augment = self.augmentation
        if augment is None:
            return reader.collate
        return lambda inputs: augment(reader.collate(inputs))

    def _reader(self, split: Inputs) -> Reader:
        return self.backbone if split.reader is None else split.reader

    def _run_epochs(self) -> None:
        for number in range(1, self.settings.epochs + 1):
            started = time.perf_counter()
            train_loss = self._run_steps(number)
            seconds = time.perf_counter() - started
            reader, inputs = self._reader(self.validation), self.validation.inputs
            probabilities = predict(
                self.model,
                reader,
                inputs,
                most=self.backbone.evaluation_length,
                accelerator=self.accelerator,
                bar=self.validation_bar,
            )
            if not np.isfinite(probabilities).all():  # after the last step no loss would show it
                raise self._diverged(f"The answers on validation became nan after epoch {number}")
            epoch = Epoch(
                epoch=number,
                train_loss=train_loss,
                validation_loss=cross_entropy(probabilities, self.validation.labels),
                validation_score=METRICS[self.history.metric].function(self.validation.labels, probabilities),
                seconds=seconds,
            )
            self.validation_probabilities.append(probabilities)
            self.history.epochs.append(epoch)
            self._call("on_epoch", epoch)
            if self.stopped:
                break

    def _run_steps(self, number: int) -> float:
        """Train one epoch and return its mean loss."""
        self.trainable.training_mode()
        total = 0.0
        for index, parts in enumerate(self.loader, start=1):
            rate = self._set_learning_rates()
            with self.accelerator.autocast():  # features that are remembered are later compared with such
                self.trainable.begin_step(len(self.history.steps) / self.total_steps)
            loss, norm = self._step(parts)
            self.trainable.end_step(rate)
            total += loss * sum(len(part.labels) for part in parts)
            step = Step(
                step=len(self.history.steps) + 1,
                epoch=number - 1 + index / len(self.loader),
                loss=loss,
                learning_rate=rate,
                gradient_norm=norm if math.isfinite(norm) else 0.0,  # fp16: such a step is skipped, nothing moves
            )
            self.history.steps.append(step)
            self._call("on_step", step)
        return total / len(self.train)

    def _step(self, parts: Sequence[Part]) -> tuple[float, float]:
        """Update the weights once; return the loss and the gradient's norm."""
        weight = sum(self._weight(part.labels) for part in parts)
        value = 0.0
        for part in parts:
            with self.accelerator.autocast():
                logits = self.model(part.inputs)
            loss = self.loss(logits.float(), part.labels) / weight
            value += loss.item()
            if not math.isfinite(value):
                raise self._diverged(f"The loss became {value} at step {len(self.history.steps) + 1}")
            self.accelerator.backward(loss)
        with self.accelerator.autocast():
            penalty = self.trainable.penalty()
        if penalty is not None:
            self.accelerator.backward(penalty)
        norm = self.accelerator.clip_grad_norm_(clippable(self.trained), self.settings.clip_norm)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return value, float(norm)

    def _weight(self, labels: Tensor) -> float:
        """What a sum of losses is divided by to be their mean."""
        return float(len(labels) if self.loss.weight is None else self.loss.weight[labels].sum())

    def _diverged(self, what: str) -> DivergedError:
        rate = self.settings.learning_rate
        return DivergedError(f"{what} with learning rate {rate:g}. Try a third of it, or a longer warm-up.")

    def _loss_function(self) -> nn.CrossEntropyLoss:
        """Cross-entropy, summed: the parts of a batch are divided by what the whole weighs."""
        weight = None
        if self.settings.class_weights:
            weight = class_weights(self.train.labels, self.trainable.classifier.classes)
        return nn.CrossEntropyLoss(weight, label_smoothing=self.settings.label_smoothing, reduction="sum")

    def _set_learning_rates(self) -> float:
        """Give every group of weights its rate for the coming step; return the highest, which is the head's."""
        factor = learning_rate_factor(len(self.history.steps), self.total_steps, self.settings.warmup)
        for group, peak in zip(self.optimizer.param_groups, self.peak_rates, strict=True):
            group["lr"] = peak * factor
        return factor * max(self.peak_rates)

    def _call(self, occasion: str, *arguments: Any) -> None:
        for callback in self.callbacks:
            getattr(callback, occasion)(self, *arguments)


def learning_rate_factor(step: int, steps: int, warmup: float) -> float:
    """Share of the peak learning rate at a step: it rises linearly over the warm-up, then falls as half a cosine.

    Parameters
    ----------
    step, steps
        Number of the step, from 0, and of all steps.
    warmup
        Share of the steps over which the rate rises.

    Examples
    --------
    >>> [round(learning_rate_factor(step, 10, 0.2), 2) for step in (0, 1, 2, 6)]
    [0.5, 1.0, 1.0, 0.5]
    """
    rising = max(1, round(warmup * steps))
    if step < rising:
        return (step + 1) / rising
    progress = (step - rising) / max(1, steps - rising)
    return 0.5 * (1 + math.cos(math.pi * progress))


def class_weights(labels: np.ndarray, classes: int) -> Tensor:
    """Inverse of every class's frequency, float tensor (classes,), 1 where all are equally frequent."""
    counts = np.bincount(labels, minlength=classes)
    return torch.tensor(counts.sum() / (len(counts) * np.maximum(counts, 1)), dtype=torch.float32)


def new_accelerator(precision: str = "float32") -> Accelerator:
    """Return an Accelerator for this precision.

    Accelerate keeps one precision for the whole process; a notebook compares several, so its state is made anew.

    Raises
    ------
    TrainingError
        If several processes were started to train together.
    """
    limit_threads()
    reuse_freed_memory()
    # what stays float32 beside bf16 or fp16 on a GPU
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision != "float32"
    AcceleratorState._reset_state()
    # A copy that is not waited for must come from pinned memory, which only CUDA has: elsewhere it may copy what the
    # next batch has overwritten.
    copying = DataLoaderConfiguration(non_blocking=torch.cuda.is_available())
    accelerator = Accelerator(mixed_precision=PRECISIONS[precision], dataloader_config=copying)
    if accelerator.num_processes > 1:
        raise TrainingError(
            f"{accelerator.num_processes} processes were started to train together; ftkit trains in one. Start it "
            "without `accelerate launch` or `torchrun`."
        )
    return accelerator


def predict(
    model: nn.Module,
    reader: Reader,
    inputs: Sequence[Any],
    *,
    most: int | None = None,
    accelerator: Accelerator | None = None,
    bar: str | None = None,
) -> np.ndarray:
    """Class probabilities of prepared inputs.

    Parameters
    ----------
    model
        Classifier, or peft's wrapper around it.
    reader
        Collates the inputs: the model's backbone, or their `Activations`.
    inputs
        Prepared inputs, or `Activations`.
    most
        Longest batch, see `evaluation_order`: the backbone's ``evaluation_length``. None, the default, sets no limit.
    accelerator
        Decides device and precision; by default the model's own device in float32.
    bar
        What the progress bar says, shown where this takes longer than a moment; None, the default, shows none.

    Returns
    -------
    numpy.ndarray
        Float32 (examples, classes), rows sum to 1.
    """
    model.eval()
    if accelerator is not None:
        model.to(accelerator.device)  # a model that was read from a file lies on the processor
    device = next(model.parameters()).device
    autocast = contextlib.nullcontext if accelerator is None else accelerator.autocast
    dtype = None if accelerator is None else AUTOCAST_TYPES.get(accelerator.mixed_precision)
    batches = evaluation_order([reader.length(item) for item in inputs], most)
    rows: dict[int, np.ndarray] = {}
    # not around the move above: weights that are moved in inference mode could never train again
    with (
        frozen_weights_cast(model, [], dtype),
        torch.inference_mode(),
        progress_bar(bar, len(inputs)) as advance,
    ):
        for indices in batches:
            batch = send_to_device(reader.collate([inputs[i] for i in indices]), device)
            with autocast():
                logits = model(batch)
            probabilities = torch.softmax(logits.float(), dim=-1).cpu().numpy()
            rows.update(zip(indices.tolist(), probabilities, strict=True))
            advance(len(indices))
    return np.stack([rows[index] for index in range(len(inputs))])


def cross_entropy(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Mean surprise, in nats, of probabilities (examples, classes) at the true labels (examples,)."""
    chosen = probabilities[np.arange(len(labels)), labels].astype(np.float64)
    return float(-np.log(np.maximum(chosen, 1e-12)).mean())


def check_split(name: str, split: Inputs) -> None:
    """Raise a `DataError` where a split is empty or holds one class only."""
    if not len(split):
        raise DataError(f"The {name} split is empty. Give more data, or a larger `limit`.")
    if len(np.unique(split.labels)) < 2:
        raise DataError(f"The {name} split holds one class only; a classifier needs examples of at least two.")
