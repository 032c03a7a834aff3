"""From a saved run back to a model that answers, and from what a user gives to what a model reads."""

from __future__ import annotations

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
from ftkit.tasks.reading import IMAGE_SIZE, LONGEST_SECONDS, read_image
from ftkit.tasks.sound import read_sound


def load_model(spec: Spec, classes: int, folder: Path) -> Trainable:
    """Build the classifier of a run and load what was trained."""
    with seeded(spec.seed):
        classifier = Classifier(load_backbone(spec.backbone, **spec.backbone_settings), classes, spec.dropout)
        trainable = as_method(spec.method, **spec.settings).apply(classifier)
    trainable.load(folder)
    trainable.model.eval()
    return trainable


def read_items(modality: str, items: Sequence[Any], image_size: int = IMAGE_SIZE) -> list[Any]:
    """Read what a user wants classified: texts, or files, or arrays that are passed on as they are.

    Parameters
    ----------
    modality
        ``"text"``, ``"image"`` or ``"audio"``.
    items
        What is to be read.
    image_size
        Width and height in pixels that picture files get, those that the model was trained on.

    Raises
    ------
    DataError
        If there is nothing, a text comes alone instead of in a list, or an item is of the wrong kind.
    """
    if isinstance(items, str | Path):
        raise DataError(f"predict takes a list of items; put the one you have into a list: predict([{str(items)!r}]).")
    if not len(items):
        raise DataError("predict got an empty list; give at least one item.")
    return [_read_item(modality, item, image_size) for item in items]


def _read_item(modality: str, item: Any, image_size: int) -> Any:
    if modality == "text":
        if not isinstance(item, str):
            raise DataError(f"This run classifies texts; {item!r} is a {type(item).__name__}. Give strings.")
        return item
    if isinstance(item, np.ndarray):
        return item
    if not isinstance(item, str | Path):
        raise DataError(f"This run classifies files ({modality}); {item!r} is a {type(item).__name__}. Give paths.")
    path = Path(item)
    if not path.is_file():
        raise DataError(f"There is no file {item}. Give the path of a file that exists.")
    return read_image(path, image_size) if modality == "image" else read_sound(path, longest=LONGEST_SECONDS)
