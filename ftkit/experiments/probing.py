"""Linear probes of several learning rates or seeds, trained together on features that are computed once."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ftkit.classifier import new_head
from ftkit.errors import DivergedError, NoRoomError
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

MOST_PLANNED = 96
"""So many probes cost little more than one; many more would take memory and time that nobody asked for."""


class Probes:
    """Linear probes on one task, all that are planned trained in one computation as soon as one is asked for.

    What is asked for besides trains with it; each comes out as if it had been trained alone.

    Parameters
    ----------
    task
        What to learn.
    planned
        Settings of probes that may be asked for, default none, the likeliest first: of very many only these are
        trained before they are asked for. They differ in learning rate and seed only.
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
        self._planned = tuple(planned[:MOST_PLANNED])
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
            If one of them diverges.
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
        train_features_seconds = 0.0
        with self._watched():
            prepared = self._prepared(settings[0])
            if self._lacks(settings):
                train_features_seconds = self._train(prepared, settings)
            release_memory()  # what loading and training left behind
            started = time.perf_counter()
            validation, test = (_features(prepared, self._task, name) for name in ("validation", "test"))
            other_features_seconds = time.perf_counter() - started
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
                seconds=probe.head.history.seconds + train_features_seconds / len(settings),
                evaluation_seconds=probe.validation_seconds + other_features_seconds / len(settings),
                peak_memory_bytes=self._peak_memory_bytes,
                frozen_depth=prepared.frozen_depth,
            )

    def keep(self, settings: Sequence[TrainingSettings]) -> None:
        """Let go of what is trained or planned, but for some that will be asked for.

        Parameters
        ----------
        settings
            Of the probes to keep, where they are trained.
        """
        self._planned = ()
        self._trained = {each: probe for each, probe in self._trained.items() if each in settings}

    @contextlib.contextmanager
    def _watched(self) -> Iterator[None]:
        """Keep the most memory that was held. Begin without a model: one might be spared from collection for good."""
        with MemoryWatch() as memory:
            yield
        self._peak_memory_bytes = max(self._peak_memory_bytes, memory.peak_bytes)

    def _lacks(self, settings: Sequence[TrainingSettings]) -> bool:
        return any(each not in self._trained for each in settings)

    def _prepared(self, settings: TrainingSettings) -> Prepared:
        return prepare(self._task, LinearProbe(), settings, self._cache, progress=self._progress)

    def _train(self, prepared: Prepared, settings: Sequence[TrainingSettings]) -> float:
        """Train what is lacking and, with it, all that is planned; return what computing or reading the features took.

        Where that diverges, what is lacking trains without the rest: nobody asked for a learning rate that was planned.
        """
        lacking = [each for each in dict.fromkeys(settings) if each not in self._trained]
        planned = [each for each in dict.fromkeys(self._planned) if each not in self._trained and each not in lacking]
        self._planned = ()
        train = _features(prepared, self._task, "train")
        if planned:
            with contextlib.suppress(DivergedError):
                self._train_together(prepared, train, [*lacking, *planned])
                return train.seconds
        self._train_together(prepared, train, lacking)
        return train.seconds

    def _train_together(self, prepared: Prepared, train: Inputs, settings: Sequence[TrainingSettings]) -> None:
        started = time.perf_counter()
        backbone = prepared.trainable.classifier.backbone
        trained = train_heads(
            [new_head(backbone.width, len(self._task.label_names), each.seed) for each in settings],
            train,
            _features(prepared, self._task, "validation"),
            settings,
            self._task.metric,
            backbone.bucket,
            prepared.bar("heads"),
        )
        validating_seconds = time.perf_counter() - started - sum(head.history.seconds for head in trained)
        for each, head in zip(settings, trained, strict=True):
            self._trained[each] = _Probe(head, validating_seconds / len(settings))


@dataclass(frozen=True)
class _Probe:
    """A trained head, and its share of the seconds that validation took."""

    head: TrainedHead
    validation_seconds: float


def _features(prepared: Prepared, task: Task, split: str) -> Inputs:
    inputs = prepared.inputs(task.splits[split])
    if inputs.reader is None:
        raise NoRoomError(
            f"The {split} features of {task.name} fit neither memory nor disk. Free some space (`ftkit cache --clear`)."
        )
    return inputs
