"""The data that a condition trains on: fewer examples, one kind of item, wrong labels, wrong labels found."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ftkit.errors import FtkitError
from ftkit.experiments.experiment import Condition
from ftkit.experiments.label_errors import find_label_errors
from ftkit.tasks import Split, Task, load_task
from ftkit.tasks.splitting import stratified_draw


def load(condition: Condition) -> Task:
    """Load the task with the examples and the labels that a condition trains on."""
    task = labelled(condition)
    if not condition.repaired:
        return task
    right = np.flatnonzero(~find_label_errors(task))
    return replace(task, train=task.train.take(right))


def labelled(condition: Condition) -> Task:
    """The task before what looks wrong in it is taken out."""
    task = clean(condition)
    if not condition.label_noise:
        return task
    noisy = with_label_noise(task.train, condition.label_noise, len(task.label_names), condition.seed)
    return replace(task, train=noisy)


def clean(condition: Condition) -> Task:
    """The task with the condition's examples, all labels as published."""
    if condition.kind:
        task = of_kind(load_task(condition.task), condition.kind)
        return task if condition.examples is None else replace(task, train=_first(task.train, condition))
    if condition.examples is None:
        return load_task(condition.task)
    return load_task(condition.task, limit=condition.examples, seed=condition.seed)


def of_kind(task: Task, kind: str) -> Task:
    """Keep the training and validation items of one kind; the test stays whole.

    Parameters
    ----------
    task
        Its identifiers begin with the kind and a slash, as those of the solar cells do (``mono/``, ``poly/``).
    kind
        What they begin with.

    Raises
    ------
    FtkitError
        If no item is of that kind.
    """
    chosen = {name: np.flatnonzero(task.splits[name].kinds == kind) for name in ("train", "validation")}
    if not all(len(positions) for positions in chosen.values()):
        known = ", ".join(sorted(set(task.train.kinds) - {""})) or "none"
        raise FtkitError(f"{task.name} has no items of kind {kind!r}. It has: {known}.")
    train, validation = (task.splits[name].take(positions) for name, positions in chosen.items())
    return replace(task, train=train, validation=validation)


def with_label_noise(split: Split, share: float, classes: int, seed: int) -> Split:
    """Replace a share of a split's labels, drawn at random, by another class each.

    Parameters
    ----------
    split
        The split; it stays as it is.
    share
        Share of the labels, 0 to 1, rounded to whole items.
    classes
        Number of classes, two at least.
    seed
        Seed of the draw.

    Examples
    --------
    >>> split = Split(["a", "b", "c", "d"], np.array([0, 1, 0, 1]), None, np.array(list("abcd")))
    >>> int((with_label_noise(split, 0.5, classes=2, seed=0).labels != split.labels).sum())
    2
    """
    generator = np.random.default_rng(seed)
    wrong = generator.permutation(len(split))[: round(share * len(split))]
    labels = split.labels.copy()
    labels[wrong] = (labels[wrong] + generator.integers(1, classes, size=len(wrong))) % classes
    return replace(split, labels=labels)


def _first(split: Split, condition: Condition) -> Split:
    """So many items of a split, drawn by the condition's seed."""
    assert condition.examples is not None
    return split.take(np.sort(stratified_draw(split.labels, condition.examples, seed=condition.seed)))
