from __future__ import annotations

import pytest
import torch
from torch import nn

from ftkit.backbones.dropout import Dropout, dropout, dropout_mask, with_fast_dropout


def test_the_share_that_is_dropped_is_the_share_that_was_asked_for():
    for share in (0.1, 0.5, 0.9):
        dropped = float((dropout_mask(torch.Size([1000, 1000]), share, torch.float32) == 0).double().mean())
        assert dropped == pytest.approx(share, abs=3 * (share * (1 - share) / 1e6) ** 0.5 + 1e-5)


def test_the_mean_is_kept():
    hidden = torch.ones(1000, 1000)
    assert float(dropout(hidden, 0.3).double().mean()) == pytest.approx(1, abs=0.003)


def test_masks_differ_from_call_to_call_and_a_seed_repeats_them():
    shape = torch.Size([64, 33])
    torch.manual_seed(3)
    first, second = dropout_mask(shape, 0.5, torch.float32), dropout_mask(shape, 0.5, torch.float32)
    torch.manual_seed(3)
    again = dropout_mask(shape, 0.5, torch.float32)
    assert torch.equal(first, again)
    assert not torch.equal(first, second)


def test_neighbours_are_dropped_independently():
    mask = (dropout_mask(torch.Size([10**6]), 0.5, torch.float32) > 0).double()
    for distance in (1, 2, 4):  # four numbers come of one draw
        together = float((mask[:-distance] * mask[distance:]).mean())
        assert together == pytest.approx(0.25, abs=0.003)


def test_the_gradient_passes_where_the_value_passed():
    hidden = torch.randn(50, 50, requires_grad=True)
    result = dropout(hidden, 0.4)
    result.sum().backward()
    assert torch.equal(hidden.grad == 0, result == 0)
    torch.testing.assert_close(result, hidden * hidden.grad)


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_nothing_or_everything_can_be_dropped(share: float):
    hidden = torch.randn(20, 20)
    torch.testing.assert_close(dropout(hidden, share), (1 - share) * hidden)


def test_nothing_is_dropped_in_eval_mode():
    hidden = torch.randn(20, 20)
    layer = Dropout(0.5)
    assert not torch.equal(layer(hidden), hidden)
    assert layer.eval()(hidden) is hidden


def test_every_dropout_of_a_model_is_replaced():
    model = nn.Sequential(nn.Linear(2, 2), nn.Sequential(nn.Dropout(0.25)), nn.Dropout(0.5))
    layers = [module for module in with_fast_dropout(model).modules() if isinstance(module, nn.Dropout)]
    assert [(type(layer), layer.p) for layer in layers] == [(Dropout, 0.25), (Dropout, 0.5)]
