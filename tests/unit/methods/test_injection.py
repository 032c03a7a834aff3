"""What a parameter-efficient method puts into a model, before any training, after, and taken out again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from ftkit import load_run
from ftkit.classifier import Classifier
from ftkit.errors import FtkitError
from ftkit.methods import IA3, METHODS, Adapter, DoRA, LoRA, Method, Partial, Prompt, Trainable, as_method

MODALITIES = ("text", "image", "audio")
BY_PEFT = ("lora", "dora", "ia3", "adapter", "prompt", "prefix")
Logits = Callable[[Any, str], torch.Tensor]
Applied = Callable[[Method, str], Trainable]


@pytest.mark.parametrize("modality", MODALITIES)
@pytest.mark.parametrize("method", [LoRA(), DoRA(), IA3(), Adapter(), Adapter(placement="pfeiffer")], ids=str)
def test_a_new_update_changes_no_logit(
    method: Method, modality: str, applied: Applied, new_classifier: Callable[[str], Classifier], logits_of: Logits
):
    assert torch.equal(
        logits_of(applied(method, modality).model, modality), logits_of(new_classifier(modality), modality)
    )


def test_a_new_border_changes_no_logit(
    applied: Applied, new_classifier: Callable[[str], Classifier], logits_of: Logits
):
    assert torch.equal(
        logits_of(applied(Prompt(), "image").model, "image"), logits_of(new_classifier("image"), "image")
    )


@pytest.mark.parametrize("modality", ["text", "audio"])
def test_virtual_positions_are_attended_to_and_not_pooled(
    modality: str, applied: Applied, tiny_task: Callable[..., Any]
):
    backbone = applied(Prompt(length=5), modality).classifier.backbone
    batch = backbone.collate(backbone.prepare(tiny_task(modality).test.items[:3]))
    embedded = backbone.embed(batch)
    attends, pools = (batch.get(name, batch.get("mask")) for name in ("attends", "pools"))
    assert embedded.hidden.shape[1] == pools.shape[1] + 5
    assert not embedded.pools[:, :5].any()
    assert torch.equal(embedded.pools[:, 5:], pools)
    assert embedded.attends[:, :5].all()
    assert torch.equal(embedded.attends[:, 5:], attends)


@pytest.mark.parametrize("modality", ["text", "audio"])
def test_the_same_virtual_positions_come_before_every_item(
    modality: str, applied: Applied, tiny_task: Callable[..., Any]
):
    trainable = applied(Prompt(length=5), modality)
    backbone = trainable.classifier.backbone
    hidden = backbone.embed(backbone.collate(backbone.prepare(tiny_task(modality).test.items[:3]))).hidden
    values = next(value for name, value in trainable.trainable_parameters().items() if "input_prompt" in name)
    assert all(torch.equal(row[:5], values) for row in hidden)


def test_the_border_reaches_the_edge_and_nothing_else(applied: Applied):
    trainable = applied(Prompt(length=16), "image")
    values = next(value for name, value in trainable.trainable_parameters().items() if "input_prompt" in name)
    with torch.no_grad():
        values.fill_(2.0)
    grey = torch.full((1, 3, 128, 128), 127, dtype=torch.uint8)
    pixels = trainable.classifier.backbone.embed.normalise(grey)
    assert pixels[..., 16:112, 16:112].unique().tolist() == [0.0]
    assert (pixels == 2.0).sum() == 3 * (128**2 - 96**2)


def test_pictures_of_another_size_than_the_border_are_refused(applied: Applied):
    backbone = applied(Prompt(), "image").classifier.backbone
    with pytest.raises(FtkitError, match=r"\(128, 128\) pixels, not \(96, 96\)"):
        backbone({"pixels": torch.zeros(1, 3, 96, 96, dtype=torch.uint8)})


@pytest.mark.parametrize("modality", MODALITIES)
@pytest.mark.parametrize("method", ["lora", "dora", "ia3"])
def test_an_update_merged_into_the_weights_gives_the_same_logits(
    method: str, modality: str, cell: Callable[..., Any], new_classifier: Callable[[str], Classifier], logits_of: Logits
):
    trained = cell(method, modality)
    merged = load_run(trained.folder).model.merge()
    logits = logits_of(merged, modality)
    torch.testing.assert_close(logits, torch.from_numpy(trained.logits), atol=1e-5, rtol=1e-5)
    assert type(merged) is Classifier
    assert {name for name, _ in merged.named_parameters()} == {
        name for name, _ in new_classifier(modality).named_parameters()
    }
    assert not torch.allclose(logits, logits_of(new_classifier(modality), modality), atol=1e-3)


@pytest.mark.parametrize("modality", ["text", "audio"])
@pytest.mark.parametrize(
    ("method", "reason"), [("adapter", "nonlinear"), ("prompt", "changes the input"), ("prefix", "adds positions")]
)
def test_what_cannot_be_merged_says_why(method: str, reason: str, modality: str, applied: Applied):
    with pytest.raises(FtkitError, match=f"can't be merged: .*{reason}"):
        applied(as_method(method), modality).merge()


@pytest.mark.parametrize("modality", MODALITIES)
@pytest.mark.parametrize("method", [name for name in METHODS if name not in BY_PEFT])
def test_other_methods_have_nothing_to_merge(method: str, modality: str, applied: Applied):
    trainable = applied(as_method(method), modality)
    assert trainable.merge() is trainable.model


@pytest.mark.parametrize(
    ("method", "modality"),
    [(name, modality) for name in BY_PEFT for modality in METHODS[name].modalities],
    ids=lambda value: str(value),
)
def test_disabling_a_trained_adapter_gives_the_pretrained_logits(
    method: str, modality: str, cell: Callable[..., Any], new_classifier: Callable[[str], Classifier], logits_of: Logits
):
    trained = cell(method, modality)
    model = load_run(trained.folder).model.model
    pretrained = new_classifier(modality)
    pretrained.head = model.get_base_model().head.original_module  # the untrained one, which peft keeps
    with model.disable_adapter():
        disabled = logits_of(model, modality)
    enabled = logits_of(model, modality)
    assert torch.equal(disabled, logits_of(pretrained, modality))
    torch.testing.assert_close(enabled, torch.from_numpy(trained.logits), atol=1e-6, rtol=1e-6)
    assert not torch.allclose(enabled, disabled, atol=1e-3)


def test_partial_fine_tuning_of_more_blocks_than_there_are_is_refused(applied: Applied):
    with pytest.raises(FtkitError, match="9 blocks: minilm has 6 blocks; choose 0 to 6"):
        applied(Partial(blocks=9), "text")


def test_a_prefix_needs_attention(applied: Applied):
    with pytest.raises(FtkitError, match=r"Prefix tuning \(image\) does not apply: a convolutional network has no att"):
        applied(as_method("prefix"), "image")


@pytest.mark.parametrize("modality", ["text", "audio"])
def test_every_layer_attends_to_its_prefix(
    modality: str, applied: Applied, new_classifier: Callable[[str], Classifier], logits_of: Logits
):
    trainable = applied(as_method("prefix", length=4), modality)
    near = logits_of(trainable.model, modality)
    layers = {"text": 6, "audio": 4}[modality]
    values = [value for name, value in trainable.trainable_parameters().items() if "prefix_values" in name]
    heads = {"text": 12, "audio": 6}[modality]
    assert [tuple(value.shape) for value in values] == [(heads, 4, 384 // heads)] * layers
    for value in values:
        kept = value.detach().clone()
        with torch.no_grad():
            value.add_(3.0)
        assert not torch.allclose(logits_of(trainable.model, modality), near, atol=1e-4)
        with torch.no_grad():
            value.copy_(kept)
    assert torch.equal(logits_of(trainable.model, modality), near)


def test_padding_stays_invisible_behind_a_prefix(applied: Applied, tiny_task: Callable[..., Any]):
    backbone = applied(as_method("prefix"), "text").classifier.backbone
    items = sorted(tiny_task("text").test.items, key=len)
    with torch.inference_mode():
        alone = backbone(backbone.collate(backbone.prepare(items[:1]))).hidden[0]
        beside = backbone(backbone.collate(backbone.prepare([items[0], items[-1]]))).hidden[0, : len(alone)]
    torch.testing.assert_close(beside, alone, atol=1e-5, rtol=1e-5)
