from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext

import pytest
import torch
from torch import Tensor, nn

from ftkit.training import loop
from ftkit.training import optimizer as optimizer_module
from ftkit.training.loop import Training
from ftkit.training.optimizer import AdamW, clippable, gradients_by_row

New = Callable[..., Training]
WORDS, WIDTH = 6000, 8


@pytest.fixture
def batches() -> list[Tensor]:
    """Tokens of several steps, each with words that the steps before did not have; 0 is padding."""
    generator = torch.Generator().manual_seed(0)
    return [torch.randint(0, 40 * step, (4, 12), generator=generator) for step in range(1, 9)]


@pytest.fixture(autouse=True, params=[50, optimizer_module.ROWS_A_BLOCK], ids="{} rows a block".format)
def rows_a_block(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of which the words here need many, and the usual ones."""
    monkeypatch.setattr(optimizer_module, "ROWS_A_BLOCK", request.param)


@pytest.fixture
def words() -> nn.Embedding:
    torch.manual_seed(0)
    return nn.Embedding(WORDS, WIDTH, padding_idx=0)


def twin(words: nn.Embedding) -> nn.Embedding:
    return nn.Embedding(WORDS, WIDTH, padding_idx=0, _weight=words.weight.detach().clone())


def backward(words: nn.Embedding, tokens: Tensor) -> None:
    (words(tokens) * torch.linspace(-1, 1, WIDTH)).square().sum().backward()


def train(words: nn.Embedding, optimizer: torch.optim.Optimizer, batches: list[Tensor]) -> None:
    for tokens in batches:
        backward(words, tokens)
        optimizer.step()
        optimizer.zero_grad()


def groups(weight: Tensor, decay: float = 0.0) -> list[dict[str, object]]:
    return [{"params": [weight], "lr": 1e-2, "weight_decay": decay}]


# ------------------------------------------------------------------------------------------------ AdamW


def test_without_decay_every_row_moves_as_with_the_optimizer_of_torch(words: nn.Embedding, batches: list[Tensor]):
    ours, theirs = words, twin(words)
    with gradients_by_row(ours):
        train(ours, AdamW(groups(ours.weight)), batches)
    train(theirs, torch.optim.AdamW(groups(theirs.weight), fused=True), batches)
    assert torch.equal(ours.weight, theirs.weight)


def test_with_decay_rows_move_as_with_the_optimizer_of_torch_once_they_were_read(
    words: nn.Embedding, batches: list[Tensor]
):
    batches = [batches[-1], *batches]
    ours, theirs, before = words, twin(words), words.weight.detach().clone()
    with gradients_by_row(ours):
        train(ours, AdamW(groups(ours.weight, decay=0.1)), batches)
    train(theirs, torch.optim.AdamW(groups(theirs.weight, decay=0.1), fused=True), batches)
    read = batches[0].unique()
    read = read[read > 0]
    assert torch.equal(ours.weight[read], theirs.weight[read])
    never = torch.arange(320, WORDS)
    assert torch.equal(ours.weight[never], before[never])


def test_moments_are_kept_of_the_words_that_were_read(words: nn.Embedding, batches: list[Tensor]):
    optimizer = AdamW(groups(words.weight))
    with gradients_by_row(words):
        train(words, optimizer, batches)
    state = optimizer.state[words.weight]
    read = torch.cat([tokens.flatten() for tokens in batches]).unique()
    assert sorted(state["rows"].tolist()) == [word for word in read.tolist() if word]
    assert len(state["moments"]) == -(-len(state["rows"]) // optimizer_module.ROWS_A_BLOCK)
    assert {block.shape for block in state["moments"]} == {(2, optimizer_module.ROWS_A_BLOCK, WIDTH)}


def test_words_that_are_frozen_for_a_step_stand_still_in_it(words: nn.Embedding, batches: list[Tensor]):
    head = nn.Parameter(torch.ones(3))
    optimizer = AdamW([{"params": [words.weight, head], "lr": 1e-2, "weight_decay": 0.0}])
    with gradients_by_row(words):
        train(words, optimizer, batches[:2])
        before, head_before = words.weight.detach().clone(), head.detach().clone()
        head.sum().backward()
        optimizer.step()
    assert torch.equal(words.weight, before)
    assert not torch.equal(head, head_before)


def test_weights_beside_the_words_move_as_with_the_optimizer_of_torch(words: nn.Embedding, batches: list[Tensor]):
    def trained(words: nn.Embedding, new: Callable[..., torch.optim.Optimizer]) -> Tensor:
        head = nn.Parameter(torch.linspace(-1, 1, WIDTH))
        optimizer = new([{"params": [words.weight, head], "lr": 1e-2, "weight_decay": 0.0}])
        for tokens in batches:
            (words(tokens) @ head).square().sum().backward()
            optimizer.step()
            optimizer.zero_grad()
        return head.detach()

    theirs = trained(twin(words), lambda groups: torch.optim.AdamW(groups, fused=True))
    with gradients_by_row(words):
        assert torch.equal(trained(words, AdamW), theirs)


@pytest.mark.parametrize("shortened", [True, False])
def test_scaled_gradients_as_fp16_wants_them_move_weights_as_plain_ones_do(shortened: bool):
    """A GPU's fp16 multiplies the loss, so that small gradients do not vanish; the scaler for CPUs is the same code."""

    def trained(scaler: torch.amp.GradScaler) -> Tensor:
        weight = nn.Parameter(torch.linspace(-1, 1, WIDTH))
        optimizer = AdamW(groups(weight))
        for target in (1.0, 2.0):
            scaler.scale((weight - target).square().sum()).backward()
            if shortened:
                scaler.unscale_(optimizer)
                nn.utils.clip_grad_norm_(clippable([weight]), 1.0)
            scaler.step(optimizer)
            scaler.update()
            optimizer.zero_grad()
        return weight.detach()

    scaled = trained(torch.amp.GradScaler("cpu", init_scale=1024.0))
    assert torch.equal(scaled, trained(torch.amp.GradScaler("cpu", enabled=False)))


def test_a_step_whose_scaled_gradients_are_no_numbers_moves_nothing():
    weight = nn.Parameter(torch.ones(WIDTH))
    optimizer, scaler = AdamW(groups(weight)), torch.amp.GradScaler("cpu", init_scale=1024.0)
    scaler.scale(weight.sum() * float("inf")).backward()
    scaler.unscale_(optimizer)
    scaler.step(optimizer)
    scaler.update()
    assert torch.equal(weight, torch.ones(WIDTH))
    assert scaler.get_scale() < 1024


# ------------------------------------------------------------------------------------------------ gradients


def test_the_gradients_of_the_parts_of_a_batch_add_up(words: nn.Embedding, batches: list[Tensor]):
    theirs = twin(words)
    with gradients_by_row(words):
        for tokens in batches[:3]:
            backward(words, tokens)
            backward(theirs, tokens)
    torch.testing.assert_close(words.weight.grad.to_dense(), theirs.weight.grad)


def test_sparse_gradients_are_shortened_together_with_the_others(words: nn.Embedding, batches: list[Tensor]):
    theirs = twin(words)
    other, other_theirs = (nn.Parameter(torch.ones(5)) for _ in range(2))
    with gradients_by_row(words):
        for module, weight in ((words, other), (theirs, other_theirs)):
            backward(module, batches[0])
            backward(module, batches[1])
            (3 * weight.square()).sum().backward()
    frozen = nn.Parameter(torch.ones(5))
    norm = nn.utils.clip_grad_norm_(clippable([words.weight, other, frozen]), 1.0)
    expected = nn.utils.clip_grad_norm_([theirs.weight, other_theirs, frozen], 1.0)
    assert float(norm) == pytest.approx(float(expected), rel=1e-5)
    assert float(norm) > 1
    torch.testing.assert_close(words.weight.grad.to_dense(), theirs.weight.grad)
    torch.testing.assert_close(other.grad, other_theirs.grad)


def test_embeddings_have_dense_gradients_again_after_the_training(words: nn.Embedding, batches: list[Tensor]):
    with pytest.raises(KeyboardInterrupt), gradients_by_row(words):
        raise KeyboardInterrupt
    backward(words, batches[0])
    assert not words.weight.grad.is_sparse


def test_small_embeddings_keep_their_dense_gradients():
    positions = nn.Embedding(512, 4)
    with gradients_by_row(positions):
        positions(torch.arange(3)).sum().backward()
    assert not positions.weight.grad.is_sparse


# ------------------------------------------------------------------------------------------------ whole trainings


@pytest.mark.parametrize("method", ["full", "gradual", "discriminative", "l2-sp", "replay", "scratch"])
def test_text_trains_as_it_does_with_gradients_of_all_words(
    method: str, new_training: New, monkeypatch: pytest.MonkeyPatch
):
    settings = {"epochs": 2, "learning_rate": 1e-4, "batch_size": 4, "weight_decay": 0.0}
    by_row = new_training(method, "text", **settings)
    losses = [step.loss for step in by_row.run().steps]
    weight = by_row.backbone.embed.embeddings.word_embeddings.weight
    assert ("rows" in by_row.optimizer.state[weight]) == (weight.device.type == "cpu")
    monkeypatch.setattr(loop, "gradients_by_row", nullcontext)
    dense = new_training(method, "text", **settings)
    before = dense.trainable.trained_state()
    assert losses == pytest.approx([step.loss for step in dense.run().steps], rel=1e-3)
    one, other = by_row.trainable.trained_state(), dense.trainable.trained_state()
    words = next(name for name in one if name.endswith("word_embeddings.weight"))
    moved = (other[words] - before[words]).norm()
    assert moved > 0
    assert (one[words] - other[words]).norm() < 0.02 * moved
