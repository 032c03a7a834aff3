from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_sample_image
from timm.layers import BatchNormAct2d
from timm.models._efficientnet_blocks import DepthwiseSeparableConv, InvertedResidual
from torch import Tensor, nn

from ftkit.backbones import load_backbone, vision
from ftkit.backbones.vision import Bottleneck, load_imagenet_model
from ftkit.errors import AssetError
from ftkit.fetch import fetch

# ImageNet-1k classes.
PALACE, MONASTERY, CASTLE, LAKESIDE = 698, 663, 483, 975
DAISY, BEE = 985, 309


def square(name: str, size: int = 224) -> np.ndarray:
    """Cut the middle out of one of scikit-learn's photographs, (size, size, 3)."""
    photograph = Image.fromarray(load_sample_image(name))
    edge = min(photograph.size)
    left, top = (photograph.width - edge) // 2, (photograph.height - edge) // 2
    cut = photograph.crop((left, top, left + edge, top + edge))
    return np.array(cut.resize((size, size), Image.Resampling.BICUBIC))


@pytest.fixture(scope="module")
def imagenet_model() -> nn.Module:
    return load_imagenet_model(fetch("efficientnet-lite0"))


def best_five(model: nn.Module, name: str) -> list[int]:
    pixels = torch.from_numpy(square(name)).permute(2, 0, 1)[None].float()
    with torch.inference_mode():
        return model((pixels - 127) / 128)[0].topk(5).indices.tolist()


def test_a_photograph_of_the_summer_palace_is_seen_as_a_palace_by_a_lake(imagenet_model: nn.Module):
    best = best_five(imagenet_model, "china.jpg")
    assert best[0] == PALACE
    assert {MONASTERY, CASTLE, LAKESIDE} < set(best)


def test_a_photograph_of_a_flower_is_seen_as_one(imagenet_model: nn.Module):
    best = best_five(imagenet_model, "flower.jpg")
    assert best[0] == DAISY
    assert BEE in best


def test_the_backbone_computes_the_features_of_the_whole_model(imagenet_model: nn.Module):
    backbone = load_backbone("efficientnet-lite0", image_size=224)
    picture = square("china.jpg")
    with torch.inference_mode():
        features = backbone(backbone.collate(backbone.prepare([picture])))
        pixels = torch.from_numpy(picture).permute(2, 0, 1)[None].float()
        expected = imagenet_model.forward_features((pixels - 127) / 128).mean(dim=(2, 3))
    assert features.hidden.shape == (1, 49, 1280)
    torch.testing.assert_close(features.hidden.mean(dim=1), expected, atol=1e-5, rtol=1e-5)


def test_norms_within_convolutions_round_no_more_than_after_them(monkeypatch: pytest.MonkeyPatch):
    backbone = load_backbone("efficientnet-lite0", image_size=224)
    batch = backbone.collate(backbone.prepare([square("china.jpg"), square("flower.jpg")]))

    def features(*, in_bf16: bool) -> Tensor:
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=in_bf16):
            return backbone(batch).hidden.double()

    in_one = features(in_bf16=True)
    monkeypatch.setattr(vision, "fused_convolution", lambda *layers: None)
    in_turn, exact = features(in_bf16=True), features(in_bf16=False)
    assert not torch.equal(in_one, in_turn)
    assert (in_one - exact).norm() < 1.2 * (in_turn - exact).norm()


def test_weights_of_another_network_are_refused(tmp_path):
    torch.save({"weight": torch.zeros(3)}, tmp_path / "other.pth")
    with pytest.raises(AssetError, match=r"other\.pth does not hold EfficientNet-Lite0"):
        load_imagenet_model(tmp_path)


def stepped(block: nn.Module, pixels: Tensor) -> tuple[Tensor, Tensor, dict[str, Tensor], int]:
    """What a block gives, the gradient of its input, its weights' gradients and statistics, and the bytes it kept."""
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    given = pixels.clone().requires_grad_()
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        answer = block.train()(given * 1)
    answer.square().sum().backward()
    assert given.grad is not None
    state = {name: weight.grad for name, weight in block.named_parameters() if weight.grad is not None}
    return answer.detach(), given.grad, {**state, **dict(block.named_buffers())}, sum(kept.values())


@pytest.mark.parametrize("kind", [InvertedResidual, DepthwiseSeparableConv])
def test_a_bottleneck_computes_timms_block_and_keeps_less(kind: type[nn.Module]):
    torch.manual_seed(0)
    block = kind(8, 8, act_layer=nn.ReLU6, norm_layer=BatchNormAct2d)
    ours = Bottleneck(copy.deepcopy(block))
    pixels = torch.randn(4, 8, 12, 12)
    answer, gradient, state, kept = stepped(ours, pixels)
    expected_answer, expected_gradient, expected_state, expected_kept = stepped(block, pixels)
    torch.testing.assert_close(answer, expected_answer)
    torch.testing.assert_close(gradient, expected_gradient)
    assert state.keys() == expected_state.keys()
    for name, tensor in expected_state.items():  # gradients, running statistics, number of batches
        # float32: sums of hundreds cancel, and both torch's and ours lie about 3e-7 of the largest from float64's
        atol = max(1e-4, 1e-6 * float(tensor.abs().max()))
        torch.testing.assert_close(state[name], tensor, atol=atol, rtol=1e-5, msg=name)
    assert kept < 0.8 * expected_kept


def test_a_mode_changed_between_the_passes_changes_no_gradient():
    torch.manual_seed(0)
    block = Bottleneck(InvertedResidual(8, 8, act_layer=nn.ReLU6, norm_layer=BatchNormAct2d)).eval()
    pixels = torch.randn(4, 8, 12, 12)
    gradients = []
    for changes in (False, True):
        block.eval().zero_grad()
        answer = block(pixels)
        block.train(changes)
        answer.square().sum().backward()
        gradients.append([weight.grad.clone() for weight in block.parameters() if weight.grad is not None])
        assert all(module.training == changes for module in block.modules())
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other)


def test_pictures_and_weights_lie_in_memory_as_convolutions_want_them():
    """Channels last: for the tensor cores of a GPU, as for processors."""
    backbone = load_backbone("efficientnet-lite0")
    pixels = backbone.collate(backbone.prepare([square("china.jpg", 160)] * 2))["pixels"]
    weights = [module.weight for module in backbone.modules() if isinstance(module, nn.Conv2d)]
    assert all(tensor.is_contiguous(memory_format=torch.channels_last) for tensor in [pixels, *weights])
    with torch.inference_mode():
        hidden = backbone.embed({"pixels": pixels}).hidden
    assert hidden.is_contiguous(memory_format=torch.channels_last)
