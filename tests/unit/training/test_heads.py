"""Heads trained together come out as if each had been trained alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ftkit import fine_tune
from ftkit.errors import DivergedError, TrainingError
from ftkit.experiments.fine_tuning import default_settings
from ftkit.experiments.probing import probe, probe_runs
from ftkit.methods import LinearProbe
from ftkit.tasks import Task
from ftkit.training.cache import ActivationCache
from ftkit.training.heads import train_heads
from ftkit.training.loop import TrainingSettings

CELLS = ((1e-2, 0), (3e-2, 0), (1e-2, 1))


def several(task: Task, precision: str = "float32", **options: Any) -> list[TrainingSettings]:
    return [
        TrainingSettings(rate, epochs=2, batch_size=6, seed=seed, precision=precision, **options)
        for rate, seed in CELLS
    ]


@pytest.mark.parametrize("modality", ["text", "image", "audio"])
@pytest.mark.parametrize("options", [{}, {"class_weights": True, "label_smoothing": 0.1, "clip_norm": 0.05}])
def test_together_is_alone(modality: str, options: dict[str, Any], tiny_task: Callable[[str], Task], tmp_path: Path):
    task = tiny_task(modality)
    settings = several(task, **options)
    runs = probe_runs(task, settings, ActivationCache(tmp_path))
    for (rate, seed), together in zip(CELLS, runs, strict=True):
        alone = fine_tune(
            task,
            "linear-probe",
            lr=rate,
            seed=seed,
            epochs=2,
            batch_size=6,
            precision="float32",
            progress=False,
            **{"class_weights": False, **options},
        )
        assert together.spec == alone.spec
        for name in ("loss", "learning_rate", "gradient_norm"):
            found, expected = ([getattr(step, name) for step in run.history.steps] for run in (together, alone))
            assert found == pytest.approx(expected, rel=1e-3, abs=1e-5)
        assert together.history.best_epoch == alone.history.best_epoch
        np.testing.assert_allclose(together.predictions.probabilities, alone.predictions.probabilities, atol=1e-3)
        torch.testing.assert_close(together.model.head.weight, alone.model.head.weight, atol=1e-4, rtol=1e-3)
        assert together.scores == alone.scores


@pytest.mark.parametrize("modality", ["text", "image", "audio"])
def test_together_is_alone_in_bf16_but_for_its_digits(modality: str, tiny_task: Callable[[str], Task], tmp_path: Path):
    task = tiny_task(modality)
    runs = probe_runs(task, several(task, "bf16"), ActivationCache(tmp_path))
    options: dict[str, Any] = {"batch_size": 6, "precision": "bf16", "progress": False, "class_weights": False}
    for (rate, seed), together in zip(CELLS, runs, strict=True):
        alone = fine_tune(task, "linear-probe", lr=rate, seed=seed, epochs=2, **options)
        found, expected = ([step.loss for step in run.history.steps] for run in (together, alone))
        assert found == pytest.approx(expected, rel=1e-2)
        np.testing.assert_allclose(together.predictions.probabilities, alone.predictions.probabilities, atol=1e-2)


def test_they_may_differ_in_rate_and_seed_only(tiny_task: Callable[[str], Task], tmp_path: Path):
    task = tiny_task("audio")
    first, *_ = several(task)
    other = default_settings(task, LinearProbe())
    with pytest.raises(TrainingError, match="learning rate and seed only"):
        probe(task, [first, other], ActivationCache(tmp_path))


def test_a_loss_that_is_not_a_number_names_the_rate(tiny_task: Callable[[str], Task], tmp_path: Path):
    task = tiny_task("audio")
    settings = [each.with_rate_and_seed(rate, 0) for each, rate in zip(several(task), (1e-2, 1e38, 1e-2), strict=True)]
    with pytest.raises(TrainingError, match=r"with learning rate 1e\+38"):
        probe(task, settings, ActivationCache(tmp_path))


def test_answers_that_are_no_numbers_name_the_rate(tiny_task: Callable[[str], Task], tmp_path: Path):
    """Weights that overflow at the last step leave no loss to tell it."""
    settings = [replace(each, epochs=1, batch_size=64, learning_rate=1e38) for each in several(tiny_task("audio"))]
    with pytest.raises(DivergedError, match=r"validation became nan after epoch 1 with learning rate 1e\+38"):
        probe(tiny_task("audio"), settings, ActivationCache(tmp_path))


def test_features_that_are_not_pooled_are_refused(new_training: Callable[..., Any]):
    training = new_training()
    with pytest.raises(TrainingError, match="pooled"):
        train_heads(
            [training.trainable.head], training.train, training.validation, [training.settings], "accuracy", bucket=32
        )


def test_dropout_is_refused_since_heads_that_train_together_have_none(tiny_task: Callable[[str], Task], tmp_path: Path):
    task = tiny_task("audio")
    with pytest.raises(TrainingError, match=r"dropout = 0.5: .* train each with `fine_tune`"):
        probe(task, [replace(each, dropout=0.5) for each in several(task)], ActivationCache(tmp_path))
