"""Linear probes of several learning rates or seeds, trained together on features that are computed once."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ftkit.classifier import new_head
from ftkit.errors import NoRoomError
from ftkit.experiments.fine_tuning import Prepared, answers, describe, finished_run, prepare
from ftkit.experiments.machine import MemoryWatch
from ftkit.experiments.run import Run
from ftkit.memory import release_memory
from ftkit.methods import LinearProbe
from ftkit.training.cache import ActivationCache, shared_cache
from ftkit.training.heads import TrainedHead, train_heads
from ftkit.training.loop import Inputs, TrainingSettings

if TYPE_CHECKING:
    from ftkit.tasks.base import Task


class Probes:
    """Linear probes on one task, all that are planned trained in one computation as soon as one is asked for.

    What is asked for besides trains with it; each comes out as if it had been trained alone.

    Parameters
    ----------
    task
        What to learn.
    planned
        Settings of probes that may be asked for, default none; they differ in learning rate and seed only.
    cache
        Keeps the features, default the shared one.
    progress
        Show progress bars, default False.

    Examples
    --------
    ``heads = Probes(task).heads([settings.with_rate_and_seed(rate, 0) for rate in (0.003, 0.01, 0.03)])``
    """

    def __init__(
        self,
        task: Task,
        planned: Sequence[TrainingSettings] = (),
        cache: ActivationCache | None = None,
        *,
        progress: bool = False,
    ) -> None:
        self._task = task
        self._planned = tuple(planned)
        self._cache = shared_cache() if cache is None else cache
        self._progress = progress
        self._trained: dict[TrainingSettings, _Probe] = {}
        self._peak_memory_bytes = 0

    def heads(self, settings: Sequence[TrainingSettings]) -> list[TrainedHead]:
        """Return the probe of each of several settings, trained where it is not yet; the test split is not read.

        Parameters
        ----------
        settings
            One a probe; they differ from each other, and from what is planned, in learning rate and seed only.

        Raises
        ------
        TrainingError
            If they differ in more.
        DivergedError
            If one of those that train together diverges. What was planned is then given up, so that no learning rate
            that nobody asked for keeps others from being trained.
        NoRoomError
            If there is no room for the features.
        """
        if self._lacks(settings):
            with self._watched():
                self._train(self._prepared(settings[0]), settings)
        return [self._trained[each].head for each in settings]

    def runs(self, settings: Sequence[TrainingSettings]) -> Iterator[Run]:
        """Give probes out as runs, one after the other.

        They share one model in memory: save a run, or be done with its model, before asking for the next.

        Parameters
        ----------
        settings
            As for `heads`, which tells what is raised.

        Yields
        ------
        Run
            As `fine_tune` makes it; seconds are its share of the whole.
        """
        with self._watched():
            prepared = self._prepared(settings[0])
            if self._lacks(settings):
                self._train(prepared, settings)
            release_memory()  # what loading and training left behind
            started = time.perf_counter()
            validation, test = (_features(prepared, self._task, name) for name in ("validation", "test"))
            share = (time.perf_counter() - started) / len(settings)
        for each in settings:
            probe = self._trained[each]
            prepared.trainable.load_trained_state({"head.weight": probe.head.weight, "head.bias": probe.head.bias})
            yield finished_run(
                self._task,
                describe(self._task, LinearProbe(), each),
                prepared,
                probe.head.history,
                answers(self._task.validation, prepared, validation),
                answers(self._task.test, prepared, test),
                seconds=probe.seconds,
                evaluation_seconds=probe.evaluation_seconds + share,
                peak_memory_bytes=self._peak_memory_bytes,
                frozen_depth=prepared.frozen_depth,
            )

    @contextmanager
    def _watched(self) -> Iterator[None]:
        """Keep the most memory that was held. Begin without a model: one might be spared from collection for good."""
        with MemoryWatch() as memory:
            yield
        self._peak_memory_bytes = max(self._peak_memory_bytes, memory.peak_bytes)

    def _lacks(self, settings: Sequence[TrainingSettings]) -> bool:
        return any(each not in self._trained for each in settings)

    def _prepared(self, settings: TrainingSettings) -> Prepared:
        return prepare(self._task, LinearProbe(), settings, self._cache, progress=self._progress)

    def _train(self, prepared: Prepared, settings: Sequence[TrainingSettings]) -> None:
        """Train what is asked for and, with it, all that is planned."""
        together = [each for each in dict.fromkeys((*settings, *self._planned)) if each not in self._trained]
        self._planned = ()
        started = time.perf_counter()
        train, validation = (_features(prepared, self._task, name) for name in ("train", "validation"))
        backbone = prepared.trainable.classifier.backbone
        heads = [new_head(backbone.width, len(self._task.label_names), each.seed) for each in together]
        trained = train_heads(heads, train, validation, together, self._task.metric, backbone.bucket)
        elapsed = time.perf_counter() - started
        share = 1 / len(together)
        evaluation_seconds = elapsed - train.seconds - sum(head.history.seconds for head in trained)
        for each, head in zip(together, trained, strict=True):
            seconds = head.history.seconds + train.seconds * share
            self._trained[each] = _Probe(head, seconds, evaluation_seconds * share)


@dataclass(frozen=True)
class _Probe:
    """A trained head and its share of the seconds of all that trained together, see `Cost`."""

    head: TrainedHead
    seconds: float
    evaluation_seconds: float


def _features(prepared: Prepared, task: Task, split: str) -> Inputs:
    inputs = prepared.inputs(task.splits[split])
    if inputs.reader is None:
        raise NoRoomError(
            f"The {split} features of {task.name} fit neither memory nor disk. Free some space (`ftkit cache --clear`)."
        )
    return inputs
