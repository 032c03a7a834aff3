"""Depthwise convolutions whose gradients a CPU computes in little more time than the convolutions.

The kernels that torch 2.9 has on a CPU for these gradients are fast for weights of 3 x 3, and in float32. Those of
5 x 5, and those towards the pixels in bf16, take many times as long as the forward pass. Both can be had from fast
ones: the gradient towards the pixels is a depthwise convolution itself, and weights of 5 x 5 are weights of 3 x 3 side
by side.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any

import torch
from timm.layers import pad_same
from torch import Tensor, nn
from torch.nn.functional import conv2d, pad

FAST_SIDE = 3
"""Side of the weights whose gradient torch computes fast."""
BYTES_AT_ONCE = 3_000_000
"""Of the maps that are handled together; copies of a whole batch's would be the largest tensors of all."""


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
    weight, padding = padded_alike(weight, pixels.shape[2:], stride)
    return conv2d(pixels, weight, stride=stride, padding=padding, groups=len(weight))


def padded_alike(weight: Tensor, sizes: Sequence[int], stride: int) -> tuple[Tensor, tuple[int, int]]:
    """Make "same" padding as wide before the pixels as behind them, so that the convolution pads without a copy.

    Where it is one wider behind, a row of zeros before the weight's own makes up for it.

    Parameters
    ----------
    weight
        (channels, 1, side, side).
    sizes
        Height and width of the pixels.
    stride
        See `convolve`.

    Returns
    -------
    weight, padding
        What to convolve with, and the padding of both ends of the height and of the width.

    Examples
    --------
    >>> weight, padding = padded_alike(torch.ones(2, 1, 3, 3), (4, 5), 2)
    >>> weight.shape, padding
    (torch.Size([2, 1, 4, 3]), (1, 1))
    """
    side = weight.shape[-1]
    missing = [max((-(-size // stride) - 1) * stride + side - size, 0) for size in sizes]
    rows, columns = (each % 2 for each in missing)
    if rows or columns:
        weight = pad(weight, (columns, 0, rows, 0))
    return weight, (-(-missing[0] // 2), -(-missing[1] // 2))


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
        for some in few_at_once(pixels):
            if for_pixels is not None:
                for_pixels[some] = towards_pixels(gradient[some], pixels[some], weight, ctx.stride)
            if for_weight is not None:
                for_weight += towards_weight(gradient[some], pixels[some], weight, ctx.stride)
        return for_pixels, None if for_weight is None else for_weight.to(weight.dtype), None


def few_at_once(maps: Tensor) -> Iterator[slice]:
    """Yield slices of a batch that hold at most `BYTES_AT_ONCE`, or one item where that is more.

    Parameters
    ----------
    maps
        (batch, ...), not empty.

    Examples
    --------
    >>> list(few_at_once(torch.zeros(5, 350_000)))
    [slice(0, 2, None), slice(2, 4, None), slice(4, 6, None)]
    """
    count = max(1, BYTES_AT_ONCE // maps[0].nbytes)
    for start in range(0, len(maps), count):
        yield slice(start, start + count)


def towards_pixels(gradient: Tensor, pixels: Tensor, weight: Tensor, stride: int) -> Tensor:
    """Gradient of `convolve` towards the pixels: the weights turned round convolve the result's gradient.

    Parameters
    ----------
    gradient
        Of the result, (batch, channels, height, width) divided by ``stride`` and rounded up, of the weight's dtype.
    pixels, weight, stride
        What `convolve` was given.

    Returns
    -------
    torch.Tensor
        Shape and dtype of ``pixels``.
    """
    if stride == 1:
        return convolve(gradient, weight.flip(2, 3), stride)
    # places lie ``stride`` pixels apart, with zeros between
    count, channels, *sizes = pixels.shape
    side = weight.shape[-1]
    wide = (count, channels, *(size + side - 1 for size in sizes))
    apart = torch.empty(wide, dtype=gradient.dtype, memory_format=torch.channels_last).zero_()
    rows, columns = (_places(size, met, side, stride) for size, met in zip(sizes, gradient.shape[2:], strict=True))
    apart[:, :, rows, columns] = gradient
    return conv2d(apart, weight.flip(2, 3), groups=len(weight))


def _places(size: int, met: int, side: int, stride: int) -> slice:
    """Where the gradient of ``met`` places goes on one side of a map of ``size`` pixels, padded as "same" pads it."""
    span = (met - 1) * stride + 1
    first = side - 1 - max(span + side - 1 - size, 0) // 2
    return slice(first, first + span, stride)


def towards_weight(gradient: Tensor, pixels: Tensor, weight: Tensor, stride: int) -> Tensor:
    """Gradient of `convolve` of the weights, a few of them at a time; where two such parts overlap they find the same.

    Parameters
    ----------
    gradient, pixels, weight, stride
        See `towards_pixels`.

    Returns
    -------
    torch.Tensor
        Shape and dtype of ``weight``.
    """
    side = weight.shape[-1]
    if (side, stride) == (FAST_SIDE, 1):
        return _torchs_towards_weight(gradient, pixels, weight, stride, side // 2)
    padded = _padded(pixels, side, stride)
    height, width = (stride * (size - 1) + FAST_SIDE for size in gradient.shape[2:])
    found = torch.empty_like(weight)
    starts = sorted({*range(0, side - FAST_SIDE, FAST_SIDE), side - FAST_SIDE})
    for top, left in product(starts, repeat=2):
        met = padded[:, :, top : top + height, left : left + width].contiguous(memory_format=torch.channels_last)
        part = (slice(None), slice(None), slice(top, top + FAST_SIDE), slice(left, left + FAST_SIDE))
        found[part] = _torchs_towards_weight(gradient, met, weight[part].contiguous(), stride, 0)
    return found


def _torchs_towards_weight(gradient: Tensor, pixels: Tensor, weight: Tensor, stride: int, padding: int) -> Tensor:
    """Compute the gradient of the weights by torch's kernel."""
    return torch.ops.aten.convolution_backward(
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
        [False, True, False],
    )[1]
