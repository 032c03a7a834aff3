"""Linear probes of several learning rates or seeds, trained together on features that are computed once."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from ftkit.classifier import new_head
from ftkit.errors import NoRoomError
from ftkit.experiments.fine_tuning import Prepared, answers, describe, finished_run, prepare
from ftkit.experiments.machine import MemoryWatch
from ftkit.experiments.run import Run
from ftkit.methods import LinearProbe
from ftkit.training.cache import ActivationCache, shared_cache
from ftkit.training.heads import TrainedHead, train_heads
from ftkit.training.loop import Inputs, TrainingSettings

if TYPE_CHECKING:
    from ftkit.tasks.base import Task


def probe(task: Task, settings: Sequence[TrainingSettings], cache: ActivationCache | None = None) -> list[TrainedHead]:
    """Train one linear probe for each of several settings, all in one computation; the test split is not read.

    Parameters
    ----------
    task
        What to learn.
    settings
        One a probe; they differ in learning rate and seed only.
    cache
        Keeps the features, default the shared one.
    """
    prepared = _prepared(task, settings, cache)
    return _trained(task, prepared, settings, _features(prepared, task, "train"))


def probe_runs(task: Task, settings: Sequence[TrainingSettings], cache: ActivationCache | None = None) -> Iterator[Run]:
    """Train linear probes together and give them out as runs, one after the other.

    They share one model in memory: save a run, or be done with its model, before asking for the next.

    Parameters
    ----------
    task, settings, cache
        See `probe`.

    Yields
    ------
    Run
        As `fine_tune` makes it; seconds are its share of the whole.
    """
    with MemoryWatch() as memory:
        prepared = _prepared(task, settings, cache)
        train = _features(prepared, task, "train")
        started = time.perf_counter()
        heads = _trained(task, prepared, settings, train)
        validation, test = (_features(prepared, task, name) for name in ("validation", "test"))
        training = sum(head.history.seconds for head in heads)
    share = (time.perf_counter() - started - training) / len(heads)
    for each, head in zip(settings, heads, strict=True):
        prepared.trainable.load_trained_state({"head.weight": head.weight, "head.bias": head.bias})
        yield finished_run(
            task,
            describe(task, LinearProbe(), each),
            prepared,
            head.history,
            answers(task.validation, prepared, validation),
            answers(task.test, prepared, test),
            seconds=head.history.seconds + train.seconds / len(heads),
            evaluation_seconds=share,
            peak_memory_bytes=memory.peak_bytes,
            frozen_depth=prepared.frozen_depth,
        )


def _prepared(task: Task, settings: Sequence[TrainingSettings], cache: ActivationCache | None) -> Prepared:
    return prepare(task, LinearProbe(), settings[0], shared_cache() if cache is None else cache)


def _features(prepared: Prepared, task: Task, split: str) -> Inputs:
    inputs = prepared.inputs(task.splits[split])
    if inputs.reader is None:
        raise NoRoomError(
            f"The {split} features of {task.name} fit neither memory nor disk. Free some space (`ftkit cache --clear`)."
        )
    return inputs


def _trained(task: Task, prepared: Prepared, settings: Sequence[TrainingSettings], train: Inputs) -> list[TrainedHead]:
    backbone = prepared.trainable.classifier.backbone
    heads = [new_head(backbone.width, len(task.label_names), each.seed) for each in settings]
    validation = _features(prepared, task, "validation")
    return train_heads(heads, train, validation, settings, task.metric, backbone.bucket)
