"""Batches of similar length, in an order that the seed decides."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from accelerate.utils import send_to_device
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

Collate = Callable[[Sequence[Any]], Any]


class Examples(Dataset):
    """Prepared inputs with their labels and lengths."""

    def __init__(self, inputs: Sequence[Any], labels: np.ndarray, lengths: Sequence[int]) -> None:
        self.inputs = inputs
        self.labels = labels
        self.lengths = lengths

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, index: int) -> tuple[Any, int, int]:
        return self.inputs[index], int(self.labels[index]), int(self.lengths[index])


class LengthBatches(Sampler[list[int]]):
    """Random batches whose examples have similar lengths.

    The examples are shuffled, cut into buckets of several batches, sorted by length inside each bucket and cut into
    batches, which are shuffled in turn.

    Parameters
    ----------
    lengths
        Length of every example.
    batch_size
        Examples a batch.
    seed
        Decides the order; every pass draws a new one.
    bucket
        Batches that are sorted together: the backbone's. With 1 they are as random as if lengths did not count.

    Examples
    --------
    >>> sorted(sum(LengthBatches([3, 1, 2], batch_size=2, seed=0, bucket=32), []))
    [0, 1, 2]
    """

    def __init__(self, lengths: Sequence[int], batch_size: int, seed: int, bucket: int) -> None:
        self.lengths = np.asarray(lengths)
        self.batch_size = batch_size
        self.bucket = bucket
        self.generator = np.random.default_rng(seed)

    def __len__(self) -> int:
        return -(-len(self.lengths) // self.batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        order = self.generator.permutation(len(self.lengths))
        size = self.batch_size * self.bucket
        buckets = [order[start : start + size] for start in range(0, len(order), size)]
        ordered = [bucket[np.argsort(self.lengths[bucket], kind="stable")] for bucket in buckets]
        batches = [
            bucket[start : start + self.batch_size].tolist()
            for bucket in ordered
            for start in range(0, len(bucket), self.batch_size)
        ]
        return iter([batches[index] for index in self.generator.permutation(len(batches))])


@dataclass(frozen=True)
class Part:
    """What goes through the model at once: a batch, or a part of one.

    Attributes
    ----------
    inputs
        Collated inputs.
    labels
        Int64 tensor (examples,).
    """

    inputs: Any
    labels: Tensor

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Part:
        """Move to a device; what loads batches asks for it."""
        moved = send_to_device(self.inputs, device, non_blocking=non_blocking)
        return Part(moved, self.labels.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> Part:
        """Copy to memory that a GPU reads while the program goes on; what loads batches asks for it."""
        inputs = self.inputs
        if isinstance(inputs, dict):
            pinned: Any = {name: tensor.pin_memory() for name, tensor in inputs.items()}
        else:
            pinned = inputs.pin_memory()
        return Part(pinned, self.labels.pin_memory())


def training_loader(
    inputs: Sequence[Any],
    labels: np.ndarray,
    lengths: Sequence[int],
    collate: Collate,
    *,
    batch_size: int,
    seed: int,
    bucket: int,
    pass_length: int | None = None,
) -> DataLoader:
    """Loader of batches in a new random order every epoch, each a list of parts.

    Parameters
    ----------
    inputs, labels, lengths
        Examples, their labels (examples,), and their lengths.
    collate
        Stacks inputs.
    batch_size, seed, bucket
        See `LengthBatches`.
    pass_length
        Longest part in positions, see `split_by_length`; None, the default, makes one part of each batch.
    """

    def collate_parts(examples: Sequence[tuple[Any, int, int]]) -> list[Part]:
        parts = split_by_length([length for _, _, length in examples], pass_length)
        return [
            Part(collate([examples[i][0] for i in part]), torch.tensor([examples[i][1] for i in part]))
            for part in parts
        ]

    batches = LengthBatches(lengths, batch_size, seed, bucket)
    return DataLoader(
        Examples(inputs, labels, lengths),
        batch_sampler=batches,
        collate_fn=collate_parts,
        pin_memory=torch.cuda.is_available(),
    )


def split_by_length(lengths: Sequence[int], pass_length: int | None) -> list[list[int]]:
    """Cut a batch into equal parts, each of at most ``pass_length`` positions, and of one example at least.

    Padding counts half, since attention alone computes it (`ftkit.backbones.packing`). A batch is halved until its
    parts fit: few different shapes come of that, and a CPU prepares its kernels for every shape, and keeps them.

    Examples
    --------
    >>> split_by_length([10, 30, 20, 30], pass_length=60)
    [[0, 2], [1, 3]]
    """
    order = sorted(range(len(lengths)), key=lambda index: lengths[index])
    if pass_length is None:
        return [order]

    def parts(size: int) -> list[list[int]]:
        return [order[start : start + size] for start in range(0, len(order), size)]

    def positions(part: list[int]) -> float:
        real = [lengths[index] for index in part]
        return (sum(real) + len(real) * max(real)) / 2

    size = len(order)
    while size > 1 and max(map(positions, parts(size))) > pass_length:
        size = -(-size // 2)
    return parts(size)


def evaluation_order(lengths: Sequence[int], most: int | None = None, size: int = 32) -> list[np.ndarray]:
    """Index arrays of batches in order of length, so that little padding is computed.

    Parameters
    ----------
    lengths
        Length of every example.
    most
        Longest batch: examples times the longest of them, though one example is a batch however long it is; None, the
        default, sets no limit.
    size
        Most examples of a batch, default 32.

    Examples
    --------
    >>> [batch.tolist() for batch in evaluation_order([10, 30, 20, 30], most=60)]
    [[0, 2], [1, 3]]
    """
    batches: list[list[int]] = []
    for index in np.argsort(np.asarray(lengths), kind="stable").tolist():
        last = batches[-1] if batches else []
        fits = most is None or (len(last) + 1) * lengths[index] <= most
        if last and len(last) < size and fits:
            last.append(index)
        else:
            batches.append([index])
    return [np.array(batch) for batch in batches]
