"""What figures of experiments share: outcomes put together by what they differ in, their lines, panels and legends."""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any, TypeVar

import numpy as np
from matplotlib.axes import Axes
from matplotlib.container import Container
from numpy.typing import NDArray

from ftkit.errors import DataError
from ftkit.evaluation import Score, find_metric
from ftkit.experiments.experiment import Condition
from ftkit.experiments.record import Outcome, Record
from ftkit.experiments.scoring import mean_test_score
from ftkit.figures.display import DescribedFigure
from ftkit.figures.style import METHOD_STYLES, WIDTH, MethodStyle, method_style
from ftkit.tasks import TASKS

LINE_STYLES = ("-", "--", ":", "-.")
"""Variants of one method are told apart by these; methods by colour and marker."""
RANGE = "lowest to highest seed"

Key = TypeVar("Key", bound=Hashable)
Each = TypeVar("Each")


# --- outcomes


@dataclass(frozen=True)
class Variant:
    """Trainings that differ in their seed and in what a figure has on its axes.

    Attributes
    ----------
    label
        The method's title and what tells the variant from others of its method.
    detail
        What tells it from them, alone; empty where it is the plain one.
    look, dashes
        How it is drawn.
    outcomes
        The trainings.
    """

    label: str
    detail: str
    look: MethodStyle
    dashes: str
    outcomes: tuple[Outcome, ...]


def variants(outcomes: Sequence[Outcome], apart_from: Iterable[str] = ()) -> list[Variant]:
    """Put together outcomes whose conditions agree, in the order in which every figure shows methods.

    Parameters
    ----------
    outcomes
        Of one task.
    apart_from
        Fields of `Condition` that may differ, besides the seed, such as ``"examples"`` or ``"settings.rank"``.
    """
    ignored = {"task", "method", "seed", *apart_from}
    together = grouped(
        outcomes, lambda each: (each.condition.method, _signature(_details(each.condition, ignored)))
    ).values()
    order = list(METHOD_STYLES)
    groups = sorted(together, key=lambda group: _place(group[0].condition.method, order))
    seen: dict[str, int] = {}
    made = []
    for group in groups:
        method = group[0].condition.method
        detail = _distinction(
            _details(group[0].condition, ignored),
            [_details(other[0].condition, ignored) for other in groups if other[0].condition.method == method],
        )
        look = method_style(method)
        position = seen[method] = seen.get(method, -1) + 1
        label = f"{look.title}, {detail}" if detail else look.title
        made.append(Variant(label, detail, look, LINE_STYLES[position % len(LINE_STYLES)], tuple(group)))
    return made


def grouped(outcomes: Iterable[Each], key: Callable[[Each], Key]) -> dict[Key, list[Each]]:
    """Outcomes by a key, in the order in which the keys first occur."""
    found: dict[Key, list[Each]] = {}
    for outcome in outcomes:
        found.setdefault(key(outcome), []).append(outcome)
    return found


def by_task(outcomes: Sequence[Outcome], record: Record, needed: str) -> dict[str, list[Outcome]]:
    """Outcomes by their task.

    Raises
    ------
    DataError
        If there is none; `needed` says what was looked for.
    """
    if not outcomes:
        raise DataError(
            f"The record of {record.experiment!r} has no {needed} yet; make it with `ftkit experiment` first."
        )
    return grouped(outcomes, lambda outcome: outcome.condition.task)


def of_one_task(
    outcomes: Sequence[Outcome], record: Record, task: str | None, needed: str
) -> tuple[str, list[Outcome]]:
    """Outcomes of the task that is asked for, or of the only one there is.

    Raises
    ------
    DataError
        If there is none, or it must be said which task is meant.
    """
    tasks = by_task(outcomes, record, needed)
    if task is None and len(tasks) > 1:
        raise DataError(f"The record of {record.experiment!r} is of {', '.join(tasks)}; choose one with task=.")
    task = next(iter(tasks)) if task is None else task
    if task not in tasks:
        raise DataError(f"The record of {record.experiment!r} has no {needed} of {task!r}; it has {', '.join(tasks)}.")
    return task, tasks[task]


def measure_of(outcome: Outcome, name: str) -> dict[str, Any]:
    """What was measured of an outcome's model under a name."""
    measured: dict[str, Any] = outcome.measures[name]
    return measured


def measured(record: Record, name: str) -> list[Outcome]:
    """Outcomes that hold a measure."""
    return [outcome for outcome in record.outcomes if name in outcome.measures]


def _place(method: str, order: Sequence[str]) -> int:
    return order.index(method) if method in order else len(order)


def _details(condition: Condition, ignored: set[str]) -> dict[str, Any]:
    """What a condition says, flat; fields as they are unless told otherwise, which say nothing, are left out."""
    flat: dict[str, Any] = {}
    for field in fields(condition):
        value = getattr(condition, field.name)
        if isinstance(value, dict):
            flat |= {f"{field.name}.{key}": inner for key, inner in value.items()}
        elif value != field.default:
            flat[field.name] = value
    return {name: value for name, value in flat.items() if name not in ignored}


def _signature(details: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted((name, repr(value)) for name, value in details.items()))


def _distinction(own: dict[str, Any], all_of_method: Sequence[dict[str, Any]]) -> str:
    differing = [name for name in own if len({repr(each.get(name)) for each in all_of_method}) > 1]
    told = [_written(name.partition(".")[2] or name, own[name]) for name in differing]
    if "learning_rate" not in own and any("learning_rate" in each for each in all_of_method):
        told.append("chosen rate")
    return ", ".join(told)


def _written(name: str, value: Any) -> str:
    words = {"learning_rate": "rate"}.get(name, name.replace("_", " "))
    if value is True:
        return words
    return f"{words} {value:g}" if isinstance(value, (int, float)) else f"{words} {value}"


# --- lines


@dataclass(frozen=True)
class Line:
    """Values with intervals over an axis, in the units in which they are drawn."""

    label: str
    look: MethodStyle
    dashes: str
    xs: list[float]
    values: list[float]
    lows: list[float]
    highs: list[float]

    def told(self, digits: int = 1, names: Sequence[str] | None = None) -> str:
        """The numbers of the line in words, at the places of the axis or by the names that these have."""
        places = [f"{place:g}" for place in self.xs] if names is None else names
        points = "; ".join(
            f"{place}: {value:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"
            for place, value, low, high in zip(places, self.values, self.lows, self.highs, strict=True)
        )
        return f"{self.label}: {points}."


def score_line(record: Record, variant: Variant, x: Callable[[Outcome], float]) -> Line:
    """Mean test scores of a variant in percent, with 95 % intervals, over what `x` says of its outcomes."""
    at = grouped(variant.outcomes, x)
    places = sorted(at)
    scores = [mean_test_score(record, at[place]) for place in places]
    values, lows, highs = ([100 * getattr(score, end) for score in scores] for end in ("value", "low", "high"))
    return Line(variant.label, variant.look, variant.dashes, places, values, lows, highs)


def number_line(variant: Variant, xs: Sequence[float], series: Sequence[Sequence[float]]) -> Line:
    """Means over seeds, from the lowest to the highest seed: `series` holds one sequence of values a seed."""
    table = np.array(series, dtype=np.float64)
    values, lows, highs = (end.tolist() for end in (table.mean(axis=0), table.min(axis=0), table.max(axis=0)))
    return Line(variant.label, variant.look, variant.dashes, list(xs), values, lows, highs)


def draw_line(axes: Axes, line: Line) -> None:
    """Draw a line with its intervals."""
    axes.errorbar(
        line.xs,
        line.values,
        error_bars(line.values, line.lows, line.highs),
        fmt=line.look.marker,
        linestyle=line.dashes,
        color=line.look.colour,
        label=line.label,
        linewidth=1.6,
        markeredgecolor="white",
        markeredgewidth=0.5,
        markersize=7,
        elinewidth=1,
        capsize=2,
        zorder=3,
    )


def error_bars(values: Sequence[float], lows: Sequence[float], highs: Sequence[float]) -> NDArray[np.float64]:
    """Lengths (2, n) of the bars below and above values."""
    # Where all seeds agree, their rounded mean may lie just outside.
    return np.maximum(0, [np.subtract(values, lows), np.subtract(highs, values)])


def score_bars(score: Score) -> NDArray[np.float64]:
    """Lengths (2, 1) of the bars of a score's interval, in percent."""
    return 100 * error_bars([score.value], [score.low], [score.high])


# --- panels


def panels(figure: DescribedFigure, count: int) -> list[Axes]:
    """A row of axes."""
    return list(figure.subplots(1, count, squeeze=False)[0])


def task_title(task: str) -> str:
    """How figures call a task."""
    return TASKS[task].title if task in TASKS else task


def score_label(record: Record, task: str) -> str:
    """What the axis of a task's score is called, with its unit."""
    metric = find_metric(record.tests[task].metric)
    return f"{metric.title}, {metric.unit}"


def draw_stages(axes: Axes, stages: Sequence[str]) -> None:
    """Name the stages of a backbone below the axis, by their numbers where they have such."""
    numbered = [re.fullmatch(r"(\w+) (\d+)", stage) for stage in stages]
    names = [found[2] if found else stage.split()[0] for found, stage in zip(numbered, stages, strict=True)]
    kind = next((found[1] for found in numbered if found), "stage")
    axes.set_xticks(range(len(stages)), names)
    axes.set_xlabel(f"{kind.capitalize()}, input to output")
    axes.set_xlim(-0.5, len(stages) - 0.5)


def add_legend(figure: DescribedFigure, all_axes: Sequence[Axes], title: str | None = None, length: float = 3) -> None:
    """One legend below the figure for all its axes, each label once; the length of the lines is in letters."""
    found: dict[str, Any] = {}
    for axes in all_axes:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            found.setdefault(label, handle)
    # Containers, the methods with their intervals, come last in matplotlib; here they come first.
    found = dict(sorted(found.items(), key=lambda entry: not isinstance(entry[1], Container)))
    longest = max(map(len, found))
    column = 0.35 + length / 8 + 0.066 * longest  # inches, of letters of nine points
    columns = max(1, min(len(found), int((WIDTH - 0.2) / column)))
    figure.legend(
        found.values(), found.keys(), loc="outside lower center", ncols=columns, handlelength=length, title=title
    ).get_title().set_fontsize(9)


def heading(figure: DescribedFigure, text: str) -> None:
    """A title over all panels."""
    figure.suptitle(text, x=0.01, ha="left", fontsize=11, fontweight="bold")
