"""fastai's ways to fine-tune a vision model: all layers by its one-cycle schedule, or its recipe ``fine_tune``."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from measuring import BATCH, Measured, Stopwatch, load, scores_of

from ftkit.memory import peak_memory

if TYPE_CHECKING:
    from torch import nn

    from ftkit.tasks import Task

MEAN, DEVIATION = 127 / 255, 128 / 255
"""fastai brings pixels to 0..1 and then normalises: together it is the ``(pixels - 127) / 128`` of the weights."""


def train(task: str, **options: Any) -> Measured:
    """Fine-tune EfficientNet-Lite0 by ``fit_one_cycle`` with every layer unfrozen; options as of `fitted`."""
    return fitted(_one_cycle, task, **options)


def fine_tune(task: str, **options: Any) -> Measured:
    """Fine-tune by fastai's own recipe: the first of the epochs with the body frozen, then all layers; see `fitted`."""
    return fitted(_recipe, task, **options)


def _one_cycle(learner: Any, epochs: int, lr: float) -> None:
    learner.unfreeze()
    learner.fit_one_cycle(epochs, lr)


def _recipe(learner: Any, epochs: int, lr: float) -> None:
    if epochs < 2:
        raise ValueError(f"epochs = {epochs}: the recipe needs one with the body frozen and one without")
    learner.fine_tune(epochs - 1, base_lr=lr)  # it counts its frozen epoch extra


def fitted(
    fit: Callable[[Any, int, float], None],
    task: str,
    *,
    epochs: int,
    lr: float,
    method: str = "full",
    seed: int = 0,
    batch_size: int = BATCH,
    limit: int | None = None,
    test_limit: int | None = None,
) -> Measured:
    """Fit a fastai ``Learner`` in one of its ways, and measure it.

    Parameters
    ----------
    fit
        Takes the learner, the epochs and the peak learning rate.
    task
        Name of a task of pictures.
    epochs, lr, seed
        Passes through the training split, peak learning rate, seed.
    method
        ``"full"``: the one that fastai's recipe is.
    batch_size
        Training examples a step.
    limit, test_limit
        Examples of the training and the test split; None for all.
    """
    if method != "full":
        raise ValueError(f"the fastai script fine-tunes fully; it has no {method}")
    from fastai.losses import CrossEntropyLossFlat
    from fastai.metrics import accuracy
    from fastai.torch_core import set_seed
    from fastai.vision.all import Learner

    from ftkit.backbones.vision import load_imagenet_model
    from ftkit.fetch import fetch

    loaded = load(task, limit, test_limit)
    clock = _clock()
    watch = Stopwatch()
    set_seed(seed)
    network = load_imagenet_model(fetch(loaded.backbone))
    network.reset_classifier(len(loaded.label_names))
    loaders = _loaders(loaded, batch_size)
    learner = Learner(
        loaders, network, loss_func=CrossEntropyLossFlat(), metrics=accuracy, cbs=[clock], splitter=_body_and_head
    )
    with learner.no_bar(), learner.no_logging():
        fit(learner, epochs, lr)
        clock.is_fitting = False
        test = loaders.test_dl(list(loaded.test.items), num_workers=0)
        probabilities, _ = learner.get_preds(dl=test)
    total = watch.seconds
    return Measured(
        fit_seconds=clock.ended - watch.started - clock.validation_seconds,
        training_seconds=clock.training_seconds,
        total_seconds=total,
        peak_bytes=peak_memory(),
        scores=scores_of(loaded.test.labels, probabilities.double().numpy()),
        test_items=len(loaded.test),
        precision="float32",
    )


def _body_and_head(network: Any) -> list[list[nn.Parameter]]:
    """What fastai freezes, and what it does not."""
    head = list(network.get_classifier().parameters())
    of_head = set(map(id, head))
    return [[each for each in network.parameters() if id(each) not in of_head], head]


def _loaders(task: Task, batch_size: int) -> Any:
    from fastai.vision.all import CategoryBlock, DataBlock, ImageBlock, IndexSplitter, Normalize

    pictures = [*task.train.items, *task.validation.items]
    labels = np.concatenate([task.train.labels, task.validation.labels])
    block = DataBlock(
        blocks=(ImageBlock, CategoryBlock(vocab=list(range(len(task.label_names))))),
        get_x=lambda index: pictures[index] if np.isscalar(index) else index,
        get_y=lambda index: int(labels[index]),
        splitter=IndexSplitter(list(range(len(task.train), len(pictures)))),
        batch_tfms=Normalize.from_stats([MEAN] * 3, [DEVIATION] * 3, cuda=False),
    )
    # Worker processes would copy the pictures and compete for the cores that compute.
    return block.dataloaders(list(range(len(pictures))), bs=batch_size, num_workers=0, device=torch.device("cpu"))


def _clock() -> Any:
    """Return a fastai callback that tells training from validation."""
    from fastai.callback.core import Callback

    class Clock(Callback):
        def __init__(self) -> None:
            super().__init__()
            self.training_seconds = self.validation_seconds = self.ended = self.mark = 0.0
            self.is_fitting = True

        def before_train(self) -> None:
            self.mark = time.perf_counter()

        def after_train(self) -> None:
            self.training_seconds += time.perf_counter() - self.mark

        def before_validate(self) -> None:
            self.mark = time.perf_counter()

        def after_validate(self) -> None:
            if self.is_fitting:  # the prediction of the test split validates too, after the fit
                self.validation_seconds += time.perf_counter() - self.mark

        def after_fit(self) -> None:  # of each of the recipe's two parts
            if self.is_fitting:
                self.ended = time.perf_counter()

    return Clock()
