from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from ftkit.backbones import attention, load_backbone
from ftkit.backbones.attention import attend
from ftkit.backbones.base import Backbone
from ftkit.backbones.packing import Packing
from ftkit.classifier import masked_mean

ATTENDS = torch.tensor([[True, True, False, False], [True, True, True, True], [False, True, False, False]])


def test_data_lie_one_after_the_other_and_zeros_after_them():
    hidden = torch.arange(12.0).view(3, 4, 1) + 1
    packed = Packing.of(ATTENDS).pack(hidden)
    assert packed.flatten()[:7].tolist() == [1, 2, 5, 6, 7, 8, 10]
    assert packed.shape == (1, 64, 1)
    assert not packed[:, 7:].any()


def test_unpacking_puts_data_back_and_zeros_between():
    hidden = torch.randn(3, 4, 2, 5)
    packing = Packing.of(ATTENDS)
    assert torch.equal(packing.unpack(packing.pack(hidden)), hidden * ATTENDS[:, :, None, None])


@pytest.mark.parametrize("way", ["pack", "unpack"])
def test_gradients_are_those_of_moving_rows(way: str):
    packing = Packing.of(ATTENDS)
    shape = (3, 4, 2) if way == "pack" else (1, packing.length, 2)
    values = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(getattr(packing, way), values)


def test_a_batch_of_no_padding_is_packed_too():
    packing = Packing.of(torch.ones(4, 16, dtype=torch.bool))
    hidden = torch.randn(4, 16, 3)
    assert packing.length == len(packing.places)
    assert torch.equal(packing.unpack(packing.pack(hidden)), hidden)


@pytest.mark.parametrize(("data", "length"), [(1, 64), (65, 128), (1024, 1024), (1025, 1280)])
def test_few_lengths_occur(data: int, length: int):
    assert Packing.of(torch.arange(2000)[None] < data).length == length


@pytest.mark.parametrize("before", [0, 3])
@pytest.mark.parametrize("kernel", [attention.attend_on_cpu, sdpa_attention_forward])
def test_packed_attention_is_that_of_every_item_alone(monkeypatch: pytest.MonkeyPatch, before: int, kernel: Any):
    generator = torch.Generator().manual_seed(0)
    query, key, value = (torch.randn(3, 4, 2, 8, generator=generator) for _ in range(3))
    first = [torch.randn(1, 2, before, 8, generator=generator) for _ in range(2)]
    packing = Packing.of(ATTENDS)
    packed = [packing.pack(states).transpose(1, 2) for states in (query, key, value)]
    keys, values = (torch.cat([shared, own], dim=2) for shared, own in zip(first, packed[1:], strict=True))
    with monkeypatch.context() as patched:
        patched.setattr(attention, "attend_on_cpu", kernel)  # torch's is what other devices have
        result = packing.unpack(attend(nn.Identity(), packed[0], keys, values, packing)[0])
    for item, seen in enumerate(ATTENDS):
        own = [states[item : item + 1, seen].transpose(1, 2) for states in (query, key, value)]
        keys, values = (torch.cat([shared, each], dim=2) for shared, each in zip(first, own[1:], strict=True))
        alone, _ = attend(nn.Identity(), own[0], keys, values, None)
        torch.testing.assert_close(result[item : item + 1, seen], alone)


def backbone_with_batch(name: str) -> tuple[Backbone, dict[str, torch.Tensor]]:
    backbone = load_backbone(name).eval()
    generator = torch.Generator().manual_seed(0)
    lengths = (5000, 12000, 3000)
    clips = [torch.randn(length, generator=generator).numpy() * 0.1 for length in lengths]
    texts = ["A warm, funny and quietly devastating film.", "Dull.", "Not a minute too long, nor one too short."]
    return backbone, backbone.collate(backbone.prepare(texts if backbone.modality == "text" else clips))


def without_packing(backbone: Backbone, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    embedded = backbone.embed(batch)
    hidden = embedded.hidden
    for block in backbone.blocks:
        hidden = block(hidden, attention_mask=embedded.attends[:, None, None, :])
    return masked_mean(backbone.norm(hidden), embedded.pools)


@pytest.mark.parametrize("name", ["minilm", "whisper-tiny-en"])
def test_a_backbone_gives_the_features_and_gradients_of_the_padded_batch(name: str):
    backbone, batch = backbone_with_batch(name)
    backbone.double()
    batch = {key: each.double() if each.is_floating_point() else each for key, each in batch.items()}
    weights = torch.randn(3, backbone.width, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    gradients = []
    features = []
    for compute in (
        lambda: masked_mean((out := backbone(batch)).hidden, out.pools),
        lambda: without_packing(backbone, batch),
    ):
        features.append(compute())
        (features[-1] * weights).sum().backward()
        gradients.append([weight.grad.clone() for weight in backbone.blocks.parameters()])
        backbone.zero_grad()
    torch.testing.assert_close(*features)
    for ours, padded in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, padded)


@pytest.mark.parametrize("name", ["minilm", "whisper-tiny-en"])
def test_under_bf16_autocast_hidden_states_stay_in_bf16_and_features_in_float32(name: str):
    backbone, batch = backbone_with_batch(name)
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        embedded = backbone.advance(batch, 2)
        features = masked_mean((out := backbone(batch)).hidden, out.pools)
    assert embedded.hidden.dtype == torch.bfloat16
    assert features.dtype == torch.float32
