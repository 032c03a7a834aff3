"""Heads trained together come out as if each had been trained alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ftkit import fine_tune
from ftkit.errors import DivergedError, TrainingError
from ftkit.experiments.fine_tuning import Prepared, default_settings
from ftkit.experiments.probing import Probes
from ftkit.methods import LinearProbe
from ftkit.tasks import Task
from ftkit.training.activations import Activations
from ftkit.training.cache import ActivationCache
from ftkit.training.heads import TrainedHead, train_heads
from ftkit.training.loop import TrainingSettings

CELLS = ((1e-2, 0), (1e-1, 0), (1e-2, 1))


def several(task: Task, precision: str = "float32", **options: Any) -> list[TrainingSettings]:
    return [
        TrainingSettings(rate, epochs=2, batch_size=6, seed=seed, precision=precision, **options)
        for rate, seed in CELLS
    ]


@pytest.mark.parametrize("modality", ["text", "image", "audio"])
@pytest.mark.parametrize("precision", ["float32", "bf16"])
@pytest.mark.parametrize("options", [{}, {"class_weights": True, "label_smoothing": 0.1, "clip_norm": 0.05}])
def test_together_is_alone(
    modality: str, precision: str, options: dict[str, Any], tiny_task: Callable[[str], Task], tmp_path: Path
):
    task = tiny_task(modality)
    settings = several(task, precision, **options)
    runs = Probes(task, cache=ActivationCache(tmp_path)).runs(settings)
    for (rate, seed), together in zip(CELLS, runs, strict=True):
        alone = fine_tune(
            task,
            "linear-probe",
            lr=rate,
            seed=seed,
            epochs=2,
            batch_size=6,
            precision=precision,
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


@pytest.fixture
def sizes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many heads train in every computation."""
    found: list[int] = []

    def counted(heads: Sequence[Any], *rest: Any) -> list[TrainedHead]:
        found.append(len(heads))
        return train_heads(heads, *rest)

    monkeypatch.setattr("ftkit.experiments.probing.train_heads", counted)
    return found


def test_what_is_planned_trains_with_the_first_that_is_asked_for_and_is_then_given_out(
    tiny_task: Callable[[str], Task], tmp_path: Path, sizes: list[int]
):
    task = tiny_task("text")
    settings = several(task)
    probes = Probes(task, settings, ActivationCache(tmp_path))
    (first,) = probes.heads(settings[1:2])
    assert sizes == [3]
    later = list(probes.runs(settings[::-1]))
    assert sizes == [3]
    assert [(run.spec.learning_rate, run.spec.seed) for run in later] == list(CELLS[::-1])
    assert later[1].history == first.history
    assert all(run.cost.seconds == run.history.seconds > 0 for run in later)  # who asked first computed the features
    assert all(run.cost.evaluation_seconds > 0 and run.cost.peak_memory_bytes > 0 for run in later)
    probes.heads([settings[0].with_rate_and_seed(0.02, 5)])
    assert sizes == [3, 1]


def test_a_plan_that_diverges_keeps_none_that_is_asked_for_from_training(
    tiny_task: Callable[[str], Task], tmp_path: Path
):
    task = tiny_task("audio")
    good, *_ = several(task)
    hopeless = good.with_rate_and_seed(1e38, 0)
    probes = Probes(task, [hopeless], ActivationCache(tmp_path))
    assert len(probes.heads([good])) == 1
    with pytest.raises(DivergedError, match=r"1e\+38"):
        probes.heads([hopeless])


def test_of_a_very_large_plan_only_the_beginning_is_trained(
    tiny_task: Callable[[str], Task], tmp_path: Path, sizes: list[int], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("ftkit.experiments.probing.MOST_PLANNED", 2)
    task = tiny_task("audio")
    settings = several(task)
    probes = Probes(task, settings, ActivationCache(tmp_path))
    probes.heads(settings[:1])
    assert sizes == [2]
    probes.heads(settings)
    assert sizes == [2, 1]


def test_what_is_not_kept_is_neither_held_nor_trained(
    tiny_task: Callable[[str], Task], tmp_path: Path, sizes: list[int]
):
    task = tiny_task("audio")
    first, second, third = several(task)
    probes = Probes(task, [first, second], ActivationCache(tmp_path))
    probes.keep([third])
    probes.heads([third])
    assert sizes == [1]
    probes.keep([first])
    probes.heads([third])
    assert sizes == [1, 1]


@pytest.mark.parametrize("modality", ["text", "image", "audio"])
def test_seconds_of_probes_do_not_count_what_another_method_has_computed_as_validation(
    modality: str, tiny_task: Callable[[str], Task], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Their features go on from activations that another method has left, whose time is counted as training."""
    cache, task = ActivationCache(tmp_path), tiny_task(modality)
    fine_tune(task, "partial", epochs=1, precision="float32", cache=cache, progress=False)
    below = Prepared._kept_below

    def after_a_minute(self: Prepared, *given: Any) -> Activations | None:
        found = below(self, *given)
        return None if found is None else replace(found, seconds=60.0)

    monkeypatch.setattr(Prepared, "_kept_below", after_a_minute)
    settings = several(task)
    costs = [run.cost for run in Probes(task, cache=cache).runs(settings)]
    assert all(60 / len(settings) < cost.seconds < 60 for cost in costs)
    assert all(0 < cost.evaluation_seconds < 60 for cost in costs)


def test_they_may_differ_in_rate_and_seed_only(tiny_task: Callable[[str], Task], tmp_path: Path):
    task = tiny_task("audio")
    first, *_ = several(task)
    other = default_settings(task, LinearProbe())
    with pytest.raises(TrainingError, match="learning rate and seed only"):
        Probes(task, cache=ActivationCache(tmp_path)).heads([first, other])


def test_a_loss_that_is_not_a_number_names_the_rate(tiny_task: Callable[[str], Task], tmp_path: Path):
    task = tiny_task("audio")
    settings = [each.with_rate_and_seed(rate, 0) for each, rate in zip(several(task), (1e-2, 1e38, 1e-2), strict=True)]
    with pytest.raises(TrainingError, match=r"with learning rate 1e\+38"):
        Probes(task, cache=ActivationCache(tmp_path)).heads(settings)


def test_answers_that_are_no_numbers_name_the_rate(tiny_task: Callable[[str], Task], tmp_path: Path):
    """Weights that overflow at the last step leave no loss to tell it."""
    settings = [replace(each, epochs=1, batch_size=64, learning_rate=1e38) for each in several(tiny_task("audio"))]
    with pytest.raises(DivergedError, match=r"validation became nan after epoch 1 with learning rate 1e\+38"):
        Probes(tiny_task("audio"), cache=ActivationCache(tmp_path)).heads(settings)


def test_features_that_are_not_pooled_are_refused(new_training: Callable[..., Any]):
    training = new_training()
    with pytest.raises(TrainingError, match="pooled"):
        train_heads(
            [training.trainable.head], training.train, training.validation, [training.settings], "accuracy", bucket=32
        )


def test_dropout_is_refused_since_heads_that_train_together_have_none(tiny_task: Callable[[str], Task], tmp_path: Path):
    task = tiny_task("audio")
    with pytest.raises(TrainingError, match=r"dropout = 0.5: .* train each with `fine_tune`"):
        Probes(task, cache=ActivationCache(tmp_path)).heads([replace(each, dropout=0.5) for each in several(task)])
