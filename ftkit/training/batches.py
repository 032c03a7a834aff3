"""Batches of similar length, in an order that the seed decides."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

Collate = Callable[[Sequence[Any]], dict[str, Tensor]]
BUCKET = 32
"""How many batches are sorted by length together: enough to save padding, few enough to keep batches random."""


class Examples(Dataset):
    """Prepared inputs with their labels."""

    def __init__(self, inputs: Sequence[Any], labels: np.ndarray) -> None:
        self.inputs = inputs
        self.labels = labels

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        return self.inputs[index], int(self.labels[index])


class LengthBatches(Sampler[list[int]]):
    """Random batches whose examples have similar lengths.

    The examples are shuffled, cut into buckets, sorted by length inside each bucket and cut into batches, which are
    shuffled in turn.

    Parameters
    ----------
    lengths
        Length of every example.
    batch_size
        Examples a batch.
    seed
        Decides the order; every pass draws a new one.

    Examples
    --------
    >>> sorted(sum(LengthBatches([3, 1, 2], batch_size=2, seed=0), []))
    [0, 1, 2]
    """

    def __init__(self, lengths: Sequence[int], batch_size: int, seed: int) -> None:
        self.lengths = np.asarray(lengths)
        self.batch_size = batch_size
        self.generator = np.random.default_rng(seed)

    def __len__(self) -> int:
        return -(-len(self.lengths) // self.batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        order = self.generator.permutation(len(self.lengths))
        size = self.batch_size * BUCKET
        buckets = [order[start : start + size] for start in range(0, len(order), size)]
        ordered = [bucket[np.argsort(self.lengths[bucket], kind="stable")] for bucket in buckets]
        batches = [
            bucket[start : start + self.batch_size].tolist()
            for bucket in ordered
            for start in range(0, len(bucket), self.batch_size)
        ]
        return iter([batches[index] for index in self.generator.permutation(len(batches))])


def training_loader(
    inputs: Sequence[Any], labels: np.ndarray, lengths: Sequence[int], collate: Collate, *, batch_size: int, seed: int
) -> DataLoader:
    """Loader of ``(batch, labels)`` pairs in a new random order every epoch."""

    def collate_pairs(pairs: Sequence[tuple[Any, int]]) -> tuple[dict[str, Tensor], Tensor]:
        return collate([item for item, _ in pairs]), torch.tensor([label for _, label in pairs])

    batches = LengthBatches(lengths, batch_size, seed)
    return DataLoader(Examples(inputs, labels), batch_sampler=batches, collate_fn=collate_pairs)


def evaluation_order(lengths: Sequence[int], batch_size: int) -> list[np.ndarray]:
    """Index arrays of batches in order of length, so that little padding is computed."""
    order = np.argsort(np.asarray(lengths), kind="stable")
    return [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
