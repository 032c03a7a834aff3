"""Damaged inputs: typing errors, grainy pictures, hissing recordings, each in three grades."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ftkit.errors import UnknownNameError

_SEED = 2024
_ALPHABET = "abcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True)
class Corruption:
    """One way in which items are damaged.

    Attributes
    ----------
    kind
        What it does, in a few words.
    unit
        What the strengths are measured in.
    strengths
        One a severity: 0 is undamaged, then mild, medium and strong.
    """

    kind: str
    unit: str
    strengths: tuple[float, float, float, float]


CORRUPTIONS = {
    "text": Corruption("typing errors", "share of the letters", (0.0, 0.05, 0.1, 0.2)),
    "image": Corruption("noise", "standard deviation of a pixel, 0 to 255", (0.0, 10.0, 20.0, 40.0)),
    "audio": Corruption("hiss", "signal to noise, dB", (np.inf, 20.0, 10.0, 0.0)),
}
"""By modality."""


def corrupted(modality: str, items: Sequence[Any], severity: int) -> Any:
    """Damage items, the same way every time.

    Parameters
    ----------
    modality
        ``"text"``, ``"image"`` or ``"audio"``.
    items
        As a task holds them; they stay as they are.
    severity
        0 (undamaged) to 3.

    Raises
    ------
    UnknownNameError
        If there is no such modality.

    Examples
    --------
    >>> corrupted("text", ["a plain sentence"], 0)
    ['a plain sentence']
    >>> corrupted("text", ["a plain sentence"], 3) == ["a plain sentence"]
    False
    """
    if modality not in CORRUPTIONS:
        raise UnknownNameError("modality", modality, CORRUPTIONS)
    strength = CORRUPTIONS[modality].strengths[severity]
    generator = np.random.default_rng([_SEED, severity])
    if modality == "text":
        return [_mistyped(text, strength, generator) for text in items]
    if modality == "image":
        return _grainy(np.asarray(items), strength, generator)
    return [_hissing(clip, strength, generator) for clip in items]


def _mistyped(text: str, share: float, generator: np.random.Generator) -> str:
    """Replace letters by others."""
    letters = list(text)
    for place in np.flatnonzero(generator.random(len(letters)) < share):
        if letters[place].isalpha():
            letters[place] = _ALPHABET[generator.integers(len(_ALPHABET))]
    return "".join(letters)


def _grainy(pictures: np.ndarray, deviation: float, generator: np.random.Generator) -> np.ndarray:
    """Add normal noise, the same in all three channels; picture by picture, for real numbers take much more memory."""
    grainy = np.empty(pictures.shape, np.uint8)
    for place, picture in enumerate(pictures):
        noise = generator.normal(0.0, deviation, size=(*picture.shape[:2], 1)) if deviation else 0.0
        grainy[place] = np.clip(np.round(picture + noise), 0, 255)
    return grainy


def _hissing(clip: np.ndarray, decibels: float, generator: np.random.Generator) -> np.ndarray:
    """Add white noise at a signal-to-noise ratio."""
    if np.isinf(decibels):
        return clip
    from torchaudio.functional import add_noise

    noise = torch.from_numpy(generator.standard_normal(len(clip)).astype(np.float32))
    return add_noise(torch.from_numpy(np.asarray(clip)), noise, torch.tensor(decibels)).numpy()
