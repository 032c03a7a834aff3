"""The main job: every method on every ready-made task, and saved runs put back together into comparisons."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from ftkit.backbones import backbone_for
from ftkit.catalog import Asset, asset
from ftkit.errors import AssetError, FtkitError, UnknownNameError
from ftkit.experiments.comparison import Comparison, compare, saved_baselines
from ftkit.experiments.run import RUN_FILE, Run, load_run
from ftkit.experiments.task_facts import facts_of
from ftkit.experiments.trials import Trials, joined, kit_trials, own_path
from ftkit.fetch import fetch, is_cached
from ftkit.methods import METHODS, as_method
from ftkit.paths import in_shell
from ftkit.tasks import TASKS, Task, load_task
from ftkit.tasks.source_data import SOURCE_ASSETS

__all__ = [
    "DEMO_EXAMPLES",
    "compare_ready_made",
    "fetch_missing",
    "load_comparisons",
    "load_demo_task",
    "missing_assets",
    "needed_assets",
]

DEMO_EXAMPLES = {"movie-reviews": 2500}
"""Training examples of the demo where they are fewer than the task's usual number, which would take most of its time.

These are as many reviews as learning rates were tried on.
"""

_SUBSTITUTES = {"fsdd": ("digits-captcha", "digits-spokennumbers")}
"""What a task uses where an asset can't be had; the task's notes then say so."""

_SHOWN_ASIDE = ("method", "settings", "learning_rate", "seed", "precision")
"""Parts of a specification that may differ inside one comparison; all others must be equal."""


def compare_ready_made(
    name: str,
    methods: Sequence[str],
    *,
    folder: Path,
    seeds: int = 1,
    limit: int | None = None,
    epochs: int | None = None,
    precision: str = "auto",
    progress: bool = True,
    on_run: Callable[[Run], None] | None = None,
) -> Comparison:
    """Compare methods on a ready-made task of the demo.

    Every finished run is saved in the folder at once, and none that is there is trained again.

    Parameters
    ----------
    name
        The task's.
    methods
        Names.
    folder
        Where runs are kept.
    seeds, epochs, precision
        See `compare`.
    limit
        See `load_demo_task`.
    progress
        Show progress bars, default True.
    on_run
        Called after every run.

    Raises
    ------
    UnknownNameError
        If there is no such task or method.
    DataError
        If the task has fewer examples than the limit, or more classes.
    """
    return compare(
        load_demo_task(name, limit),
        methods,
        seeds=seeds,
        epochs=epochs,
        precision=precision,
        folder=folder,
        progress=progress,
        on_run=on_run,
    )


def load_demo_task(name: str, limit: int | None = None) -> Task:
    """Load a ready-made task with as many training examples as the demo takes.

    Parameters
    ----------
    name
        The task's.
    limit
        Training examples; None takes `DEMO_EXAMPLES`, else the task's usual number.

    Returns
    -------
    Task

    Raises
    ------
    UnknownNameError
        If there is no such task.
    DataError
        If the task has fewer examples than the limit, or more classes.

    Examples
    --------
    ``len(load_demo_task("movie-reviews").train)``
    """
    return load_task(name, limit=DEMO_EXAMPLES.get(name) if limit is None else limit)


def check_names(tasks: Iterable[str], methods: Iterable[str]) -> None:
    """Raise an `UnknownNameError` for the first name that is not a ready-made task's or a method's."""
    for task in tasks:
        if task not in TASKS:
            raise UnknownNameError("task", task, TASKS)
    for method in methods:
        as_method(method)


def needed_assets(tasks: Iterable[str], remembering: Iterable[str] = ()) -> list[Asset]:
    """Models and data that ready-made tasks are made of, each once.

    Parameters
    ----------
    tasks
        Names.
    remembering
        Those of them whose trainings rehearse source data or are asked about them, default none.

    Examples
    --------
    >>> [asset.name for asset in needed_assets(["movie-reviews"])]
    ['minilm', 'rotten-tomatoes']
    """
    names: dict[str, None] = {}
    for task in tasks:
        names |= dict.fromkeys((backbone_for(TASKS[task].modality), *TASKS[task].assets))
    for task in remembering:
        names |= dict.fromkeys(SOURCE_ASSETS[TASKS[task].modality])
    return [asset(name) for name in names]


def missing_assets(tasks: Iterable[str], remembering: Iterable[str] = ()) -> list[Asset]:
    """Those of `needed_assets` that are not in the cache."""
    return [each for each in needed_assets(tasks, remembering) if not is_cached(each)]


def _failure(name: str, progress: bool) -> AssetError | None:
    try:
        fetch(name, progress=progress)
    except AssetError as error:
        return error
    return None


def fetch_missing(assets: Iterable[Asset], *, progress: bool = True) -> list[str]:
    """Fetch assets; for one that can't be had and has a substitute, fetch that. None keeps the others from coming.

    Parameters
    ----------
    assets
        From `missing_assets`.
    progress
        Show a bar with bytes for each download.

    Returns
    -------
    list of str
        What could not be had, and what is used in its place, in sentences.

    Raises
    ------
    AssetError
        If an asset without a substitute, or its substitute, can't be had; after all were tried.
    """
    told = []
    failures: dict[str, AssetError] = {}
    for each in assets:
        try:
            fetch(each, progress=progress)
        except AssetError as error:
            if each.name not in _SUBSTITUTES:
                failures[each.name] = error
                continue
            substitutes = _SUBSTITUTES[each.name]
            missing = {name: why for name in substitutes if (why := _failure(name, progress)) is not None}
            failures |= missing
            if not missing:
                told.append(f"{error} In its place {' and '.join(substitutes)} are used.")
    if failures:
        first, *others = failures
        also = f" Nor could {' and '.join(others)} be fetched." if others else ""
        raise AssetError(f"{failures[first]}{also}") from failures[first]
    return told


def load_comparisons(folder: Path) -> list[Comparison]:
    """Put the saved runs in a folder back together, without loading any data.

    Runs on the same data, trained alike but for method, learning rate, precision and seed, are one comparison. Where a
    method was run in several settings, learning rates or precisions, the one with the most seeds, then the latest, is
    taken, and the notes say how many runs were left out. Interrupted runs are left out.

    Parameters
    ----------
    folder
        As given to `compare`: it holds one folder a task.

    Returns
    -------
    list of Comparison
        Ready-made tasks first, others by name.

    Raises
    ------
    FtkitError
        If the folder holds no finished run, or a run can't be read.
    """
    runs = [load_run(path.parent) for path in sorted(folder.glob(f"*/*/{RUN_FILE}"))]
    finished = [run for run in runs if not run.history.interrupted]
    if not finished:
        raise FtkitError(
            f"There is no finished run in {folder}. Run `ftkit demo`, or `ftkit compare` with --folder "
            f"{in_shell(folder)}, first."
        )
    alike: dict[str, list[Run]] = defaultdict(list)
    for run in finished:
        alike[_conditions(run)].append(run)
    comparisons = [_rebuild(group, folder) for group in alike.values()]
    order = {name: index for index, name in enumerate(TASKS)}
    comparisons.sort(key=lambda each: (order.get(each.task_name, len(order)), each.task_name, -_examples(each)))
    return _with_distinct_titles(comparisons)


def _conditions(run: Run) -> str:
    shared = {name: value for name, value in asdict(run.spec).items() if name not in _SHOWN_ASIDE}
    return json.dumps(shared, sort_keys=True)


def _rebuild(runs: list[Run], folder: Path) -> Comparison:
    first = runs[0]
    chosen, left_out = _one_variant_a_method(runs)
    bare = Comparison(first.spec.task, first.spec.task, first.metric, chosen)
    facts = facts_of(bare, folder)
    notes = list(facts.notes)
    if left_out:
        listing = ", ".join(f"{count} of {METHODS[name].title}" for name, count in left_out.items())
        notes.append(
            f"More runs with other settings, learning rates or precisions are in the folder and not shown: {listing}."
        )
    return replace(
        bare,
        title=facts.title,
        baselines=saved_baselines(folder, first.spec.task, first.spec.fingerprint, first.metric),
        trials=_saved_trials(folder, chosen, ready_made=bool(facts.assets)),
        notes=tuple(notes),
    )


def _one_variant_a_method(runs: Sequence[Run]) -> tuple[list[Run], dict[str, int]]:
    """Return the runs to show, and how many of each method are left out."""
    variants: dict[str, dict[str, dict[int, Run]]] = defaultdict(lambda: defaultdict(dict))
    for run in sorted(runs, key=lambda run: run.created):
        variant = json.dumps([run.spec.settings, run.spec.learning_rate, run.spec.precision], sort_keys=True)
        variants[run.spec.method][variant][run.spec.seed] = run
    shown: list[Run] = []
    left_out: dict[str, int] = {}
    for name in METHODS:
        if name not in variants:
            continue
        by_seed = max(variants[name].values(), key=lambda found: (len(found), max(r.created for r in found.values())))
        shown += [by_seed[seed] for seed in sorted(by_seed)]
        total = sum(run.spec.method == name for run in runs)
        if total > len(by_seed):
            left_out[name] = total - len(by_seed)
    return shown, left_out


def _saved_trials(folder: Path, runs: Sequence[Run], *, ready_made: bool) -> Trials | None:
    """Trials that `compare` took the runs' learning rates from: the kit's, and those made for this data."""
    first = runs[0].spec
    methods = list(dict.fromkeys(as_method(run.spec.method, **run.spec.settings) for run in runs))
    recorded = kit_trials(first.task, first.train_examples) if ready_made else None
    made = own_path(folder, first.task, first.fingerprint)
    own = Trials.load(made) if made.is_file() else Trials(first.task, first.fingerprint)
    found = joined(
        None if recorded is None else recorded.chosen_by(first.metric),
        own.over(first.epochs, seed=0).chosen_by(first.metric),
        methods,
    )
    return found if found.trials else None


def _examples(comparison: Comparison) -> int:
    return comparison.runs[0].spec.train_examples


def _with_distinct_titles(comparisons: Sequence[Comparison]) -> list[Comparison]:
    names = [each.task_name for each in comparisons]
    return [
        replace(each, title=f"{each.title} ({_examples(each):,} examples, {_epochs(each)})")
        if names.count(each.task_name) > 1
        else each
        for each in comparisons
    ]


def _epochs(comparison: Comparison) -> str:
    count = comparison.runs[0].spec.epochs
    return f"{count} epoch{'s' if count != 1 else ''}"
