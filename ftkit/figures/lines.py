"""Scores of an experiment over what it varies: data, learning rate, depth, size."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator

from ftkit.experiments.record import Answered, Outcome, Record
from ftkit.figures.baselines import Level, draw_classical, draw_levels, guess, levels
from ftkit.figures.display import DescribedFigure, new_figure
from ftkit.figures.planes import compact
from ftkit.figures.records import (
    Line,
    Variant,
    add_legend,
    by_task,
    draw_line,
    heading,
    number_line,
    of_one_task,
    panels,
    score_label,
    score_line,
    task_title,
    variants,
)
from ftkit.figures.style import INK, method_style, style

INTERVALS = "Bars are 95 % intervals over seeds and test items."
SIZES = {
    "rank": ("LoRA rank", "Rank"),
    "width": ("Adapter width", "Width"),
    "length": ("Prompt length", "Virtual tokens"),
}
"""Settings that say how large an added part is: title and axis."""


def data_size(record: Record) -> DescribedFigure:
    """Draw the test score over the number of training examples, a line a method and a panel a task.

    Parameters
    ----------
    record : Record
        Of the experiment "data-size": conditions with `examples`.

    Returns
    -------
    DescribedFigure

    Raises
    ------
    DataError
        If no condition says how many examples it has.
    """
    chosen = [outcome for outcome in record.outcomes if outcome.condition.examples is not None]
    tasks = by_task(chosen, record, "training with a number of examples")

    def draw(axes: Axes, task: str) -> list[str]:
        of_task = variants(tasks[task], apart_from=("examples", "epochs"))
        lines = [score_line(record, each, _examples) for each in of_task]
        axes.set_xlabel("Training examples")
        classical = draw_classical(axes, record, task, _examples)
        told = _draw_scores(axes, record, task, lines, [guess(record, task)])
        axes.set_xscale("log")
        _ticks(axes, sorted({place for line in lines for place in line.xs}))
        return [told, classical]

    return _score_panels("Test score over training examples", "Mean over seeds by number of examples.", tasks, draw)


def learning_rates(record: Record) -> DescribedFigure:
    """Draw the test score over the learning rate, a line a method and a panel a task.

    A ring marks the rate with the best score on validation, which is how one would choose it.

    Parameters
    ----------
    record : Record
        Of the experiment "learning-rates": conditions with `learning_rate`.

    Returns
    -------
    DescribedFigure

    Raises
    ------
    DataError
        If no condition names a learning rate.
    """
    chosen = [outcome for outcome in record.outcomes if outcome.condition.learning_rate is not None]
    tasks = by_task(chosen, record, "training at a chosen learning rate")

    def draw(axes: Axes, task: str) -> list[str]:
        of_task = variants(tasks[task], apart_from=("learning_rate",))
        lines = [score_line(record, each, lambda outcome: outcome.learning_rate) for each in of_task]
        axes.set_xlabel("Learning rate (logarithmic)")
        told = [_draw_scores(axes, record, task, lines, levels(record, task))]
        for variant, line in zip(of_task, lines, strict=True):
            best = _best_rate(variant)
            _ring(axes, best, line.values[line.xs.index(best)], line.look.colour)
            told.append(f"{line.label}: best on validation at {best:g}.")
        axes.set_xscale("log")
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.scatter([], [], s=150, facecolors="none", edgecolors=INK, linewidths=1.2, label="best on validation")
        return told

    return _score_panels("Test score over learning rate", "Mean over seeds by learning rate.", tasks, draw, height=4.2)


def depth(record: Record) -> DescribedFigure:
    """Draw the test score over the number of trained blocks, counted from the output and from the input.

    Parameters
    ----------
    record : Record
        Of the experiment "depth": the method "partial" with `blocks`, "surgical" with `first` 1 and `last`, and, where
        there is one, the linear probe, which trains none.

    Returns
    -------
    DescribedFigure

    Raises
    ------
    DataError
        If no condition trains a number of blocks.
    """
    chosen = [outcome for outcome in record.outcomes if _from_output(outcome) or _from_input(outcome)]
    tasks = by_task(chosen, record, "training of a number of blocks")

    def draw(axes: Axes, task: str) -> list[str]:
        none = record.where(task=task, method="linear-probe")
        lines = [
            score_line(record, Variant(label, "", method_style(method), dashes, (*none, *found)), _blocks)
            for label, method, dashes, found in (
                ("From the output (partial)", "partial", "-", list(filter(_from_output, tasks[task]))),
                ("From the input (surgical)", "surgical", "--", list(filter(_from_input, tasks[task]))),
            )
            if found
        ]
        axes.set_xlabel("Trained blocks")
        told = _draw_scores(axes, record, task, lines, levels(record, task))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
        return [told]

    told = "Mean over seeds by number of blocks; 0 is the linear probe."
    return _score_panels("Test score over trained blocks", told, tasks, draw)


def sweeps(record: Record, task: str | None = None) -> DescribedFigure:
    """Draw the test score and the trained parameters over LoRA's rank, the adapter's width and the prompt's length.

    Parameters
    ----------
    record : Record
        Of the experiment "sizes": conditions with the settings `rank`, `width` or `length`.
    task : str, optional
        The task to draw; needed where the record is of several.

    Returns
    -------
    DescribedFigure

    Raises
    ------
    DataError
        If no condition sets one of them, or it must be said which task is meant.
    """
    chosen = [outcome for outcome in record.outcomes if set(SIZES) & set(outcome.condition.settings)]
    task, outcomes = of_one_task(chosen, record, task, "training with a rank, width or length")
    held = [name for name in SIZES if any(name in outcome.condition.settings for outcome in outcomes)]
    title = f"Score and trained parameters over size: {task_title(task)}"
    with style():
        figure = new_figure(height=5.6)
        upper, lower = figure.subplots(2, len(held), squeeze=False, sharex="col", sharey="row")
        sentences = []
        for name, above, below in zip(held, upper, lower, strict=True):
            setting = f"settings.{name}"
            found = [outcome for outcome in outcomes if name in outcome.condition.settings]
            of_setting = variants(found, apart_from=(setting, "learning_rate", "settings.alpha"))
            for variant in of_setting:
                line = score_line(record, variant, _setting(setting))
                sizes = {_setting(setting)(outcome): outcome.trainable for outcome in variant.outcomes}
                count = number_line(variant, line.xs, [[sizes[place] for place in line.xs]])
                draw_line(above, line)
                draw_line(below, count)
                counts = "; ".join(f"{place:g}: {compact(sizes[place])}" for place in line.xs)
                sentences += [f"Score by {name}, {line.told()}", f"Trained parameters by {name}: {counts}."]
            below.set(xlabel=f"{SIZES[name][1]} (logarithmic)", yscale="log")
            above.set_title(SIZES[name][0])
            above.set_xscale("log")
            _ticks(below, sorted({_setting(setting)(outcome) for outcome in found}))
        shared = upper[0].get_ylim()
        without = [draw_levels(axes, levels(record, task), near=shared) for axes in upper]
        upper[0].set_ylabel(score_label(record, task))
        lower[0].set_ylabel("Trained parameters\n(logarithmic)")
        lower[0].yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        lower[0].yaxis.set_major_formatter(FuncFormatter(lambda value, _: compact(value)))
        lower[0].yaxis.set_minor_formatter(NullFormatter())
        for axes in (*upper, *lower):
            axes.grid(axis="y")
        heading(figure, title)
        add_legend(figure, list(upper))
        figure.describe(title, INTERVALS, *sentences, without[0])
    return figure


def _score_panels(
    title: str, told: str, tasks: Iterable[str], draw: Callable[[Axes, str], list[str]], height: float = 3.7
) -> DescribedFigure:
    """A panel a task, each drawn and told by a function, below one title and above one legend."""
    names = list(tasks)
    with style():
        figure = new_figure(height=height)
        drawn = panels(figure, len(names))
        sentences = []
        for axes, task in zip(drawn, names, strict=True):
            sentences += draw(axes, task)
            axes.set_title(task_title(task))
        heading(figure, title)
        add_legend(figure, drawn)
        figure.describe(title, told, INTERVALS, *sentences)
    return figure


def _draw_scores(axes: Axes, record: Record, task: str, lines: list[Line], without: Sequence[Level]) -> str:
    """Draw lines of scores and what is reached without a network, and return them in words."""
    for line in lines:
        draw_line(axes, line)
    axes.margins(x=0.08, y=0.08)
    told = draw_levels(axes, without)
    axes.set_ylabel(score_label(record, task))
    axes.grid(axis="y")
    return " ".join([f"{task_title(task)}.", *(line.told() for line in lines), told])


def _ticks(axes: Axes, sizes: list[float]) -> None:
    axes.set_xticks(sizes, [f"{size / 1000:.2g}k" if size >= 1000 else f"{size:.0f}" for size in sizes])
    axes.xaxis.set_minor_locator(NullLocator())


def _best_rate(variant: Variant) -> float:
    rates = sorted({outcome.learning_rate for outcome in variant.outcomes})
    return max(
        rates,
        key=lambda rate: float(
            np.mean([each.validation_score for each in variant.outcomes if each.learning_rate == rate])
        ),
    )


def _ring(axes: Axes, x: float, y: float, colour: str) -> None:
    axes.scatter(x, y, s=150, facecolors="none", edgecolors=colour, linewidths=1.2, zorder=4)


def _examples(outcome: Answered) -> float:
    return outcome.condition.examples or 0


def _from_output(outcome: Outcome) -> bool:
    return outcome.condition.method == "partial" and outcome.condition.settings.get("blocks") is not None


def _from_input(outcome: Outcome) -> bool:
    settings = outcome.condition.settings
    return outcome.condition.method == "surgical" and settings.get("first") == 1 and settings.get("last") is not None


def _blocks(outcome: Outcome) -> float:
    """How many blocks a training trained; a linear probe, which names none, 0."""
    settings = outcome.condition.settings
    return float(settings.get("blocks", settings.get("last", 0)))


def _setting(name: str) -> Callable[[Outcome], float]:
    return lambda outcome: float(outcome.condition.value(name))
