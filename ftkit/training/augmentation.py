"""Changes that make every epoch see the training data a little differently."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ftkit.errors import TrainingError

MASK_TOKEN = 103
"""BERT's ``[MASK]``, in the vocabulary that MiniLM uses too."""


@dataclass(frozen=True)
class Augmentation(ABC):
    """A random change of a training batch; validation and test are never changed.

    Attributes
    ----------
    modality
        What it works on: ``"text"``, ``"image"`` or ``"audio"``.
    """

    modality: ClassVar[str]

    @abstractmethod
    def __call__(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return a changed copy of a batch made by `Backbone.collate`; chance comes from torch's global generator."""


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
class SpecAugment(Augmentation):
    """Blank a band of mel channels and a stretch of time (Park et al. 2019, arXiv:1904.08779, without warping).

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

        mel = batch["mel"].unsqueeze(1)
        quiet = float(mel.min())
        mel = mask_along_axis_iid(mel, self.channels, quiet, axis=2)
        mel = mask_along_axis_iid(mel, self.frames, quiet, axis=3)
        return {**batch, "mel": mel.squeeze(1)}
