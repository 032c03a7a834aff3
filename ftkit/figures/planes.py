"""Planes: the score of methods against what it costs, in resources or in what the model could do before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter

from ftkit.errors import UnknownNameError
from ftkit.evaluation import Metric, Score, find_metric
from ftkit.experiments.record import Outcome, Record
from ftkit.experiments.scoring import mean_test_score
from ftkit.figures.display import DescribedFigure, new_figure
from ftkit.figures.labels import LabelledPoint, label_points
from ftkit.figures.records import (
    RANGE,
    Variant,
    by_task,
    heading,
    measure_of,
    measured,
    of_one_task,
    score_label,
    task_title,
    variants,
)
from ftkit.figures.style import GREY, MethodStyle, style

FRONT = "Pareto front: no method is both cheaper and better"
ROOM = 9
"""Labels that a plane of the usual height has room for."""


@dataclass(frozen=True)
class CostAxis:
    """How a cost is written: the axis' title, a short name, the unit after a number, and the axis' scale."""

    title: str
    short: str
    unit: str
    logarithmic: bool


COST_AXES: Mapping[str, CostAxis] = MappingProxyType(
    {
        "trainable": CostAxis("Trained parameters", "trained parameters", "", True),
        "seconds": CostAxis("Training time, seconds", "training time", " s", False),
        "peak_memory_bytes": CostAxis("Peak memory, MB", "peak memory", " MB", False),
        "saved_bytes": CostAxis("Saved file, MB", "size of the saved file", " MB", True),
    }
)
"""By field of `Outcome`; bytes are drawn in megabytes."""


@dataclass(frozen=True)
class Priced:
    """A method with what it costs, in the unit of the axis, and its score."""

    label: str
    look: MethodStyle
    spent: float
    score: Score


def pareto(record: Record, cost: str = "trainable", task: str | None = None) -> DescribedFigure:
    """Draw the test score of every method against what it costs, with the Pareto front.

    No method on the front (the stepped line) is beaten by one that is both cheaper and better.

    Parameters
    ----------
    record : Record
        Of the experiment "methods".
    cost : {"trainable", "seconds", "peak_memory_bytes", "saved_bytes"}, default "trainable"
        Field of `Outcome`; the mean over seeds is drawn.
    task : str, optional
        The task to draw; needed where the record is of several.

    Returns
    -------
    DescribedFigure

    Raises
    ------
    UnknownNameError
        If there is no such cost.
    DataError
        If there is no training, or it must be said which task is meant.
    """
    if cost not in COST_AXES:
        raise UnknownNameError("cost", cost, list(COST_AXES))
    task, outcomes = of_one_task(record.outcomes, record, task, "training")
    unit = 1e6 if cost.endswith("bytes") else 1
    points = [
        Priced(
            each.label,
            each.look,
            float(np.mean([getattr(outcome, cost) for outcome in each.outcomes])) / unit,
            mean_test_score(record, each.outcomes),
        )
        for each in variants(outcomes)
    ]
    return draw_trade_off(points, COST_AXES[cost], find_metric(record.tests[task].metric), task_title(task))


def draw_trade_off(points: Sequence[Priced], price: CostAxis, measure: Metric, title: str) -> DescribedFigure:
    """Draw methods as points of cost and score, with the Pareto front.

    Parameters
    ----------
    points
        One a method.
    price
        The horizontal axis.
    measure
        The vertical axis.
    title
        What the methods were trained on.
    """
    spent = [point.spent for point in points]
    values = [100 * point.score.value for point in points]
    with style():
        figure = new_figure(height=4.6 + 0.16 * max(0, len(points) - ROOM))
        axes = figure.subplots()
        if price.logarithmic:
            axes.set_xscale("log")
        front = front_of(spent, values)
        steps = [(spent[index], values[index]) for index in front]
        steps.append((max(spent), steps[-1][1]))
        axes.step(*zip(*steps, strict=True), where="post", color=GREY, linewidth=1.2, zorder=1, label=FRONT)
        for point in points:
            _draw_point(axes, point.spent, point.score, point.look)
        axes.set_xlabel(price.title + (" (logarithmic)" if price.logarithmic else ""))
        axes.set_ylabel(f"{measure.title} on the test set, {measure.unit}")
        axes.set_title(f"{measure.title} against {price.short}: {title}")
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: compact(value)))
        axes.margins(x=0.12, y=0.1)
        if not price.logarithmic:
            axes.set_xlim(left=0)
        axes.grid(axis="both")
        figure.legend(loc="outside lower center")
        label_points(figure, axes, [_labelled(point.spent, point.score, point.label) for point in points], steps)
        figure.describe(
            f"{measure.title} on the test set against {price.short}: {title}",
            *(f"{point.label}: {compact(point.spent)}{price.unit}, {point.score}." for point in points),
            "On the Pareto front: " + ", ".join(points[index].label for index in front) + ".",
        )
    return figure


def learn_forget(record: Record) -> DescribedFigure:
    """Draw what each method loses of the source ability against what it scores on the new task.

    A hollow marker is the loss with what the method added turned off.

    Parameters
    ----------
    record : Record
        Of the experiment "forgetting", whose outcomes hold the measure "forgetting".

    Returns
    -------
    DescribedFigure

    Raises
    ------
    DataError
        If no outcome holds the measure.
    """
    tasks = by_task(measured(record, "forgetting"), record, "measure of forgetting")
    title = "What is learned and what is forgotten"
    with style():
        figure = new_figure(height=0.7 + 3.6 * len(tasks))
        all_axes = figure.subplots(len(tasks), 1, squeeze=False)[:, 0]
        sentences, labels = [], []
        for axes, (task, outcomes) in zip(all_axes, tasks.items(), strict=True):
            told = measure_of(outcomes[0], "forgetting")
            unit = f" {told['unit']}" if told["unit"] else ""
            axes.axvline(0, color=GREY, linewidth=1, linestyle=":", zorder=1)
            points = []
            for variant in variants(outcomes):
                score = mean_test_score(record, variant.outcomes)
                losses = [lost(outcome) for outcome in variant.outcomes]
                mean = float(np.mean(losses))
                _draw_point(axes, mean, score, variant.look, (mean - min(losses), max(losses) - mean))
                off = _draw_adapter_off(axes, variant, mean, score)
                points.append(_labelled(mean, score, variant.label))
                sentences.append(
                    f"{task_title(task)}, {variant.label}: lost {mean:.2f}{unit} ({min(losses):.2f} to "
                    f"{max(losses):.2f}), score {score}{off}."
                )
            axes.set(
                title=task_title(task),
                xlabel=f"Lost: {told['ability']}{',' if unit else ''}{unit} ({RANGE}; 0: nothing forgotten)",
                ylabel=score_label(record, task),
            )
            axes.margins(x=0.14, y=0.12)
            axes.grid(axis="both")
            labels.append((axes, points))
        heading(figure, title)
        figure.settle()
        for axes, points in labels:
            label_points(figure, axes, points, [(0, axes.get_ylim()[0]), (0, axes.get_ylim()[1])])
        figure.describe(
            title,
            "Loss of the source ability, mean over seeds (lowest to highest), and test score with 95 % interval.",
            *sentences,
        )
    return figure


def lost(outcome: Outcome, ability: str = "after") -> float:
    """How much of the source ability is gone, in its unit; negative where it has grown.

    Parameters
    ----------
    outcome
        An outcome with the measure "forgetting".
    ability
        Its value that is compared with the one before, default ``"after"``.
    """
    told = measure_of(outcome, "forgetting")
    loss = float(told["before"] - told[ability])
    return loss if told["higher_is_better"] else -loss


def front_of(spent: Sequence[float], values: Sequence[float]) -> list[int]:
    """Return the positions that no other one beats, from the cheapest to the best.

    Examples
    --------
    >>> front_of([1, 2, 3], [70, 90, 80])
    [0, 1]
    """
    front: list[int] = []
    for index in sorted(range(len(spent)), key=lambda index: (spent[index], -values[index])):
        if not front or values[index] > values[front[-1]]:
            front.append(index)
    return front


def compact(value: float) -> str:
    """Return a number in at most a few characters.

    Examples
    --------
    >>> compact(950), compact(1234), compact(2.3e7)
    ('950', '1.23 k', '23 M')
    """
    for size, letter in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{letter}"
    return f"{value:.3g}"


def _draw_point(axes: Axes, x: float, score: Score, look: MethodStyle, ends: tuple[float, float] | None = None) -> None:
    sideways: Any = None if ends is None else [[ends[0]], [ends[1]]]
    axes.errorbar(
        [x],
        [100 * score.value],
        [[100 * (score.value - score.low)], [100 * (score.high - score.value)]],
        sideways,
        fmt=look.marker,
        color=look.colour,
        markersize=9,
        markeredgecolor="white",
        markeredgewidth=0.6,
        capsize=3,
        capthick=1.4,
        elinewidth=1.4,
        zorder=3,
    )


def _draw_adapter_off(axes: Axes, variant: Variant, mean: float, score: Score) -> str:
    """Draw the loss that is left with what the method added turned off, and say it, where it was measured."""
    found = [lost(each, "adapter_off") for each in variant.outcomes if "adapter_off" in measure_of(each, "forgetting")]
    if not found:
        return ""
    off, height, colour = float(np.mean(found)), 100 * score.value, variant.look.colour
    axes.plot([mean, off], [height, height], color=colour, linewidth=1, linestyle=":", zorder=2)
    axes.plot(off, height, variant.look.marker, color=colour, markerfacecolor="white", markersize=8, zorder=3)
    return f", lost with the added part off {off:.2f}"


def _labelled(x: float, score: Score, text: str) -> LabelledPoint:
    return LabelledPoint(x, 100 * score.value, 100 * score.low, 100 * score.high, text)
