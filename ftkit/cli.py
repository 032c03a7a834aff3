"""The command line: `ftkit demo`, `ftkit compare` and their kin. Heavy libraries load inside the commands."""

from __future__ import annotations

import functools
import os
import pickle
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ParamSpec

import typer

from ftkit.errors import DataError, FtkitError, UnknownNameError
from ftkit.paths import in_shell, runs_folder, write_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import Console
    from rich.table import Table

    from ftkit.catalog import Asset
    from ftkit.experiments.comparison import Comparison
    from ftkit.experiments.experiment import Experiment
    from ftkit.experiments.fairness import Fairness
    from ftkit.experiments.record import Record
    from ftkit.experiments.run import Run
    from ftkit.experiments.trials import Trial
    from ftkit.methods import Method
    from ftkit.tasks import Task

__all__ = ["app", "main"]

Parameters = ParamSpec("Parameters")

app = typer.Typer(
    help="Fine-tuning, tried and compared: text, images and speech on a laptop.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Tasks = Annotated[str | None, typer.Option(help="Names with commas between; default: all three.", metavar="NAMES")]
Methods = Annotated[str | None, typer.Option(help="Names with commas between; default: seven.", metavar="NAMES")]
Seeds = Annotated[int, typer.Option(min=1, help="Runs a method, each with another seed.")]
Choices = Annotated[int, typer.Option(min=0, help="Other settings tried a method, such as the rank.")]
Precision = Annotated[str, typer.Option(help="auto, float32, bf16 or, on a GPU, fp16.")]
Limit = Annotated[
    int | None, typer.Option(help="Training examples; default: the task's usual number, all of own data.")
]
Epochs = Annotated[
    int | None, typer.Option(min=1, help="Passes through the training data; default: the task's, 3 of own data.")
]
Folder = Annotated[Path | None, typer.Option(help="Where runs are kept; default: FTKIT_RUNS, else runs.")]
TaskOrPath = Annotated[
    str, typer.Argument(metavar="TASK", help="A ready-made task, or a CSV file or folder of your own.")
]
Text = Annotated[str | None, typer.Option(help="Column with the texts.", metavar="COLUMN")]
Image = Annotated[str | None, typer.Option(help="Column with paths of pictures.", metavar="COLUMN")]
Audio = Annotated[str | None, typer.Option(help="Column with paths of recordings.", metavar="COLUMN")]
Label = Annotated[str | None, typer.Option(help="Column with the classes.", metavar="COLUMN")]
Group = Annotated[
    str | None, typer.Option(help="Column whose values no two splits share: speaker, patient.", metavar="COLUMN")
]
ReadyMade = Annotated[str, typer.Argument(metavar="TASK", help="A ready-made task.")]


def main() -> None:
    """Run the command line; ``--debug`` may stand anywhere."""
    arguments = sys.argv[1:]
    if "--debug" in arguments:
        arguments = ["--debug", *(each for each in arguments if each != "--debug")]
    if not sys.stdout.isatty() and isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8", newline="")  # a file of Windows: neither its code page nor CR CR LF
    if not sys.stderr.isatty():
        # Bars fill a log with lines that were meant to be overwritten; tqdm reads this when it is imported.
        os.environ.setdefault("TQDM_DISABLE", "1")
    try:
        app(args=arguments, prog_name="ftkit")
    except KeyboardInterrupt:
        sys.exit(130)


def command(kept: str) -> Callable[[Callable[Parameters, None]], Callable[Parameters, None]]:
    """Register a command whose errors are one line, and which says after Ctrl-C what is kept and how to go on."""

    def register(function: Callable[Parameters, None]) -> Callable[Parameters, None]:
        @functools.wraps(function)
        def tidy(*arguments: Parameters.args, **options: Parameters.kwargs) -> None:
            try:
                function(*arguments, **options)
            except KeyboardInterrupt:
                typer.echo(f"\nStopped. {kept}", err=True)
                raise typer.Exit(130) from None
            except (typer.Exit, typer.Abort, typer.BadParameter, BrokenPipeError):
                raise
            except Exception as error:
                if "--debug" in sys.argv:
                    raise
                typer.echo(f"Error: {_in_words(error)}", err=True)
                raise typer.Exit(1) from None

        return app.command()(tidy)

    return register


def _in_words(error: Exception) -> str:
    if isinstance(error, FtkitError):
        return str(error)
    if isinstance(error, OSError):
        return f"{error}. Check that the folder exists, can be written to and has space."
    return f"{type(error).__name__}: {error}. This should not happen; `ftkit --debug ...` shows where it did."


def _show_version(wanted: bool) -> None:
    if wanted:
        from ftkit import __version__

        typer.echo(f"ftkit {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version.", callback=_show_version, is_eager=True)
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show where an error came from.")] = False,
) -> None:
    pass


# --- the main job


@command("Every finished run is kept, and the same command goes on where it stopped.")
def demo(
    tasks: Tasks = None,
    methods: Methods = None,
    seeds: Seeds = 1,
    limit: Annotated[
        int | None, typer.Option(help="Training examples; default: the task's usual number, of reviews half of it.")
    ] = None,
    epochs: Epochs = None,
    precision: Precision = "auto",
    folder: Folder = None,
    report: Annotated[Path, typer.Option(help="The report to write.")] = Path("report.html"),
) -> None:
    """Compare the usual ways to fine-tune on text, images and speech, and write a report."""
    started = time.perf_counter()
    from ftkit.child_process import in_child_process

    _check_output(report, "report.html")
    options = {"limit": limit, "epochs": epochs, "precision": precision}
    # Models, data and what libraries keep of them: each task starts without the leavings of the one before, and this
    # process, which waits meanwhile, loads nothing of it.
    wanted = in_child_process(_wanted, tasks, methods, seeds, folder or runs_folder(), options).value
    outcomes = [in_child_process(wanted.compare, task, time.perf_counter() - started) for task in wanted.tasks]
    peak = max(outcome.peak_memory_bytes for outcome in outcomes)
    comparisons = [outcome.value for outcome in outcomes]
    in_child_process(wanted.report, report, comparisons, time.perf_counter() - started, peak)


@dataclass(frozen=True)
class _Demo:
    """The comparisons of a demo, each to be made in a process of its own."""

    tasks: tuple[str, ...]
    methods: tuple[str, ...]
    seeds: int
    folder: Path
    options: dict[str, Any]

    @property
    def runs_a_task(self) -> int:
        return len(self.methods) * self.seeds

    @property
    def runs(self) -> int:
        return len(self.tasks) * self.runs_a_task

    def compare(self, task: str, elapsed: float) -> bytes:
        """Compare the methods on a task, ``elapsed`` seconds after the demo began, and show the result.

        It is returned pickled: the process that waits for it need not load what it is made of.
        """
        from ftkit.experiments.demo import compare_ready_made

        before = self.tasks.index(task) * self.runs_a_task
        with _RunCounter(self.runs, before, time.perf_counter() - elapsed) as counter:
            comparison = compare_ready_made(
                task,
                self.methods,
                folder=self.folder,
                seeds=self.seeds,
                progress=sys.stderr.isatty(),
                on_run=counter.count,
                **self.options,
            )
        _show_comparison(comparison, self.folder)
        return pickle.dumps(comparison)

    def report(self, path: Path, comparisons: Sequence[bytes], elapsed: float, peak_so_far: int) -> None:
        """Write the report of comparisons that `compare` returned."""
        started = time.perf_counter() - elapsed
        _write_report(path, [pickle.loads(each) for each in comparisons], self.folder, started, peak_so_far)


def _wanted(tasks: str | None, methods: str | None, seeds: int, folder: Path, options: dict[str, Any]) -> _Demo:
    """Check what a demo was asked for, say what it will do, and fetch and prepare what it needs."""
    from ftkit.experiments.demo import check_names
    from ftkit.methods import USUAL_METHODS, as_method
    from ftkit.tasks import TASKS
    from ftkit.training.precision import choose_precision

    task_names, method_names = _names(tasks, TASKS), _names(methods, USUAL_METHODS)
    check_names(task_names, method_names)
    for modality in {TASKS[name].modality: None for name in task_names}:
        choose_precision(options["precision"], modality)
        for method in method_names:
            as_method(method).check_applies(modality)
    _fetch_for(task_names, task_names if _any_rehearses(method_names) else ())
    demo = _Demo(tuple(task_names), tuple(method_names), seeds, folder, options)
    typer.echo(f"{_many(demo.runs, 'run')}: {_many(len(method_names), 'method')} on {_many(len(task_names), 'task')}.")
    for name in task_names:
        _prepare(name, options["limit"])
    return demo


def _prepare(task: str, limit: int | None) -> None:
    """Prepare a task's data for the process that trains on it; what that leaves behind goes with this one."""
    from ftkit.experiments.demo import load_demo_task
    from ftkit.tasks import TASKS

    examples, usual = len(load_demo_task(task, limit).train), TASKS[task].default_train
    if limit is None and examples < usual:
        title = TASKS[task].title
        typer.echo(f"{title}: {examples:,} training examples, to save time; `ftkit compare {task}` takes {usual:,}.")


@command("Every finished run is kept, and the same command goes on where it stopped.")
def compare(
    task: TaskOrPath,
    methods: Methods = None,
    seeds: Seeds = 1,
    epochs: Epochs = None,
    limit: Limit = None,
    trials: Annotated[int, typer.Option(min=1, help="Learning rates tried where none are recorded.")] = 3,
    choices: Choices = 2,
    precision: Precision = "auto",
    folder: Folder = None,
    report: Annotated[Path | None, typer.Option(help="Write a report, too.")] = None,
    text: Text = None,
    image: Image = None,
    audio: Audio = None,
    label: Label = None,
    group: Group = None,
) -> None:
    """Compare ways to fine-tune on one task, ready-made or your own."""
    started = time.perf_counter()
    from ftkit.experiments.comparison import compare as compare_methods
    from ftkit.experiments.demo import check_names
    from ftkit.experiments.trials import recorded_trials
    from ftkit.methods import USUAL_METHODS, as_method

    method_names = _names(methods, USUAL_METHODS)
    check_names((), method_names)
    where = folder or runs_folder()
    if report is not None:
        _check_output(report, "report.html")
    loaded = _load(task, limit, method_names, text=text, image=image, audio=audio, label=label, group=group)
    recorded = recorded_trials(loaded)
    if recorded is None or not all(recorded.of(as_method(name)) for name in method_names):
        typer.echo(
            f"First {_many(trials + choices, 'trial')} a method on validation, where not made before: {trials} of "
            f"learning rates, {choices} of other settings or of rates in between."
        )
    else:
        typer.echo("Learning rates and settings come from the trials that are recorded with the kit.")
    with _RunCounter(len(method_names) * seeds, 0, started) as counter:
        comparison = compare_methods(
            loaded,
            method_names,
            seeds=seeds,
            epochs=epochs,
            trials=trials,
            choices=choices,
            precision=precision,
            folder=where,
            progress=sys.stderr.isatty(),
            on_trial=counter.tell_trial,
            on_run=counter.count,
        )
    _show_comparison(comparison, where)
    _show_best(comparison)
    if report is not None:
        _write_report(report, [comparison], where, started)


@command("Nothing is kept of a training that had not finished an epoch; run it again.")
def train(
    task: TaskOrPath,
    method: Annotated[str, typer.Option(help="See `ftkit methods`.")] = "lora",
    lr: Annotated[
        float | None,
        typer.Option(help="Peak learning rate; default: the best recorded for a ready-made task, else the usual one."),
    ] = None,
    epochs: Epochs = None,
    seed: Annotated[int, typer.Option(help="Decides the head's start, the order of the data, dropout.")] = 0,
    limit: Limit = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Examples a step.")] = 32,
    label_smoothing: Annotated[float, typer.Option(help="Share of the target spread over all labels.")] = 0.0,
    patience: Annotated[int | None, typer.Option(min=1, help="Stop after so many epochs without a better one.")] = None,
    weight_decay: Annotated[float, typer.Option(help="Pull of the trained weights towards zero.")] = 0.01,
    dropout: Annotated[float, typer.Option(help="Share of the features hidden from the head at every step.")] = 0.0,
    augmentation: Annotated[
        str | None,
        typer.Option(
            help="Random changes of the training data: token-dropout, flip, crop, jitter, spec-augment, noise."
        ),
    ] = None,
    keep: Annotated[str, typer.Option(help="Which epoch's weights: the best by validation, or the last.")] = "best",
    precision: Precision = "auto",
    checkpointing: Annotated[
        bool, typer.Option("--checkpointing", help="Compute blocks twice, to keep less memory.")
    ] = False,
    rank: Annotated[int | None, typer.Option(min=1, help="The same as --setting rank=...")] = None,
    setting: Annotated[
        list[str] | None, typer.Option(help="A setting of the method; may be repeated.", metavar="KEY=VALUE")
    ] = None,
    save: Annotated[Path | None, typer.Option(help="Where to keep the run; default: a folder in runs.")] = None,
    text: Text = None,
    image: Image = None,
    audio: Audio = None,
    label: Label = None,
    group: Group = None,
) -> None:
    """Fine-tune once, on a ready-made task or your own data."""
    from ftkit.experiments.fine_tuning import fine_tune
    from ftkit.experiments.task_facts import TaskFacts

    chosen = _method(method, setting or [], rank)
    loaded = _load(task, limit, [method], text=text, image=image, audio=audio, label=label, group=group)
    _check_folder(save or runs_folder())
    run = fine_tune(
        loaded,
        chosen,
        lr=lr,
        epochs=epochs,
        seed=seed,
        batch_size=batch_size,
        label_smoothing=label_smoothing,
        patience=patience,
        weight_decay=weight_decay,
        dropout=dropout,
        augmentation=augmentation,
        keep=keep,
        checkpointing=checkpointing,
        precision=precision,
        progress=sys.stderr.isatty(),
    )
    # An interrupted run must not lie where a comparison looks for the whole one.
    place = save or runs_folder() / (run.spec.folder_name + "-interrupted" * run.history.interrupted)
    run.save(place)
    if save is None:
        TaskFacts.of(loaded).save(runs_folder())
    _show_run(run, loaded)
    typer.echo(f"\nSaved in {place}")
    _show_use(place)
    if run.history.interrupted:
        typer.echo("Stopped. The best epoch so far is kept there; run the same command to train to the end.", err=True)
        raise typer.Exit(130)


@command("Nothing was written; run it again.")
def predict(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a run, as `ftkit train` names it.")],
    data: Annotated[
        Path,
        typer.Argument(
            metavar="DATA", help="A CSV file; or a picture or recording, or a folder of them, at any depth."
        ),
    ],
    column: Annotated[
        str | None, typer.Option(help="Column with the texts or paths, where it can't be guessed.", metavar="COLUMN")
    ] = None,
    output: Annotated[Path | None, typer.Option(help="Write a CSV file; default: print it.")] = None,
) -> None:
    """Classify new texts, pictures or recordings by a trained run."""
    from ftkit.experiments.prediction import predict_file
    from ftkit.experiments.run import load_run

    if output is not None:
        _check_output(output, "answers.csv")
        if output.exists() and data.exists() and output.samefile(data):
            raise FtkitError(f"{output} holds what is to be classified, and would be lost. Name another file.")
    answers = predict_file(load_run(run), data, column, progress=sys.stderr.isatty())
    lines = answers.to_csv(index=False, float_format="%.4f", lineterminator="\n")
    if output is None:
        typer.echo(lines, nl=False)
        return
    write_text(output, lines)
    typer.echo(f"{_many(len(answers), 'answer')} in {output}")


@command("Nothing was written; run it again.")
def report(
    folder: Folder = None,
    output: Annotated[Path, typer.Option(help="The file to write.")] = Path("report.html"),
) -> None:
    """Write a report of saved runs, without training anything."""
    from ftkit.experiments.demo import load_comparisons
    from ftkit.report import write_report
    from ftkit.report.build import Circumstances

    _check_output(output, "report.html")
    where = folder or runs_folder()
    comparisons = load_comparisons(where)
    path = write_report(output, comparisons, where, Circumstances(_typed()))
    runs = sum(len(comparison.runs) for comparison in comparisons)
    typer.echo(f"Report of {_many(runs, 'run')} in {_many(len(comparisons), 'comparison')}: {path.absolute()}")


# --- what there is


@command("What was fetched whole is kept, and the same command fetches the rest.")
def fetch(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="NAME", help="Default: what the three tasks need.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="All models and data sets of the catalog.")] = False,
    listing: Annotated[bool, typer.Option("--list", help="Only show what there is; fetch nothing.")] = False,
    verify: Annotated[
        bool, typer.Option("--verify", help="Only check the files that are here against their hashes.")
    ] = False,
    save_archives: Annotated[
        Path | None, typer.Option(help="Fill a folder that others name in FTKIT_MIRROR.", metavar="FOLDER")
    ] = None,
) -> None:
    """Fetch models and data, checked against their hashes."""
    from ftkit.catalog import asset, load_catalog

    if sum([listing, verify, save_archives is not None]) > 1:
        raise typer.BadParameter("Choose one of --list, --verify and --save-archives.")
    if names and everything:
        raise typer.BadParameter("Give names or --all, not both.")
    chosen = [asset(name) for name in names or []]
    if listing:
        _show_assets(chosen or list(load_catalog().values()))
        return
    if not chosen:
        chosen = list(load_catalog().values()) if everything else _assets_of_tasks()
    if verify:
        _verify(chosen)
    elif save_archives is not None:
        _save_archives(chosen, save_archives)
    else:
        _fetch(chosen)


@command("Nothing was changed.")
def methods() -> None:
    """Show the ways to fine-tune: what trains, and how in each modality."""
    from ftkit.methods import METHODS

    table = _table("Name", "Title", "What trains", "How", "Paper")
    for name, method in METHODS.items():
        ways = method.changes
        alike = len(set(ways.values())) == 1
        how = ways["text"] if alike else "\n".join(f"{modality}: {way}" for modality, way in ways.items())
        table.add_row(name, method.title, method.trains, how, method.paper)
    _console().print(table)


@command("Nothing was changed.")
def tasks() -> None:
    """Show the ready-made tasks."""
    from ftkit.catalog import asset
    from ftkit.tasks import TASKS

    table = _table("Name", "Title", "Modality", "What", "Training", "Validation", "Data", "Licence")
    for name, info in TASKS.items():
        data = [asset(each) for each in info.assets]
        table.add_row(
            name,
            info.title,
            info.modality,
            info.description,
            f"{info.default_train:,}",
            f"{info.default_validation:,}",
            "\n".join(each.name for each in data),
            "\n".join(each.licence for each in data),
        )
    _console().print(table)


@command("Nothing was changed.")
def doctor(
    share: Annotated[bool, typer.Option("--share", help="Print JSON to send to someone who helps.")] = False,
    quick: Annotated[bool, typer.Option("--quick", help="Leave out the ten-second training.")] = False,
) -> None:
    """Tell whether this machine is ready: versions, memory, cache, and a ten-second training."""
    from ftkit.doctor import as_json, diagnose, is_ready

    checks = diagnose(train=not quick)
    if share:
        typer.echo(as_json(checks))
    else:
        table = _table("", "Check", "Found")
        marks = {"ok": "ok", "warning": "note", "problem": "PROBLEM"}
        for check in checks:
            table.add_row(marks[check.state], check.title, "\n".join(filter(None, [check.found, check.remedy])))
        _console().print(table)
        problems = [check.title for check in checks if check.state == "problem"]
        typer.echo("Ready for ftkit." if is_ready(checks) else f"Not ready: see {', '.join(problems).lower()} above.")
    raise typer.Exit(0 if is_ready(checks) else 1)


@command("What was removed stays removed; it is computed again when it is needed.")
def cache(
    clear: Annotated[bool, typer.Option("--clear", help="Remove everything that it shows.")] = False,
) -> None:
    """Show the activations of frozen blocks that are kept on disk, and clear them."""
    from ftkit.training.cache import ActivationCache

    kept = ActivationCache()
    if clear:
        typer.echo(f"{kept.clear() / 1e6:,.1f} MB removed from {kept.folder}.")
        if left := kept.entries():
            size = sum(entry.nbytes for entry in left) / 1e6
            typer.echo(f"{size:,.1f} MB stay: they are someone else's, or in use, and can't be removed.")
        return
    entries = kept.entries()
    table = _table("What", "Size", "Last used")
    for entry in entries:
        used = datetime.fromtimestamp(entry.used).strftime("%Y-%m-%d %H:%M")
        table.add_row(entry.label, f"{entry.nbytes / 1e6:,.1f} MB", used)
    if entries:
        _console().print(table)
    total = sum(entry.nbytes for entry in entries)
    typer.echo(
        f"{len(entries)} kept in {kept.folder}: {total / 1e6:,.1f} of at most {kept.disk_bytes / 1e6:,.0f} MB. "
        "The least recently used goes first; small ones stay in memory and are not listed."
    )


# --- records


@command("Every finished trial is kept in the file, and the same command goes on where it stopped.")
def tune(
    task: ReadyMade,
    methods: Annotated[
        str | None, typer.Option(help="Names with commas between, or all; default: seven.", metavar="NAMES")
    ] = None,
    trials: Annotated[int, typer.Option(min=1, help="Learning rates a method.")] = 3,
    choices: Choices = 2,
    epochs: Epochs = None,
    precision: Precision = "auto",
    limit: Limit = None,
    output: Annotated[Path | None, typer.Option(help="JSON file; default: one for these data among the runs.")] = None,
) -> None:
    """Try learning rates and settings on a ready-made task's validation split and record them.

    They tell what was tried and what came of it. Trainings and comparisons on ready-made tasks take the trials that
    come with the kit; on your own data `ftkit compare` makes its trials by itself.
    """
    from ftkit.experiments.demo import check_names
    from ftkit.experiments.trials import own_path
    from ftkit.experiments.tuning import tune as try_rates
    from ftkit.methods import METHODS, USUAL_METHODS
    from ftkit.tasks import TASKS

    check_names([task], ())
    applying = [name for name, method in METHODS.items() if TASKS[task].modality in method.modalities]
    names = applying if methods == "all" else _names(methods, USUAL_METHODS)
    check_names((), names)
    if output is not None:
        _check_folder(output.absolute().parent)
        _check_output(output, "trials.json")
    loaded = _load(task, limit, names)
    path = output or own_path(runs_folder(), task, loaded.fingerprint)
    found = try_rates(
        loaded,
        names,
        path,
        trials=trials,
        choices=choices,
        epochs=epochs,
        precision=precision,
        on_trial=lambda trial: typer.echo(_trial_line(trial)),
    )
    typer.echo(f"{_many(len(found.trials), 'trial')} in {path.absolute()}")


def _trial_line(trial: Trial) -> str:
    settings = "".join(f", {name} {value}" for name, value in trial.settings.items() if value is not None)
    score = f"validation {trial.validation_score:.1%}" if trial.validation_loss is not None else "diverged"
    return f"{trial.method} at {trial.learning_rate:g}{settings}: {score}, {trial.seconds:.0f} s"


@command("Every finished training is kept, and the same command goes on where it stopped.")
def experiment(
    names: Annotated[list[str] | None, typer.Argument(help="Which; leave them out for a list.", metavar="NAME")] = None,
    task: Annotated[str | None, typer.Option(help="Only the trainings on this task.")] = None,
    folder: Annotated[Path | None, typer.Option(help="Folder of the records; default: among the runs.")] = None,
) -> None:
    """Make experiments: the trainings that answer a question, kept one by one, those that several share made once."""
    from ftkit.errors import FtkitError, UnknownNameError
    from ftkit.experiments.library import EXPERIMENTS

    if not names:
        _list_experiments()
        return
    from ftkit.experiments.demo import check_names
    from ftkit.experiments.record import BaselineOutcome, Outcome
    from ftkit.experiments.running import run_experiments

    for name in names:
        if name not in EXPERIMENTS:
            raise UnknownNameError("experiment", name, EXPERIMENTS)
    if task is not None:
        check_names([task], ())
    chosen = [EXPERIMENTS[name] if task is None else EXPERIMENTS[name].on_task(task) for name in dict.fromkeys(names)]
    for each in chosen:
        if not each.conditions:
            asked = dict.fromkeys(condition.task for condition in EXPERIMENTS[each.name].conditions)
            raise FtkitError(f"{each.name} asks nothing of {task}; it is made on {', '.join(asked)}.")
    remembering = [each.task for one in chosen if one.needs_source_data for each in one.conditions]
    _fetch_for([condition.task for each in chosen for condition in each.conditions], remembering)
    where = folder or runs_folder() / "experiments"
    _check_folder(where)
    for each in chosen:
        typer.echo(each.question)

    def tell(outcome: Outcome, left: int) -> None:
        condition, score = outcome.condition, next(iter(outcome.scores.values()))
        size = "all examples" if condition.examples is None else _many(condition.examples, "example")
        typer.echo(
            f"  {condition.task}, {condition.method}, {size}, seed {condition.seed}: {score:.1%}, "
            f"{outcome.seconds:.0f} s; {left} left"
        )

    def tell_baseline(made: BaselineOutcome) -> None:
        size = "all examples" if made.condition.examples is None else _many(made.condition.examples, "example")
        typer.echo(f"  {made.condition.task}, {made.title} for comparison, {size}, seed {made.condition.seed}")

    for each, record in zip(chosen, run_experiments(chosen, where, tell, tell_baseline), strict=True):
        typer.echo(f"{_many(len(record.outcomes), 'training')} in {where.absolute() / record.experiment}.json")
        _show_rates(each, record)
    typer.echo(f"Claims judged by them: ftkit claims --records {in_shell(where)}")


@command("Nothing was changed.")
def claims(
    records: Annotated[Path | None, typer.Option(help="Folder of records; default: those of the kit.")] = None,
) -> None:
    """Show what is said about fine-tuning, and whether it holds in the recorded experiments."""
    from tqdm import tqdm

    from ftkit.experiments.claims import judge_all, load_claims

    columns = ("Claim", "Verdict and effect (95 % interval)", "Holds if all of it lies", "Experiment, seeds", "Source")
    table, group = _table(*columns), None
    every = load_claims()
    bar = tqdm(judge_all(every, records), "Claims", len(every), leave=False, disable=not sys.stderr.isatty())
    judgements = list(bar)
    for judgement in judgements:
        claim = judgement.claim
        if claim.group != group:
            table.add_section()
            table.add_row(claim.group.upper())
            group = claim.group
        seeds = "" if judgement.verdict == "not measured" else f", {' and '.join(map(str, judgement.seeds))}"
        table.add_row(claim.statement, str(judgement), claim.rule_in_words, f"{claim.experiment}{seeds}", claim.source)
    _console().print(table)
    typer.echo("Make one of the experiments yourself: ftkit experiment NAME")


@command("Nothing was changed.")
def papers(
    method: Annotated[str | None, typer.Option(help="Only what stands beside this method.", metavar="NAME")] = None,
    records: Annotated[Path | None, typer.Option(help="Folder of records; default: those of the kit.")] = None,
) -> None:
    """Show what papers report beside what we measured, and whether the two can be compared."""
    from ftkit.experiments.papers import CHECKED, cards_from_records, load_papers, title

    chosen = [each for each in load_papers() if method in (None, each.our_method)]
    if not chosen:
        # Only now: methods load torch, and most calls do not need them.
        from ftkit.methods import METHODS

        if method not in METHODS:
            raise UnknownNameError("method", method, METHODS)
        typer.echo(f"No published figure of {method} is in the kit.")
        return
    table = _table("Published", "Setting and source", "Ours", "Comparable?")
    for card in cards_from_records(chosen, records):
        each = card.published
        source = f"{each.source}; {CHECKED[each.checked]}"
        table.add_row(
            f"{title(each)}\n{each.figure}",
            "\n".join([each.setting, source, *each.notes]),
            f"{card.ours.method}, {card.ours.task}\n{card.ours}",
            "\n".join(map(str, card.badges)),
        )
        table.add_section()
    _console().print(table)
    typer.echo("✓ speaks for a comparison, ✗ against it. Ours: the epoch is chosen on validation, the test read once.")


def _list_experiments() -> None:
    from ftkit.experiments.library import EXPERIMENTS
    from ftkit.experiments.record import Record, record_path

    table = _table("Name", "Question", "Trainings", "In the kit")
    for each in EXPERIMENTS.values():
        path = record_path(each.name)
        recorded = len(Record.load(path).outcomes) if path.is_file() else 0
        table.add_row(each.name, each.question, str(len(each.conditions)), str(recorded))
    _console().print(table)


# --- what commands share


def _names(given: str | None, known: Any) -> list[str]:
    if given is None:
        return list(known)
    names = [name.strip() for name in given.split(",") if name.strip()]
    if not names:
        raise typer.BadParameter(f"Give at least one name; there are {', '.join(known)}.")
    return list(dict.fromkeys(names))


def _load(task: str, limit: int | None, methods: Sequence[str], **columns: str | None) -> Task:
    """Load a ready-made task or one's own data, and fetch what training on it with some methods needs."""
    from ftkit.tasks import TASKS, load_task, own_task
    from ftkit.tasks.splitting import draw_training

    given = [f"--{name}" for name, column in columns.items() if column is not None]
    if task in TASKS:
        if given:
            raise DataError(f"{given[0]} is for data of your own; {task} is a ready-made task. Leave it out.")
        _fetch_for([task], [task] if _any_rehearses(methods) else ())
        return load_task(task, limit=limit)
    path = Path(task)
    if not path.exists():
        if path.suffix or len(path.parts) > 1:
            raise DataError(f"There is no file or folder {task}. Give one that exists, or a task: {', '.join(TASKS)}.")
        raise UnknownNameError("task", task, TASKS)
    own = own_task(
        path,
        text=columns.get("text"),
        image=columns.get("image"),
        audio=columns.get("audio"),
        label=columns.get("label"),
        group=columns.get("group"),
    )
    _fetch_for_own(own, methods)
    if limit is None:
        return own
    sizes = (len(own.train), len(own.validation))
    train, validation = draw_training(own.train, own.validation, sizes, task_name=own.name, limit=limit)
    return replace(own, train=train, validation=validation)


def _any_rehearses(methods: Sequence[str]) -> bool:
    """Whether one of some methods rehearses source data, which must be fetched for it."""
    from ftkit.methods import Replay

    return Replay.name in methods


def _fetch_for_own(task: Task, methods: Sequence[str]) -> None:
    from ftkit.catalog import asset
    from ftkit.fetch import is_cached
    from ftkit.tasks.source_data import SOURCE_ASSETS

    needed = [task.backbone, *(SOURCE_ASSETS[task.modality] if _any_rehearses(methods) else ())]
    missing = [each for each in map(asset, needed) if not is_cached(each)]
    if missing:
        _fetch(missing)


def _fetch_for(tasks: Sequence[str], remembering: Sequence[str] = ()) -> None:
    from ftkit.experiments.demo import missing_assets

    missing = missing_assets(tasks, remembering)
    if missing:
        _fetch(missing)


def _assets_of_tasks() -> list[Asset]:
    from ftkit.experiments.demo import needed_assets
    from ftkit.tasks import TASKS

    return needed_assets(TASKS)


def _fetch(assets: Sequence[Asset]) -> None:
    from ftkit.experiments.demo import fetch_missing
    from ftkit.fetch import is_cached
    from ftkit.paths import cache_folder

    missing = [each for each in assets if not is_cached(each)]
    if not missing:
        typer.echo(f"All {_many(len(assets), 'asset')} are here already, in {cache_folder()}.")
        return
    sizes = ", ".join(f"{each.name} {each.archive_bytes / 1e6:,.0f} MB" for each in missing)
    total = sum(each.archive_bytes for each in missing)
    typer.echo(f"To fetch: {sizes}; {total / 1e6:,.0f} MB in all, kept in {cache_folder()}.")
    for sentence in fetch_missing(missing, progress=sys.stderr.isatty()):
        typer.echo(f"Note: {sentence}", err=True)
    typer.echo(f"Fetched and verified: {', '.join(each.name for each in missing if is_cached(each))}.")


def _verify(assets: Sequence[Asset]) -> None:
    from ftkit.errors import AssetError
    from ftkit.fetch import verify

    failures = 0
    for each in assets:
        try:
            verify(each)
            typer.echo(f"{each.name}: as the catalog says")
        except AssetError as error:
            failures += 1
            typer.echo(f"{each.name}: {error}", err=True)
    if failures:
        raise AssetError(f"{failures} of {_many(len(assets), 'asset')} missing or not as the catalog says.")


def _save_archives(assets: Sequence[Asset], folder: Path) -> None:
    from ftkit.fetch import save_archives

    archives = save_archives(assets, folder, progress=sys.stderr.isatty())
    total = sum(archive.stat().st_size for archive in archives) / 1e6
    typer.echo(f"{_many(len(archives), 'archive')}, {total:,.0f} MB, in {folder.absolute()}.")
    typer.echo(f"Others use it with FTKIT_MIRROR={in_shell(folder.absolute())}")


def _show_assets(assets: Sequence[Asset]) -> None:
    from ftkit.fetch import asset_states

    table = _table("Name", "Kind", "What", "Licence", "Download", "State")
    for line in asset_states(each.name for each in assets):
        download = f"{line.archive_bytes / 1e6:,.1f} MB" if line.archive_bytes else "none"
        table.add_row(line.name, line.kind, line.title, line.licence, download, line.state)
    _console().print(table)


def _method(name: str, settings: Sequence[str], rank: int | None) -> Method:
    from ftkit.methods import METHODS, as_method

    values: dict[str, Any] = {} if rank is None else {"rank": rank}
    for each in settings:
        key, sign, value = each.partition("=")
        if not sign:
            raise typer.BadParameter(f"--setting {each}: write KEY=VALUE, such as rank=4.")
        values[key.strip()] = _value(value.strip())
    known = as_method(name).settings
    unknown = [key for key in values if key not in known]
    if unknown:
        listing = ", ".join(known) or "none"
        raise FtkitError(f"{METHODS[name].title} has no setting {unknown[0]!r}. It has: {listing}.")
    return as_method(name, **values)


def _value(text: str) -> int | float | str:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _check_output(path: Path, example: str) -> None:
    """Complain before long work about a file that could not be written after it."""
    if path.is_dir():
        raise FtkitError(f"{path} is a folder. Name a file, such as {path / example}.")
    parent = path.absolute().parent
    if not parent.is_dir():
        raise FtkitError(f"There is no folder {parent} for {path.name}. Make it, or name another file.")
    _check_folder(parent)


def _check_folder(path: Path) -> None:
    """Complain before long work about a folder that could not be written into after it."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        raise FtkitError(f"Cannot write into {path} ({error.strerror}). Name another folder.") from error


def _write_report(
    path: Path, comparisons: Sequence[Comparison], folder: Path, started: float, peak_so_far: int = 0
) -> None:
    """Write the report of a command that started at a time of `time.perf_counter`.

    Other processes that worked for it held at most ``peak_so_far`` bytes.
    """
    from ftkit.memory import peak_memory
    from ftkit.report import write_report
    from ftkit.report.build import Circumstances

    peak = max(peak_so_far, peak_memory())
    write_report(path, comparisons, folder, Circumstances(_typed(), time.perf_counter() - started, peak))
    peak = max(peak_so_far, peak_memory())
    typer.echo(f"\nReport: {path.absolute()}")
    typer.echo(f"Runs:   {folder.absolute()}")
    typer.echo(f"Time in all {_clock(time.perf_counter() - started)}, peak memory {peak / 1e6:,.0f} MB.")


def _typed() -> str:
    return in_shell("ftkit", *sys.argv[1:])


class _RunCounter:
    """One line for every run that is done, and on a terminal a bar over all of them.

    Of all the runs, ``done`` are before those that it counts; ``started`` is when the command did, a time
    of `time.perf_counter`.
    """

    def __init__(self, total: int, done: int, started: float) -> None:
        self.total = total
        self.done = done
        self.started = started

    def __enter__(self) -> _RunCounter:
        from tqdm import tqdm

        self.began = datetime.now(UTC).isoformat(timespec="seconds")
        self.bar = tqdm(
            total=self.total,
            initial=self.done,
            desc="All runs",
            unit="run",
            leave=False,
            dynamic_ncols=True,
            disable=not sys.stderr.isatty(),
        )
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.close()

    def tell_trial(self, trial: Trial) -> None:
        """Tell of a trial that came before the runs."""
        self.bar.write(f"{_trial_line(trial)}; {_clock(time.perf_counter() - self.started)} elapsed")
        sys.stdout.flush()

    def count(self, run: Run) -> None:
        """Tell of a run that is done or was found."""
        from ftkit.methods import METHODS

        self.done += 1
        self.bar.update()
        how = f"trained in {run.seconds:.0f} s" if run.created >= self.began else "found, not trained again"
        self.bar.write(
            f"{self.done:>3} of {self.total}  {run.spec.task}, {METHODS[run.spec.method].title}, seed {run.spec.seed}: "
            f"{run.score}, {how}; {_clock(time.perf_counter() - self.started)} elapsed"
        )
        sys.stdout.flush()


def _show_comparison(comparison: Comparison, folder: Path) -> None:
    from ftkit.catalog import asset
    from ftkit.evaluation import METRICS
    from ftkit.experiments.task_facts import facts_of

    metrics = list(comparison.runs[0].scores)
    table = _table("Method", *_score_titles(metrics), "Rate", "Trained", "Time", "Memory", "File", right=True)
    for line in _score_rows(comparison, metrics):
        table.add_row(*line)
    table.add_section()
    for baseline in comparison.baselines:
        found = [baseline.scores[metric] for metric in metrics]
        table.add_row(baseline.title, str(found[0]), *(f"{100 * each.value:.1f}" for each in found[1:]))
    typer.echo(f"\n{comparison.title}: scores on the test split, with 95 % intervals")
    _console().print(table)
    facts = facts_of(comparison, folder)
    _show_differences(comparison)
    for note in comparison.notes:
        typer.echo(f"Note: {note}")
    _show_ledger(comparison.fairness(), "What each method was given")
    for name in facts.assets:
        if asset(name).notice:
            typer.echo(f"Data: {asset(name).notice}")
    if not comparison.baselines:
        typer.echo(
            f"No baselines are recorded. Chance: {METRICS[comparison.metric].chance(len(facts.label_names)):.1%}"
        )


def _show_best(comparison: Comparison) -> None:
    """Say where the run lies that validation found best, and how to use it."""
    from ftkit.methods import METHODS
    from ftkit.training.callbacks import rank

    name = comparison.best_method()
    best = max(comparison.by_method()[name], key=lambda run: rank(run.history.best))
    if best.folder is not None:
        typer.echo(f"\n{METHODS[name].title}, the best on validation, is saved in {best.folder}")
        _show_use(best.folder)


def _show_use(folder: Path) -> None:
    """Say how a saved run is opened, and how it answers new data."""
    typer.echo(f'Open it with: ftkit.load_run("{folder.as_posix()}")')
    typer.echo(f"Answer new data with: ftkit predict {in_shell(folder)} DATA")


def _show_differences(comparison: Comparison) -> None:
    """Say which methods differ from the one that validation found best by more than chance explains."""
    from ftkit.methods import METHODS

    if len(comparison.by_method()) < 2:
        return
    best = comparison.best_method()
    counts = {len(runs) for runs in comparison.by_method().values()}
    told = "; over test items only: one seed tells nothing of others" if counts == {1} else ""
    if 1 in counts and len(counts) > 1:
        told = "; of a method with one seed, seeds are taken to vary as the other's do"
    typer.echo(
        f"\nDifferences from {METHODS[best].title}, the best on validation (95 % intervals, p corrected after Holm"
        f"{told}):"
    )
    for name, test in comparison.differences(best).items():
        typer.echo(f"  {METHODS[name].title}: {test}")


def _show_rates(experiment: Experiment, record: Record) -> None:
    """Print what each method of an experiment was given: a ledger a task, or where learning rates came from."""
    from ftkit.experiments.fairness import ledgers, rates_in_words
    from ftkit.tasks import TASKS

    found = ledgers(record)
    for task, ledger in found.items():
        _show_ledger(ledger, f"What each method was given: {TASKS[task].title.lower()}")
    if not found:
        typer.echo(rates_in_words(experiment))


def _show_ledger(ledger: Fairness, title: str) -> None:
    """Print what each method was given, and where that was unequal."""
    facts = ledger.table()
    table = _table("Method", *(str(name).capitalize() for name in facts.columns))
    for method, row in facts.iterrows():
        table.add_row(str(method), *map(str, row))
    typer.echo(f"\n{title}")
    _console().print(table)
    typer.echo(ledger.selection)
    for warning in ledger.warnings():
        typer.echo(f"Fairness: {warning}")


def _score_titles(metrics: Sequence[str]) -> list[str]:
    from ftkit.evaluation import METRICS

    return [f"{METRICS[metrics[0]].title}, %", *(METRICS[name].title for name in metrics[1:])]


def _score_rows(comparison: Comparison, metrics: Sequence[str]) -> Iterator[list[str]]:
    from ftkit.experiments.run import file_size, percent
    from ftkit.methods import as_method

    for name, runs in comparison.by_method().items():
        cost = runs[0].cost
        yield [
            as_method(name, **runs[0].spec.settings).described,
            str(comparison.score(name, metrics[0])),
            *(f"{100 * comparison.score(name, metric).value:.1f}" for metric in metrics[1:]),
            f"{runs[0].spec.learning_rate:g}",
            percent(cost.share),
            f"{sum(run.cost.seconds for run in runs) / len(runs):.0f} s",
            f"{max(run.cost.peak_memory_bytes for run in runs) / 1e6:,.0f} MB",
            file_size(cost.saved_bytes),
        ]


def _show_run(run: Run, task: Task) -> None:
    from ftkit.evaluation import METRICS
    from ftkit.methods import METHODS

    metric = METRICS[run.metric].title.lower()
    table = _table("Epoch", "Training loss", "Validation loss", f"Validation {metric}", "Seconds", right=True)
    typer.echo(f"\n{METHODS[run.spec.method].title} on {task.title}, learning rate {run.spec.learning_rate:g}")
    for epoch in run.history.epochs:
        kept = " (kept)" if epoch.epoch == run.history.best_epoch else ""
        table.add_row(
            f"{epoch.epoch}{kept}",
            f"{epoch.train_loss:.3f}",
            f"{epoch.validation_loss:.3f}",
            f"{epoch.validation_score:.1%}",
            f"{epoch.seconds:.1f}",
        )
    _console().print(table)
    for name, score in run.scores.items():
        typer.echo(f"Test {METRICS[name].title.lower()}: {score}, {_many(score.n, 'item')}")
    typer.echo(
        f"Trained {run.cost.trainable:,} of {run.cost.total:,} parameters in {run.seconds:.0f} s, "
        f"peak memory {run.cost.peak_memory_bytes / 1e6:,.0f} MB"
    )
    for note in task.notes:
        typer.echo(f"Note: {note}")


def _table(*columns: str, right: bool = False) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1))
    for index, column in enumerate(columns):
        table.add_column(column, justify="right" if right and index else "left", overflow="fold")
    return table


def _console() -> Console:
    from rich.console import Console

    # A file or a pipe has no width; narrow tables in logs are hard to read.
    return Console(width=None if sys.stdout.isatty() else 150, highlight=False, markup=False)


def _many(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'s' if count != 1 else ''}"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d} min" if minutes else f"{rest} s"
