"""Runs side by side: one row a method, with what each was given."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from html import escape
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from ftkit.errors import DataError, DivergedError, FtkitError, NoRoomError
from ftkit.evaluation import METRICS, PairedTest, Score, mean_score, paired_against
from ftkit.evaluation import score as score_with_interval
from ftkit.experiments.fairness import Fairness, method_facts
from ftkit.experiments.fine_tuning import describe, fine_tune
from ftkit.experiments.probing import Probes
from ftkit.experiments.run import RUN_FILE, Predictions, Run, file_size, load_run, percent
from ftkit.experiments.task_facts import TaskFacts
from ftkit.experiments.trials import Trial, Trials, joined, own_path, read_trials, recorded_trials
from ftkit.experiments.tuning import possible_rates, trial_settings, tune
from ftkit.memory import release_memory
from ftkit.methods import METHODS, USUAL_METHODS, LinearProbe, Method, as_method
from ftkit.paths import claimed, runs_folder, write_text
from ftkit.processor import libraries_limited
from ftkit.training.callbacks import rank
from ftkit.training.loop import TrainingSettings
from ftkit.training.precision import choose_precision

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure

    from ftkit.tasks.base import Task

TRIALS_SEED = 0
"""Seed of the trials that a comparison makes."""


@dataclass(frozen=True)
class Baseline:
    """What is reached without a neural network, on the same test split.

    Attributes
    ----------
    name, title
        As in ``"tfidf-logistic"`` and for people.
    scores
        Test scores by metric name.
    settings
        How it was fitted, in words.
    seconds
        Time to fit and to predict.
    """

    name: str
    title: str
    scores: dict[str, Score]
    settings: str
    seconds: float


@dataclass
class Comparison:
    """Methods on one task, side by side.

    Attributes
    ----------
    task_name, title
        Name of the task and its title for people.
    metric
        Name of the metric that selected on validation.
    runs
        The runs, in the order in which methods are shown, seeds inside.
    baselines
        The majority class and a non-neural method.
    trials
        The learning-rate trials that the runs' rates come from, by method name.
    notes
        What a reader of the results must know about the data.

    Examples
    --------
    ``board = compare(task, ["linear-probe", "lora", "full"]); board; board.plot("trainable"); board.fairness()``
    """

    task_name: str
    title: str
    metric: str
    runs: list[Run]
    baselines: list[Baseline] = field(default_factory=list)
    trials: Trials | None = None
    notes: tuple[str, ...] = ()

    def by_method(self) -> dict[str, list[Run]]:
        """Runs by method name, in the order in which methods are shown."""
        present = {run.spec.method for run in self.runs}
        return {name: [run for run in self.runs if run.spec.method == name] for name in METHODS if name in present}

    @libraries_limited()
    def score(self, method: str, metric: str | None = None) -> Score:
        """Mean test score of a method over its seeds, with the interval that seeds and test items leave."""
        runs = self.by_method()[method]
        first = check_same_test(runs)
        return mean_score(
            metric or self.metric, first.labels, [run.predictions.probabilities for run in runs], first.groups
        )

    @libraries_limited()
    def differences(self, reference: str | None = None, metric: str | None = None) -> dict[str, PairedTest]:
        """Test every method against one of them, on the same items, corrected for the number of tests.

        Parameters
        ----------
        reference
            Name of the method that the others are compared with; None for `best_method`, which validation chooses.
        metric
            By default the one that selected.

        Returns
        -------
        dict
            Method name to the difference, its score minus the reference's; the p-values are Holm's.

        Raises
        ------
        FtkitError
            If the comparison does not hold the reference.
        """
        runs = self.by_method()
        reference = self.best_method() if reference is None else reference
        if reference not in runs:
            raise FtkitError(f"The comparison holds no {reference!r}. It holds {', '.join(runs)}.")
        first = check_same_test(self.runs)
        answers = {
            name: {run.spec.seed: run.predictions.probabilities for run in group} for name, group in runs.items()
        }
        return paired_against(reference, metric or self.metric, first.labels, answers, first.groups)

    def best_method(self) -> str:
        """Name of the method that scored highest on validation: chosen on the test, its lead would be flattered."""
        kept = {name: [run.history.best for run in runs] for name, runs in self.by_method().items()}
        return max(kept, key=lambda name: np.mean([rank(epoch) for epoch in kept[name]], axis=0).tolist())

    def table(self) -> pandas.DataFrame:
        """One row a method: scores with intervals, what trained, what it cost."""
        import pandas

        rows = [self._row(name, runs) for name, runs in self.by_method().items()]
        return pandas.DataFrame(rows).set_index("method")

    def _row(self, name: str, runs: list[Run]) -> dict[str, object]:
        cost = runs[0].cost
        metrics = {METRICS[metric].title: str(self.score(name, metric)) for metric in runs[0].scores}
        return {
            "method": as_method(name, **runs[0].spec.settings).described,
            **metrics,
            "seeds": len(runs),
            "learning rate": f"{runs[0].spec.learning_rate:g}",
            "trained": f"{cost.trainable:,}",
            "of all": percent(cost.share),
            "training": f"{np.mean([run.cost.seconds for run in runs]):.0f} s",
            "peak memory": f"{max(run.cost.peak_memory_bytes for run in runs) / 1e6:,.0f} MB",
            "file": file_size(cost.saved_bytes),
        }

    def baseline_table(self) -> pandas.DataFrame:
        """One row a baseline, on the same test split."""
        import pandas

        rows = [{METRICS[name].title: str(score) for name, score in line.scores.items()} for line in self.baselines]
        return pandas.DataFrame(rows, index=pandas.Index([line.title for line in self.baselines], name="baseline"))

    def fairness(self) -> Fairness:
        """What each method was given: trials, rates, seeds, epochs, and what selected."""
        return Fairness(self.metric, [method_facts(name, runs, self.trials) for name, runs in self.by_method().items()])

    def plot(
        self,
        cost: Literal["trainable", "seconds", "memory", "saved"] | None = None,
        metric: str | None = None,
    ) -> Figure:
        """Draw the scores by method, or the scores against a cost.

        Parameters
        ----------
        cost
            None for scores alone; or ``"trainable"``, ``"seconds"``, ``"memory"``, ``"saved"``.
        metric
            By default the one that selected.
        """
        from ftkit import figures

        if cost is None:
            return figures.scores(self, metric)
        return figures.trade_off(self, cost, metric)

    def __repr__(self) -> str:
        return f"{self.table().to_string()}\n\n{self.fairness()!r}"

    def _repr_html_(self) -> str:
        fairness = self.fairness()
        lines = (*self.notes, fairness.selection, *fairness.warnings())
        told = "".join(f"<p>{escape(line, quote=False)}</p>" for line in lines)
        given = f"<details><summary>What each method was given</summary>{fairness.table().to_html()}</details>"
        return self.table().to_html() + self.baseline_table().to_html() + told + given


def compare(
    task: Task,
    methods: Sequence[str | Method] | None = None,
    *,
    seeds: int | Sequence[int] = 1,
    epochs: int | None = None,
    trials: int = 3,
    choices: int = 2,
    precision: str = "auto",
    folder: str | Path | None = None,
    progress: bool = True,
    on_trial: Callable[[Trial], None] | None = None,
    on_run: Callable[[Run], None] | None = None,
) -> Comparison:
    """Fine-tune with several methods and put the results side by side.

    Every method gets its own learning rate and, where it has a choice such as the rank, its own settings, found on
    validation: in the trials recorded with the kit for the ready-made tasks, else in ``trials + choices`` trials a
    method that are made and recorded now. `Comparison.fairness` warns where one had more trials than another. Every
    finished run is saved at once; what the folder holds already is not trained again, so an interrupted comparison goes
    on where it stopped. Linear probes train in one computation, with every seed at every learning rate that may come to
    be tried; their learning rate is chosen by as many trials as that of any other method.

    Parameters
    ----------
    task
        From `load_task` or `own_task`.
    methods
        Names, or methods whose settings are given and not chosen, such as ``LoRA(rank=4)``; None for `USUAL_METHODS`.
    seeds
        How many seeds, or which; default 1. Two or three tell little of the spread between seeds, so that intervals are
        wide; five are better.
    epochs
        Passes through the training data, the same for all; see `fine_tune`.
    trials
        Learning rates tried a method where none are recorded with the kit, default 3.
    choices
        Other settings tried a method (rank, width, depth, length...) where no trials are recorded with the kit, default
        2. A method that has none to choose gets as many more learning rates, see `further_trials`. With 0 all methods
        keep their usual settings.
    precision
        See `fine_tune`.
    folder
        Where runs are kept, with what a report must know of the data, default ``runs`` in the working folder (or
        ``FTKIT_RUNS``).
    progress
        Show progress bars, default True.
    on_trial
        Called after every trial that is made now.
    on_run
        Called with every run, trained or found.

    Returns
    -------
    Comparison

    Raises
    ------
    UnknownNameError
        If there is no method of a name; before anything is trained.
    FtkitError
        If there is no method or no seed, a method or a seed comes twice, a seed or a number of trials is none, a method
        does not apply to the task's kind of data, or there is no such precision here; before anything is trained.
    DivergedError
        If every run diverges. Where some do, they are left out, and the notes say so.
    """
    given = list(USUAL_METHODS if methods is None else methods)
    chosen = [as_method(method) for method in given]
    named = [method for method in given if isinstance(method, str)] if choices else []
    seed_list = list(seeds) if isinstance(seeds, Iterable) else list(range(seeds))
    _check_request(task, chosen, seed_list, trials, choices)
    folder = runs_folder() if folder is None else Path(folder)
    TaskFacts.of(task).save(folder)
    chosen.sort(key=lambda method: list(METHODS).index(method.name))
    budget = _Budget(trials, choices, epochs, choose_precision(precision, task.modality))
    probes = _probes(task, chosen, named, seed_list, budget, progress)
    recorded = _trials_for(task, chosen, named, folder, budget, probes, progress, on_trial)
    chosen = [recorded.best_settings(method) if method.name in named else method for method in chosen]
    runs: dict[Path, Run] = {}
    diverged: list[DivergedError] = []
    notes = list(task.notes)
    pairs = [(method, int(seed)) for method in chosen for seed in seed_list]  # numpy's can't be written as JSON
    planned = [_Planned.of(task, method, seed, recorded, budget, folder) for method, seed in pairs]
    probes.keep([each.settings for each in planned if isinstance(each.method, LinearProbe)])
    for each in _with_progress(_in_order(planned, probes), len(planned), task, progress):
        try:
            run = each.find_or_train(task, progress)
        except DivergedError as error:
            diverged.append(error.with_traceback(None))  # which would hold the model and all that it trained with
            notes.append(f"{each.method.title}, seed {each.settings.seed}, is left out: {error}")
            continue
        runs[each.place] = run
        if on_run is not None:
            on_run(run)
    if not runs:
        raise diverged[-1]
    return Comparison(
        task_name=task.name,
        title=task.title,
        metric=task.metric,
        runs=[runs[each.place] for each in planned if each.place in runs],
        baselines=_baselines(task, folder, progress),
        trials=recorded,
        notes=tuple(notes),
    )


def _check_request(task: Task, methods: list[Method], seeds: list[int], trials: int, choices: int) -> None:
    names = [method.name for method in methods]
    if not names or not seeds:
        raise FtkitError("compare needs at least one method and at least one seed.")
    for method in methods:
        method.check_applies(task.modality)
    for name in names:
        if names.count(name) > 1:
            raise FtkitError(
                f"Method {name!r} comes twice. A comparison holds each method once; compare its settings in two."
            )
    if trials < 1 or choices < 0:
        raise FtkitError(f"trials = {trials}, choices = {choices}: try one learning rate or more, 0 choices or more.")
    for seed in seeds:
        if not isinstance(seed, Integral) or seed < 0:
            raise FtkitError(f"Seed {seed!r}: a seed is a whole number from 0.")
        if seeds.count(seed) > 1:
            raise FtkitError(f"Seed {seed} comes twice, and would train the same model again. Name each seed once.")


@dataclass(frozen=True)
class _Budget:
    """What every method of a comparison is given alike; see `compare`."""

    trials: int
    choices: int
    epochs: int | None
    precision: str

    def rates_and_choices(self, is_open: bool) -> tuple[int, int]:
        """How many learning rates and other settings are tried: of a method whose settings are given, rates only."""
        return (self.trials, self.choices) if is_open else (self.trials + self.choices, 0)


def _probes(
    task: Task, methods: list[Method], named: list[str], seeds: list[int], budget: _Budget, progress: bool
) -> Probes:
    """Linear probes of all learning rates that trials may come to, with every seed: any of them may be a run."""
    probing = [method for method in _untried(task, methods) if isinstance(method, LinearProbe)]
    settings = [
        trial_settings(task, method, rate, epochs=budget.epochs, seed=int(seed), precision=budget.precision)
        for method in probing
        for rate in possible_rates(method, *budget.rates_and_choices(method.name in named))
        for seed in dict.fromkeys((TRIALS_SEED, *seeds))
    ]
    return Probes(task, settings, progress=progress)


def _untried(task: Task, methods: list[Method]) -> list[Method]:
    """Methods of which no trials come with the kit."""
    recorded = recorded_trials(task)
    return [method for method in methods if recorded is None or not recorded.of(method)]


def _trials_for(
    task: Task,
    methods: list[Method],
    named: list[str],
    folder: Path,
    budget: _Budget,
    probes: Probes,
    progress: bool,
    on_trial: Callable[[Trial], None] | None,
) -> Trials:
    """Trials recorded with the kit for the methods that have some, and trials made for this task for the others.

    Of those that are named, settings are tried too; the others have more learning rates in their place.
    """
    own = own_path(folder, task.name, task.fingerprint)
    untried = _untried(task, methods)
    for is_open in (True, False):
        rates, choices = budget.rates_and_choices(is_open)
        with contextlib.suppress(DivergedError):  # so will the runs of that method, which are left out by name
            tune(
                task,
                [method for method in untried if (method.name in named) == is_open],
                own,
                trials=rates,
                choices=choices,
                epochs=budget.epochs,
                seed=TRIALS_SEED,
                precision=budget.precision,
                probes=probes,
                on_trial=on_trial,
                progress=progress,
            )
    epochs = task.epochs if budget.epochs is None else budget.epochs
    known = read_trials(own, task).over(epochs, TRIALS_SEED).chosen_by(task.metric)
    return joined(recorded_trials(task), known, methods)


@dataclass(frozen=True)
class _Planned:
    """A run that a comparison wants, and where it is or will be."""

    method: Method
    settings: TrainingSettings
    place: Path

    @classmethod
    def of(cls, task: Task, method: Method, seed: int, trials: Trials, budget: _Budget, folder: Path) -> _Planned:
        best = trials.best(method)
        rate = method.typical_rate if best is None else best.learning_rate
        settings = trial_settings(task, method, rate, epochs=budget.epochs, seed=seed, precision=budget.precision)
        return cls(method, settings, folder / describe(task, method, settings).folder_name)

    @property
    def is_done(self) -> bool:
        return (self.place / RUN_FILE).is_file()

    def find_or_train(self, task: Task, progress: bool) -> Run:
        with claimed(self.place, wait=True):  # another process that trains the same run is waited for
            return load_run(self.place) if self.is_done else self._train(task, progress)

    def _train(self, task: Task, progress: bool) -> Run:
        wanted = self.settings
        run = fine_tune(
            task,
            self.method,
            lr=wanted.learning_rate,
            epochs=wanted.epochs,
            seed=wanted.seed,
            precision=wanted.precision,
            progress=progress,
        )
        if run.history.interrupted:
            raise KeyboardInterrupt
        run.save(self.place)
        run.release()  # a comparison of many would fill the memory; the folder holds the weights
        if run.stopped:
            raise KeyboardInterrupt
        return run


def _in_order(planned: Sequence[_Planned], probes: Probes) -> Iterator[_Planned]:
    """Yield the linear probes last: their features are computed from where another method begins to train."""
    probing = [each for each in planned if isinstance(each.method, LinearProbe)]
    yield from (each for each in planned if each not in probing)
    missing = [each for each in probing if not each.is_done]
    if missing:
        _save_probes(missing, probes)
        release_memory()  # their model
    yield from probing


def _save_probes(missing: Sequence[_Planned], probes: Probes) -> None:
    """Save linear probes of all seeds, trained in one computation with the trials or now; they are then found.

    Where one diverges, or there is no room for their features, all are left to be trained alone.
    """
    with contextlib.ExitStack() as claims, contextlib.suppress(DivergedError, NoRoomError):
        for each in sorted(missing, key=lambda each: each.place):  # in one order in all processes, or two wait for ever
            claims.enter_context(claimed(each.place, wait=True))
        left = [each for each in missing if not each.is_done]  # by another process, in the meantime
        if left:
            for each, run in zip(left, probes.runs([each.settings for each in left]), strict=True):
                run.save(each.place)


def _with_progress(planned: Iterable[_Planned], count: int, task: Task, progress: bool) -> Iterable[_Planned]:
    if not progress:
        return planned
    from tqdm.auto import tqdm

    return tqdm(planned, total=count, desc=task.name, unit="run", leave=False, dynamic_ncols=True)


def _baselines_path(folder: Path, task_name: str, fingerprint: str, metric: str) -> Path:
    return folder / task_name / f"baselines-{fingerprint[:12]}-{metric}.json"


def saved_baselines(folder: Path, task_name: str, fingerprint: str, metric: str) -> list[Baseline]:
    """Baselines that `compare` kept in a folder for some data; none where there are none.

    Parameters
    ----------
    folder
        As given to `compare`.
    task_name, fingerprint, metric
        Name, fingerprint and metric of the task.

    Examples
    --------
    >>> saved_baselines(Path("nowhere"), "movie-reviews", "0" * 64, "accuracy")
    []
    """
    path = _baselines_path(folder, task_name, fingerprint, metric)
    if not path.is_file():
        return []
    return [
        Baseline(**{**line, "scores": {name: Score(**score) for name, score in line["scores"].items()}})
        for line in json.loads(path.read_text(encoding="utf-8"))
    ]


@libraries_limited()
def _baselines(task: Task, folder: Path, progress: bool) -> list[Baseline]:
    """Read the task's baselines, fitting them the first time."""
    saved = saved_baselines(folder, task.name, task.fingerprint, task.metric)
    if saved and all(line.scores.keys() >= set(task.metrics) for line in saved):
        return saved
    from ftkit.tasks.baselines import fit_baselines

    lines = [
        Baseline(
            result.name,
            result.title,
            {
                metric: score_with_interval(metric, task.test.labels, result.probabilities, task.test.groups)
                for metric in task.metrics
            },
            result.settings,
            result.seconds,
        )
        for result in fit_baselines(task, progress=progress)
    ]
    place = _baselines_path(folder, task.name, task.fingerprint, task.metric)
    write_text(place, json.dumps([asdict(line) for line in lines]))
    return lines


def check_same_test(runs: Sequence[Run]) -> Predictions:
    """Return the test items that all runs share.

    Raises
    ------
    DataError
        If two runs were tested on different items.
    """
    first = runs[0].predictions
    for run in runs[1:]:
        if run.predictions.identifiers != first.identifiers:
            raise DataError(
                f"Runs {runs[0].spec.run_id} and {run.spec.run_id} were tested on different items; "
                "compare runs of one task."
            )
    return first
