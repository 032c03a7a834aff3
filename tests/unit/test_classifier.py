from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from ftkit.classifier import Classifier, backbone_settings, build_classifier, masked_mean
from ftkit.tasks import Task

MODALITIES = ("text", "image", "audio")


def test_the_mean_is_taken_over_marked_positions_only():
    hidden = torch.tensor([[[1.0, 2.0], [3.0, 6.0], [90.0, 90.0]], [[5.0, 5.0], [70.0, 70.0], [80.0, 80.0]]])
    mask = torch.tensor([[True, True, False], [True, False, False]])
    assert masked_mean(hidden, mask).tolist() == [[2.0, 4.0], [5.0, 5.0]]


def test_without_marks_the_mean_is_taken_over_all_positions():
    assert masked_mean(torch.tensor([[[1.0], [2.0], [6.0]]]), None).tolist() == [[3.0]]


def test_a_row_without_any_marked_position_gives_zeros_and_no_nan():
    assert masked_mean(torch.ones(1, 2, 3), torch.zeros(1, 2, dtype=torch.bool)).tolist() == [[0.0, 0.0, 0.0]]


@pytest.mark.parametrize("modality", MODALITIES)
def test_one_class_gives_logits_for_all_kinds_of_data(
    modality: str,
    tiny_task: Callable[[str], Task],
    new_classifier: Callable[[str], Classifier],
    logits_of: Callable[..., torch.Tensor],
):
    task, model = tiny_task(modality), new_classifier(modality)
    logits = logits_of(model, modality)
    assert type(model) is Classifier
    assert logits.shape == (len(task.test), len(task.label_names))
    assert logits.isfinite().all()
    assert logits.std(dim=0).min() > 0


def test_the_seed_decides_the_head_and_nothing_else(tiny_task: Callable[[str], Task]):
    first, again, other = (build_classifier(tiny_task("audio"), seed=seed).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert {name for name in first if not torch.equal(first[name], other[name])} == {"head.weight", "head.bias"}


def test_building_leaves_the_global_random_state_alone(tiny_task: Callable[[str], Task]):
    tiny_task("audio")
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    build_classifier(tiny_task("audio"), seed=0)
    assert torch.equal(torch.rand(3), expected)


def test_pictures_are_read_at_the_size_that_the_task_has(tiny_task: Callable[[str], Task]):
    assert backbone_settings(tiny_task("image")) == {"image_size": 128}


def test_the_window_holds_the_longest_clip(tiny_task: Callable[[str], Task]):
    task = tiny_task("audio")
    longest = max(len(clip) for clip in task.train.items) / 16_000
    assert longest <= backbone_settings(task)["seconds"] <= max(1.5, longest + 0.2)


def test_dropout_before_the_head_acts_in_training_only(
    tiny_task: Callable[[str], Task], logits_of: Callable[..., torch.Tensor]
):
    model = build_classifier(tiny_task("audio"), dropout=0.5)
    without = build_classifier(tiny_task("audio"))
    assert torch.equal(logits_of(model, "audio"), logits_of(without, "audio"))
    backbone = model.backbone
    batch = backbone.collate(backbone.prepare(tiny_task("audio").test.items[:2]))
    model.dropout.train()
    assert not torch.equal(model(batch), model(batch))
