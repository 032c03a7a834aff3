"""Find each method's learning rate on the validation split, with as many trials for one method as for another."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from ftkit.errors import FtkitError
from ftkit.experiments.fine_tuning import default_settings, prepare
from ftkit.experiments.machine import processor_name
from ftkit.experiments.trials import Trial, Trials, read_trials
from ftkit.methods import Method, as_method
from ftkit.training.callbacks import BestWeights, ProgressBar
from ftkit.training.loop import Training

if TYPE_CHECKING:
    from ftkit.tasks.base import Task

SPREAD = 10**0.5
"""Factor between neighbouring learning rates of a grid."""


def rate_grid(method: Method, trials: int) -> list[float]:
    """Learning rates around the method's typical one, a factor of the square root of ten apart.

    Examples
    --------
    >>> rate_grid(as_method("full"), 3)
    [3.2e-05, 0.0001, 0.00032]
    """
    if trials < 1:
        raise FtkitError(f"trials = {trials}: at least one learning rate must be tried.")
    lowest = -(trials // 2)
    return [float(f"{method.typical_rate * SPREAD**power:.1e}") for power in range(lowest, lowest + trials)]


def tune(
    task: Task,
    methods: Sequence[str | Method],
    path: Path,
    *,
    trials: int = 3,
    epochs: int | None = None,
    seed: int = 0,
    on_trial: Callable[[Trial], None] | None = None,
) -> Trials:
    """Try as many learning rates for every method and record each trial as soon as it is done.

    Trials that the file holds already are not repeated.

    Parameters
    ----------
    task
        Its validation split judges; its test split is not read.
    methods
        Names or methods.
    path
        JSON file of the trials.
    trials
        Learning rates a method, default 3, around its typical one.
    epochs, seed
        See `fine_tune`.
    on_trial
        Called after every trial.
    """
    known = read_trials(path, task)
    for method in (as_method(name) for name in methods):
        done = {trial.learning_rate for trial in known.of(method)}
        for rate in rate_grid(method, trials):
            if rate not in done:
                trial = run_trial(task, method, rate, epochs=epochs, seed=seed)
                known = Trials(known.task, known.fingerprint, (*known.trials, trial))
                known.save(path)
                if on_trial is not None:
                    on_trial(trial)
    return known


def run_trial(task: Task, method: Method, rate: float, *, epochs: int | None = None, seed: int = 0) -> Trial:
    """Train once at a learning rate and measure on validation only."""
    settings = replace(default_settings(task, method, seed=seed), learning_rate=rate)
    if epochs is not None:
        settings = replace(settings, epochs=epochs)
    prepared = prepare(task, method, seed)
    watching = [BestWeights(), ProgressBar(f"{task.name}, {method.name} at {rate:g}")]
    training = Training(
        prepared.trainable,
        prepared.inputs(task.train),
        prepared.inputs(task.validation),
        settings,
        task.metric,
        watching,
    )
    history = training.run()
    if history.interrupted:
        raise KeyboardInterrupt
    return Trial(
        method=method.name,
        settings=method.settings,
        learning_rate=rate,
        epochs=settings.epochs,
        seed=seed,
        precision=settings.precision,
        train_examples=len(task.train),
        metric=task.metric,
        validation_score=history.best.validation_score,
        validation_loss=history.best.validation_loss,
        best_epoch=history.best_epoch,
        seconds=history.seconds,
        processor=processor_name(),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )
