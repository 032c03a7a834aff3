from __future__ import annotations

import copy

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners import lora
from timm.layers import BatchNormAct2d
from torch import Tensor, nn

from ftkit.backbones.normalised import normalise_and_convolve
from ftkit.methods import DoRA, LoRA
from ftkit.methods.folded import FoldedConvolution

CHANNELS = 6


def wrapped(convolution: nn.Module | None = None, **settings: object) -> PeftModel:
    """A convolution with updates that are no longer zero."""
    torch.manual_seed(0)
    convolution = convolution or nn.Conv2d(CHANNELS, 5, 1, bias=False)
    config = LoraConfig(r=2, target_modules=["0"], **settings)
    config._register_custom_module({nn.Conv2d: FoldedConvolution})
    model = get_peft_model(nn.Sequential(convolution), config)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(parameter)
        if "magnitude" in name:
            parameter.data *= torch.linspace(0.5, 2, parameter.numel()).view_as(parameter)
    return model


def folded(model: PeftModel) -> FoldedConvolution:
    layer = model.get_base_model()[0]
    assert isinstance(layer, FoldedConvolution)
    return layer


def stepped(model: PeftModel, hidden: Tensor, *, as_peft_does: bool, in_bf16: bool = False) -> dict[str, Tensor]:
    """What a forward and a backward pass give."""
    model = copy.deepcopy(model)
    layer, given = folded(model), hidden.clone().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=in_bf16):
        result = lora.Conv2d.forward(layer, given) if as_peft_does else layer(given)
    (result.float() * torch.linspace(-1, 1, result.numel()).view_as(result)).sum().backward()
    assert given.grad is not None
    gradients = {name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None}
    return {"result": result.detach(), "gradient of the input": given.grad, **gradients}


def assert_same(found: dict[str, Tensor], expected: dict[str, Tensor], tolerance: float = 1e-5) -> None:
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        largest = float(tensor.float().abs().max())
        torch.testing.assert_close(found[name], tensor, atol=tolerance * largest, rtol=tolerance, msg=name)


@pytest.mark.parametrize("use_dora", [False, True])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(("in_bf16", "tolerance"), [(False, 1e-5), (True, 3e-2)])
def test_one_convolution_gives_what_peft_gives(use_dora: bool, bias: bool, in_bf16: bool, tolerance: float):
    model = wrapped(nn.Conv2d(CHANNELS, 5, 1, bias=bias), use_dora=use_dora)
    hidden = torch.randn(3, CHANNELS, 7, 4)
    assert folded(model).whole_weight() is not None
    expected = stepped(model, hidden, as_peft_does=True, in_bf16=in_bf16)
    found = stepped(model, hidden, as_peft_does=False, in_bf16=in_bf16)
    assert any("lora_A" in name for name in found)
    assert any("lora_B" in name for name in found)
    assert any("magnitude" in name for name in found) is use_dora
    assert_same(found, expected, tolerance)


@pytest.mark.parametrize("use_dora", [False, True])
def test_the_whole_weight_is_the_merged_one(use_dora: bool):
    model = wrapped(use_dora=use_dora)
    whole = folded(model).whole_weight()
    assert whole is not None
    torch.testing.assert_close(model.merge_and_unload()[0].weight, whole)


@pytest.mark.filterwarnings("ignore:LoRA adapter added to ConvNd layer with groups")
@pytest.mark.parametrize(
    "other",
    [
        nn.Conv2d(CHANNELS, 2, 3),
        nn.Conv2d(CHANNELS, 2, 1, stride=2),
        nn.Conv2d(CHANNELS, 2, 1, padding=1),
        nn.Conv2d(CHANNELS, 2, 1, groups=2),
    ],
)
def test_another_convolution_is_run_as_peft_runs_it(other: nn.Module):
    model = wrapped(other)
    hidden = torch.randn(3, CHANNELS, 7, 4)
    assert folded(model).whole_weight() is None
    assert_same(stepped(model, hidden, as_peft_does=False), stepped(model, hidden, as_peft_does=True))


def test_inputs_of_the_update_are_dropped_in_training_alone():
    layer = folded(wrapped(lora_dropout=0.5))
    hidden = torch.randn(3, CHANNELS, 7, 4)
    assert layer.eval().whole_weight() is not None
    assert layer.train().whole_weight() is None
    assert not torch.equal(layer(hidden), layer(hidden))


def test_updates_that_are_switched_off_or_merged_are_not_added():
    model = wrapped()
    hidden = torch.randn(3, CHANNELS, 7, 4)
    with_update = model(hidden)
    frozen = folded(model).base_layer(hidden)
    with model.disable_adapter():
        assert folded(model).whole_weight() is folded(model).base_layer.weight
        assert torch.equal(model(hidden), frozen)
    assert not torch.allclose(with_update, frozen)
    model.merge_adapter()
    assert folded(model).whole_weight() is folded(model).base_layer.weight
    torch.testing.assert_close(model(hidden), with_update)
    with model.disable_adapter():
        assert folded(model).whole_weight() is None  # peft takes the updates out again
        torch.testing.assert_close(model(hidden), frozen)


def test_of_several_adapters_the_active_one_counts():
    model = wrapped()
    model.add_adapter("second", model.peft_config["default"])
    hidden = torch.randn(3, CHANNELS, 7, 4)
    first = model(hidden)
    model.set_adapter("second")
    torch.testing.assert_close(model(hidden), folded(model).base_layer(hidden))  # a new one changes nothing
    model.base_model.set_adapter(["default", "second"])
    assert folded(model).whole_weight() is None
    torch.testing.assert_close(model(hidden), first)


@pytest.mark.parametrize("use_dora", [False, True])
def test_behind_a_normalisation_it_is_one_convolution_too(use_dora: bool):
    norm = BatchNormAct2d(CHANNELS, act_layer=nn.ReLU6).eval()
    layer = folded(wrapped(use_dora=use_dora))
    hidden = torch.randn(3, CHANNELS, 7, 4, requires_grad=True)
    expected = lora.Conv2d.forward(layer, norm(hidden))
    found = normalise_and_convolve(norm, hidden, layer)
    assert "NormaliseAndConvolve" in type(found.grad_fn).__name__
    torch.testing.assert_close(found, expected)
    places = [weight for name, weight in layer.named_parameters() if "lora" in name]
    weights = torch.linspace(-1, 1, found.numel()).view_as(found)
    for one, other in zip(
        torch.autograd.grad((found * weights).sum(), [hidden, *places]),
        torch.autograd.grad((expected * weights).sum(), [hidden, *places]),
        strict=True,
    ):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("method", [LoRA(), DoRA()])
def test_on_pictures_every_update_is_folded(new_classifier, method: LoRA):
    classifier = method.apply(new_classifier("image")).classifier
    layers = [module for module in classifier.modules() if isinstance(module, lora.Conv2d)]
    assert layers
    for layer in layers:
        assert isinstance(layer, FoldedConvolution)
        assert layer.whole_weight() is not None
