"""Attention as fast as a CPU computes it at the lengths of sentences and words."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from ftkit.backbones.dropout import dropout as drop
from ftkit.backbones.packing import Packing

ATTENTION = "ftkit"
"""Name under which transformers' models find `attend`."""


def attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Packing | Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    **options: Any,
) -> tuple[Tensor, Tensor | None]:
    """Scaled dot-product attention, in the form in which transformers' models call it.

    On a CPU it is written out: torch's own plain kernel computes it in float32 under autocast, and its flash kernel is
    slow in the backward pass at the lengths of sentences. Elsewhere torch chooses.

    Parameters
    ----------
    module
        The layer that attends.
    query, key, value
        Float tensors (batch, heads, positions, width); with a packing (1, heads, positions, width). Keys and values
        that come before the first position are every item's.
    attention_mask
        How items are packed into one sequence, each of which looks at itself alone; or a bool tensor
        (batch, 1, 1 or positions, positions), true where attention may look; None where it may look everywhere.
    dropout
        Share of the weights that is dropped, default 0.
    scaling
        What the products are multiplied by; None, the default, is one over the root of the width.

    Returns
    -------
    tuple
        Float tensor (batch, positions, heads, width), and None for the weights, which are not kept.

    References
    ----------
    Vaswani et al. 2017, arXiv:1706.03762, section 3.2.1.
    """
    kernel = attend_on_cpu if query.device.type == "cpu" else sdpa_attention_forward
    if not isinstance(attention_mask, Packing):
        return kernel(module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **options)
    packing, before = attention_mask, key.shape[2] - query.shape[2]
    visible = functional.pad(packing.attends, (before, 0), value=True)[:, None, None, :]
    key, value = (_unpacked(states, packing, before) for states in (key, value))
    query = _unpacked(query, packing)
    attended, _ = kernel(module, query, key, value, visible, dropout=dropout, scaling=scaling, **options)
    return packing.pack(attended), None


def _unpacked(states: Tensor, packing: Packing, before: int = 0) -> Tensor:
    """States of packed positions, item by item, (batch, heads, positions, width), after those that are every item's."""
    own = packing.unpack(states[:, :, before:].transpose(1, 2)).transpose(1, 2)
    return torch.cat([states[:, :, :before].expand(len(own), -1, -1, -1), own], dim=2) if before else own


def attend_on_cpu(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    **options: Any,
) -> tuple[Tensor, None]:
    """Attention written out, for items that are not packed; see `attend`."""
    scaling = query.shape[-1] ** -0.5 if scaling is None else scaling
    scores = torch.matmul(query * scaling, key.transpose(-1, -2))
    if attention_mask is not None:
        scores = scores + torch.zeros_like(attention_mask, dtype=scores.dtype).masked_fill(~attention_mask, -torch.inf)
    weights = drop(scores.softmax(dim=-1), dropout)
    return torch.matmul(weights, value).transpose(1, 2).contiguous(), None


AttentionInterface.register(ATTENTION, attend)
