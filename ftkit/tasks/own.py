"""A task from one's own data."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ftkit.backbones import backbone_for
from ftkit.errors import DataError
from ftkit.tasks.base import Modality, Split, Task
from ftkit.tasks.reading import Columns, Examples, Source, read_examples
from ftkit.tasks.splitting import split_by_group, split_by_stratum

__all__ = ["own_task"]

_HELD_OUT_SHARE = 0.2
_IMBALANCE = 2.0
_RARE = 5


def own_task(
    train: Source,
    validation: Source | None = None,
    test: Source | None = None,
    *,
    text: str | None = None,
    image: str | None = None,
    audio: str | None = None,
    label: str | None = None,
    group: str | None = None,
    name: str | None = None,
    seed: int = 0,
    progress: bool = True,
) -> Task:
    """Make a task from texts, pictures or recordings of your own.

    Parameters
    ----------
    train
        A CSV or TSV file of texts, or of paths to pictures or recordings (relative to the file); a pandas
        DataFrame of the same (paths relative to the current folder); or a folder of pictures or recordings
        with one folder a class.
    validation, test
        The same for the other two splits. A split that is not given is cut from `train`: a fifth of it,
        at random, with the same class shares.
    text, image, audio
        The column with the texts, or the paths of the pictures or recordings. Guessed when a column has a
        usual name such as ``text`` or ``image``.
    label
        The column with the classes. Guessed when it has a usual name such as ``label``, or is the only other one.
    group
        A column whose values no two splits share, such as the patient or the speaker. Give it whenever
        several rows come from one source: otherwise the score shows how well the source is recognised.
    name
        Name of the task, with "own-" before that of a ready-made one; from the file's name when not given.
    seed
        Seed of the split.
    progress
        Show a progress bar while many pictures or recordings are read, default True.

    Returns
    -------
    Task
        Pictures of any size and mode become 160 x 160 RGB (shorter side resized, centre kept); recordings of
        any rate become 16 kHz mono of at most 30 seconds. Repeated items are left out, which its notes say. The
        metric is accuracy, or balanced accuracy when the largest class is more than twice the smallest.

    Raises
    ------
    DataError
        When a file, column, text or label is missing or cannot be read, there are fewer than two classes,
        or a class is too small to be in every split. The message names the row, file or class.

    Examples
    --------
    >>> import pandas
    >>> table = pandas.DataFrame({"review": [f"text {n}" for n in range(20)], "label": ["good", "bad"] * 10})
    >>> task = own_task(table, text="review")
    >>> task.label_names, len(task.train), len(task.validation), len(task.test)
    (('bad', 'good'), 12, 4, 4)
    """
    columns = Columns(text, image, audio, label, group)
    sources = {"train": train, "validation": validation, "test": test}
    given = {
        split: read_examples(source, columns, progress=progress)
        for split, source in sources.items()
        if source is not None
    }
    modality = _one_modality(given)
    label_names = _label_names(given)
    notes = [note for examples in given.values() for note in examples.notes]
    notes += _leave_out_repeats(given)
    prefixed = len(given) > 1
    splits = {
        split: _to_split(examples, label_names, f"{split}: " if prefixed else "") for split, examples in given.items()
    }
    missing = [split for split in sources if split not in splits]
    splits |= _cut(splits["train"], missing, label_names, seed)
    if modality == "image":  # not before: an array of all pictures beside one a split would fill the memory
        given.clear()
        for split in sources:
            splits[split] = _stacked(splits[split])
    metric, metrics, metric_notes = _metrics(splits["train"], label_names)
    title = name or (_stem(Path(train)) if isinstance(train, (str, Path)) else "Own data")
    return Task(
        name=_slug(title),
        title=title,
        modality=modality,
        backbone=backbone_for(modality),
        label_names=label_names,
        train=splits["train"],
        validation=splits["validation"],
        test=splits["test"],
        metric=metric,
        metrics=metrics,
        notes=(*notes, *metric_notes, *_rare(splits["test"], label_names)),
    )


def _stem(path: Path) -> str:
    """Name of a file or folder, of this one and the one above too."""
    return path.stem.strip(".") or path.resolve().stem


def _one_modality(given: dict[str, Examples]) -> Modality:
    modalities = {examples.modality for examples in given.values()}
    if len(modalities) > 1:
        kinds = ", ".join(f"{split}: {examples.modality}" for split, examples in given.items())
        raise DataError(f"The splits hold different kinds of data ({kinds}). Give three of one kind.")
    return given["train"].modality


def _label_names(given: dict[str, Examples]) -> tuple[str, ...]:
    names = set(given["train"].labels)
    for split, examples in given.items():
        unknown = sorted(set(examples.labels) - names)
        if unknown:
            raise DataError(
                f"The {split} data have the class {unknown[0]!r}, which the training data lack. "
                "Add training examples of it, or correct the label."
            )
    if len(names) < 2:
        raise DataError(
            f"The training data have a single class, {next(iter(names))!r}. A classifier needs at least two: "
            "add examples of another class, or choose another label column."
        )
    if len(names) > len(given["train"]) / 2:
        raise DataError(
            f"The training data have {len(names)} classes in {len(given['train'])} examples. "
            "Choose a label column with few different values; ftkit classifies, it does not predict numbers."
        )
    return tuple(sorted(names, key=_in_order_of_numbers))


def _in_order_of_numbers(name: str) -> tuple[int, float, str]:
    try:
        number = float(name)
    except ValueError:
        number = math.nan
    return (0, number, name) if math.isfinite(number) else (1, 0.0, name)  # "nan" would sort anywhere


def _leave_out_repeats(given: dict[str, Examples]) -> list[str]:
    """Take repeated contents out, so that no test item was trained on, and say how many.

    The first copy stays, in the test before validation before training; where copies have different labels, none stays.
    """
    keys = {split: [_content_key(content) for content in examples.contents] for split, examples in given.items()}
    labels_of: dict[bytes, set[str]] = {}
    for split, examples in given.items():
        for key, label in zip(keys[split], examples.labels, strict=True):
            labels_of.setdefault(key, set()).add(label)
    notes: list[str] = []
    seen: set[bytes] = set()
    for split in [split for split in ("test", "validation", "train") if split in given]:
        kept: list[int] = []
        contradicted = repeated = 0
        for position, key in enumerate(keys[split]):
            if len(labels_of[key]) > 1:
                contradicted += 1
            elif key in seen:
                repeated += 1
            else:
                seen.add(key)
                kept.append(position)
        if repeated:
            notes.append(f"{repeated} repeated items were left out of the {split} data.")
        if contradicted:
            notes.append(f"{contradicted} items were left out of the {split} data: their copies have different labels.")
        _keep(given[split], kept)
    return notes


def _keep(examples: Examples, kept: Sequence[int]) -> None:
    examples.contents = [examples.contents[position] for position in kept]
    examples.labels = [examples.labels[position] for position in kept]
    examples.identifiers = [examples.identifiers[position] for position in kept]
    if examples.groups is not None:
        examples.groups = [examples.groups[position] for position in kept]


def _content_key(content: Any) -> bytes:
    data = content.encode("utf-8") if isinstance(content, str) else np.ascontiguousarray(content).tobytes()
    return hashlib.sha256(data).digest()


def _to_split(examples: Examples, label_names: tuple[str, ...], prefix: str) -> Split:
    index_of = {label: index for index, label in enumerate(label_names)}
    return Split(
        items=examples.contents,
        labels=np.array([index_of[label] for label in examples.labels], dtype=np.int64),
        groups=None if examples.groups is None else np.array(examples.groups),
        identifiers=np.array([prefix + identifier for identifier in examples.identifiers]),
    )


def _stacked(split: Split) -> Split:
    """Put pictures into one array; a split that has lost all of them is refused later."""
    return replace(split, items=np.stack(split.items)) if len(split) else split


def _cut(train: Split, missing: list[str], label_names: tuple[str, ...], seed: int) -> dict[str, Split]:
    """Return the training split with the missing splits cut from it."""
    parts = len(missing) + 1
    counts = np.bincount(train.labels, minlength=len(label_names))
    small = [f"{label_names[index]!r} ({counts[index]})" for index in np.flatnonzero(counts < parts)]
    if small:
        raise DataError(
            f"Each class needs at least {parts} different examples in the training data, as {parts} splits are made of "
            f"them; too few of {', '.join(small)}. Add examples of these classes, or take the classes out."
        )
    if not missing:
        return {"train": train}
    fractions = [1 - _HELD_OUT_SHARE * len(missing), *[_HELD_OUT_SHARE] * len(missing)]
    if train.groups is None:
        positions = split_by_stratum(train.labels, fractions, seed)
    else:
        positions = split_by_group(train.labels, train.groups, fractions, seed)
        _check_classes(train, positions, ("train", *missing), label_names)
    return dict(zip(("train", *missing), map(train.take, positions), strict=True))


def _check_classes(
    train: Split, positions: list[np.ndarray], names: tuple[str, ...], label_names: tuple[str, ...]
) -> None:
    """Raise a `DataError` where a class has too few groups, or too unequal ones, to be in every split."""
    assert train.groups is not None
    for name, chosen in zip(names, positions, strict=True):
        for label in np.setdiff1d(train.labels, train.labels[chosen]):
            groups = len(np.unique(train.groups[train.labels == label]))
            raise DataError(
                f"No way was found to put {label_names[label]!r} into each of {len(names)} splits ({name} would have "
                f"none): its examples lie in {groups} group{'s' if groups > 1 else ''}, and a group is never shared. "
                "Add examples of it from other groups, or leave the group out if the examples are independent."
            )


def _metrics(train: Split, label_names: tuple[str, ...]) -> tuple[str, tuple[str, ...], list[str]]:
    """Return the selecting metric, all metrics, and a note when the classes made the choice."""
    third = "roc_auc" if len(label_names) == 2 else "macro_f1"
    counts = np.bincount(train.labels, minlength=len(label_names))
    if counts.max() <= _IMBALANCE * counts.min():
        return "accuracy", ("accuracy", "balanced_accuracy", third), []
    largest, smallest = label_names[int(counts.argmax())], label_names[int(counts.argmin())]
    note = (
        f"Scored by balanced accuracy, since {largest!r} ({counts.max()}) has more than twice the training examples of "
        f"{smallest!r} ({counts.min()})."
    )
    return "balanced_accuracy", ("balanced_accuracy", third, "accuracy"), [note]


def _rare(test: Split, label_names: tuple[str, ...]) -> list[str]:
    """Say which classes have so few test items that scores by class, and means of these, are hardly known."""
    counts = np.bincount(test.labels, minlength=len(label_names))
    rare = [f"{label_names[index]!r} ({counts[index]})" for index in np.flatnonzero(counts < _RARE)]
    if not rare:
        return []
    return [
        f"The test split has fewer than {_RARE} examples of {', '.join(rare)}: scores by class rest on them, and their "
        "intervals are too narrow. Collect more."
    ]


def _slug(name: str) -> str:
    """Make a name for folders and commands, which is never that of a ready-made task."""
    from ftkit.tasks import TASKS

    slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "own-data"
    return f"own-{slug}" if slug in TASKS else slug
