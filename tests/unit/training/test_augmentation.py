from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from ftkit import fine_tune
from ftkit.classifier import Classifier
from ftkit.errors import TrainingError, UnknownNameError
from ftkit.tasks import Task
from ftkit.training.augmentation import (
    AUGMENTATIONS,
    MASK_TOKEN,
    Augmentation,
    Crop,
    Flip,
    Jitter,
    Noise,
    SpecAugment,
    TokenDropout,
    as_augmentation,
)


@pytest.fixture
def batch_of(
    new_classifier: Callable[[str], Classifier], tiny_task: Callable[[str], Task]
) -> Callable[[str], dict[str, Tensor]]:
    def make(modality: str) -> dict[str, Tensor]:
        backbone = new_classifier(modality).backbone
        return backbone.collate(backbone.prepare(tiny_task(modality).train.items))

    return make


@pytest.mark.parametrize("name", [name for name, kind in AUGMENTATIONS.items() if not kind.changes_items])
def test_a_batch_changes_and_the_original_stays(name: str, batch_of: Callable[[str], dict[str, Tensor]]):
    torch.manual_seed(0)
    augmentation = as_augmentation(name)
    assert augmentation is not None
    batch = batch_of(augmentation.modality)
    before = {name: value.clone() for name, value in batch.items()}
    changed = augmentation(batch)
    assert {name: value.dtype for name, value in changed.items()} == {n: v.dtype for n, v in batch.items()}
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
    assert {kind.modality for kind in AUGMENTATIONS.values()} == {"text", "image", "audio"}
    assert set(AUGMENTATIONS.values()) == set(Augmentation.__subclasses__())


@pytest.mark.parametrize("kind", [Crop, Jitter])
def test_every_picture_of_a_batch_is_changed_in_its_own_way(kind: type[Augmentation]):
    pixels = torch.arange(64 * 64, dtype=torch.float32).div(16).to(torch.uint8).view(1, 1, 64, 64).repeat(2, 3, 1, 1)
    torch.manual_seed(0)
    changed = kind()({"pixels": pixels})["pixels"]
    assert not torch.equal(changed[0], changed[1])


@pytest.mark.parametrize("decibels", [20.0, 0.0])
def test_noise_has_the_level_that_is_asked_for(decibels: float, tiny_task: Callable[[str], Task]):
    torch.manual_seed(0)
    for clip in tiny_task("audio").train.items:
        before = np.array(clip)
        noise = Noise(quietest=decibels, loudest=decibels).change_item(clip) - clip
        assert np.array_equal(clip, before)
        assert 10 * np.log10((clip**2).sum() / (noise**2).sum()) == pytest.approx(decibels, abs=0.01)


def test_noise_lies_between_the_levels_and_is_another_each_time(tiny_task: Callable[[str], Task]):
    torch.manual_seed(0)
    clip, noise = tiny_task("audio").train.items[0], Noise(quietest=30.0, loudest=10.0)
    added = [noise.change_item(clip) - clip for _ in range(50)]
    levels = [10 * np.log10((clip**2).sum() / (each**2).sum()) for each in added]
    assert 9.9 < min(levels) < 14
    assert 26 < max(levels) < 30.1
    assert abs(np.corrcoef(added[0], added[1])[0, 1]) < 0.1


def test_an_augmentation_that_changes_nothing_is_refused():
    with pytest.raises(TypeError, match="Idle changes nothing"):

        class Idle(Augmentation):
            modality = "audio"

            def change_items(self, item: np.ndarray) -> np.ndarray:
                return -item


def test_silence_stays_silent():
    assert not Noise().change_item(np.zeros(100, np.float32)).any()


def test_changed_items_are_prepared_anew_in_every_epoch(tiny_task: Callable[[str], Task]):
    task, seen = tiny_task("audio"), []

    class Watched(Noise):
        def change_item(self, item: np.ndarray) -> np.ndarray:
            changed = super().change_item(item)
            seen.append(changed)
            return changed

    run = fine_tune(task, "linear-probe", augmentation=Watched(), epochs=2, progress=False)
    assert len(seen) == 2 * len(task.train)
    assert run.cost.frozen_depth == 0
    again = fine_tune(task, "linear-probe", augmentation=Watched(), epochs=2, progress=False)
    assert [epoch.train_loss for epoch in run.history.epochs] == [epoch.train_loss for epoch in again.history.epochs]
    plain = fine_tune(task, "linear-probe", epochs=2, progress=False)
    assert run.history.epochs[0].train_loss != plain.history.epochs[0].train_loss


def test_a_clip_is_blanked_with_its_own_quietest_value(batch_of: Callable[[str], dict[str, Tensor]]):
    mel = batch_of("audio")["mel"]
    mel = torch.cat([mel, mel[:1] - 5.0])  # one clip far quieter than the rest
    torch.manual_seed(0)
    changed = SpecAugment()({"mel": mel})["mel"]
    assert not torch.allclose(changed, mel)
    for before, after in zip(mel, changed, strict=True):
        blanked = (after - before).abs() > 1e-4
        torch.testing.assert_close(after[blanked], before.min().expand(int(blanked.sum())))


def test_settings_out_of_range_and_unknown_names_are_told():
    with pytest.raises(TrainingError, match="the louder noise has the lower ratio"):
        Noise(quietest=0.0, loudest=10.0)
    with pytest.raises(TrainingError, match="smallest = 0"):
        Crop(smallest=0)
    with pytest.raises(UnknownNameError, match="flop"):
        as_augmentation("flop")


def test_an_augmentation_is_called_by_name_and_written_down(tiny_task: Callable[[str], Task]):
    run = fine_tune(tiny_task("audio"), "linear-probe", augmentation="noise", epochs=1, progress=False)
    assert run.spec.augmentation == "Noise(quietest=30.0, loudest=10.0)"
