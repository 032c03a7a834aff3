from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from ftkit.classifier import Classifier
from ftkit.methods import Method, Trainable


@pytest.fixture(scope="session")
def applied(new_classifier: Callable[[str], Classifier]) -> Callable[[Method, str], Trainable]:
    """Return a function that applies a method to a fresh classifier."""

    def make(method: Method, modality: str) -> Trainable:
        torch.manual_seed(0)
        return method.apply(new_classifier(modality))

    return make
