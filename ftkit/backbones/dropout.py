"""Dropout at a price that a CPU can pay.

torch draws the mask of a dropout on a CPU one number after the other, which is among the dearest parts of a small
BERT's training step. A generator that makes 64 random bits at a time, four numbers of 16, is several times faster.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

LEVELS = 2**16
NUMBERS_A_DRAW = 4
"""How many numbers of 16 bits are made of one of 64."""


def dropout_mask(shape: torch.Size, share: float, dtype: torch.dtype) -> Tensor:
    """Draw what a dropout multiplies by: zero for the dropped, and for the others what keeps the mean.

    Parameters
    ----------
    shape
        Shape of what is dropped from.
    share
        Share that is dropped, 0 to 1, rounded to 1/65536.
    dtype
        Type of the result.

    Returns
    -------
    torch.Tensor
        On the CPU. It depends on torch's generator alone, so that ``torch.manual_seed`` repeats it.

    Examples
    --------
    >>> mask = dropout_mask(torch.Size([1000, 1000]), 0.25, torch.float32)
    >>> mask.unique().tolist()
    [0.0, 1.3333333730697632]
    >>> abs(float((mask == 0).float().mean()) - 0.25) < 0.01
    True
    """
    dropped = round(share * LEVELS)
    if dropped == LEVELS:
        return torch.zeros(shape, dtype=dtype)
    seed = int(torch.randint(2**62, ()))
    count = shape.numel()
    draws = np.random.SFC64(seed).random_raw(-(-count // NUMBERS_A_DRAW))
    stays = draws.view(np.uint16)[:count] >= dropped
    return torch.from_numpy(stays).to(dtype).mul_(LEVELS / (LEVELS - dropped)).view(shape)


def dropout(hidden: Tensor, share: float) -> Tensor:
    """Drop a share of the values at random and scale the others up, as in training.

    Parameters
    ----------
    hidden
        Float tensor of any shape.
    share
        Share that is dropped, 0 to 1.

    Returns
    -------
    torch.Tensor
        Of the same shape, type and mean.

    References
    ----------
    Srivastava et al. 2014, Journal of Machine Learning Research 15.
    """
    if not share:
        return hidden
    if hidden.device.type != "cpu":
        return nn.functional.dropout(hidden, share)
    return hidden * dropout_mask(hidden.shape, share, hidden.dtype)


class Dropout(nn.Dropout):
    """torch's dropout with masks that are drawn faster on a CPU."""

    def forward(self, hidden: Tensor) -> Tensor:
        """Drop in training; in eval mode nothing changes."""
        return dropout(hidden, self.p) if self.training else hidden


def with_fast_dropout(module: nn.Module) -> nn.Module:
    """Replace every dropout below a module by ours."""
    for name, child in module.named_children():
        if type(child) is nn.Dropout:
            setattr(module, name, Dropout(child.p))
        else:
            with_fast_dropout(child)
    return module
