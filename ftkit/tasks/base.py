"""What a task is: three splits of items with labels, and the checks that make a comparison on it fair."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, TypeAlias

import numpy as np

from ftkit.backbones import SAMPLE_RATE
from ftkit.errors import DataError

__all__ = ["SAMPLE_RATE", "Modality", "Split", "Task", "TaskInfo", "grey_to_rgb"]

Modality: TypeAlias = Literal["text", "image", "audio"]
Items: TypeAlias = Any


@dataclass(frozen=True)
class TaskInfo:
    """What there is to know of a task before its data are loaded.

    Parameters
    ----------
    name, title, modality
        As in `Task`.
    description
        One sentence for a list of tasks.
    assets
        Catalog names of the data it is made of.
    default_train, default_validation
        Number of training and validation items when no limit is given.
    default_epochs
        Passes through the training data unless told otherwise, default 3.
    """

    name: str
    title: str
    modality: Modality
    description: str
    assets: tuple[str, ...]
    default_train: int
    default_validation: int
    default_epochs: int = 3


def grey_to_rgb(grey: np.ndarray) -> np.ndarray:
    """Show grey images as colour images of three equal channels, without copying them.

    Parameters
    ----------
    grey
        Array of shape (n, height, width).

    Returns
    -------
    numpy.ndarray
        A read-only view of shape (n, height, width, 3). Indexing it with an array of positions gives an
        ordinary, writable array.

    Examples
    --------
    >>> grey_to_rgb(np.zeros((5, 4, 4), dtype=np.uint8)).shape
    (5, 4, 4, 3)
    """
    return np.broadcast_to(grey[..., np.newaxis], (*grey.shape, 3))


@dataclass(frozen=True, eq=False)
class Split:
    """One part of a task: items with their labels.

    Parameters
    ----------
    items
        A list of texts, or an image array of shape (n, height, width, 3) and type uint8, or a list of
        one-dimensional float32 arrays in -1..1, mono at `SAMPLE_RATE`.
    labels
        Class of each item, shape (n,), int64.
    groups
        What each item belongs to (a film, a speaker), shape (n,), text; None when there is no such thing.
        No group is in two splits of a task.
    identifiers
        A name for each item, shape (n,), text, such as a file name; unique within a task. What stands before a slash
        is the item's kind (`kinds`).

    Examples
    --------
    >>> split = Split(["good", "bad"], np.array([1, 0]), None, np.array(["a", "b"]))
    >>> split.take([1]).items
    ['bad']
    """

    items: Items
    labels: np.ndarray
    groups: np.ndarray | None
    identifiers: np.ndarray

    def __post_init__(self) -> None:
        lengths = {"items": len(self.items), "labels": len(self.labels), "identifiers": len(self.identifiers)}
        if self.groups is not None:
            lengths["groups"] = len(self.groups)
        if len(set(lengths.values())) > 1:
            counts = ", ".join(f"{count} {part}" for part, count in lengths.items())
            raise DataError(f"The parts of a split differ in length: {counts}. Give one of each for every item.")
        object.__setattr__(self, "labels", np.asarray(self.labels, dtype=np.int64))

    def __len__(self) -> int:
        return len(self.labels)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256, in hexadecimal, of the items in their order."""
        digest = hashlib.sha256()
        _update_with_items(digest, self.items)
        return digest.hexdigest()

    @cached_property
    def kinds(self) -> np.ndarray:
        """Kind of every item: what its identifier begins with, up to the first slash; empty where there is none."""
        return np.array([str(identifier).rpartition("/")[0].partition("/")[0] for identifier in self.identifiers])

    def take(self, indices: Sequence[int] | np.ndarray) -> Split:
        """Return the items at the given positions, in that order, as a split of its own.

        Parameters
        ----------
        indices
            Positions, each in 0..n-1; a position may come more than once.
        """
        positions = np.asarray(indices, dtype=np.int64)
        groups = None if self.groups is None else self.groups[positions]
        return Split(_take_items(self.items, positions), self.labels[positions], groups, self.identifiers[positions])


@dataclass(frozen=True, eq=False)
class Task:
    """Data in three splits, and how success on it is measured.

    Parameters
    ----------
    name, title
        The short name used in code and files, and the one shown to people.
    modality
        ``"text"``, ``"image"`` or ``"audio"``.
    backbone
        Name of the pretrained model that fits, as in the catalog.
    label_names
        Names of the classes, in the order of the labels 0, 1, ...
    train, validation, test
        Training, model selection, and the one final measurement.
    metric
        Name of the metric that selects learning rates and epochs on validation.
    metrics
        Names of all metrics that are reported, the selecting one included.
    assets
        Catalog names of the data the task is made of, whose licences must be shown.
    notes
        Plain statements a reader of the results must know.
    epochs
        Passes through the training data unless told otherwise, default 3.

    Raises
    ------
    DataError
        When a split is empty, a label has no name, training data lack a class or hold only one, an
        evaluation split holds only one class, or a group or an identifier is in two splits.
    """

    name: str
    title: str
    modality: Modality
    backbone: str
    label_names: tuple[str, ...]
    train: Split
    validation: Split
    test: Split
    metric: str
    metrics: tuple[str, ...]
    assets: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    epochs: int = 3

    def __post_init__(self) -> None:
        if self.modality not in ("text", "image", "audio"):
            raise DataError(f"Task {self.name!r} has modality {self.modality!r}; it must be text, image or audio.")
        if self.metric not in self.metrics:
            raise DataError(f"Task {self.name!r} selects by {self.metric!r}, which {self.metrics} lacks. Add it.")
        for split_name, split in self.splits.items():
            self._check_labels(split_name, split)
        self._check_nothing_is_shared()

    @property
    def splits(self) -> dict[str, Split]:
        """The three splits by name: train, validation, test."""
        return {"train": self.train, "validation": self.validation, "test": self.test}

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256, in hexadecimal, of everything in the splits: items, labels, groups, identifiers, label names."""
        digest = hashlib.sha256()
        _update_with_texts(digest, [self.modality, *self.label_names])
        for split_name, split in self.splits.items():
            _update_with_texts(digest, [split_name])
            _update_with_items(digest, split.items)
            digest.update(split.labels.astype("<i8").tobytes())
            _update_with_texts(digest, [] if split.groups is None else split.groups.tolist())
            _update_with_texts(digest, split.identifiers.tolist())
        return digest.hexdigest()

    def counts(self) -> dict[str, dict[str, int]]:
        """Return the number of items per split and class name."""
        return {
            split_name: dict(
                zip(
                    self.label_names,
                    np.bincount(split.labels, minlength=len(self.label_names)).tolist(),
                    strict=True,
                )
            )
            for split_name, split in self.splits.items()
        }

    def _check_labels(self, split_name: str, split: Split) -> None:
        if len(split) == 0:
            raise DataError(f"The {split_name} split of task {self.name!r} is empty. Give it an item of each class.")
        unnamed = sorted({int(label) for label in split.labels if not 0 <= label < len(self.label_names)})
        if unnamed:
            raise DataError(
                f"The {split_name} split of task {self.name!r} has the labels {unnamed}, "
                f"but only 0..{len(self.label_names) - 1} have a name. Name every class in label_names."
            )
        present = np.unique(split.labels)
        if len(present) < 2:
            raise DataError(
                f"The {split_name} split of task {self.name!r} holds a single class, "
                f"{self.label_names[present[0]]!r}. A classifier needs at least two: add items of another class."
            )
        if split_name == "train" and len(present) < len(self.label_names):
            missing = [label for index, label in enumerate(self.label_names) if index not in present]
            raise DataError(
                f"The train split of task {self.name!r} has no items of {', '.join(map(repr, missing))}, so they "
                "cannot be learned. Add training items of these classes, or take the classes out."
            )

    def _check_nothing_is_shared(self) -> None:
        names = list(self.splits)
        for position, first in enumerate(names):
            for second in names[position + 1 :]:
                self._check_disjoint("identifier", first, second)
                if self.splits[first].groups is not None and self.splits[second].groups is not None:
                    self._check_disjoint("group", first, second)

    def _check_disjoint(self, kind: Literal["identifier", "group"], first: str, second: str) -> None:
        shared = set(getattr(self.splits[first], kind + "s").tolist()) & set(
            getattr(self.splits[second], kind + "s").tolist()
        )
        if shared:
            raise DataError(
                f"The {kind} {min(shared)!r} is in both the {first} and the {second} split of task {self.name!r} "
                f"({len(shared)} shared in all), which would flatter every score. Keep each {kind} in one split."
            )


def _take_items(items: Items, positions: np.ndarray) -> Items:
    if not isinstance(items, np.ndarray):
        return [items[position] for position in positions]
    if items.ndim == 4 and items.strides[-1] == 0:
        # A view by grey_to_rgb: taking its one real channel keeps memory at a third.
        return grey_to_rgb(items[..., 0][positions])
    return items[positions]


def _update_with_texts(digest: Any, texts: Sequence[str]) -> None:
    digest.update(len(texts).to_bytes(8, "little"))
    for text in texts:
        encoded = text.encode("utf-8", "surrogatepass")  # as in names of files that are not in UTF-8
        digest.update(len(encoded).to_bytes(8, "little"))
        digest.update(encoded)


def _update_with_items(digest: Any, items: Items) -> None:
    if isinstance(items, np.ndarray):
        digest.update(np.array(items.shape, dtype="<i8").tobytes())
        # In chunks, since a grey view may be three times as large as the memory it takes.
        for start in range(0, len(items), 64):
            digest.update(np.ascontiguousarray(items[start : start + 64], dtype=np.uint8))
    elif items and isinstance(items[0], str):
        _update_with_texts(digest, items)
    else:
        digest.update(len(items).to_bytes(8, "little"))
        for item in items:
            digest.update(len(item).to_bytes(8, "little"))
            digest.update(np.ascontiguousarray(item, dtype="<f4"))
