"""Find learning rates and settings on the validation split, with as many trials for one method as for another."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from itertools import count as count_from
from itertools import groupby, islice
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING

from ftkit.errors import DivergedError, FtkitError, NoRoomError
from ftkit.experiments.fine_tuning import default_settings, plain_training, prepare
from ftkit.experiments.machine import Machine
from ftkit.experiments.probing import Probes
from ftkit.experiments.trials import Trial, Trials, read_trials
from ftkit.memory import clean_start
from ftkit.methods import LinearProbe, Method, as_method
from ftkit.paths import locked
from ftkit.training.cache import shared_cache
from ftkit.training.history import Epoch, History
from ftkit.training.loop import TrainingSettings

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


def further_trials(method: Method, best_rate: float, count: int) -> list[tuple[Method, float]]:
    """What else is tried at the best learning rate: other settings first, then rates in between.

    Methods without a setting of that kind get more learning rates, so that all have equally many trials.

    Parameters
    ----------
    method
        With its usual settings.
    best_rate
        The best learning rate of the grid.
    count
        How many.

    Examples
    --------
    >>> [(method.rank, rate) for method, rate in further_trials(as_method("lora"), 1e-3, 3)]
    [(2, 0.001), (32, 0.001), (8, 0.0018)]
    """
    between = (float(f"{best_rate * SPREAD ** (sign * 0.5**power):.1e}") for power in count_from(1) for sign in (1, -1))
    pairs = [(other, best_rate) for other in method.alternatives()[:count]]
    return [*pairs, *((method, rate) for rate in islice(between, count - len(pairs)))]


def possible_rates(method: Method, trials: int, choices: int) -> list[float]:
    """Learning rates at which a method without other settings may come to be tried: a grid, then all around its best.

    Parameters
    ----------
    method
        Such as the linear probe.
    trials, choices
        As given to `tune`.

    Examples
    --------
    >>> possible_rates(as_method("linear-probe"), trials=3, choices=1)
    [0.0032, 0.01, 0.032, 0.0057, 0.018, 0.057]
    """
    grid = rate_grid(method, trials)
    return list(dict.fromkeys([*grid, *(rate for best in grid for _, rate in further_trials(method, best, choices))]))


def tune(
    task: Task,
    methods: Sequence[str | Method],
    path: Path,
    *,
    trials: int = 3,
    choices: int = 0,
    epochs: int | None = None,
    seed: int = 0,
    precision: str = "auto",
    probes: Probes | None = None,
    on_trial: Callable[[Trial], None] | None = None,
    progress: bool = True,
) -> Trials:
    """Try as many learning rates for every method and record each trial as soon as it is done.

    Trials that the file holds already are not repeated, in whichever precision they were made, and a training that
    diverges is a trial like any other: its learning rate was too high.

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
    choices
        Further trials a method at the best of these rates, default 0, see `further_trials`.
    epochs, seed, precision
        See `fine_tune`.
    probes
        Where linear probes are taken from, so that they may train with others; None: those of a grid train together.
    on_trial
        Called after every trial.
    progress
        Show a progress bar for every trial, default True.

    Returns
    -------
    Trials
        Those over as many epochs with this seed and by the task's metric, earlier ones of the file included.

    Raises
    ------
    FtkitError
        If a method does not apply to the task's kind of data; before anything is trained.
    DataError
        If the file holds trials on other data.
    DivergedError
        If a method diverges at every learning rate; the others have been tried by then.
    """
    tried = [as_method(name) for name in methods]
    for method in tried:
        method.check_applies(task.modality)
    epochs = task.epochs if epochs is None else epochs
    known = read_trials(path, task)
    probes = Probes(task, progress=progress) if probes is None else probes
    settings = partial(trial_settings, task, epochs=epochs, seed=seed, precision=precision)
    hopeless: list[str] = []

    def comparable() -> Trials:
        return known.over(epochs, seed).chosen_by(task.metric)

    for method in tried:
        done = {trial.learning_rate for trial in comparable().of(method)}
        grid = rate_grid(method, trials)
        rates = [rate for rate in grid if rate not in done]
        for trial in _trials(task, method, [settings(method, rate) for rate in rates], probes, progress):
            known = _kept(task, trial, path, on_trial)
        of_grid = tuple(trial for trial in comparable().of(method) if trial.learning_rate in grid)
        best = Trials(known.task, known.fingerprint, of_grid).best(method)
        if best is None:
            hopeless.append(f"{method.name} ({', '.join(f'{rate:g}' for rate in grid)})")
            continue
        for other, pairs in groupby(further_trials(method, best.learning_rate, choices), key=itemgetter(0)):
            done = {trial.learning_rate for trial in comparable().of(other)}
            rates = [rate for _, rate in pairs if rate not in done]
            for trial in _trials(task, other, [settings(other, rate) for rate in rates], probes, progress):
                known = _kept(task, trial, path, on_trial)
    if hopeless:
        raise DivergedError(
            f"On {task.name} every learning rate tried diverged: {'; '.join(hopeless)}. Look at the data, or leave out "
            "what can't learn from them."
        )
    return comparable()


def _kept(task: Task, trial: Trial, path: Path, on_trial: Callable[[Trial], None] | None) -> Trials:
    """Add a trial to its file, to which another process may have added some meanwhile, even this; return all."""
    with locked(path):
        known = read_trials(path, task)
        if all(other.tried != trial.tried for other in known.trials):
            known = Trials(known.task, known.fingerprint, (*known.trials, trial))
            known.save(path)
    if on_trial is not None:
        on_trial(trial)
    return known


def _trials(
    task: Task, method: Method, settings: Sequence[TrainingSettings], probes: Probes, progress: bool
) -> Iterator[Trial]:
    """Train once with each and measure on validation only; linear probes train together."""
    if isinstance(method, LinearProbe) and settings:
        try:
            heads = probes.heads(settings)
        except (DivergedError, NoRoomError):  # each by itself, where one diverged or their features can't be kept
            pass
        else:
            yield from (_trial(task, method, each, head.history) for each, head in zip(settings, heads, strict=True))
            return
    for each in settings:
        yield run_trial(task, method, each, progress)


def trial_settings(
    task: Task, method: Method, rate: float, *, epochs: int | None, seed: int, precision: str
) -> TrainingSettings:
    """How a method is trained at a learning rate, in a trial and in a run of a comparison.

    Parameters
    ----------
    task, method, rate
        What is trained, and at which peak learning rate.
    epochs
        Passes through the training data; None for the task's.
    seed, precision
        See `fine_tune`.
    """
    usual = default_settings(task, method, seed=seed, precision=precision)
    return replace(usual, learning_rate=rate, epochs=usual.epochs if epochs is None else epochs)


def run_trial(task: Task, method: Method, settings: TrainingSettings, progress: bool = True) -> Trial:
    """Train once and measure on validation only, with a progress bar where it is wanted.

    Raises
    ------
    KeyboardInterrupt
        After Ctrl-C, also where some epochs were done: a shorter training is no trial.
    """
    began = time.perf_counter()
    try:
        history = _train(task, method, settings, progress)
    except DivergedError:
        return _diverged(task, method, settings, time.perf_counter() - began)
    if history.interrupted:
        raise KeyboardInterrupt
    return _trial(task, method, settings, history)


def _train(task: Task, method: Method, settings: TrainingSettings, progress: bool) -> History:
    clean_start()  # without the trial before, whose model and optimizer refer to each other
    prepared = prepare(task, method, settings, shared_cache(), progress=progress)
    bar = f"{task.name}, {method.name} at {settings.learning_rate:g}" if progress else None
    return plain_training(task, prepared, settings, bar).run()


def _diverged(task: Task, method: Method, settings: TrainingSettings, seconds: float) -> Trial:
    worst = Epoch(settings.epochs, math.inf, math.inf, 0.0, seconds)
    return replace(_trial(task, method, settings, History(task.metric, epochs=[worst])), validation_loss=None)


def _trial(task: Task, method: Method, settings: TrainingSettings, history: History) -> Trial:
    return Trial(
        method=method.name,
        settings=method.settings,
        learning_rate=settings.learning_rate,
        epochs=settings.epochs,
        seed=settings.seed,
        precision=settings.precision,
        train_examples=len(task.train),
        metric=task.metric,
        validation_score=history.best.validation_score,
        validation_loss=history.best.validation_loss,
        best_epoch=history.best_epoch,
        seconds=history.seconds,
        processor=Machine.this().processor,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )
