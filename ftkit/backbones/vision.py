"""EfficientNet-Lite0: a small convolutional network that sees pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import timm
import torch
from timm.layers import pad_same
from timm.models import EfficientNet
from torch import Tensor, nn

from ftkit.backbones.base import Backbone, Embedded, Targets
from ftkit.backbones.checkpointing import checkpointed
from ftkit.errors import AssetError

ARCHITECTURE = "tf_efficientnet_lite0"


PICTURES_AT_ONCE = 8
"""Pictures whose depthwise gradients are computed together."""


class Normalise(nn.Module):
    """Pixels 0..255 to about -1..1, as the TensorFlow port was trained."""

    def forward(self, pixels: Tensor) -> Tensor:
        """Scale a uint8 batch (batch, 3, height, width) to float32."""
        return (pixels.float() - 127.0) / 128.0


class Stem(nn.Module):
    """Pixels to the first feature map."""

    def __init__(self, convolution: nn.Module, norm: nn.Module) -> None:
        super().__init__()
        self.normalise = Normalise()
        self.convolution = convolution
        self.norm = norm

    def forward(self, batch: dict[str, Tensor]) -> Embedded:
        """Embed ``pixels`` (batch, 3, height, width); every place of the map counts."""
        return Embedded(self.norm(self.convolution(self.normalise(batch["pixels"]))))


class DepthwiseConvolution(nn.Module):
    """A depthwise convolution with "same" padding, whose gradient is computed in float32 on a CPU.

    In bf16 the kernels that torch 2.9 has for its gradient on a CPU are several times slower than in float32, while
    those of all other convolutions are faster; under autocast this layer would cost what the rest gains.

    Parameters
    ----------
    convolution
        The timm layer whose weight it takes over.
    """

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__()
        self.weight = convolution.weight
        self.kernel_size = list(convolution.kernel_size)
        self.stride = list(convolution.stride)

    def forward(self, pixels: Tensor) -> Tensor:
        """Convolve (batch, channels, height, width), each channel by itself."""
        device = pixels.device.type
        weight = self.weight
        if torch.is_autocast_enabled(device):
            kind = torch.get_autocast_dtype(device)
            pixels, weight = pixels.to(kind), weight.to(kind)
        if self.stride == [1, 1]:  # "same" is symmetric then, and the convolution pads without a copy
            return _Depthwise.apply(pixels, weight, self.stride, [size // 2 for size in self.kernel_size])
        return _Depthwise.apply(pad_same(pixels, self.kernel_size, self.stride), weight, self.stride, [0, 0])


class _Depthwise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, pixels: Tensor, weight: Tensor, stride: list[int], padding: list[int]) -> Tensor:
        ctx.save_for_backward(pixels, weight)
        ctx.stride, ctx.padding = stride, padding
        return nn.functional.conv2d(pixels, weight, stride=stride, padding=padding, groups=len(weight))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        pixels, weight = ctx.saved_tensors
        (gradient,) = gradients
        wants_pixels, wants_weight, *_ = ctx.needs_input_grad
        slow_in_bf16 = wants_weight or ctx.stride != [1, 1]
        kind = torch.float32 if slow_in_bf16 and gradient.device.type == "cpu" else gradient.dtype
        for_pixels = torch.empty_like(pixels) if wants_pixels else None
        for_weight = torch.zeros_like(weight, dtype=kind) if wants_weight else None
        # a few pictures at a time: the float32 copies of a whole batch would be the largest tensors of the training
        for start in range(0, len(pixels), PICTURES_AT_ONCE):
            some = slice(start, start + PICTURES_AT_ONCE)
            part_pixels, part_weight, _ = torch.ops.aten.convolution_backward(
                gradient[some].to(kind),
                pixels[some].to(kind),
                weight.to(kind),
                None,
                ctx.stride,
                ctx.padding,
                [1, 1],
                False,
                [0, 0],
                len(weight),
                [wants_pixels, wants_weight, False],
            )
            if for_pixels is not None:
                for_pixels[some] = part_pixels
            if for_weight is not None:
                for_weight += part_weight
        return for_pixels, None if for_weight is None else for_weight.to(weight.dtype), None, None


class Bottleneck(nn.Module):
    """Convolutions, each followed by batch normalisation, which keep what the convolutions give and no more.

    The backward pass normalises again: that takes little time, and the normalised maps, which are the widest of the
    network, take more memory than all else. The whole batch is normalised at once as before; nothing is approximated.

    Parameters
    ----------
    block
        The timm block whose layers it takes over, with their names; depthwise convolutions become ours.

    References
    ----------
    Pleiss et al. 2017, arXiv:1707.06990, section 3, shares this memory in DenseNet by the same means.
    """

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        for name, layer in block.named_children():
            if isinstance(layer, nn.Conv2d) and layer.groups == layer.in_channels:
                self.add_module(name, DepthwiseConvolution(layer))
            elif not isinstance(layer, nn.Identity):
                self.add_module(name, layer)
        self.has_skip = bool(block.has_skip)

    def forward(self, pixels: Tensor) -> Tensor:
        """Apply the layers to (batch, channels, height, width); where the shape stays, add them to the input."""
        first, *pairs, last = self.children()
        hidden = first(pixels)
        for norm, convolution in zip(pairs[::2], pairs[1::2], strict=True):
            if torch.is_grad_enabled():
                hidden = checkpointed(_normalise_and_convolve, norm, hidden, convolution)
            else:
                hidden = convolution(norm(hidden))
        hidden = last(hidden)
        return pixels + hidden if self.has_skip else hidden


def _normalise_and_convolve(norm: nn.Module, hidden: Tensor, convolution: nn.Module) -> Tensor:
    return convolution(norm(hidden))


class EfficientNetBackbone(Backbone):
    """EfficientNet-Lite0 with global average pooling.

    Its blocks are the seven stages and the last 1x1 convolution.

    Parameters
    ----------
    name
        Catalog name.
    model
        The timm model whose stem, stages and last convolution are used.
    image_size
        Height and width of the pictures in pixels.
    """

    modality: ClassVar[str] = "image"
    pass_length = 16
    targets: ClassVar[Targets] = Targets(
        linear_maps=r".*blocks\.\d+\.(\d+\.conv_pwl?|convolution)",
        sublayer_outputs=r".*blocks\.(0\.\d+\.bn2|[1-6]\.\d+\.bn3)",
        feed_forward_outputs=r".*blocks\.(0\.\d+\.bn2|[1-6]\.\d+\.bn3)",
        prompt=r"(.*\.)?embed\.normalise",
        scaled_inputs=r".*blocks\.(0\.\d+\.conv_pw|[1-6]\.\d+\.conv_pwl)",
        left_out="The depthwise convolutions stay as they are: their groups leave no low-rank matrix to learn.",
    )

    def __init__(self, name: str, model: EfficientNet, image_size: int = 160) -> None:
        super().__init__()
        self.name = name
        self.image_size = image_size
        self.width = model.num_features
        self.embed = Stem(model.conv_stem, model.bn1)
        stages = [nn.Sequential(*(Bottleneck(block) for block in stage)) for stage in model.blocks]
        last = nn.Sequential()
        last.add_module("convolution", model.conv_head)
        last.add_module("norm", model.bn2)
        self.blocks = nn.ModuleList([*stages, last])
        self.norm = nn.Identity()
        # the layout in memory that a batch of pictures has anyway, and in which convolutions are fastest
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @classmethod
    def load(cls, name: str, folder: Path, *, image_size: int = 160) -> EfficientNetBackbone:
        """Read the weights from the folder of the catalog's asset."""
        return cls(name, load_imagenet_model(folder), image_size)

    @property
    def settings(self) -> dict[str, Any]:
        """Keyword arguments with which `load_backbone` builds the same backbone again."""
        return {"image_size": self.image_size}

    @property
    def block_names(self) -> list[str]:
        """One short name for each block, from input to output."""
        return [*(f"stage {number}" for number in range(1, len(self.blocks))), "last convolution"]

    def prepare(self, items: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Keep pictures as they are: uint8 arrays (height, width, 3)."""
        return list(items)

    def collate(self, inputs: Sequence[np.ndarray]) -> dict[str, Tensor]:
        """Stack pictures of one size; pixels travel as uint8."""
        return {"pixels": torch.from_numpy(np.stack(inputs)).permute(0, 3, 1, 2)}

    def run_block(self, block: nn.Module, hidden: Tensor, attends: Tensor | None) -> Tensor:
        """Apply one stage."""
        return block(hidden)

    def sequence(self, hidden: Tensor) -> Tensor:
        """Arrange the last feature map as a sequence of its places."""
        return hidden.flatten(2).transpose(1, 2)

    def reset_parameters(self) -> None:
        """Replace every weight by timm's own random initialisation of the architecture."""
        fresh = timm.create_model(ARCHITECTURE, pretrained=False)
        self.copy_weights(EfficientNetBackbone(self.name, fresh))


def load_imagenet_model(folder: Path) -> nn.Module:
    """Load the whole ImageNet-1k classifier, its 1,000-class output layer included.

    The published file names its tensors differently from timm but holds them in the same order and of the same shapes.

    Parameters
    ----------
    folder
        Folder of the fetched asset.

    Returns
    -------
    torch.nn.Module
        A timm ``tf_efficientnet_lite0`` in eval mode; input is ``(pixels - 127) / 128``, (batch, 3, height, width).

    Raises
    ------
    AssetError
        If a tensor's shape does not fit.
    """
    path = next(folder.rglob("*.pth"))
    stored = torch.load(path, map_location="cpu", weights_only=True)
    model = timm.create_model(ARCHITECTURE, pretrained=False)
    expected = model.state_dict()
    shapes_agree = [tensor.shape for tensor in stored.values()] == [tensor.shape for tensor in expected.values()]
    if not shapes_agree:
        raise AssetError(
            f"{path.name} does not hold EfficientNet-Lite0 as timm {timm.__version__} builds it: "
            f"its {len(stored)} tensors do not fit the model's {len(expected)}. Install the timm of constraints.txt."
        )
    model.load_state_dict(dict(zip(expected, stored.values(), strict=True)))
    return model.eval()
