"""Training from kept activations gives what training without them gives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ftkit import Adapter, LoRA, Partial, fine_tune
from ftkit.classifier import Classifier
from ftkit.experiments import fine_tuning
from ftkit.experiments.fine_tuning import Prepared
from ftkit.methods import Method, as_method
from ftkit.tasks import Task
from ftkit.training.activations import Activations, compute_activations
from ftkit.training.augmentation import SpecAugment
from ftkit.training.cache import ActivationCache
from ftkit.training.loop import new_accelerator

MODALITIES = ("text", "image", "audio")
DEPTHS = {"text": 4, "image": 5, "audio": 2}


WHILE = 100.0


def after_a_while(*arguments: Any, **options: Any) -> Activations:
    """Activations that took long, as they say."""
    return replace(compute_activations(*arguments, **options), seconds=WHILE)


@pytest.fixture
def activations_of(
    new_classifier: Callable[[str], Classifier], tiny_task: Callable[[str], Task]
) -> Callable[[str, int], tuple[Classifier, list[Any], Activations]]:
    def make(modality: str, depth: int) -> tuple[Classifier, list[Any], Activations]:
        classifier = new_classifier(modality)
        inputs = classifier.backbone.prepare(tiny_task(modality).train.items)
        made = compute_activations(classifier, inputs, depth, accelerator=new_accelerator("float32"))
        return classifier, inputs, made

    return make


@pytest.mark.parametrize("modality", MODALITIES)
@pytest.mark.parametrize("method", ["linear-probe", "partial", LoRA(blocks=2), Adapter(blocks=2)], ids=str)
def test_training_from_them_is_training_without(
    method: str | Method, modality: str, tiny_task: Callable[[str], Task], tmp_path: Path
):
    task = tiny_task(modality)
    options: dict[str, Any] = {"epochs": 2, "batch_size": 5, "precision": "float32", "progress": False}
    without = fine_tune(task, method, cache=False, **options)
    in_memory = fine_tune(task, method, cache=ActivationCache(tmp_path), **options)
    on_disk = fine_tune(task, method, cache=ActivationCache(tmp_path, memory_bytes=0), **options)
    assert without.cost.frozen_depth == 0 < in_memory.cost.frozen_depth == on_disk.cost.frozen_depth
    for run in (in_memory, on_disk):
        assert [step.loss for step in run.history.steps] == pytest.approx(
            [step.loss for step in without.history.steps], abs=1e-4
        )
        np.testing.assert_allclose(run.predictions.probabilities, without.predictions.probabilities, atol=1e-3)


@pytest.mark.parametrize("modality", MODALITIES)
def test_in_bf16_training_from_them_is_training_without(
    modality: str, tiny_task: Callable[[str], Task], tmp_path: Path
):
    runs = [
        fine_tune(tiny_task(modality), "partial", cache=cache, epochs=2, precision="bf16", progress=False)
        for cache in (False, ActivationCache(tmp_path, memory_bytes=0))
    ]
    losses = [[step.loss for step in run.history.steps] for run in runs]
    assert losses[0] == pytest.approx(losses[1], abs=0.02)


@pytest.mark.parametrize("modality", MODALITIES)
def test_methods_that_leave_the_same_blocks_alone_share_them(
    modality: str, tiny_task: Callable[[str], Task], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def again(*_: object, **__: object) -> None:
        raise AssertionError("computed again")

    cache = ActivationCache(tmp_path, memory_bytes=0)
    options: dict[str, Any] = {"epochs": 1, "precision": "float32", "progress": False, "cache": cache}
    first = fine_tune(tiny_task(modality), Partial(blocks=2), **options)
    kept = {entry.key for entry in cache.entries()}
    monkeypatch.setattr("ftkit.experiments.fine_tuning.compute_activations", again)
    for method in (Partial(blocks=2), LoRA(blocks=2), Adapter(blocks=2)):
        run = fine_tune(tiny_task(modality), method, lr=1e-3, seed=1, **options)
        assert run.cost.frozen_depth == first.cost.frozen_depth
        assert {entry.key for entry in cache.entries()} == kept


@pytest.mark.parametrize("modality", MODALITIES)
@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_those_of_a_deeper_block_are_computed_from_them_to_the_last_bit(
    precision: str, modality: str, new_classifier: Callable[[str], Classifier], tiny_task: Callable[[str], Task]
):
    classifier = new_classifier(modality)
    inputs = classifier.backbone.prepare(tiny_task(modality).train.items)
    blocks = len(classifier.backbone.blocks)
    accelerator = new_accelerator(precision)
    for deeper in (blocks, blocks + 1):
        below = compute_activations(classifier, inputs, DEPTHS[modality] - 1, accelerator=accelerator)
        expected = compute_activations(classifier, inputs, deeper, accelerator=accelerator)
        found = compute_activations(classifier, below, deeper, accelerator=accelerator)
        assert torch.equal(found.values, expected.values)
        assert (found.depth, found.is_pooled) == (expected.depth, expected.is_pooled)
        np.testing.assert_array_equal(found.lengths, expected.lengths)
        np.testing.assert_array_equal(found.starts, expected.starts)
        for mask, other in ((found.attends, expected.attends), (found.pools, expected.pools)):
            assert (mask is None) == (other is None)
            assert mask is None or torch.equal(mask, other)


@pytest.mark.parametrize("modality", MODALITIES)
@pytest.mark.parametrize("memory_bytes", [0, 128 << 20])
def test_a_method_that_freezes_more_goes_on_from_where_another_began_to_train(
    modality: str,
    memory_bytes: int,
    tiny_task: Callable[[str], Task],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    options: dict[str, Any] = {"epochs": 1, "precision": "float32", "progress": False}
    alone = fine_tune(tiny_task(modality), "linear-probe", cache=ActivationCache(tmp_path / "other"), **options)
    cache = ActivationCache(tmp_path, memory_bytes=memory_bytes)
    fine_tune(tiny_task(modality), "partial", cache=cache, **options)
    read: list[int] = []
    monkeypatch.setattr(Prepared, "_read", lambda self, split: read.append(len(split)))
    run = fine_tune(tiny_task(modality), "linear-probe", cache=cache, **options)
    assert not read
    assert [step.loss for step in run.history.steps] == [step.loss for step in alone.history.steps]
    assert np.array_equal(run.predictions.probabilities, alone.predictions.probabilities)


@pytest.mark.parametrize("memory_bytes", [0, 128 << 20])
def test_what_another_method_computed_on_the_way_counts_as_time_of_the_run_that_goes_on(
    memory_bytes: int, tiny_task: Callable[[str], Task], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    task, options = tiny_task("image"), {"epochs": 1, "precision": "float32", "progress": False}
    cache = ActivationCache(tmp_path, memory_bytes=memory_bytes)
    with monkeypatch.context() as patch:
        patch.setattr(fine_tuning, "compute_activations", after_a_while)
        fine_tune(task, "partial", cache=cache, **options)
    first = fine_tune(task, "linear-probe", cache=cache, **options)
    assert first.cost.seconds > WHILE
    again = fine_tune(task, "linear-probe", cache=cache, seed=1, **options)
    assert again.cost.seconds < WHILE


@pytest.mark.parametrize("modality", MODALITIES)
def test_the_model_goes_on_from_them_as_if_it_had_started_at_the_input(
    modality: str, activations_of: Callable[..., Any]
):
    depth = DEPTHS[modality]
    classifier, inputs, made = activations_of(modality, depth)
    with torch.inference_mode():
        expected = classifier(classifier.backbone.collate(inputs))
        found = classifier(made.collate(list(made)))
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("modality", MODALITIES)
def test_past_the_last_block_they_are_the_pooled_features(modality: str, activations_of: Callable[..., Any]):
    classifier, inputs, made = activations_of(modality, len(activations_of(modality, 1)[0].backbone.blocks) + 1)
    assert made.is_pooled
    assert made.values.shape == (len(inputs), classifier.backbone.width)
    with torch.inference_mode():
        torch.testing.assert_close(
            made.values, classifier.pooled(classifier.backbone.collate(inputs)), atol=1e-4, rtol=1e-4
        )


def test_only_real_positions_of_a_text_are_kept(activations_of: Callable[..., Any]):
    _, inputs, made = activations_of("text", 1)
    assert len(made.values) == sum(map(len, inputs))
    assert [len(each.hidden) for each in made] == list(map(len, inputs)) == made.lengths.tolist()


@pytest.mark.parametrize("modality", MODALITIES)
@pytest.mark.parametrize("method", ["scratch", "full", "lora", "adapter", "prompt"])
def test_what_trains_in_every_block_has_nothing_to_reuse(
    method: str, modality: str, new_classifier: Callable[[str], Classifier]
):
    assert as_method(method).apply(new_classifier(modality)).frozen_depth() == 0


@pytest.mark.parametrize("modality", MODALITIES)
def test_the_frozen_depth_is_what_partial_fine_tuning_leaves(
    modality: str, new_classifier: Callable[[str], Classifier]
):
    blocks = len(new_classifier(modality).backbone.blocks)
    for top in range(1, blocks + 1):
        assert Partial(blocks=top).apply(new_classifier(modality)).frozen_depth() == blocks - top
    assert as_method("linear-probe").apply(new_classifier(modality)).frozen_depth() == blocks + 1


def test_an_augmentation_sets_them_aside_and_says_so(
    tiny_task: Callable[[str], Task], caplog: pytest.LogCaptureFixture
):
    run = fine_tune(tiny_task("audio"), "linear-probe", epochs=1, augmentation=SpecAugment(), progress=False)
    assert run.cost.frozen_depth == 0
    assert "SpecAugment changes the inputs in every epoch: frozen activations are not reused" in caplog.text
    assert run.spec.augmentation == "SpecAugment(channels=12, frames=15)"
    caplog.clear()
    fine_tune(tiny_task("audio"), "full", epochs=1, augmentation=SpecAugment(), progress=False)
    assert not caplog.records  # there are none to reuse
