"""Depthwise convolutions whose gradients a CPU computes in little more time than the convolutions.

The kernels that torch 2.9 has on a CPU for these gradients are fast for weights of 3 x 3, and in float32. Those of
5 x 5, and those towards the pixels in bf16, take many times as long as the forward pass. Both can be had from fast
ones: where the map keeps its size, the gradient towards the pixels is a depthwise convolution itself, and weights of
5 x 5 are weights of 3 x 3 side by side.
"""

from __future__ import annotations

from itertools import product
from typing import Any

import torch
from timm.layers import pad_same
from torch import Tensor, nn
from torch.nn.functional import conv2d

FAST_SIDE = 3
"""Side of the weights whose gradient torch computes fast."""
PICTURES_AT_ONCE = 8
"""Pictures whose gradients are computed together; copies of a whole batch would be the largest tensors of all."""


class DepthwiseConvolution(nn.Module):
    """A depthwise convolution with "same" padding.

    Parameters
    ----------
    convolution
        The timm layer whose weight it takes over; as high as wide, of an odd side.
    """

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__()
        self.weight = convolution.weight
        self.stride = convolution.stride[0]

    def forward(self, pixels: Tensor) -> Tensor:
        """Convolve (batch, channels, height, width), each channel by itself."""
        device = pixels.device.type
        weight = self.weight
        if torch.is_autocast_enabled(device):
            kind = torch.get_autocast_dtype(device)
            pixels, weight = pixels.to(kind), weight.to(kind)
        run = _Depthwise.apply if device == "cpu" else convolve
        return run(pixels, weight, self.stride)


def convolve(pixels: Tensor, weight: Tensor, stride: int) -> Tensor:
    """Convolve every channel by itself; the result is ``stride`` times smaller, rounded up.

    Parameters
    ----------
    pixels
        (batch, channels, height, width).
    weight
        (channels, 1, side, side) of the same dtype; the side is odd.
    stride
        Pixels from one place of the kernel to the next.

    Examples
    --------
    >>> convolve(torch.ones(1, 2, 4, 4), torch.ones(2, 1, 3, 3), 2)[0, 0].tolist()
    [[9.0, 6.0], [6.0, 4.0]]
    """
    side = weight.shape[-1]
    if stride == 1:  # "same" is symmetric then, and the convolution pads without a copy
        return conv2d(pixels, weight, padding=side // 2, groups=len(weight))
    return conv2d(_padded(pixels, side, stride), weight, stride=stride, groups=len(weight))


def _padded(pixels: Tensor, side: int, stride: int) -> Tensor:
    return pad_same(pixels, [side, side], [stride, stride])


class _Depthwise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, pixels: Tensor, weight: Tensor, stride: int) -> Tensor:
        ctx.save_for_backward(pixels, weight)
        ctx.stride = stride
        return convolve(pixels, weight, stride)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        pixels, weight = ctx.saved_tensors
        (gradient,) = gradients
        wants_pixels, wants_weight, _ = ctx.needs_input_grad
        for_pixels = torch.empty_like(pixels) if wants_pixels else None
        for_weight = torch.zeros_like(weight, dtype=torch.float32) if wants_weight else None
        for start in range(0, len(pixels), PICTURES_AT_ONCE):
            some = slice(start, start + PICTURES_AT_ONCE)
            if for_pixels is not None:
                for_pixels[some] = _towards_pixels(gradient[some], pixels[some], weight, ctx.stride)
            if for_weight is not None:
                for_weight += _towards_weight(gradient[some], pixels[some], weight, ctx.stride)
        return for_pixels, None if for_weight is None else for_weight.to(weight.dtype), None


def _towards_pixels(gradient: Tensor, pixels: Tensor, weight: Tensor, stride: int) -> Tensor:
    """Where the map keeps its size, the gradient convolved with the weights turned round; else torch's in float32."""
    if stride == 1:
        return convolve(gradient, weight.flip(2, 3), stride)
    padded = _padded(pixels, weight.shape[-1], stride)
    found, _ = _torchs(gradient.float(), padded.float(), weight.float(), stride, 0, (True, False))
    height, width = pixels.shape[2:]
    top, left = (found.shape[2] - height) // 2, (found.shape[3] - width) // 2
    return found[:, :, top : top + height, left : left + width]


def _towards_weight(gradient: Tensor, pixels: Tensor, weight: Tensor, stride: int) -> Tensor:
    """A few of the weights at a time; where two such parts overlap they find the same."""
    side = weight.shape[-1]
    if (side, stride) == (FAST_SIDE, 1):
        return _torchs(gradient, pixels, weight, stride, side // 2, (False, True))[1]
    padded = _padded(pixels, side, stride)
    height, width = (stride * (size - 1) + FAST_SIDE for size in gradient.shape[2:])
    found = torch.empty_like(weight)
    starts = sorted({*range(0, side - FAST_SIDE, FAST_SIDE), side - FAST_SIDE})
    for top, left in product(starts, repeat=2):
        met = padded[:, :, top : top + height, left : left + width].contiguous(memory_format=torch.channels_last)
        part = (slice(None), slice(None), slice(top, top + FAST_SIDE), slice(left, left + FAST_SIDE))
        found[part] = _torchs(gradient, met, weight[part].contiguous(), stride, 0, (False, True))[1]
    return found


def _torchs(
    gradient: Tensor, pixels: Tensor, weight: Tensor, stride: int, padding: int, wanted: tuple[bool, bool]
) -> tuple[Tensor, Tensor]:
    """Gradients as torch computes them, towards the pixels and of the weights."""
    for_pixels, for_weight, _ = torch.ops.aten.convolution_backward(
        gradient,
        pixels,
        weight,
        None,
        [stride, stride],
        [padding, padding],
        [1, 1],
        False,
        [0, 0],
        len(weight),
        [*wanted, False],
    )
    return for_pixels, for_weight
