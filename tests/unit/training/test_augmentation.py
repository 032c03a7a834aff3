from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from ftkit import fine_tune
from ftkit.classifier import Classifier
from ftkit.errors import TrainingError
from ftkit.tasks import Task
from ftkit.training.augmentation import MASK_TOKEN, Augmentation, Flip, SpecAugment, TokenDropout

AUGMENTATIONS = {"text": TokenDropout(), "image": Flip(), "audio": SpecAugment()}


@pytest.fixture
def batch_of(
    new_classifier: Callable[[str], Classifier], tiny_task: Callable[[str], Task]
) -> Callable[[str], dict[str, Tensor]]:
    def make(modality: str) -> dict[str, Tensor]:
        backbone = new_classifier(modality).backbone
        return backbone.collate(backbone.prepare(tiny_task(modality).train.items))

    return make


@pytest.mark.parametrize("modality", list(AUGMENTATIONS))
def test_a_batch_changes_and_the_original_stays(modality: str, batch_of: Callable[[str], dict[str, Tensor]]):
    torch.manual_seed(0)
    batch = batch_of(modality)
    before = {name: value.clone() for name, value in batch.items()}
    changed = AUGMENTATIONS[modality](batch)
    assert all(torch.equal(batch[name], before[name]) for name in batch)
    assert {name: value.shape for name, value in changed.items()} == {n: v.shape for n, v in batch.items()}
    assert any(not torch.equal(changed[name], batch[name]) for name in batch)


def test_token_dropout_hides_its_share_of_real_tokens_and_never_the_ends(
    batch_of: Callable[[str], dict[str, Tensor]],
):
    batch = batch_of("text")
    torch.manual_seed(0)
    shares = []
    for _ in range(50):
        tokens = TokenDropout(share=0.3)(batch)["tokens"]
        hidden = tokens == MASK_TOKEN
        assert not hidden[~batch["mask"]].any()
        assert (tokens[:, 0] == batch["tokens"][:, 0]).all()
        assert (tokens == 102).sum() == len(tokens)  # every [SEP] is still there
        shares.append(float(hidden.sum() / (batch["mask"].sum() - 2 * len(tokens))))
    assert sum(shares) / len(shares) == pytest.approx(0.3, abs=0.02)


def test_flipping_twice_is_not_flipping(batch_of: Callable[[str], dict[str, Tensor]]):
    batch, flip = batch_of("image"), Flip()
    torch.manual_seed(3)
    once = flip(batch)
    torch.manual_seed(3)
    assert torch.equal(flip(once)["pixels"], batch["pixels"])


def test_without_vertical_every_picture_is_itself_or_its_mirror_image(batch_of: Callable[[str], dict[str, Tensor]]):
    pixels = batch_of("image")["pixels"]
    torch.manual_seed(0)
    flipped = Flip(vertical=False)({"pixels": pixels})["pixels"]
    for before, after in zip(pixels, flipped, strict=True):
        assert torch.equal(after, before) or torch.equal(after, before.flip(-1))


@pytest.mark.parametrize("modality", ["image", "audio"])
def test_an_augmentation_of_another_kind_of_data_is_refused(modality: str, tiny_task: Callable[[str], Task]):
    with pytest.raises(TrainingError, match=f"TokenDropout changes text data; .* holds {modality} data"):
        fine_tune(tiny_task(modality), "linear-probe", augmentation=TokenDropout())


@pytest.mark.parametrize("share", [-0.1, 1.0])
def test_a_share_out_of_range_is_named(share: float):
    with pytest.raises(TrainingError, match=f"share = {share!r}"):
        TokenDropout(share=share)


def test_every_augmentation_knows_its_modality():
    assert {kind.modality for kind in Augmentation.__subclasses__()} == {"text", "image", "audio"}
