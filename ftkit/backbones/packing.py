"""Padding left out: the positions of a batch that hold data, one after the other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

LONG = 1024
"""Positions above which a packed sequence is long, as few are in training."""
STEP, LONG_STEP = 64, 256
"""Of what the length of a packed sequence, and of a long one, is a multiple."""
Move = Callable[[Tensor, Tensor, int], Tensor]
"""Takes rows, places and how many rows come of them."""


@dataclass(frozen=True)
class Packing:
    """Where the data of a padded batch lie, and how they follow each other when they are packed.

    All of a transformer but its attention works position by position, so that a batch can go through it as one
    sequence without the padding; attention pads its queries, keys and values again (`ftkit.backbones.attention`). The
    results are the same.

    Attributes
    ----------
    attends
        Bool tensor (batch, positions): positions that hold data.
    places
        Int64 tensor (data,): where these lie in the batch, were its rows one after the other.

    References
    ----------
    Krell et al. 2021, arXiv:2107.02027: sequences packed so that none attends to another.

    Examples
    --------
    >>> packing = Packing.of(torch.tensor([[True, False], [True, True]]))
    >>> packing.places.tolist()
    [0, 2, 3]
    >>> packing.pack(torch.ones(2, 2, 5)).shape
    torch.Size([1, 64, 5])
    """

    attends: Tensor
    places: Tensor

    @classmethod
    def of(cls, attends: Tensor) -> Packing:
        """Pack what attention may look at."""
        return cls(attends, attends.flatten().nonzero().squeeze(1))

    @property
    def length(self) -> int:
        """Positions of the packed sequence: those that hold data, and zeros up to a multiple of 64 (long ones: of 256).

        A CPU prepares its kernels for every shape that it meets, and keeps them: multiples of 32 would save a little
        more time, and take far more memory.
        """
        step = STEP if len(self.places) <= LONG else LONG_STEP
        return -(-len(self.places) // step) * step

    def pack(self, padded: Tensor) -> Tensor:
        """Lay the data of a batch, (batch, positions, ...), one after the other: (1, length, ...)."""
        return _Moved.apply(padded.flatten(0, 1), self.places, self.length, _gather, _spread)[None]

    def unpack(self, packed: Tensor) -> Tensor:
        """Put packed data, (1, length, ...), back to their places in a batch, (batch, positions, ...), among zeros."""
        spread = _Moved.apply(packed[0], self.places, self.attends.numel(), _spread, _gather)
        return spread.unflatten(0, tuple(self.attends.shape))


def _gather(rows: Tensor, places: Tensor, count: int) -> Tensor:
    """Rows at the given places, then zeros."""
    gathered = rows.new_zeros(count, *rows.shape[1:])
    torch.index_select(rows, 0, places, out=gathered[: len(places)])
    return gathered


def _spread(rows: Tensor, places: Tensor, count: int) -> Tensor:
    """The first rows at the given places, zeros elsewhere."""
    return rows.new_zeros(count, *rows.shape[1:]).index_copy_(0, places, rows[: len(places)])


class _Moved(torch.autograd.Function):
    """Rows moved; the gradient is moved back. torch's own, of an index, adds up rows, though none is wanted twice."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, places: Tensor, count: int, move: Move, back: Move) -> Tensor:
        ctx.save_for_backward(places)
        ctx.count, ctx.back = len(rows), back
        return move(rows, places, count)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None, None]:
        return ctx.back(gradient, ctx.saved_tensors[0], ctx.count), None, None, None, None
