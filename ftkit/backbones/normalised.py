"""Normalise, activate and convolve, without the normalised maps ever being there as a whole.

After batch normalisation the maps of a picture network are at their widest: keeping them for the backward pass takes
more memory than all else, and writing and reading them more time than computing them. Only the statistics need the
whole batch. With them a few pictures at a time are normalised and convolved, and in the backward pass normalised
again.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import batch_norm, hardtanh_

from ftkit.backbones.checkpointing import checkpointed
from ftkit.backbones.convolutions import (
    HIGHEST,
    convolve,
    is_norm_with_relu6,
    stride_of,
    towards_pixels,
    towards_weight,
    whole_weight,
)
from ftkit.backbones.depthwise import few_at_once


def normalise_and_convolve(norm: nn.Module, hidden: Tensor, convolution: nn.Module) -> Tensor:
    """Compute ``convolution(norm(hidden))`` and keep nothing but ``hidden`` for the backward pass.

    Modules that something was put around are checkpointed, unless they still come to one weight, as LoRA's do. On a GPU
    both are called one after the other, and `checkpointing` is what saves memory.

    Parameters
    ----------
    norm
        Batch normalisation with the activation that follows it.
    hidden
        (batch, channels, height, width).
    convolution
        The convolution after it.

    Returns
    -------
    torch.Tensor
        (batch, output channels, height, width), smaller where the convolution has a stride; under autocast of its
        dtype.

    References
    ----------
    Pleiss et al. 2017, arXiv:1707.06990, section 3, normalise again in the backward pass to save memory.
    """
    if hidden.device.type != "cpu":
        return _in_turn(norm, hidden, convolution)
    if is_norm_with_relu6(norm):
        weight = whole_weight(convolution)
        if weight is not None:
            return _joined(norm, hidden, weight, stride_of(convolution))
    if torch.is_grad_enabled():
        return checkpointed(_in_turn, norm, hidden, convolution)
    return _in_turn(norm, hidden, convolution)


def _in_turn(norm: nn.Module, hidden: Tensor, convolution: nn.Module) -> Tensor:
    return convolution(norm(hidden))


def _joined(norm: Any, hidden: Tensor, weight: Tensor, stride: int) -> Tensor:
    if torch.is_autocast_enabled("cpu"):
        weight = weight.to(torch.get_autocast_dtype("cpu"))
    mean, variance = _statistics(norm, hidden.detach())
    return _NormaliseAndConvolve.apply(
        hidden, norm.weight, norm.bias, weight, mean, variance, norm.eps, norm.training, stride
    )


def _statistics(norm: Any, hidden: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance to normalise with: in training those of the batch, which move the running ones."""
    if not norm.training:
        return norm.running_mean, norm.running_var
    if norm.num_batches_tracked is not None:
        norm.num_batches_tracked.add_(1)
    return torch.ops.aten.batch_norm_update_stats(hidden, norm.running_mean, norm.running_var, norm.momentum)


class _NormaliseAndConvolve(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        scale: Tensor,
        shift: Tensor,
        weight: Tensor,
        mean: Tensor,
        variance: Tensor,
        eps: float,
        of_batch: bool,
        stride: int,
    ) -> Tensor:
        ctx.save_for_backward(hidden, scale, shift, weight, mean, variance)
        ctx.eps, ctx.of_batch, ctx.stride = eps, of_batch, stride
        parts = [
            convolve(_normalised(hidden[some], scale, shift, mean, variance, eps).to(weight.dtype), weight, stride)
            for some in few_at_once(hidden)
        ]
        return torch.cat(parts) if len(parts) > 1 else parts[0]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        hidden, scale, shift, weight, mean, variance = ctx.saved_tensors
        (gradient,) = gradients
        *wants_norm, wants_weight = ctx.needs_input_grad[:4]
        normalised_gradient = torch.empty_like(hidden) if any(wants_norm) else None
        for_weight = torch.zeros_like(weight, dtype=torch.float32) if wants_weight else None
        for some in few_at_once(hidden):
            pixels = _normalised(hidden[some], scale, shift, mean, variance, ctx.eps).to(weight.dtype)
            if normalised_gradient is not None:
                for_pixels = towards_pixels(gradient[some], pixels, weight, ctx.stride)
                normalised_gradient[some] = torch.ops.aten.hardtanh_backward(for_pixels, pixels, 0.0, HIGHEST)
            if for_weight is not None:
                for_weight += towards_weight(gradient[some], pixels, weight, ctx.stride)
        for_norm: tuple[Tensor | None, ...] = (None, None, None)
        if normalised_gradient is not None:
            inverse_deviation = torch.rsqrt(variance + ctx.eps)
            for_norm = torch.ops.aten.native_batch_norm_backward(
                normalised_gradient,
                hidden,
                scale,
                mean,
                variance,
                mean,
                inverse_deviation,
                ctx.of_batch,
                ctx.eps,
                wants_norm,
            )
        return *for_norm, None if for_weight is None else for_weight.to(weight.dtype), *(None,) * 5


def _normalised(hidden: Tensor, scale: Tensor, shift: Tensor, mean: Tensor, variance: Tensor, eps: float) -> Tensor:
    return hardtanh_(batch_norm(hidden, mean, variance, scale, shift, training=False, eps=eps), 0.0, HIGHEST)
