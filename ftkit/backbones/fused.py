"""A convolution with the batch normalisation and the activation after it in one, where the statistics stand still.

Normalising by statistics that do not change multiplies every channel by a number and adds another. The one goes into
the weight of the convolution, the other is its bias, and the activation is applied before a pixel is ever written: the
widest maps are written once where they were written three times and read twice.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import hardtanh_

from ftkit.backbones.convolutions import (
    HIGHEST,
    convolve,
    is_depthwise,
    is_norm_with_relu6,
    stride_of,
    towards_pixels,
    towards_weight,
    whole_weight,
)
from ftkit.backbones.depthwise import few_at_once, padded_alike


def fused_convolution(convolution: nn.Module, norm: nn.Module, pixels: Tensor) -> Tensor | None:
    """Compute ``norm(convolution(pixels))`` at once.

    Parameters
    ----------
    convolution
        Depthwise or 1x1.
    norm
        Batch normalisation with ReLU6. One without an activation is left alone: it is where adapters attach, and closes
        what IA3 scales, and a model whose adapters are switched off must compute what it did before, to the last bit.
    pixels
        (batch, channels, height, width).

    Returns
    -------
    torch.Tensor or None
        (batch, output channels, height, width), under autocast of its dtype. None where the two can't be one: the norm
        renews its statistics, something was put around one of them that is no weight, or the pixels lie on a GPU.

    References
    ----------
    Jacob et al. 2018, arXiv:1712.05877, section 3.2, fold batch normalisation into the weights.
    """
    if pixels.device.type != "cpu" or norm.training or not is_norm_with_relu6(norm):
        return None
    weight = whole_weight(convolution)
    if weight is None or _costs_a_gradient(weight, norm):
        return None
    dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else weight.dtype
    with torch.autocast("cpu", enabled=False):
        folded, shift = _folded(weight, norm)
        return _FusedConvolution.apply(pixels.to(dtype), folded.to(dtype), shift, stride_of(convolution))


def _folded(weight: Tensor, norm: Any) -> tuple[Tensor, Tensor]:
    """Weight and bias, (output channels,), of a convolution that normalises what it gives."""
    factor = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
    return weight * factor.view(-1, 1, 1, 1), norm.bias - norm.running_mean * factor


def _costs_a_gradient(weight: Tensor, norm: Any) -> bool:
    """Whether only the norm's scale trains: by itself it would not need the gradient of the whole weight."""
    return torch.is_grad_enabled() and norm.weight.requires_grad and not weight.requires_grad


class _FusedConvolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, pixels: Tensor, weight: Tensor, shift: Tensor, stride: int) -> Tensor:
        result = _computed(pixels, weight, shift, stride)
        ctx.save_for_backward(pixels, weight, result)
        ctx.stride = stride
        return result

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        pixels, weight, result = ctx.saved_tensors
        (gradient,) = gradients
        wants_pixels, wants_weight, wants_shift = ctx.needs_input_grad[:3]
        for_pixels = torch.empty_like(pixels) if wants_pixels else None
        for_weight = torch.zeros_like(weight, dtype=torch.float32) if wants_weight else None
        for_shift = torch.zeros(len(weight)) if wants_shift else None
        for some in few_at_once(gradient):
            # what the activation gave tells where it lets gradients through
            part = torch.ops.aten.hardtanh_backward(gradient[some], result[some], 0.0, HIGHEST)
            if for_pixels is not None:
                for_pixels[some] = towards_pixels(part, pixels[some], weight, ctx.stride)
            if for_weight is not None:
                for_weight += towards_weight(part, pixels[some], weight, ctx.stride)
            if for_shift is not None:
                for_shift += part.sum((0, 2, 3), dtype=torch.float32)
        return for_pixels, None if for_weight is None else for_weight.to(weight.dtype), for_shift, None


def _computed(pixels: Tensor, weight: Tensor, shift: Tensor, stride: int) -> Tensor:
    if not _kernel_takes(pixels.dtype):
        result = convolve(pixels, weight, stride) + shift.view(-1, 1, 1)
        return hardtanh_(result.to(weight.dtype), 0.0, HIGHEST)
    padding, groups = (0, 0), 1
    if is_depthwise(weight):
        groups = len(weight)
        weight, padding = padded_alike(weight, pixels.shape[2:], stride)
    return torch.ops.mkldnn._convolution_pointwise(
        pixels, weight, shift, padding, [stride] * 2, [1, 1], groups, "hardtanh", [0.0, HIGHEST], None
    )


def _kernel_takes(dtype: torch.dtype) -> bool:
    """Whether oneDNN is there and has kernels of a dtype on this processor."""
    if not torch.backends.mkldnn.is_available():
        return False
    in_bf16 = dtype == torch.bfloat16 and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return dtype == torch.float32 or in_bf16
