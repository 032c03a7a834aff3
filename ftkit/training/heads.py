"""Many linear heads on the same frozen features, trained in one computation.

A linear probe's features do not change, so heads that differ only in learning rate or seed can share every matrix
product. Each head sees its own batches in its own order, has its own gradient clipped, its own learning rate and
AdamW state, and comes out as if it had been trained alone (tests/unit/training/test_heads.py).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from ftkit.errors import DivergedError, TrainingError
from ftkit.evaluation.metrics import METRICS
from ftkit.progress import progress_bar
from ftkit.training.batches import LengthBatches
from ftkit.training.callbacks import rank
from ftkit.training.history import Epoch, History, Step
from ftkit.training.loop import (
    Inputs,
    TrainingSettings,
    check_split,
    class_weights,
    cross_entropy,
    learning_rate_factor,
)

BETAS, EPSILON = (0.9, 0.999), 1e-8
"""AdamW's constants, torch's defaults."""


@dataclass(frozen=True)
class TrainedHead:
    """One head and how it came about.

    Attributes
    ----------
    weight, bias
        Float tensors (classes, width) and (classes,), of the epoch with the best validation score.
    history
        Every step and epoch; its seconds are this head's share of the whole.
    """

    weight: Tensor
    bias: Tensor
    history: History


def train_heads(
    heads: Sequence[nn.Linear],
    train: Inputs,
    validation: Inputs,
    settings: Sequence[TrainingSettings],
    metric: str,
    bucket: int,
    bar: str | None = None,
) -> list[TrainedHead]:
    """Train several heads at once on pooled features.

    As one alone does, they compute in float32 in every precision.

    Parameters
    ----------
    heads
        One a training, freshly initialised, all of one shape; they are not changed.
    train, validation
        Pooled `Activations` with their labels.
    settings
        One a head; they may differ in learning rate and seed, in nothing else.
    metric
        Name of the metric that validation reports.
    bucket
        The backbone's; see `LengthBatches`.
    bar
        What the progress bar says, shown where this takes longer than a moment; None, the default, shows none.

    Returns
    -------
    list of TrainedHead
        In the order of the heads.

    Raises
    ------
    DataError
        If a split is empty or holds one class only.
    TrainingError
        If the settings differ in more than learning rate and seed, or ask for dropout.
    DivergedError
        If a loss stops being a finite number.
    """
    check_split("training", train)
    check_split("validation", validation)
    _check_alike(settings)
    return _Heads(heads, train, validation, settings, metric, bucket).run(bar)


def _check_alike(settings: Sequence[TrainingSettings]) -> None:
    shared = {repr(each.with_rate_and_seed(0.0, 0)) for each in settings}
    if len(shared) > 1:
        raise TrainingError("Heads that train together may differ in learning rate and seed only; train them apart.")
    if settings[0].dropout:
        raise TrainingError(
            f"dropout = {settings[0].dropout}: heads that train together have none; train each with `fine_tune`."
        )


class _Heads:
    """All heads, stacked along the first axis of every tensor."""

    def __init__(
        self,
        heads: Sequence[nn.Linear],
        train: Inputs,
        validation: Inputs,
        settings: Sequence[TrainingSettings],
        metric: str,
        bucket: int,
    ) -> None:
        self.settings = settings
        self.common = settings[0]
        self.metric = METRICS[metric]
        self.features, self.labels = _features(train), torch.from_numpy(train.labels)
        self.validation_features, self.validation_labels = _features(validation), validation.labels
        self.weight = torch.stack([head.weight.detach() for head in heads]).requires_grad_()
        self.bias = torch.stack([head.bias.detach() for head in heads]).requires_grad_()
        self.moments = [(torch.zeros_like(each), torch.zeros_like(each)) for each in (self.weight, self.bias)]
        lengths = [each.length for each in train.inputs]
        # one order a head, though heads of one seed draw the same
        self.orders = [LengthBatches(lengths, each.batch_size, each.seed, bucket) for each in settings]
        self.rates = torch.tensor([each.learning_rate for each in settings], dtype=torch.float64)
        weights = class_weights(train.labels, heads[0].out_features) if self.common.class_weights else None
        self.class_weights = torch.ones(heads[0].out_features) if weights is None else weights
        self.histories = [History(metric) for _ in heads]
        self.best: list[tuple[Tensor, Tensor]] = [(head.weight.detach(), head.bias.detach()) for head in heads]
        self.steps = self.common.epochs * len(self.orders[0])

    def run(self, bar: str | None) -> list[TrainedHead]:
        with progress_bar(bar, self.steps, "step") as advance:
            for number in range(1, self.common.epochs + 1):
                started = time.perf_counter()
                losses = self._run_steps(number, advance)
                self._validate(number, losses, (time.perf_counter() - started) / len(self.settings))
        return [
            TrainedHead(weight, bias, history)
            for (weight, bias), history in zip(self.best, self.histories, strict=True)
        ]

    def _run_steps(self, number: int, advance: Callable[[int], object]) -> np.ndarray:
        """Train one epoch and return each head's mean loss, float array (heads,)."""
        totals = np.zeros(len(self.settings))
        for index, batches in enumerate(zip(*self.orders, strict=True), start=1):
            step = (number - 1) * len(self.orders[0]) + index
            losses, norms, factor = self._step(batches, step)
            totals += losses * [len(batch) for batch in batches]
            for history, loss, norm, rate in zip(self.histories, losses, norms, self.rates.tolist(), strict=True):
                history.steps.append(
                    Step(step, number - 1 + index / len(self.orders[0]), float(loss), rate * factor, float(norm))
                )
            advance(1)
        return totals / len(self.labels)

    def _step(self, batches: Sequence[list[int]], step: int) -> tuple[np.ndarray, np.ndarray, float]:
        indices, real = _rectangle(batches)
        targets = self.labels[indices]
        logits = self._logits(self.features[indices])
        surprise = nn.functional.cross_entropy(
            logits.flatten(0, 1),
            targets.flatten(),
            self.class_weights,
            reduction="none",
            label_smoothing=self.common.label_smoothing,
        ).view_as(targets)
        shares = self.class_weights[targets] * real
        losses = (surprise * real).sum(dim=1) / shares.sum(dim=1)
        values = losses.detach().numpy().astype(float)
        if not np.isfinite(values).all():
            raise self._diverged(
                f"The loss stopped being finite at step {step}", int(np.flatnonzero(~np.isfinite(values))[0])
            )
        gradients = torch.autograd.grad(losses.sum(), [self.weight, self.bias])
        norms = torch.stack([each.flatten(1).norm(dim=1) for each in gradients]).norm(dim=0)
        scale = (self.common.clip_norm / (norms + 1e-6)).clamp(max=1.0)
        factor = learning_rate_factor(step - 1, self.steps, self.common.warmup)
        self._update([each * _beside(scale, each) for each in gradients], self.rates * factor, step)
        return values, norms.numpy().astype(float), factor

    @torch.no_grad()
    def _update(self, gradients: Sequence[Tensor], rates: Tensor, step: int) -> None:
        """AdamW (Loshchilov and Hutter 2019, arXiv:1711.05101, algorithm 2); biases do not decay."""
        decays = (self.common.weight_decay, 0.0)
        for tensor, gradient, (mean, square), decay in zip(
            (self.weight, self.bias), gradients, self.moments, decays, strict=True
        ):
            rate = _beside(rates, tensor).to(tensor.dtype)
            tensor.mul_(1 - rate * decay)
            mean.lerp_(gradient, 1 - BETAS[0])
            square.mul_(BETAS[1]).addcmul_(gradient, gradient, value=1 - BETAS[1])
            scale = math.sqrt(1 - BETAS[1] ** step)
            tensor.sub_(rate / (1 - BETAS[0] ** step) * mean / (square.sqrt() / scale + EPSILON))

    def _logits(self, features: Tensor) -> Tensor:
        """Logits, (heads, examples, classes), of features (heads, examples, width)."""
        return torch.baddbmm(self.bias.unsqueeze(1), features, self.weight.transpose(1, 2))

    def _validation_logits(self) -> Tensor:
        """Logits, (heads, examples, classes), on validation, whose features are the same for all and need no copies."""
        logits = nn.functional.linear(self.validation_features, self.weight.flatten(0, 1), self.bias.flatten())
        return logits.view(len(logits), *self.bias.shape).transpose(0, 1)

    def _diverged(self, what: str, index: int) -> DivergedError:
        rate = self.settings[index].learning_rate
        return DivergedError(f"{what} with learning rate {rate:g}. Try a third of it.")

    @torch.no_grad()
    def _validate(self, number: int, losses: np.ndarray, seconds: float) -> None:
        for index, probabilities in enumerate(self._validation_logits().softmax(dim=-1).numpy()):
            if not np.isfinite(probabilities).all():
                raise self._diverged(f"The answers on validation became nan after epoch {number}", index)
            history = self.histories[index]
            epoch = Epoch(
                epoch=number,
                train_loss=float(losses[index]),
                validation_loss=cross_entropy(probabilities, self.validation_labels),
                validation_score=self.metric.function(self.validation_labels, probabilities),
                seconds=seconds,
            )
            history.epochs.append(epoch)
            if not history.best_epoch or rank(epoch) > rank(history.best):
                history.best_epoch = number
                self.best[index] = (self.weight[index].detach().clone(), self.bias[index].detach().clone())


def _features(split: Inputs) -> Tensor:
    """Pooled features of a split, float tensor (examples, width)."""
    reader = split.reader
    if not getattr(reader, "is_pooled", False):
        raise TrainingError("Heads train together on pooled features only; give `Activations` that are pooled.")
    return reader.values.float()  # type: ignore[union-attr]


def _rectangle(batches: Sequence[list[int]]) -> tuple[Tensor, Tensor]:
    """Indices (heads, longest batch) and which of them are real: the last batch of an epoch may be short."""
    longest = max(len(batch) for batch in batches)
    indices = torch.tensor([batch + [0] * (longest - len(batch)) for batch in batches])
    real = torch.tensor([[True] * len(batch) + [False] * (longest - len(batch)) for batch in batches])
    return indices, real.float()


def _beside(values: Tensor, tensor: Tensor) -> Tensor:
    """One value a head, shaped to multiply a stacked tensor."""
    return values.view(-1, *[1] * (tensor.ndim - 1))
