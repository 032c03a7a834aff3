"""EfficientNet-Lite0: a small convolutional network that sees pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import timm
import torch
from timm.models import EfficientNet
from torch import Tensor, nn

from ftkit.backbones.base import Backbone, Embedded, Targets
from ftkit.backbones.depthwise import DepthwiseConvolution
from ftkit.backbones.fused import fused_convolution
from ftkit.backbones.normalised import normalise_and_convolve
from ftkit.backbones.packing import Packing
from ftkit.errors import AssetError

ARCHITECTURE = "tf_efficientnet_lite0"


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


class Bottleneck(nn.Module):
    """Convolutions, each followed by batch normalisation, which keep what the convolutions give and no more.

    Parameters
    ----------
    block
        The timm block whose layers it takes over, with their names; depthwise convolutions become ours.
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
        layers = list(self.children())
        hidden, pending = pixels, None
        for convolution, norm in zip(layers[::2], layers[1::2], strict=True):
            fused = fused_convolution(convolution, norm, hidden) if pending is None else None
            if fused is not None:
                hidden = fused
                continue
            hidden = convolution(hidden) if pending is None else normalise_and_convolve(pending, hidden, convolution)
            pending = norm
        if pending is not None:
            hidden = pending(hidden)
        return pixels + hidden if self.has_skip else hidden


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
    pass_length: ClassVar[int] = 16
    targets: ClassVar[Targets] = Targets(
        # depthwise convolutions stay as they are: their groups leave no low-rank matrix to learn
        linear_maps=r".*blocks\.\d+\.(\d+\.conv_pwl?|convolution)",
        sublayer_outputs=r".*blocks\.(0\.\d+\.bn2|[1-6]\.\d+\.bn3)",
        feed_forward_outputs=r".*blocks\.(0\.\d+\.bn2|[1-6]\.\d+\.bn3)",
        prompt=r"(.*\.)?embed\.normalise",
        scaled_inputs=r".*blocks\.(0\.\d+\.conv_pw|[1-6]\.\d+\.conv_pwl)",
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

    def run_block(self, block: nn.Module, hidden: Tensor, packing: Packing | None) -> Tensor:
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
