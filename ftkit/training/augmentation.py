"""Changes that make every epoch see the training data a little differently."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from ftkit.errors import TrainingError, UnknownNameError

MASK_TOKEN = 103
"""BERT's ``[MASK]``, in the vocabulary that MiniLM uses too."""


@dataclass(frozen=True)
class Augmentation:
    """A random change of the training data, another in every epoch; validation and test are never changed.

    It changes an item before it is prepared, which keeps the item's length, or a batch of what was prepared. Chance
    comes from torch's generator.

    Attributes
    ----------
    modality
        What it works on: ``"text"``, ``"image"`` or ``"audio"``.
    changes_items
        Whether it changes items, which must then be prepared anew in every epoch: where it has its own `change_item`.
    """

    modality: ClassVar[str]
    changes_items: ClassVar[bool] = False

    def __init_subclass__(cls) -> None:
        cls.changes_items = cls.change_item is not Augmentation.change_item
        if not cls.changes_items and cls.__call__ is Augmentation.__call__:
            raise TypeError(f"{cls.__name__} changes nothing; it needs a method change_item or __call__.")

    def change_item(self, item: Any) -> Any:
        """Return a changed copy of an item of a task; by itself the item as it is."""
        return item

    def __call__(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return a changed copy of a batch made by `Backbone.collate`; by itself the batch as it is."""
        return batch


class ChangedItems(Sequence[Any]):
    """Items of a task that are changed and prepared whenever they are read.

    Parameters
    ----------
    items
        As in `Split`.
    augmentation
        Changes them.
    prepare
        Prepares a list of items, as `Backbone.prepare` does.

    Examples
    --------
    >>> read = ChangedItems(["a", "b"], TokenDropout(), lambda items: [item.upper() for item in items])
    >>> read[1]
    'B'
    """

    def __init__(
        self, items: Sequence[Any], augmentation: Augmentation, prepare: Callable[[list[Any]], Sequence[Any]]
    ) -> None:
        self.items = items
        self.augmentation = augmentation
        self.prepare = prepare

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: Any) -> Any:
        """Read one."""
        return self.prepare([self.augmentation.change_item(self.items[index])])[0]


def _check_share(name: str, share: float) -> None:
    if not 0 <= share < 1:
        raise TrainingError(f"{name} = {share!r}: choose a share from 0 to below 1.")


@dataclass(frozen=True)
class TokenDropout(Augmentation):
    """Hide tokens behind ``[MASK]``, the two special ones at the ends excepted.

    Parameters
    ----------
    share
        Probability that a token is hidden, default 0.1.

    Examples
    --------
    >>> batch = {"tokens": torch.tensor([[101, 2204, 102]]), "mask": torch.tensor([[True, True, True]])}
    >>> TokenDropout(share=0.0)(batch)["tokens"].tolist()
    [[101, 2204, 102]]
    """

    modality: ClassVar[str] = "text"
    share: float = 0.1

    def __post_init__(self) -> None:
        _check_share("share", self.share)

    def __call__(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Hide tokens of a text batch."""
        tokens, mask = batch["tokens"], batch["mask"]
        inside = mask.clone()
        inside[:, 0] = False
        inside.scatter_(1, mask.sum(dim=1, keepdim=True) - 1, False)
        hidden = inside & (torch.rand(tokens.shape) < self.share)
        return {**batch, "tokens": tokens.masked_fill(hidden, MASK_TOKEN)}


@dataclass(frozen=True)
class Flip(Augmentation):
    """Mirror half of the pictures, left to right and, independently, top to bottom.

    A solar cell has no right way up; pictures that have one want ``vertical=False``.

    Parameters
    ----------
    vertical
        Whether to mirror top to bottom too, default True.
    """

    modality: ClassVar[str] = "image"
    vertical: bool = True

    def __call__(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Mirror pictures of a batch."""
        pixels = batch["pixels"]
        for axis in (-1, -2) if self.vertical else (-1,):
            chosen = (torch.rand(len(pixels)) < 0.5)[:, None, None, None]
            pixels = torch.where(chosen, pixels.flip(axis), pixels)
        return {**batch, "pixels": pixels}


@dataclass(frozen=True)
class Crop(Augmentation):
    """Show a random part of every picture, enlarged to the whole size.

    Parameters
    ----------
    smallest
        Smallest share of the picture's area that is shown, default 0.7.
    """

    modality: ClassVar[str] = "image"
    smallest: float = 0.7

    def __post_init__(self) -> None:
        if not 0 < self.smallest <= 1:
            raise TrainingError(f"smallest = {self.smallest!r}: choose a share above 0, at most 1.")

    def __call__(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Crop pictures of a batch, each in its own way."""
        from torchvision.transforms.v2 import RandomResizedCrop

        size = batch["pixels"].shape[-2:]
        return _each_picture(batch, RandomResizedCrop(list(size), scale=(self.smallest, 1.0), antialias=True))


@dataclass(frozen=True)
class Jitter(Augmentation):
    """Change the brightness and the contrast of every picture at random.

    Parameters
    ----------
    strength
        Largest change, as a share, default 0.2.
    """

    modality: ClassVar[str] = "image"
    strength: float = 0.2

    def __post_init__(self) -> None:
        _check_share("strength", self.strength)

    def __call__(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Jitter pictures of a batch, each in its own way."""
        from torchvision.transforms.v2 import ColorJitter

        return _each_picture(batch, ColorJitter(brightness=self.strength, contrast=self.strength))


def _each_picture(batch: dict[str, Tensor], change: Callable[[Tensor], Tensor]) -> dict[str, Tensor]:
    return {**batch, "pixels": torch.stack([change(picture) for picture in batch["pixels"]])}


@dataclass(frozen=True)
class SpecAugment(Augmentation):
    """Blank a band of mel channels and a stretch of time (Park et al. 2019, arXiv:1904.08779, without warping).

    Where the stretch begins is drawn over the length of the batch, not of the clip as in the paper: it often falls
    behind the end of a clip that is far shorter than the longest beside it.

    Parameters
    ----------
    channels
        Widest band in mel channels, default 12 of 80.
    frames
        Longest stretch in frames of 10 ms, default 15.
    """

    modality: ClassVar[str] = "audio"
    channels: int = 12
    frames: int = 15

    def __call__(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Blank parts of every clip with its quietest value."""
        from torchaudio.functional import mask_along_axis_iid

        quietest = batch["mel"].amin(dim=(1, 2), keepdim=True)
        above = (batch["mel"] - quietest).unsqueeze(1)
        above = mask_along_axis_iid(above, self.channels, 0.0, axis=2)
        above = mask_along_axis_iid(above, self.frames, 0.0, axis=3)
        return {**batch, "mel": above.squeeze(1) + quietest}


@dataclass(frozen=True)
class Noise(Augmentation):
    """Add white noise to the sound of every clip, at a random level.

    Parameters
    ----------
    quietest, loudest
        Signal-to-noise ratios in decibels between which the level is drawn, default 30 and 10.

    Examples
    --------
    >>> import numpy as np
    >>> Noise().change_item(np.ones(160, np.float32)).shape
    (160,)
    """

    modality: ClassVar[str] = "audio"
    quietest: float = 30.0
    loudest: float = 10.0

    def __post_init__(self) -> None:
        if not self.loudest <= self.quietest:
            raise TrainingError(
                f"quietest = {self.quietest!r}, loudest = {self.loudest!r}: the louder noise has the lower ratio."
            )

    def change_item(self, item: np.ndarray) -> np.ndarray:
        """Return a waveform, float32 array (samples,), with noise added; silence stays silent."""
        from torchaudio.functional import add_noise

        clip = torch.as_tensor(item, dtype=torch.float32)
        ratio = self.loudest + (self.quietest - self.loudest) * torch.rand(())
        return add_noise(clip, torch.randn_like(clip), ratio).numpy()


AUGMENTATIONS: dict[str, type[Augmentation]] = {
    "token-dropout": TokenDropout,
    "flip": Flip,
    "crop": Crop,
    "jitter": Jitter,
    "spec-augment": SpecAugment,
    "noise": Noise,
}
"""Every augmentation, by name."""


def as_augmentation(augmentation: str | Augmentation | None) -> Augmentation | None:
    """Turn an augmentation's name into the augmentation with its default settings; anything else is returned.

    Raises
    ------
    UnknownNameError
        If there is no augmentation of that name.

    Examples
    --------
    >>> as_augmentation("flip")
    Flip(vertical=True)
    """
    if not isinstance(augmentation, str):
        return augmentation
    if augmentation not in AUGMENTATIONS:
        raise UnknownNameError("augmentation", augmentation, AUGMENTATIONS)
    return AUGMENTATIONS[augmentation]()
