"""What one benchmarked function reports, and the measures that it takes of its own process."""

from __future__ import annotations

import os
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ftkit.memory import peak_memory

if TYPE_CHECKING:
    import numpy as np

    from ftkit.tasks import Split, Task

SCORES = ("accuracy", "balanced_accuracy")
BATCH = 32
"""Training examples a step, where nothing else is asked for."""


@dataclass(frozen=True)
class Outcome:
    """What one training came to.

    Attributes
    ----------
    method, learning_rate
        What was trained, and at which peak learning rate.
    validation
        Accuracy on the validation split, 0 to 1, by which a comparison chooses the learning rate.
    scores
        Metrics on the test split, 0 to 1.
    """

    method: str
    learning_rate: float
    validation: float
    scores: dict[str, float]


@dataclass(frozen=True)
class MethodTotal:
    """What one method of a comparison took over all rates and seeds, and its test scores, see `at_best_rate`."""

    fit_seconds: float
    scores: dict[str, float]


@dataclass(frozen=True)
class Measured:
    """One training, measured from a loaded task to its scores on the test split.

    Attributes
    ----------
    fit_seconds
        From the task to the trained model: weights read, data prepared, epochs trained; validation excluded.
    training_seconds
        The epochs alone.
    total_seconds
        ``fit_seconds``, every validation and the test.
    peak_bytes
        Highest resident memory of the process so far, imports included.
    scores
        Metrics on the test split, 0 to 1; of a whole comparison, the means of its methods.
    test_items
        Size of the test split.
    precision
        Number format that was trained in.
    outcomes
        Of every training that a comparison may consist of; empty where it can't be part of one.
    by_method
        Of a whole comparison: what each method took, and its scores at its best rate.
    """

    fit_seconds: float
    training_seconds: float
    total_seconds: float
    peak_bytes: int
    scores: dict[str, float]
    test_items: int
    precision: str
    outcomes: list[Outcome] = field(default_factory=list)
    by_method: dict[str, MethodTotal] = field(default_factory=dict)


def at_best_rate(outcomes: Iterable[Outcome]) -> dict[str, float]:
    """Test scores at the learning rate that was best on validation, as means over the seeds.

    Examples
    --------
    >>> low, high = (
    ...     Outcome("full", rate, validation, dict.fromkeys(SCORES, score))
    ...     for rate, validation, score in [(0.001, 0.6, 0.5), (0.01, 0.7, 0.8)]
    ... )
    >>> at_best_rate([low, high])
    {'accuracy': 0.8, 'balanced_accuracy': 0.8}
    """
    by_rate: dict[float, list[Outcome]] = {}
    for outcome in outcomes:
        by_rate.setdefault(outcome.learning_rate, []).append(outcome)
    best = max(by_rate.values(), key=lambda seeds: statistics.fmean(each.validation for each in seeds))
    return {name: statistics.fmean(each.scores[name] for each in best) for name in SCORES}


def compared(parts: Sequence[Measured]) -> Measured:
    """Sum up the trainings of a comparison, made in one process; its scores are the means of its methods'."""
    outcomes = [outcome for part in parts for outcome in part.outcomes]
    by_method = {
        method: MethodTotal(
            sum(part.fit_seconds for part in parts if part.outcomes[0].method == method),
            at_best_rate(outcome for outcome in outcomes if outcome.method == method),
        )
        for method in dict.fromkeys(outcome.method for outcome in outcomes)
    }
    return Measured(
        fit_seconds=sum(part.fit_seconds for part in parts),
        training_seconds=sum(part.training_seconds for part in parts),
        total_seconds=sum(part.total_seconds for part in parts),
        peak_bytes=peak_memory(),
        scores={name: statistics.fmean(each.scores[name] for each in by_method.values()) for name in SCORES},
        test_items=parts[0].test_items,
        precision=parts[0].precision,
        outcomes=outcomes,
        by_method=by_method,
    )


class Stopwatch:
    """Seconds since it was made.

    Examples
    --------
    >>> Stopwatch().seconds >= 0
    True
    """

    def __init__(self) -> None:
        self.started = time.perf_counter()

    @property
    def seconds(self) -> float:
        """Seconds since the watch was made."""
        return time.perf_counter() - self.started


def peak_memory_with_children() -> int:
    """Highest resident memory in bytes of this process and the largest that it started and that has ended.

    One that was not larger than this process is left out: a small tool's account begins with the memory of the process
    that it was forked from.
    """
    usage = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    # Linux counts in units of 1024 bytes, macOS in bytes.
    own, child = peak_memory(), usage if sys.platform == "darwin" else usage * 1024
    return own + child if child > own else own


def processor_time() -> float:
    """CPU time in seconds of this process and of those that it started, directly or not, and that have ended."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def resident_memory() -> int:
    """Resident memory of this process now, in bytes."""
    import psutil

    return psutil.Process().memory_info().rss


@contextmanager
def fresh_activations() -> Iterator[None]:
    """Let ftkit's cache of frozen activations start empty, so that nothing profits from what was computed before."""
    from ftkit.paths import cache_folder
    from ftkit.training.cache import shared_cache

    cache_folder().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="bench-", dir=cache_folder()) as folder:
        shared_cache.cache_clear()
        shared_cache().folder = Path(folder)
        try:
            yield
        finally:
            shared_cache.cache_clear()


def warm_up(task: Task, method: str) -> None:
    """Import what a training needs, and do what is done once on a machine: Whisper converted, precision probed.

    What a process keeps between trainings is forgotten again: the script that is compared with begins without it too.
    """
    from ftkit.backbones import load_backbone
    from ftkit.backbones.text import read_tokenizer
    from ftkit.experiments.fine_tuning import default_settings
    from ftkit.methods import as_method
    from ftkit.methods.parameter_efficient import PeftMethod

    load_backbone(task.backbone)
    default_settings(task, as_method(method))
    if isinstance(as_method(method), PeftMethod):
        import ftkit.methods.peft_trainable  # noqa: F401
    read_tokenizer.cache_clear()


def load(task: str, limit: int | None = None, test_limit: int | None = None) -> Task:
    """Load a ready-made task, its test split cut to about ``test_limit`` items, evenly over the classes."""
    import ftkit

    loaded = ftkit.load_task(task, limit=limit)
    if test_limit is None:
        return loaded
    each = max(1, test_limit // len(loaded.label_names))
    return replace(loaded, test=some_of_each(loaded.test, each))


def some_of_each(split: Split, count: int) -> Split:
    """Return the first items of every class: of few groups, since these come one after the other."""
    import numpy as np

    positions = [np.flatnonzero(split.labels == label)[:count] for label in np.unique(split.labels)]
    return split.take(np.concatenate(positions))


def scores_of(labels: np.ndarray, probabilities: np.ndarray) -> dict[str, float]:
    """Score predicted probabilities, (items, classes), by every metric of `SCORES`."""
    from ftkit.evaluation import METRICS

    return {name: float(METRICS[name].function(labels, probabilities)) for name in SCORES}
