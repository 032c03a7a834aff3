"""What only a GPU has: fp16, and batches in memory that it reads while the program goes on.

Everything else that trains is tested on a GPU too where there is one, since trainings take it; where there is none,
`test_on_a_card.py` trains on a stand-in.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from ftkit import fine_tune
from ftkit.tasks import Task
from ftkit.training.callbacks import Callback
from ftkit.training.history import Step
from ftkit.training.loop import Training

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")


class Places(Callback):
    """Records where weights and batches lie."""

    def __init__(self) -> None:
        self.of_weights: set[str] = set()
        self.pinned: set[bool] = set()

    def on_start(self, training: Training) -> None:
        self.pinned.add(bool(training.loader.pin_memory))

    def on_step(self, training: Training, step: Step) -> None:
        self.of_weights |= {weight.device.type for weight in training.model.parameters()}


@pytest.mark.parametrize("modality", ["text", "image", "audio"])
@pytest.mark.parametrize("precision", ["float32", "bf16", "fp16"])
@pytest.mark.parametrize("method", ["partial", "full", "lora", "adapter"])
def test_a_gpu_trains_in_every_precision(method: str, precision: str, modality: str, small_task: Callable[[str], Task]):
    places = Places()
    run = fine_tune(
        small_task(modality),
        method,
        epochs=3,
        batch_size=4,
        precision=precision,
        callbacks=[places],
        progress=False,
    )
    losses = [step.loss for step in run.history.steps]
    assert np.mean(losses[-10:]) < np.mean(losses[:10])
    assert np.isfinite(run.predictions.probabilities).all()
    assert places.of_weights == {"cuda"}
    assert places.pinned == {True}
