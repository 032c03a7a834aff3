"""Frozen work done once: what leaves the blocks that do not train, kept and reused.

Below the first block that trains nothing changes from one epoch to the next, nor from one learning rate, seed or
method to another. So the hidden states that enter that block are computed once, in eval mode, and training starts
from them. Those of a higher block are computed from what is kept of a lower one. Numbers stay what they would be
without (tests/unit/training/test_activations.py).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, overload

import numpy as np
import torch
from accelerate.utils import send_to_device
from torch import Tensor

from ftkit.backbones.base import Embedded, padded_length
from ftkit.memory import leave_pages
from ftkit.progress import progress_bar
from ftkit.training.batches import evaluation_order
from ftkit.training.precision import AUTOCAST_TYPES, frozen_weights_cast

if TYPE_CHECKING:
    from accelerate import Accelerator

    from ftkit.classifier import Classifier

Allocate = Callable[[tuple[int, ...], torch.dtype], Tensor]
"""Gives an empty tensor of a shape and dtype, in memory or on disk."""


@dataclass(frozen=True)
class Activation:
    """Hidden states of one example on their way through the backbone.

    Attributes
    ----------
    hidden
        Float tensor: (positions, width), (channels, height, width) of a picture, or (width,) once pooled.
    attends, pools
        Bool tensors (positions,), or None where every position counts; see `Embedded`.
    length
        Cost of the example in positions, as of the input that it was computed from.
    """

    hidden: Tensor
    attends: Tensor | None
    pools: Tensor | None
    length: int


@dataclass(frozen=True)
class Activations(Sequence[Activation]):
    """Hidden states of all examples of a split, one after the other.

    Attributes
    ----------
    values
        Float tensor (rows, ...): a row a position, or a row a picture, or a row an example once pooled.
    starts
        Int64 array (examples + 1,): where each example's rows begin; the last is the number of rows.
    attends, pools
        Bool tensors (rows,), or None where every position counts.
    lengths
        Int64 array (examples,): cost of each example in positions.
    depth
        Blocks passed; one more than the backbone has where the features are pooled.
    is_pooled
        Whether these are features that enter the head.
    is_mapped
        Whether ``values`` are a file that is mapped into memory, default False.
    seconds
        Time that it took to compute them, from the inputs on, default 0.
    """

    values: Tensor
    starts: np.ndarray
    attends: Tensor | None
    pools: Tensor | None
    lengths: np.ndarray
    depth: int
    is_pooled: bool
    is_mapped: bool = False
    seconds: float = 0.0

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def nbytes(self) -> int:
        """Size of the hidden states in bytes."""
        return self.values.nbytes

    @overload
    def __getitem__(self, index: int) -> Activation: ...

    @overload
    def __getitem__(self, index: slice) -> list[Activation]: ...

    def __getitem__(self, index: int | slice) -> Activation | list[Activation]:
        if isinstance(index, slice):
            return [self[position] for position in range(len(self))[index]]
        index = range(len(self))[index]  # from the end too, and none beyond
        rows = slice(int(self.starts[index]), int(self.starts[index + 1]))
        hidden = self.values[rows]
        return Activation(
            hidden=hidden[0] if self.has_single_rows else hidden,
            attends=None if self.attends is None else self.attends[rows],
            pools=None if self.pools is None else self.pools[rows],
            length=int(self.lengths[index]),
        )

    @property
    def has_single_rows(self) -> bool:
        """Whether an example is one row: a picture's feature map, or pooled features."""
        return self.is_pooled or self.values.ndim > 2

    def length(self, prepared: Activation) -> int:
        """Cost of one example in positions; examples of similar length share a batch."""
        return prepared.length

    def collate(self, inputs: Sequence[Activation]) -> Embedded | Tensor:
        """Stack examples into a batch that `Classifier.forward` takes; shorter ones are filled up with zeros."""
        stacked = self._stacked(inputs)
        if self.is_mapped:
            leave_pages(self.values)
        return stacked

    def _stacked(self, inputs: Sequence[Activation]) -> Embedded | Tensor:
        hidden = [each.hidden for each in inputs]
        if self.is_pooled:
            return torch.stack(hidden)
        if self.has_single_rows:
            return Embedded(torch.stack(hidden).contiguous(memory_format=torch.channels_last), depth=self.depth)
        longest = padded_length(max(len(each) for each in hidden))
        return Embedded(
            _padded(hidden, longest),
            attends=None if self.attends is None else _padded([each.attends for each in inputs], longest),
            pools=None if self.pools is None else _padded([each.pools for each in inputs], longest),
            depth=self.depth,
        )


def _padded(sequences: Sequence[Any], length: int) -> Tensor:
    """Stack sequences, each filled up with zeros to a length."""
    stacked = torch.nn.utils.rnn.pad_sequence(list(sequences), batch_first=True)
    missing = length - stacked.shape[1]
    return torch.nn.functional.pad(stacked, (0, 0) * (stacked.ndim - 2) + (0, missing))


def compute_activations(
    classifier: Classifier,
    inputs: Sequence[Any],
    depth: int,
    *,
    accelerator: Accelerator,
    allocate: Allocate = lambda shape, dtype: torch.empty(shape, dtype=dtype),
    bar: str | None = None,
) -> Activations:
    """Take prepared inputs through the first blocks of a classifier, in eval mode.

    Parameters
    ----------
    classifier
        Its embedding and first blocks must be frozen.
    inputs
        Prepared by ``classifier.backbone.prepare``, or `Activations` of the same classifier at a smaller depth, which
        go on from there.
    depth
        How many blocks to pass, from 1; one more than there are gives the pooled features.
    accelerator
        Decides device and precision.
    allocate
        Gives the tensor that is filled; by default one in memory.
    bar
        What the progress bar says, shown where this takes longer than a moment; None, the default, shows none.

    Returns
    -------
    Activations
        On the CPU, in the precision in which the blocks compute them.
    """
    started = time.perf_counter()
    before = inputs.seconds if isinstance(inputs, Activations) else 0.0
    backbone = classifier.backbone
    is_pooled = depth > len(backbone.blocks)
    reader = inputs if isinstance(inputs, Activations) else backbone
    lengths = np.array([reader.length(item) for item in inputs], dtype=np.int64)
    classifier.eval()
    device = accelerator.device
    classifier.to(device)
    dtype = AUTOCAST_TYPES.get(accelerator.mixed_precision)
    filled: _Rows | None = None
    with (
        frozen_weights_cast(classifier, [], dtype),
        torch.no_grad(),
        accelerator.autocast(),
        progress_bar(bar, len(lengths)) as advance,
    ):
        for indices in evaluation_order(lengths.tolist(), backbone.evaluation_length):
            batch = send_to_device(reader.collate([inputs[i] for i in indices]), device)
            embedded = Embedded(classifier.pooled(batch)) if is_pooled else backbone.advance(batch, depth)
            if filled is None:
                filled = _Rows(embedded, lengths, allocate, one_row=is_pooled or embedded.hidden.ndim > 3)
            filled.put(embedded, indices)
            if filled.is_mapped:
                leave_pages(filled.values)
            advance(len(indices))
    assert filled is not None  # an empty split was refused before
    return Activations(
        filled.values,
        filled.starts,
        filled.attends,
        filled.pools,
        lengths,
        depth,
        is_pooled,
        filled.is_mapped,
        seconds=before + time.perf_counter() - started,
    )


class _Rows:
    """Rows of all examples, filled batch by batch in any order."""

    def __init__(self, first: Embedded, lengths: np.ndarray, allocate: Allocate, *, one_row: bool) -> None:
        # of a sequence only the positions that attention sees are kept, for padding is invisible
        self.counts = np.ones(len(lengths), dtype=np.int64) if one_row else lengths
        self.one_row = one_row
        self.starts = np.concatenate([[0], np.cumsum(self.counts)])
        shape = first.hidden.shape[1:] if one_row else first.hidden.shape[2:]
        self.values = allocate((int(self.starts[-1]), *shape), first.hidden.dtype)
        self.attends = self._mask(first.attends)
        self.pools = self._mask(first.pools)

    @property
    def is_mapped(self) -> bool:
        """Whether the rows are written to a file."""
        return self.values.untyped_storage().filename is not None

    def _mask(self, first: Tensor | None) -> Tensor | None:
        return None if first is None or self.one_row else torch.empty(int(self.starts[-1]), dtype=torch.bool)

    def put(self, embedded: Embedded, indices: np.ndarray) -> None:
        """Copy the rows of a batch to the places of its examples."""
        hidden = embedded.hidden.cpu()  # in one copy, should they lie on a GPU
        masks = [
            (mask, given.cpu())
            for mask, given in ((self.attends, embedded.attends), (self.pools, embedded.pools))
            if mask is not None and given is not None
        ]
        for row, index in enumerate(indices.tolist()):
            start, stop = int(self.starts[index]), int(self.starts[index + 1])
            if self.one_row:
                self.values[start] = hidden[row]
                continue
            self.values[start:stop] = hidden[row, : stop - start]
            for mask, given in masks:
                mask[start:stop] = given[row, : stop - start]
