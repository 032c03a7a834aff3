from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from ftkit.backbones import load_backbone
from ftkit.backbones.attention import ATTENTION, attend

SHAPE = (3, 4, 7, 8)


def inputs() -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(SHAPE, generator=generator).requires_grad_() for _ in range(3)]


@pytest.mark.parametrize("masked", [False, True])
def test_it_is_torchs_attention_forward_and_backward(masked: bool):
    mask = torch.arange(7)[None, None, None, :] < torch.tensor([7, 4, 1])[:, None, None, None] if masked else None
    ours, theirs = inputs(), inputs()
    result, _ = attend(nn.Identity(), *ours, mask)
    expected = functional.scaled_dot_product_attention(*theirs, attn_mask=mask).transpose(1, 2)
    torch.testing.assert_close(result, expected)
    weights = torch.randn(expected.shape)
    (result * weights).sum().backward()
    (expected * weights).sum().backward()
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine.grad, other.grad)


def test_a_scaling_that_is_given_is_used():
    query, key, value = inputs()
    result, _ = attend(nn.Identity(), query, key, value, None, scaling=0.5)
    expected = functional.scaled_dot_product_attention(query, key, value, scale=0.5).transpose(1, 2)
    torch.testing.assert_close(result, expected)


def test_weights_are_dropped_in_training_only_as_the_layer_asks():
    query, key, value = inputs()
    without, _ = attend(nn.Identity(), query, key, value, None)
    dropped, _ = attend(nn.Identity(), query, key, value, None, dropout=0.5)
    assert not torch.allclose(without, dropped)


@pytest.mark.parametrize("name", ["minilm", "whisper-tiny-en"])
def test_the_backbones_that_attend_use_it(name: str):
    assert load_backbone(name).configuration._attn_implementation == ATTENTION
