from __future__ import annotations

import copy

import pytest
import torch
from timm.layers import BatchNormAct2d
from torch import Tensor, nn

from ftkit.backbones import depthwise, fused
from ftkit.backbones.depthwise import DepthwiseConvolution
from ftkit.backbones.fused import fused_convolution

CHANNELS = 6


def layers(kind: str, act: type[nn.Module] = nn.ReLU6) -> tuple[nn.Module, BatchNormAct2d]:
    """A convolution, and a normalisation that has seen pictures and stands still."""
    torch.manual_seed(0)
    if kind == "pointwise":
        convolution: nn.Module = nn.Conv2d(CHANNELS, 4, 1, bias=False)
    else:
        stride = 2 if kind == "depthwise, every second pixel" else 1
        plain = nn.Conv2d(CHANNELS, CHANNELS, 5, stride=stride, groups=CHANNELS, bias=False)
        convolution = DepthwiseConvolution(plain)
    norm = BatchNormAct2d(4 if kind == "pointwise" else CHANNELS, act_layer=act)
    nn.init.normal_(norm.weight, 2.0)
    nn.init.normal_(norm.bias)
    norm.train()(convolution(torch.randn(20, CHANNELS, 9, 8) + 1.0))
    return convolution, norm.eval()


def stepped(
    convolution: nn.Module, norm: nn.Module, pixels: Tensor, *, together: bool, in_bf16: bool
) -> dict[str, Tensor]:
    """Everything that a forward and a backward pass give and change."""
    convolution, norm = copy.deepcopy(convolution), copy.deepcopy(norm)
    given = pixels.clone().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=in_bf16):
        result = fused_convolution(convolution, norm, given) if together else norm(convolution(given))
    assert result is not None
    (result.float() * torch.linspace(-1, 1, result.numel()).view_as(result)).sum().backward()
    gradients = {
        f"gradient of {name}": weight.grad
        for module in (convolution, norm)
        for name, weight in module.named_parameters(prefix=type(module).__name__)
    }
    return {"result": result.detach(), "gradient of the input": given.grad, **gradients, **dict(norm.named_buffers())}


def apart(found: dict[str, Tensor], expected: dict[str, Tensor]) -> dict[str, float]:
    """Root mean square of the differences, in shares of what was expected."""
    assert found.keys() == expected.keys()
    return {
        name: float((found[name] - each.double()).norm() / each.double().norm())
        for name, each in expected.items()
        if each.any()
    }


@pytest.mark.parametrize("kind", ["pointwise", "depthwise", "depthwise, every second pixel"])
@pytest.mark.parametrize("pictures", [1, 7])
@pytest.mark.parametrize("onednn", [True, False])
def test_a_convolution_and_its_norm_in_one_are_as_one_after_the_other(
    monkeypatch: pytest.MonkeyPatch, kind: str, pictures: int, onednn: bool
):
    if not onednn:
        monkeypatch.setattr(fused, "_kernel_takes", lambda dtype: False)
    convolution, norm = layers(kind)
    pixels = torch.randn(pictures, CHANNELS, 9, 8)
    monkeypatch.setattr(depthwise, "BYTES_AT_ONCE", 2 * pixels[0].nbytes)
    expected = stepped(convolution, norm, pixels, together=False, in_bf16=False)
    found = stepped(convolution, norm, pixels, together=True, in_bf16=False)
    assert max(apart(found, expected).values()) < 1e-5


@pytest.mark.parametrize("kind", ["pointwise", "depthwise", "depthwise, every second pixel"])
@pytest.mark.parametrize("onednn", [True, False])
def test_in_bf16_it_rounds_as_much_as_one_after_the_other(monkeypatch: pytest.MonkeyPatch, kind: str, onednn: bool):
    if not onednn:
        monkeypatch.setattr(fused, "_kernel_takes", lambda dtype: False)
    convolution, norm = layers(kind)
    pixels = torch.randn(300, CHANNELS, 9, 8)
    exact = stepped(convolution, norm, pixels, together=False, in_bf16=False)
    in_turn = stepped(convolution, norm, pixels, together=False, in_bf16=True)
    in_one = stepped(convolution, norm, pixels, together=True, in_bf16=True)
    assert in_one["result"].dtype == torch.bfloat16
    usual, found = apart(in_turn, exact), apart(in_one, exact)
    weight = f"gradient of {type(convolution).__name__}.weight"
    for name in ("result", "gradient of the input", weight):  # those of the norm are sums whose terms cancel
        assert found[name] < 1.5 * usual[name], name


@pytest.mark.parametrize("trains", ["convolution", "norm and convolution", "what comes before"])
def test_only_what_trains_gets_a_gradient(trains: str):
    convolution, norm = layers("pointwise")
    convolution.requires_grad_("convolution" in trains)
    norm.requires_grad_("norm" in trains)
    pixels = torch.randn(3, CHANNELS, 4, 4, requires_grad=trains == "what comes before")
    result = fused_convolution(convolution, norm, pixels)
    assert result is not None
    result.sum().backward()
    assert (pixels.grad is not None) is (trains == "what comes before")
    assert (next(convolution.parameters()).grad is not None) is ("convolution" in trains)
    assert (norm.weight.grad is not None) is (norm.bias.grad is not None) is ("norm" in trains)


def test_a_norm_that_renews_its_statistics_is_no_part_of_a_convolution():
    convolution, norm = layers("depthwise")
    assert fused_convolution(convolution, norm.train(), torch.randn(3, CHANNELS, 4, 4)) is None


def test_a_scale_that_trains_by_itself_does_not_cost_the_gradient_of_a_frozen_weight():
    convolution, norm = layers("depthwise")
    convolution.requires_grad_(False)
    pixels = torch.randn(3, CHANNELS, 4, 4)
    assert fused_convolution(convolution, norm, pixels) is None
    with torch.no_grad():
        assert fused_convolution(convolution, norm, pixels) is not None


@pytest.mark.parametrize(
    ("convolution", "norm"),
    [
        (nn.Conv2d(CHANNELS, CHANNELS, 3, bias=False), layers("depthwise")[1]),
        (nn.Conv2d(CHANNELS, CHANNELS, 1), layers("depthwise")[1]),
        (nn.Sequential(layers("depthwise")[0], nn.Identity()), layers("depthwise")[1]),
        (layers("depthwise")[0], nn.Sequential(layers("depthwise")[1], nn.Identity()).eval()),
        (layers("depthwise")[0], layers("depthwise", nn.SiLU)[1]),
        (layers("depthwise")[0], layers("depthwise", nn.Identity)[1]),
    ],
)
def test_what_is_not_one_weight_is_left_to_others(convolution: nn.Module, norm: nn.Module):
    assert fused_convolution(convolution, norm, torch.randn(3, CHANNELS, 4, 4)) is None
