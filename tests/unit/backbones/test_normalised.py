from __future__ import annotations

import copy

import pytest
import torch
from timm.layers import BatchNormAct2d
from torch import Tensor, nn

from ftkit.backbones import depthwise
from ftkit.backbones.depthwise import DepthwiseConvolution
from ftkit.backbones.normalised import normalise_and_convolve

CHANNELS = 6


def layers(kind: str) -> tuple[BatchNormAct2d, nn.Module]:
    """A normalisation that has seen pictures, and a convolution to follow it."""
    torch.manual_seed(0)
    norm = BatchNormAct2d(CHANNELS, act_layer=nn.ReLU6)
    nn.init.normal_(norm.weight, 2.0)
    nn.init.normal_(norm.bias)
    norm.train()(torch.randn(20, CHANNELS, 5, 5) + 1.0)
    if kind == "pointwise":
        return norm, nn.Conv2d(CHANNELS, 4, 1, bias=False)
    stride = 2 if kind == "depthwise, every second pixel" else 1
    return norm, DepthwiseConvolution(nn.Conv2d(CHANNELS, CHANNELS, 5, stride=stride, groups=CHANNELS, bias=False))


def stepped(
    norm: nn.Module, convolution: nn.Module, hidden: Tensor, *, together: bool, in_bf16: bool
) -> dict[str, Tensor]:
    """Everything that a forward and a backward pass give and change."""
    norm, convolution = copy.deepcopy(norm), copy.deepcopy(convolution)
    given = hidden.clone().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=in_bf16):
        result = normalise_and_convolve(norm, given, convolution) if together else convolution(norm(given))
    (result.float() * torch.linspace(-1, 1, result.numel()).view_as(result)).sum().backward()
    assert given.grad is not None
    gradients = {
        f"gradient of {name}": weight.grad
        for module in (norm, convolution)
        for name, weight in module.named_parameters(prefix=type(module).__name__)
        if weight.grad is not None
    }
    return {"result": result.detach(), "gradient of the input": given.grad, **gradients, **dict(norm.named_buffers())}


@pytest.mark.parametrize("kind", ["pointwise", "depthwise", "depthwise, every second pixel"])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("pictures", [1, 7])
@pytest.mark.parametrize(("in_bf16", "tolerance"), [(False, 1e-5), (True, 2e-2)])
def test_normalised_and_convolved_a_few_at_a_time_is_as_one_after_the_other(
    monkeypatch: pytest.MonkeyPatch, kind: str, training: bool, pictures: int, in_bf16: bool, tolerance: float
):
    norm, convolution = layers(kind)
    norm.train(training)
    hidden = torch.randn(pictures, CHANNELS, 9, 8)
    monkeypatch.setattr(depthwise, "BYTES_AT_ONCE", 2 * hidden[0].nbytes)
    expected = stepped(norm, convolution, hidden, together=False, in_bf16=in_bf16)
    found = stepped(norm, convolution, hidden, together=True, in_bf16=in_bf16)
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        largest = float(tensor.float().abs().max())
        torch.testing.assert_close(found[name], tensor, atol=tolerance * largest, rtol=tolerance, msg=name)


@pytest.mark.parametrize("trains", ["norm", "convolution", "what comes before"])
def test_only_what_trains_gets_a_gradient(trains: str):
    norm, convolution = layers("pointwise")
    norm.requires_grad_(trains == "norm")
    convolution.requires_grad_(trains == "convolution")
    hidden = torch.randn(3, CHANNELS, 4, 4, requires_grad=trains == "what comes before")
    normalise_and_convolve(norm, hidden, convolution).sum().backward()
    assert (hidden.grad is not None) is (trains == "what comes before")
    assert (norm.weight.grad is not None) is (norm.bias.grad is not None) is (trains == "norm")
    assert (next(convolution.parameters()).grad is not None) is (trains == "convolution")


@pytest.mark.parametrize(
    "other",
    [
        nn.Conv2d(CHANNELS, 2, 1, groups=2, bias=False),
        nn.Conv2d(CHANNELS, 2, 1),
        nn.Conv2d(CHANNELS, 2, 1, stride=2, bias=False),
        nn.Conv2d(CHANNELS, 2, 1, padding=1, bias=False),
        nn.Conv2d(CHANNELS, 2, 3),
    ],
)
def test_another_convolution_is_run_as_it_is(other: nn.Module):
    norm, _ = layers("pointwise")
    hidden = torch.randn(3, CHANNELS, 4, 4)
    expected = stepped(norm, other, hidden, together=False, in_bf16=False)
    found = stepped(norm, other, hidden, together=True, in_bf16=False)
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, msg=name)


def test_modules_around_the_convolution_are_kept():
    norm, convolution = layers("pointwise")
    around = nn.Sequential(convolution, nn.Conv2d(4, 2, 1))
    hidden = torch.randn(3, CHANNELS, 4, 4)
    expected = stepped(norm, around, hidden, together=False, in_bf16=False)
    found = stepped(norm, around, hidden, together=True, in_bf16=False)
    assert found["result"].shape == (3, 2, 4, 4)
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, msg=name)


def test_predicting_counts_no_batch():
    norm, convolution = layers("depthwise")
    before = {name: tensor.clone() for name, tensor in norm.eval().named_buffers()}
    hidden = torch.randn(3, CHANNELS, 4, 4)
    with torch.inference_mode():
        found = normalise_and_convolve(norm, hidden, convolution)
        torch.testing.assert_close(found, convolution(norm(hidden)))
    for name, tensor in norm.named_buffers():
        assert torch.equal(tensor, before[name]), name
