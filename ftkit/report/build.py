"""From comparisons to one self-contained HTML page."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ftkit import catalog
from ftkit.catalog import Asset
from ftkit.errors import FtkitError
from ftkit.evaluation import METRICS, Score
from ftkit.experiments.run import file_size, percent
from ftkit.experiments.task_facts import TaskFacts, facts_of
from ftkit.methods import METHODS, as_method
from ftkit.paths import write_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ftkit.experiments.comparison import Comparison
    from ftkit.experiments.run import Run

_MOST_GROUPS = 30
_MOST_CLASSES = 12

_INTERVALS = {
    "wilson": "Wilson's score interval",
    "bootstrap": "the bootstrap over test items",
    "cluster bootstrap": "the bootstrap over whole groups of test items (films, speakers)",
    "hierarchical bootstrap": "the bootstrap over test items (or whole films, speakers)",
    "student": "Student's t over whole groups of test items (speakers), too few for the bootstrap",
}
_SPLITS = {"train": "Training", "validation": "Validation", "test": "Test"}


@dataclass(frozen=True)
class Circumstances:
    """How the runs of a report came about, as far as the runs themselves don't tell.

    Attributes
    ----------
    command
        What was typed.
    seconds
        Time from start to report; None where the report is of earlier runs.
    peak_memory_bytes
        Highest memory of the process; None as above.
    """

    command: str
    seconds: float | None = None
    peak_memory_bytes: int | None = None


@dataclass(frozen=True)
class Cell:
    """A score as tables show it: the value, its interval, and whether it is the highest of its column."""

    value: str
    interval: str
    highest: bool


@dataclass(frozen=True)
class Row:
    """One line of a table of results."""

    title: str
    scores: tuple[Cell | None, ...]
    costs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Table:
    """A table of any values: column titles, and rows whose first cell names them."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Section:
    """All that the report says of one comparison."""

    anchor: str
    title: str
    comparison: Comparison
    facts: TaskFacts
    counts: Table
    metrics: tuple[str, ...]
    rows: tuple[Row, ...]
    baselines: tuple[Row, ...]
    intervals: str
    scores: str
    costs: tuple[str, ...]
    curves: str
    mistakes: tuple[str, ...]
    best: str
    fairness: Table
    selection: str
    warnings: tuple[str, ...]
    assets: tuple[Asset, ...]


def write_report(
    path: str | os.PathLike[str], comparisons: Sequence[Comparison], folder: Path, circumstances: Circumstances
) -> Path:
    """Write the report of some comparisons as one HTML file.

    Parameters
    ----------
    path
        The file; an existing one is replaced.
    comparisons
        At least one.
    folder
        Where their runs are kept, and beside them the facts of their tasks.
    circumstances
        How the runs came about.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    FtkitError
        If there is no comparison, or the path is a folder.
    """
    target = Path(path)
    if target.is_dir():
        raise FtkitError(f"{target} is a folder. Name a file for the report, such as {target / 'report.html'}.")
    write_text(target, build_report(comparisons, folder, circumstances))
    return target


def build_report(comparisons: Sequence[Comparison], folder: Path, circumstances: Circumstances) -> str:
    """Return the report as HTML; see `write_report` for the parameters."""
    if not comparisons:
        raise FtkitError("A report needs at least one comparison. Run `ftkit demo` or `ftkit compare` first.")
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("ftkit.report", package_path="."),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    sections = [_section(index, comparison, folder) for index, comparison in enumerate(comparisons, start=1)]
    runs = [run for comparison in comparisons for run in comparison.runs]
    return environment.get_template("report.html.jinja").render(
        sections=sections,
        overview=_overview(comparisons),
        circumstances=circumstances,
        duration=_duration(circumstances.seconds),
        memory=None if circumstances.peak_memory_bytes is None else _megabytes(circumstances.peak_memory_bytes),
        machines=_machines(runs),
        dates=_dates(runs),
        settings=_settings(comparisons),
        several_seeds=any(len(found) > 1 for each in comparisons for found in each.by_method().values()),
    )


def _section(index: int, comparison: Comparison, folder: Path) -> Section:
    facts = facts_of(comparison, folder)
    fairness = comparison.fairness()
    metrics = tuple(comparison.runs[0].scores)
    best = comparison.best_method()
    return Section(
        anchor=f"task-{index}",
        title=comparison.title,
        comparison=comparison,
        facts=facts,
        counts=_counts(facts),
        metrics=tuple(METRICS[name].title for name in metrics),
        rows=_rows(comparison, metrics),
        baselines=_baseline_rows(comparison, metrics),
        intervals=_intervals(comparison),
        scores=_scores_figure(comparison),
        costs=tuple(_cost_figures(comparison)),
        curves=_curves(comparison),
        mistakes=tuple(_mistakes(comparison.by_method()[best][0])),
        best=METHODS[best].title,
        fairness=_from_frame(fairness.table()),
        selection=fairness.selection,
        warnings=tuple(fairness.warnings()),
        assets=tuple(catalog.asset(name) for name in (facts.backbone, *facts.assets)),
    )


# --- figures


def _scores_figure(comparison: Comparison) -> str:
    kind = "Each method's test score with its 95 % interval; the lines are baselines on the same test split."
    return _figure(comparison.plot(), kind)


def _cost_figures(comparison: Comparison) -> Iterator[str]:
    if len(comparison.by_method()) < 2:
        return
    title = METRICS[comparison.metric].title
    yield _figure(comparison.plot("trainable"), f"{title} against the number of trained parameters, head included.")
    yield _figure(comparison.plot("seconds"), f"{title} against training time, evaluation excluded.")
    yield _figure(comparison.plot("memory"), f"{title} against the highest memory of the process while it trained.")


def _curves(comparison: Comparison) -> str:
    from ftkit.figures import learning_curves

    firsts = [runs[0] for runs in comparison.by_method().values()]
    seed = f" Of several seeds the first, {firsts[0].spec.seed}." if len(firsts) < len(comparison.runs) else ""
    return _figure(
        learning_curves(firsts), f"Training loss at every step and validation score after every epoch.{seed}"
    )


def _mistakes(run: Run) -> Iterator[str]:
    from ftkit.figures import by_group, confusion

    title = METHODS[run.spec.method].title
    yield _figure(confusion(run), f"What {title} took the test items for, in percent of the true class.")
    groups = run.predictions.groups
    if groups is not None and 1 < len(set(groups)) <= _MOST_GROUPS:
        yield _figure(by_group(run), f"Accuracy of {title} for each group of test items, the worst on top.")


def _figure(figure: Figure, caption: str) -> str:
    from markupsafe import Markup

    from ftkit.figures import as_html

    # On a narrow page a figure is moved sideways, which the keyboard does where it can be focused.
    return Markup(as_html(figure, caption).replace("<figure>", '<figure tabindex="0">', 1))


# --- tables


def _overview(comparisons: Sequence[Comparison]) -> tuple[Row, ...]:
    """One row a method and one a baseline, one column a task."""
    boards = [comparison.by_method() for comparison in comparisons]
    names = [name for name in METHODS if any(name in board for board in boards)]
    columns = []
    for comparison, board in zip(comparisons, boards, strict=True):
        columns.append(_cells([comparison.score(name) if name in board else None for name in names]))
    rows = [Row(METHODS[name].title, tuple(column[line] for column in columns)) for line, name in enumerate(names)]
    majority = [_baseline_score(comparison, majority=True) for comparison in comparisons]
    classical = [_baseline_score(comparison, majority=False) for comparison in comparisons]
    for title, scores in (("Baseline: majority class", majority), ("Baseline: no neural network", classical)):
        if any(scores):
            rows.append(Row(title, tuple(_cell(score) for score in scores)))
    return tuple(rows)


def _baseline_score(comparison: Comparison, *, majority: bool) -> Score | None:
    found = [line for line in comparison.baselines if (line.name == "majority") == majority]
    return found[0].scores[comparison.metric] if found else None


def _rows(comparison: Comparison, metrics: Sequence[str]) -> tuple[Row, ...]:
    board = comparison.by_method()
    columns = [_cells([comparison.score(name, metric) for name in board]) for metric in metrics]
    return tuple(
        Row(
            as_method(name, **runs[0].spec.settings).described,
            tuple(column[line] for column in columns),
            _costs(runs),
        )
        for line, (name, runs) in enumerate(board.items())
    )


def _costs(runs: Sequence[Run]) -> tuple[str, ...]:
    cost = runs[0].cost
    return (
        str(len(runs)),
        f"{runs[0].spec.learning_rate:g}",
        f"{cost.trainable:,}",
        percent(cost.share),
        _brief_seconds(float(np.mean([run.cost.seconds for run in runs]))),
        _megabytes(max(run.cost.peak_memory_bytes for run in runs)),
        file_size(cost.saved_bytes),
    )


def _baseline_rows(comparison: Comparison, metrics: Sequence[str]) -> tuple[Row, ...]:
    return tuple(
        Row(line.title, tuple(_cell(line.scores.get(metric)) for metric in metrics)) for line in comparison.baselines
    )


def _cells(scores: Sequence[Score | None]) -> list[Cell | None]:
    highest = max(score.value for score in scores if score is not None)
    return [_cell(score, highest=score is not None and score.value == highest) for score in scores]


def _cell(score: Score | None, *, highest: bool = False) -> Cell | None:
    if score is None:
        return None
    return Cell(f"{100 * score.value:.1f} %", f"{100 * score.low:.1f} to {100 * score.high:.1f}", highest)


def _counts(facts: TaskFacts) -> Table:
    known = all(set(counts) == set(facts.label_names) for counts in facts.counts.values())
    classes = facts.label_names if known and len(facts.label_names) <= _MOST_CLASSES else ()
    groups = ("Groups",) if facts.groups else ()
    rows = []
    for split, counts in facts.counts.items():
        cells = [_SPLITS.get(split, split), f"{sum(counts.values()):,}", *(f"{counts[name]:,}" for name in classes)]
        if facts.groups:
            cells.append(f"{facts.groups[split]:,}" if split in facts.groups else "–")
        rows.append(tuple(cells))
    return Table(("Split", "Items", *classes, *groups), tuple(rows))


def _from_frame(frame: Any) -> Table:
    columns = ("Method", *(str(name).capitalize() for name in frame.columns))
    rows = tuple(
        (str(name), *(str(value) for value in row)) for name, row in zip(frame.index, frame.values, strict=True)
    )
    return Table(columns, rows)


def _intervals(comparison: Comparison) -> str:
    """Say how each metric's interval was made, of one method or another."""
    made: dict[str, list[str]] = {}
    for metric in comparison.runs[0].scores:
        scores = [comparison.score(name, metric) for name in comparison.by_method()]
        ways = dict.fromkeys(_INTERVALS.get(score.method, score.method) for score in scores)
        made.setdefault(" or, of some methods, ".join(ways), []).append(METRICS[metric].title)
    seeds = "; over seeds too" if len({run.spec.seed for run in comparison.runs}) > 1 else ""
    return "; ".join(f"{', '.join(metrics)}: {way}" for way, metrics in made.items()) + seeds


# --- circumstances


def _machines(runs: Sequence[Run]) -> list[dict[str, str]]:
    """Every different machine once, described for people."""
    machines = {repr(run.machine): run.machine for run in runs}
    return [
        {
            "Processor": machine.processor,
            "Cores and threads": f"{_many(machine.cores, 'usable core')}, {_many(machine.threads, 'thread')} computing",
            "Memory": f"{machine.memory_bytes / 1e9:.1f} GB",
            "System": machine.system,
            "Python": machine.python,
            "Libraries": ", ".join(f"{name} {version}" for name, version in machine.versions.items()),
        }
        for machine in machines.values()
    ]


def _settings(comparisons: Sequence[Comparison]) -> list[str]:
    """One sentence a comparison on how its runs were trained."""
    sentences = []
    for comparison in comparisons:
        spec = comparison.runs[0].spec
        precisions = " and ".join(sorted({run.spec.precision for run in comparison.runs}))
        seeds = max(len(runs) for runs in comparison.by_method().values())
        sentences.append(
            f"{comparison.title}: {len(comparison.runs)} runs, {_many(seeds, 'seed')} a method, "
            f"{_many(spec.train_examples, 'training example')}, {_many(spec.epochs, 'epoch')}, batches of "
            f"{spec.batch_size}, {precisions}{', classes weighted by their inverse frequency' * spec.class_weights}."
        )
    return sentences


def _dates(runs: Sequence[Run]) -> str:
    moments = (datetime.fromisoformat(when(run.created for run in runs)) for when in (min, max))
    first, last = (f"{moment:%d %B %Y, %H:%M} UTC".lstrip("0") for moment in moments)
    return first if first == last else f"{first}, to {last}"


def _duration(seconds: float | None) -> str | None:
    if seconds is None:
        return None
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} minutes"


def _many(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'s' if count != 1 else ''}"


def _brief_seconds(seconds: float) -> str:
    return f"{seconds:,.0f} s" if seconds >= 10 else f"{seconds:.1f} s"


def _megabytes(size: float) -> str:
    return f"{size / 1e6:,.0f} MB"
