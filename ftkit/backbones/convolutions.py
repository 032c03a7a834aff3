"""The layers of a picture network: convolutions that are one weight, depthwise or 1x1, and the norms between them."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import torch
from timm.layers import BatchNormAct2d
from torch import Tensor, nn
from torch.nn.functional import conv2d

from ftkit.backbones import depthwise
from ftkit.backbones.depthwise import DepthwiseConvolution

HIGHEST = 6.0
"""Where ReLU6 ends."""


def is_norm_with_relu6(norm: Any) -> bool:
    """Whether a module is batch normalisation with ReLU6 after it, and nothing put around it."""
    return type(norm) is BatchNormAct2d and isinstance(norm.act, nn.ReLU6)


@runtime_checkable
class HasWholeWeight(Protocol):
    """A 1x1 convolution that something was put around, such as LoRA, which may still be one weight in the end."""

    @property
    def bias(self) -> Tensor | None:
        """What is added after it, (output channels,)."""

    def whole_weight(self) -> Tensor | None:
        """Return all that it does, (output channels, input channels, 1, 1), or None where that is no weight."""


def whole_weight(convolution: Any) -> Tensor | None:
    """All that a depthwise or 1x1 convolution does, as a weight; None where a weight does not say it all."""
    if type(convolution) is DepthwiseConvolution:
        return convolution.weight
    if isinstance(convolution, HasWholeWeight):
        return None if convolution.bias is not None else convolution.whole_weight()
    pointwise = type(convolution) is nn.Conv2d and convolution.kernel_size == convolution.stride == (1, 1)
    bare = pointwise and convolution.groups == 1 and convolution.bias is None and convolution.padding == (0, 0)
    return convolution.weight if bare else None


def stride_of(convolution: nn.Module) -> int:
    """Pixels from one place of the kernel to the next, of a convolution that has a `whole_weight`."""
    return convolution.stride if isinstance(convolution, DepthwiseConvolution) else 1


def is_depthwise(weight: Tensor) -> bool:
    """Whether a `whole_weight` convolves every channel by itself."""
    return weight.shape[2:] != (1, 1)


def convolve(pixels: Tensor, weight: Tensor, stride: int) -> Tensor:
    """Convolve with a whole weight.

    Parameters
    ----------
    pixels
        (batch, channels, height, width), of the weight's dtype.
    weight
        (channels, 1, side, side), or (output channels, channels, 1, 1).
    stride
        Of a depthwise convolution.

    Examples
    --------
    >>> convolve(torch.ones(1, 2, 4, 4), torch.ones(3, 2, 1, 1), 1)[0, :, 0, 0].tolist()
    [2.0, 2.0, 2.0]
    """
    return depthwise.convolve(pixels, weight, stride) if is_depthwise(weight) else conv2d(pixels, weight)


def towards_pixels(gradient: Tensor, pixels: Tensor, weight: Tensor, stride: int) -> Tensor:
    """Gradient of `convolve` towards the pixels, of their shape and dtype."""
    if is_depthwise(weight):
        return depthwise.towards_pixels(gradient, pixels, weight, stride)
    return conv2d(gradient, weight.transpose(0, 1))


def towards_weight(gradient: Tensor, pixels: Tensor, weight: Tensor, stride: int) -> Tensor:
    """Gradient of `convolve` towards the weight, of its shape and dtype."""
    if is_depthwise(weight):
        return depthwise.towards_weight(gradient, pixels, weight, stride)
    return torch.ops.aten.convolution_backward(
        gradient, pixels, weight, None, [1, 1], [0, 0], [1, 1], False, [0, 0], 1, [False, True, False]
    )[1]
