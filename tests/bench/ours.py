"""ftkit's side of every comparison: what a lesson calls, or what that calls, with the pieces that make it fast."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from measuring import SCORES, Measured, Outcome, Stopwatch, compared, fresh_activations, load, scores_of, warm_up
from pieces import turned_off

from ftkit.memory import peak_memory
from ftkit.training.callbacks import BestWeights, Callback

if TYPE_CHECKING:
    from ftkit.experiments.run import Run
    from ftkit.tasks import Task
    from ftkit.training.history import Epoch, Step
    from ftkit.training.loop import Training


class FitClock(Callback):
    """Tells training from validation by the moments at which the loop calls: the same for every version of the loop.

    Keeping the best epoch's weights, which happens between the two, is part of the training.
    """

    def __init__(self) -> None:
        self.validation_seconds = 0.0
        self.ended = 0.0
        self._last_step = 0.0

    def on_start(self, training: Training) -> None:
        self.validation_seconds += training.validation.seconds  # its frozen blocks
        keeper = next(each for each in training.callbacks if isinstance(each, BestWeights))
        keep = keeper.on_epoch

        def timed(training: Training, epoch: Epoch) -> None:
            began = time.perf_counter()
            keep(training, epoch)
            self.validation_seconds -= time.perf_counter() - began

        keeper.on_epoch = timed  # type: ignore[method-assign]

    def on_step(self, training: Training, step: Step) -> None:
        self._last_step = time.perf_counter()

    def on_epoch(self, training: Training, epoch: Epoch) -> None:
        self.validation_seconds += time.perf_counter() - self._last_step

    def on_end(self, training: Training) -> None:
        self.ended = time.perf_counter()


# --- what is measured


def train(
    task: str,
    method: str,
    *,
    epochs: int,
    seed: int = 0,
    limit: int | None = None,
    test_limit: int | None = None,
    without: Sequence[str] = (),
    **options: Any,
) -> Measured:
    """Fine-tune with ftkit.

    Parameters
    ----------
    task, method
        Names.
    epochs, seed
        See `ftkit.fine_tune`.
    limit, test_limit
        Examples of the training and the test split; None for all.
    without
        Names of `pieces.PIECES` that are turned off.
    **options
        More arguments of `ftkit.fine_tune`.
    """
    with turned_off(without), fresh_activations():
        loaded = load(task, limit, test_limit)
        warm_up(loaded, method)
        return train_on(loaded, method, epochs=epochs, seed=seed, **options)


def train_on(task: Task, method: str, **options: Any) -> Measured:
    """Fine-tune on a loaded task and measure it. Classes are not weighed, since the plain scripts do not weigh them."""
    import ftkit

    clock = FitClock()
    watch = Stopwatch()
    run = ftkit.fine_tune(task, method, class_weights=False, callbacks=[clock], progress=False, **options)
    total = watch.seconds
    outcome = outcome_of(run)
    return Measured(
        fit_seconds=clock.ended - watch.started - clock.validation_seconds,
        training_seconds=run.seconds,
        total_seconds=total,
        peak_bytes=peak_memory(),
        scores=outcome.scores,
        test_items=len(task.test),
        precision=run.spec.precision,
        outcomes=[outcome],
    )


def outcome_of(run: Run) -> Outcome:
    """Score a run as the plain script is scored."""
    return Outcome(
        run.spec.method,
        run.spec.learning_rate,
        run.validation_scores["accuracy"].value,
        scores_of(run.predictions.labels, run.predictions.probabilities),
    )


def grid(
    task: str,
    methods: Sequence[str],
    rates: dict[str, list[float]],
    seeds: int,
    epochs: int,
    limit: int | None = None,
    test_limit: int | None = None,
) -> Measured:
    """Train every method at every learning rate with every seed, in one process; the probes together."""
    loaded = load(task, limit, test_limit)
    with fresh_activations():
        for method in methods:
            warm_up(loaded, method)
        return compared([_all_cells(loaded, method, rates[method], seeds, epochs) for method in methods])


def probes(
    task: str,
    rates: Sequence[float],
    seeds: int,
    epochs: int,
    limit: int | None = None,
    test_limit: int | None = None,
    without: Sequence[str] = (),
) -> Measured:
    """Train linear probes at every learning rate with every seed."""
    with turned_off(without), fresh_activations():
        loaded = load(task, limit, test_limit)
        warm_up(loaded, "linear-probe")
        return probes_on(loaded, [(rate, seed) for rate in rates for seed in range(seeds)], epochs)


def _all_cells(task: Task, method: str, rates: Sequence[float], seeds: int, epochs: int) -> Measured:
    cells = [(rate, seed) for rate in rates for seed in range(seeds)]
    if method == "linear-probe":
        return probes_on(task, cells, epochs)
    return compared([train_on(task, method, epochs=epochs, seed=seed, lr=rate) for rate, seed in cells])


def probes_on(task: Task, cells: Sequence[tuple[float, int]], epochs: int) -> Measured:
    """Train linear probes of several rates and seeds together, as `compare` does."""
    from ftkit.experiments.fine_tuning import default_settings
    from ftkit.experiments.probing import Probes
    from ftkit.methods import LinearProbe

    usual = replace(default_settings(task, LinearProbe()), epochs=epochs, class_weights=False)
    watch = Stopwatch()
    outcomes, evaluation_seconds, training_seconds = [], 0.0, 0.0
    for run in Probes(task).runs([usual.with_rate_and_seed(rate, seed) for rate, seed in cells]):
        outcomes.append(outcome_of(run))
        evaluation_seconds += run.cost.evaluation_seconds
        training_seconds += run.seconds
        del run  # and with it, where each has its own, the model
    total = watch.seconds
    return Measured(
        fit_seconds=total - evaluation_seconds,
        training_seconds=training_seconds,
        total_seconds=total,
        peak_bytes=peak_memory(),
        scores={name: statistics.fmean(each.scores[name] for each in outcomes) for name in SCORES},
        test_items=len(task.test),
        precision=usual.precision,
        outcomes=outcomes,
    )
