"""From a saved run back to a model that answers, and from what a user gives to what a model reads."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ftkit.backbones import load_backbone
from ftkit.classifier import Classifier
from ftkit.errors import DataError
from ftkit.experiments.run import Spec
from ftkit.methods import Trainable, as_method
from ftkit.randomness import seeded
from ftkit.tasks.base import SAMPLE_RATE
from ftkit.tasks.reading import IMAGE_SIZE, LONGEST_SECONDS, is_file, read_image, shortly, whole_characters
from ftkit.tasks.sound import read_sound

LOUDEST = 10.0
"""Most that a sample may be: full scale is 1, which loud noise overshoots, and integers by far."""


def load_model(spec: Spec, classes: int, folder: Path) -> Trainable:
    """Build the classifier of a run and load what was trained."""
    with seeded(spec.seed):
        classifier = Classifier(load_backbone(spec.backbone, **spec.backbone_settings), classes, spec.dropout)
        trainable = as_method(spec.method, **spec.settings).apply(classifier)
    trainable.load(folder)
    trainable.model.eval()
    return trainable


def read_items(
    modality: str, items: Sequence[Any], image_size: int = IMAGE_SIZE, seconds: float = LONGEST_SECONDS
) -> list[Any]:
    """Read what a user wants classified: texts, or files, or arrays such as a task holds.

    Parameters
    ----------
    modality
        ``"text"``, ``"image"`` or ``"audio"``.
    items
        What is to be read.
    image_size
        Width and height in pixels that picture files get, those that the model was trained on.
    seconds
        Length of what the model hears of a recording; a warning says how many are longer.

    Raises
    ------
    DataError
        If there is nothing, a text comes alone instead of in a list, or an item is of the wrong kind, or an array of
        another shape, type or range than those of a task.
    """
    if isinstance(items, str | Path):
        raise DataError(f"predict takes a list of items; put the one you have into a list: predict([{str(items)!r}]).")
    if not len(items):
        raise DataError("predict got an empty list; give at least one item.")
    read = [_read_item(modality, item, image_size, seconds) for item in items]
    longer = sum(len(clip) > seconds * SAMPLE_RATE for clip in read) if modality == "audio" else 0
    if longer:
        warnings.warn(
            f"{longer} of {len(read)} recordings are longer than the {seconds:.3g} seconds that this model hears: they "
            "are answered by their beginning. Cut them into shorter ones, or train on longer ones.",
            stacklevel=3,
        )
    return read


def _read_item(modality: str, item: Any, image_size: int, seconds: float) -> Any:
    if modality == "text":
        if not isinstance(item, str):
            raise DataError(f"This run classifies texts; {item!r} is a {type(item).__name__}. Give strings.")
        return whole_characters(item)
    if isinstance(item, np.ndarray):
        return _as_prepared(modality, item, image_size)
    if not isinstance(item, str | Path):
        raise DataError(f"This run classifies files ({modality}); {item!r} is a {type(item).__name__}. Give paths.")
    path = Path(item)
    if not is_file(path):
        raise DataError(f"There is no file {shortly(path)}. Give the path of a file that exists.")
    # a second more than is heard shows that there is more
    return read_image(path, image_size) if modality == "image" else read_sound(path, longest=seconds + 1)


def _as_prepared(modality: str, array: np.ndarray, image_size: int) -> np.ndarray:
    """Pass an array on if it is as a task would hold it; any other would be answered all the same, and wrongly."""
    found = f"an array of {array.dtype} {array.shape}"
    if modality == "image" and (array.dtype != np.uint8 or array.shape != (image_size, image_size, 3)):
        raise DataError(
            f"This run classifies pictures of uint8 ({image_size}, {image_size}, 3), and this is {found}. Give such an "
            "array, or the path of the picture, which is resized."
        )
    if modality == "audio":
        if array.ndim != 1 or not np.issubdtype(array.dtype, np.floating):
            raise DataError(
                f"This run classifies recordings of float (samples,), and this is {found}. Give such an array, mono at "
                "16 kHz, or the path of the recording."
            )
        loudest = float(np.abs(array).max(initial=0.0))
        if not loudest <= LOUDEST:
            raise DataError(
                f"The loudest sample is {loudest:g}; samples lie between -1 and 1. Divide those of 16-bit sound by "
                "32768."
            )
    return array
