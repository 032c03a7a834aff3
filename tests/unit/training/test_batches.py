from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from ftkit import load_backbone
from ftkit.backbones.base import Embedded
from ftkit.tasks import Task
from ftkit.training.batches import LengthBatches, Part, evaluation_order, split_by_length, training_loader


@pytest.fixture(scope="module")
def lengths(small_task: Callable[[str], Task]) -> list[int]:
    """Numbers of tokens of real reviews."""
    backbone = load_backbone("minilm")
    task = small_task("text")
    return [len(tokens) for tokens in backbone.prepare([*task.train.items, *task.test.items])]


def padding(batches: list[list[int]], lengths: list[int]) -> int:
    return sum(len(batch) * max(lengths[i] for i in batch) - sum(lengths[i] for i in batch) for batch in batches)


@pytest.mark.parametrize("batch_size", [1, 7, 8, 200])
def test_every_example_comes_once_an_epoch(lengths: list[int], batch_size: int):
    batches = LengthBatches(lengths, batch_size, seed=0, bucket=32)
    drawn = list(batches)
    assert sorted(index for batch in drawn for index in batch) == list(range(len(lengths)))
    assert len(drawn) == len(batches) == -(-len(lengths) // batch_size)
    assert max(map(len, drawn)) <= batch_size


def test_batches_of_similar_length_need_little_padding(lengths: list[int]):
    order = np.random.default_rng(0).permutation(len(lengths)).tolist()
    at_random = [order[start : start + 8] for start in range(0, len(order), 8)]
    assert padding(list(LengthBatches(lengths, 8, seed=0, bucket=32)), lengths) < padding(at_random, lengths) / 3


def test_every_epoch_has_another_order(lengths: list[int]):
    batches = LengthBatches(lengths, 8, seed=0, bucket=32)
    assert list(batches) != list(batches)


def test_the_seed_decides_all_orders(lengths: list[int]):
    first, again, other = (LengthBatches(lengths, 8, seed=seed, bucket=32) for seed in (0, 0, 1))
    epochs = [[list(batches) for _ in range(3)] for batches in (first, again, other)]
    assert epochs[0] == epochs[1]
    assert epochs[0] != epochs[2]


def test_short_batches_do_not_come_first(lengths: list[int]):
    longest = [max(lengths[i] for i in batch) for batch in LengthBatches(lengths, 8, seed=0, bucket=32)]
    assert longest != sorted(longest)


def test_evaluation_goes_from_short_to_long(lengths: list[int]):
    order = evaluation_order(lengths, 160, size=8)
    assert sorted(np.concatenate(order).tolist()) == list(range(len(lengths)))
    in_order = [lengths[i] for batch in order for i in batch]
    assert in_order == sorted(in_order)
    sizes = [len(batch) for batch in order]
    assert all(
        size == 1 or size * max(lengths[i] for i in batch) <= 160 for size, batch in zip(sizes, order, strict=True)
    )
    assert max(sizes) == 8


def test_labels_stay_with_their_texts(small_task: Callable[[str], Task]):
    backbone, split = load_backbone("minilm"), small_task("text").train
    inputs = backbone.prepare(split.items)
    lengths = [len(item) for item in inputs]
    loader = training_loader(inputs, split.labels, lengths, backbone.collate, batch_size=5, seed=0, bucket=32)
    label_of = {tuple(item.tolist()): label for item, label in zip(inputs, split.labels.tolist(), strict=True)}
    seen = 0
    for (part,) in loader:
        for tokens, mask, label in zip(part.inputs["tokens"], part.inputs["mask"], part.labels.tolist(), strict=True):
            assert label_of[tuple(tokens[mask].tolist())] == label
            seen += 1
    assert seen == len(split)


def test_a_batch_goes_in_parts_that_are_no_longer_than_asked(lengths: list[int]):
    for batch in LengthBatches(lengths, 16, seed=0, bucket=32):
        mine = [lengths[i] for i in batch]
        parts = split_by_length(mine, pass_length=200)
        assert sorted(index for part in parts for index in part) == list(range(len(batch)))
        for part in parts:
            real, padded = sum(mine[i] for i in part), len(part) * max(mine[i] for i in part)
            assert (real + padded) / 2 <= 200 or len(part) == 1


def test_padding_counts_half_when_a_batch_is_cut():
    assert split_by_length([30, 10, 30, 10], pass_length=100) == [[1, 3, 0, 2]]
    assert split_by_length([50, 10, 10, 10], pass_length=100) == [[1, 2], [3, 0]]


@pytest.mark.parametrize(
    "inputs",
    [
        {"tokens": torch.zeros(2, 3), "mask": torch.ones(2, 3, dtype=torch.bool)},
        Embedded(torch.zeros(2, 3, 4), attends=torch.ones(2, 3, dtype=torch.bool), depth=2),
        torch.zeros(2, 4),
    ],
)
def test_everything_in_a_part_is_pinned_for_a_gpu(inputs: Any, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Tensor, "pin_memory", lambda tensor: tensor + 1)  # pinning itself wants a GPU
    part = Part(inputs, torch.zeros(2)).pin_memory()
    if isinstance(inputs, dict):
        found = list(part.inputs.values())
        expected = [tensor + 1 for tensor in inputs.values()]
    elif isinstance(inputs, Embedded):
        found, expected = [part.inputs.hidden, part.inputs.attends], [inputs.hidden + 1, inputs.attends + 1]
        assert part.inputs.depth == 2
    else:
        found, expected = [part.inputs], [inputs + 1]
    torch.testing.assert_close([*found, part.labels], [*expected, torch.ones(2)])
