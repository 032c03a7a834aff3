"""Outcomes that say which test items were answered rightly, and nothing else that matters."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from ftkit.experiments.experiment import Condition
from ftkit.experiments.record import Outcome, as_digits


def bare_outcome(condition: Condition, labels: np.ndarray, right: np.ndarray, **changes: Any) -> Outcome:
    """Return what a training leaves that gets these items of two classes right; changes are fields of `Outcome`."""
    bare = Outcome(
        condition=condition,
        scores={"accuracy": float(right.mean())},
        validation_score=0.5,
        answers=as_digits(np.where(right, labels, 1 - labels)),
        learning_rate=1e-3,
        epochs=1,
        best_epoch=1,
        train_loss=[0.7],
        validation_loss=[0.7],
        trainable=1000,
        total=1000,
        seconds=10.0,
        peak_memory_bytes=10**9,
        saved_bytes=10**6,
        measures={},
    )
    return replace(bare, **changes)
