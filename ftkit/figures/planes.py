"""Planes: the score of methods against what it costs, in resources or in what the model could do before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter

from ftkit.errors import UnknownNameError
from ftkit.evaluation import Metric, Score, find_metric
from ftkit.experiments.record import Outcome, Record
from ftkit.experiments.scoring import mean_test_score
from ftkit.figures.baselines import Level, draw_levels, levels
from ftkit.figures.display import DescribedFigure, new_figure
from ftkit.figures.labels import LabelledPoint, label_points
from ftkit.figures.records import (
    RANGE,
    Variant,
    add_legend,
    by_task,
    error_bars,
    heading,
    measure_of,
    measured,
    of_one_task,
    score_bars,
    score_label,
    task_title,
    variants,
)
from ftkit.figures.style import GREY, MethodStyle, plain, style

FRONT = "Pareto front: no method is both cheaper and better"
NO_FRONT = "Taken on several machines, on which such costs do not compare: no front is drawn"
OFF = "with what the method added turned off"
APART = 1.25
"""Factor between points of equal cost on a logarithmic axis."""
NEARLY_NOTHING = 0.05
"""Where most ways lose less than this, larger losses are drawn on a logarithmic axis, or the others would be a heap."""
ROOM = 9
"""Methods that a plane has room to name beside their points; where there are more, a legend names them."""


@dataclass(frozen=True)
class CostAxis:
    """How a cost is written: title, short name, unit, scale, whether from zero; and whether the machine decides it."""

    title: str
    short: str
    unit: str
    logarithmic: bool
    from_zero: bool
    of_the_machine: bool


COST_AXES: Mapping[str, CostAxis] = MappingProxyType(
    {
        "trainable": CostAxis("Trained parameters", "trained parameters", "", True, False, False),
        "seconds": CostAxis("Training time, seconds", "training time", " s", False, True, True),
        "peak_memory_bytes": CostAxis("Peak memory, MB (not from 0)", "peak memory", " MB", False, False, True),
        "saved_bytes": CostAxis("Saved file, MB", "size of the saved file", " MB", True, False, False),
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
    measure = find_metric(record.tests[task].metric)
    price = COST_AXES[cost]
    front = pareto_front(points, price, machines=len({outcome.machine for outcome in outcomes}))
    return draw_trade_off(points, price, measure, task_title(task), front, levels(record, task))


def pareto_front(points: Sequence[Priced], price: CostAxis, machines: int) -> list[int]:
    """Positions of the methods that no other one beats in both cost and score, from the cheapest to the best.

    There is none where the machine decides the cost and several were used.
    """
    if price.of_the_machine and machines > 1:
        return []
    return front_of([point.spent for point in points], [point.score.value for point in points])


def draw_trade_off(
    points: Sequence[Priced],
    price: CostAxis,
    measure: Metric,
    title: str,
    front: Sequence[int],
    without: Sequence[Level] = (),
) -> DescribedFigure:
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
    front
        Positions of the points on the front. Without any, none is drawn, and the figure says that the costs were taken
        on several machines.
    without
        What is reached without a network, default nothing.
    """
    spent = [point.spent for point in points]
    values = [100 * point.score.value for point in points]
    crowded = len(points) > ROOM
    with style():
        figure = new_figure(height=6.4 if crowded else 4.6)
        axes = figure.subplots()
        if price.logarithmic:
            axes.set_xscale("log")
        places = side_by_side(spent) if price.logarithmic else spent
        steps = [(places[index], values[index]) for index in front]
        if front:
            steps.append((max(places), steps[-1][1]))
            label = "" if crowded else FRONT
            axes.step(*zip(*steps, strict=True), where="post", color=GREY, linewidth=1.2, zorder=1, label=label)
        for point, place in zip(points, places, strict=True):
            if crowded:
                _draw_pale_point(axes, replace(point, spent=place))
            else:
                _draw_point(axes, place, point.score, point.look)
        beside = "" if places == spent else "; equal costs stand side by side"
        axes.set_xlabel(f"{price.title} (logarithmic{beside})" if price.logarithmic else price.title)
        axes.set_ylabel(f"{measure.title} on the test set, {measure.unit}")
        axes.set_title(plain(f"{measure.title} against {price.short}: {title}"))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: compact(value)))
        axes.margins(x=0.12, y=0.1)
        if price.from_zero and not crowded:
            axes.set_xlim(left=0)
        axes.grid(axis="both")
        told = draw_levels(axes, without)
        if crowded:
            add_legend(figure, [axes], f"Line: {FRONT}" if front else NO_FRONT, length=1.5)
        else:
            figure.legend(loc="outside lower center", title=None if front else NO_FRONT)
        named = [point.label if not crowded or index in front else "" for index, point in enumerate(points)]
        label_points(
            figure,
            axes,
            [
                _labelled(each.look, place, each.score, name)
                for each, place, name in zip(points, places, named, strict=True)
            ],
            steps,
        )
        on_front = "On the Pareto front: " + ", ".join(points[index].label for index in front) + "."
        figure.describe(
            f"{measure.title} on the test set against {price.short}: {title}",
            *(f"{point.label}: {compact(point.spent)}{price.unit}, {point.score}." for point in points),
            on_front if front else f"{NO_FRONT}.",
            told,
        )
    return figure


def side_by_side(spent: Sequence[float]) -> list[float]:
    """Places on a logarithmic axis for costs of which some are all but equal, so that no point hides another.

    Parameters
    ----------
    spent
        The costs. Those within a tenth of each other are spread around their middle, in their order, and not so far
        that they reach a cheaper or a dearer one.

    Examples
    --------
    >>> [round(place, 1) for place in side_by_side([10.0, 100.0, 10.5])]
    [9.2, 100.0, 11.5]
    """
    groups: list[list[int]] = []
    for index in sorted(range(len(spent)), key=lambda each: spent[each]):
        if groups and spent[index] < 1.1 * spent[groups[-1][0]]:
            groups[-1].append(index)
        else:
            groups.append([index])
    places = list(spent)
    middles = [float(np.mean(np.log([spent[index] for index in group]))) for group in groups]
    for number, (group, middle) in enumerate(zip(groups, middles, strict=True)):
        if len(group) > 1:
            beside = middles[max(number - 1, 0) : number] + middles[number + 1 : number + 2]
            reach = min([np.log(APART) * (len(group) - 1) / 2, *(0.4 * abs(other - middle) for other in beside)])
            for index, shift in zip(group, np.linspace(-reach, reach, len(group)), strict=True):
                places[index] = float(np.exp(middle + shift))
    return places


def learn_forget(record: Record, title: str = "What is learned and what is forgotten") -> DescribedFigure:
    """Draw what each method loses of the source ability against what it scores on the new task.

    A hollow marker is the loss with what the method added turned off. The legend names the methods; where
    one has several variants, each says at its point which it is.

    Parameters
    ----------
    record : Record
        Of an experiment whose outcomes hold the measure "forgetting".
    title : str
        Of the figure.

    Returns
    -------
    DescribedFigure

    Raises
    ------
    DataError
        If no outcome holds the measure.
    """
    tasks = by_task(measured(record, "forgetting"), record, "measure of forgetting")
    with style():
        figure = new_figure(height=5.6 if len(tasks) == 1 else 0.7 + 3.8 * len(tasks))
        all_axes = figure.subplots(len(tasks), 1, squeeze=False)[:, 0]
        sentences, points = [], []
        for axes, (task, outcomes) in zip(all_axes, tasks.items(), strict=True):
            drawn = [_draw_loss(axes, record, variant) for variant in variants(outcomes)]
            points.append([point for point, _ in drawn])
            sentences += [f"{task_title(task)}, {told}" for _, told in drawn]
            measure = measure_of(outcomes[0], "forgetting")
            ability = ", ".join(filter(None, (measure["ability"], measure["unit"])))
            axes.axvline(0, color=GREY, linewidth=1, linestyle=":", zorder=1)
            axes.set(title=task_title(task), ylabel=score_label(record, task))
            beyond = ""
            middle = float(np.median([abs(point.x) for point, _ in drawn]))
            if 0 < middle < NEARLY_NOTHING:
                linear = 10.0 ** np.ceil(np.log10(middle))
                axes.set_xscale("symlog", linthresh=linear, linscale=1.5)
                axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
                beyond = f"; beyond {linear:g}: logarithmic"
            axes.set_xlabel(f"Lost: {ability}\n({RANGE}; 0: nothing forgotten{beyond})")
            axes.margins(x=0.18, y=0.12)
            axes.grid(axis="both")
        heading(figure, title)
        if "with the added part off" in " ".join(sentences):
            all_axes[0].plot([], [], "o:", color=GREY, markerfacecolor="white", label=OFF)
        add_legend(figure, list(all_axes), length=2)
        figure.settle()
        for axes, of_task in zip(all_axes, points, strict=True):
            label_points(figure, axes, of_task, [(0, axes.get_ylim()[0]), (0, axes.get_ylim()[1])])
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
    >>> compact(0.0154), compact(1234), compact(56700), compact(2.3e7)
    ('0.0154', '1,234', '56.7 k', '23 M')
    """
    if 999.5 <= abs(value) < 1e4:
        return f"{value:,.0f}"
    for size, letter in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{letter}"
    return f"{value:.3g}"


def _draw_pale_point(axes: Axes, point: Priced) -> None:
    """Draw one of many points: its interval steps back, and the legend names it."""
    low, middle, high = (100 * value for value in (point.score.low, point.score.value, point.score.high))
    colour = point.look.colour
    axes.vlines(point.spent, low, high, color=colour, linewidth=1.2, alpha=0.4, zorder=2)
    axes.plot(
        point.spent,
        middle,
        point.look.marker,
        color=colour,
        markersize=12 if point.look.marker == "*" else 8,  # a star is all points, and looks smaller
        markeredgecolor="white",
        markeredgewidth=0.6,
        label=point.label,
        zorder=3,
    )


def _draw_point(
    axes: Axes, x: float, score: Score, look: MethodStyle, sideways: Any = None, label: str | None = None
) -> None:
    axes.errorbar(
        [x],
        [100 * score.value],
        score_bars(score),
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
        label=label,
    )


def _draw_loss(axes: Axes, record: Record, variant: Variant) -> tuple[LabelledPoint, str]:
    """Draw what a variant lost and what it scores; return the point and the numbers in words."""
    score = mean_test_score(record, variant.outcomes)
    losses = [lost(outcome) for outcome in variant.outcomes]
    mean, least, most = float(np.mean(losses)), min(losses), max(losses)
    _draw_point(axes, mean, score, variant.look, error_bars([mean], [least], [most]), label=variant.look.title)
    off = _draw_adapter_off(axes, variant, mean, score)
    measure = measure_of(variant.outcomes[0], "forgetting")
    unit = f" {measure['unit']}" if measure["unit"] else ""
    told = f"{variant.label}: lost {mean:.2f}{unit} ({least:.2f} to {most:.2f}), score {score}{off}."
    narrow = variant.detail.replace(", ", ",\n")  # fits beside a point where a long line does not
    return _labelled(variant.look, mean, score, narrow, least, most), told


def _draw_adapter_off(axes: Axes, variant: Variant, mean: float, score: Score) -> str:
    """Draw the loss that is left with what the method added turned off, and say it, where it was measured."""
    found = [lost(each, "adapter_off") for each in variant.outcomes if "adapter_off" in measure_of(each, "forgetting")]
    if not found:
        return ""
    off, height, colour = float(np.mean(found)), 100 * score.value, variant.look.colour
    axes.plot([mean, off], [height, height], color=colour, linewidth=1, linestyle=":", zorder=2)
    axes.plot(off, height, variant.look.marker, color=colour, markerfacecolor="white", markersize=8, zorder=3)
    return f", lost with the added part off {off:.2f}"


def _labelled(
    look: MethodStyle, x: float, score: Score, text: str, least: float | None = None, most: float | None = None
) -> LabelledPoint:
    """A point with its score's interval; what it lost or cost has one where ends are given."""
    ends = (x if least is None else least, x if most is None else most)
    return LabelledPoint(x, 100 * score.value, 100 * score.low, 100 * score.high, text, *ends, look.colour)
