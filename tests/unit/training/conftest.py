from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch

from ftkit.classifier import Classifier
from ftkit.methods import as_method
from ftkit.tasks import Task
from ftkit.training.callbacks import Callback
from ftkit.training.loop import Inputs, Training, TrainingSettings


@pytest.fixture(scope="session")
def new_training(
    new_classifier: Callable[[str], Classifier], tiny_task: Callable[[str], Task]
) -> Callable[..., Training]:
    """Return a function that sets up a training of a few real items; by default a linear probe on spoken digits."""

    def make(
        method: str = "linear-probe",
        modality: str = "audio",
        *,
        task: Task | None = None,
        callbacks: Sequence[Callback] = (),
        learning_rate: float = 1e-2,
        epochs: int = 2,
        batch_size: int = 10,
        checkpointing: bool = False,
        **settings: Any,
    ) -> Training:
        task = tiny_task(modality) if task is None else task
        classifier = new_classifier(modality)
        torch.manual_seed(0)
        trainable = as_method(method).apply(classifier)
        train, validation = (
            Inputs(classifier.backbone.prepare(split.items), split.labels) for split in (task.train, task.validation)
        )
        chosen = TrainingSettings(learning_rate, epochs, batch_size, **settings)
        return Training(trainable, train, validation, chosen, task.metric, callbacks, checkpointing=checkpointing)

    return make
