from __future__ import annotations

import pytest
import torch
from timm.layers import Conv2dSame
from torch import Tensor, nn

from ftkit.backbones.depthwise import DepthwiseConvolution


def found_by(layer: nn.Module, pixels: Tensor, *, in_bf16: bool) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """What a layer gives, the gradient of its input and that of its weights."""
    given = pixels.clone().requires_grad_()
    layer.zero_grad()
    with torch.autocast("cpu", torch.bfloat16, enabled=in_bf16):
        result = layer(given)
    (result.float() ** 2).mean().backward()
    return result.detach().float(), given.grad, layer.weight.grad


@pytest.mark.parametrize("side", [3, 5, 7])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(("height", "width"), [(9, 9), (8, 11), (3, 4)])
@pytest.mark.parametrize(("in_bf16", "tolerance"), [(False, 1e-4), (True, 5e-2)])
def test_what_a_depthwise_convolution_gives_and_its_gradients_are_torchs(
    side: int, stride: int, height: int, width: int, in_bf16: bool, tolerance: float
):
    torch.manual_seed(0)
    plain = Conv2dSame(6, 6, side, stride=stride, groups=6, bias=False)
    pixels = torch.randn(11, 6, height, width)  # more than are computed together, and no multiple of them
    expected = found_by(plain, pixels, in_bf16=False)
    found = found_by(DepthwiseConvolution(plain), pixels, in_bf16=in_bf16)
    for ours, torchs in zip(found, expected, strict=True):
        assert ours is not None
        assert torchs is not None
        torch.testing.assert_close(ours, torchs, atol=tolerance * float(torchs.abs().max()), rtol=tolerance)


@pytest.mark.parametrize("trains", ["pixels", "weights"])
def test_a_gradient_that_nobody_wants_is_not_computed(trains: str):
    layer = DepthwiseConvolution(Conv2dSame(4, 4, 5, groups=4, bias=False))
    pixels = torch.randn(2, 4, 6, 6, requires_grad=trains == "pixels")
    layer.weight.requires_grad_(trains == "weights")
    layer(pixels).sum().backward()
    assert (pixels.grad is not None) is (trains == "pixels")
    assert (layer.weight.grad is not None) is (trains == "weights")
