"""Methods side by side: their scores, and what these cost."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from matplotlib.axes import Axes

from ftkit.errors import DataError, UnknownNameError
from ftkit.evaluation import Score, find_metric
from ftkit.figures.baselines import CLASSICAL, DASHES, GUESS, Level
from ftkit.figures.display import DescribedFigure, new_figure
from ftkit.figures.planes import COST_AXES, CostAxis, Priced, draw_trade_off, pareto_front
from ftkit.figures.style import GREY, LIGHT_GREY, MethodStyle, method_style, plain, style

if TYPE_CHECKING:
    from ftkit.experiments.comparison import Comparison
    from ftkit.experiments.run import Run


def scores(comparison: Comparison, metric: str | None = None) -> DescribedFigure:
    """Draw the test score of each method with its 95 % interval, each seed as a dot, and the baselines as lines.

    Parameters
    ----------
    comparison : Comparison
        The runs to compare.
    metric : str, optional
        Name of the metric, by default the comparison's own.

    Returns
    -------
    DescribedFigure

    Raises
    ------
    DataError
        If there is no run.
    UnknownNameError
        If the runs hold no such metric.
    """
    measure = find_metric(comparison.metric if metric is None else metric)
    methods = _summaries(comparison, measure.name)
    with style():
        figure = new_figure(height=1.9 + 0.42 * len(methods))
        axes = figure.subplots()
        for row, method in enumerate(methods):
            _draw_method(axes, row, method)
        levels = _levels(comparison, measure.name)
        for each in levels:
            axes.axvline(
                each.value, color=GREY, linewidth=1.4, linestyle=DASHES[each.kind], label=_told_level(each), zorder=1
            )
        # broad and pale, to be seen below the line of a class that scores no more
        chance = Level("", "Chance", 100 * measure.chance(len(comparison.runs[0].label_names)))
        axes.axvline(chance.value, color=LIGHT_GREY, linewidth=5, label=_told_level(chance), zorder=0.9)
        axes.set_yticks(range(len(methods)), [method.look.title for method in methods], fontsize=10)
        axes.set_ylim(len(methods) - 0.4, -0.6)
        axes.tick_params(axis="y", length=0)
        axes.set_xlabel(f"{measure.title} on the test set, {measure.unit}\n({_key(methods)})")
        axes.set_title(plain(_title(comparison, f"{measure.title} by method")))
        axes.grid(axis="x")
        axes.margins(x=0.04)
        _keep_below_hundred(axes)
        figure.legend(loc="outside lower center", ncols=3, handlelength=3)
        figure.describe(
            _title(comparison, f"{measure.title} on the test set by method"),
            _told(methods),
            f"For comparison: {'; '.join(map(_told_level, [*levels, chance]))}.",
        )
    return figure


def trade_off(
    comparison: Comparison,
    cost: Literal["trainable", "seconds", "memory", "saved"] = "trainable",
    metric: str | None = None,
) -> DescribedFigure:
    """Draw the test score of each method against what it costs, with the Pareto front.

    No method on the front (the stepped line) is beaten by one that is both cheaper and better.

    Parameters
    ----------
    comparison : Comparison
        The runs to compare.
    cost : {"trainable", "seconds", "memory", "saved"}, default "trainable"
        Trained parameters, training time, peak memory, or size of the saved file; the mean over seeds.
    metric : str, optional
        Name of the metric, by default the comparison's own.

    Returns
    -------
    DescribedFigure

    Raises
    ------
    DataError
        If there is no run.
    UnknownNameError
        If there is no such cost, or the runs hold no such metric.
    """
    if cost not in _COSTS:
        raise UnknownNameError("cost", cost, list(_COSTS))
    price = _COSTS[cost]
    measure = find_metric(comparison.metric if metric is None else metric)
    methods = _summaries(comparison, measure.name)
    points = [
        Priced(each.look.title, each.look, float(np.mean([price.of(run) for run in each.runs])), each.score)
        for each in methods
    ]
    machines = {(run.machine.processor, run.machine.threads) for run in comparison.runs}
    front = pareto_front(points, price.axis, len(machines))
    return draw_trade_off(points, price.axis, measure, comparison.title, front, _levels(comparison, measure.name))


def _told_level(level: Level) -> str:
    return f"{level.title} {level.value:.1f} %"


def _levels(comparison: Comparison, metric: str) -> list[Level]:
    """Scores of a comparison's baselines."""
    return [
        Level(GUESS if each.name == "majority" else CLASSICAL, each.title, 100 * each.scores[metric].value)
        for each in comparison.baselines
    ]


@dataclass(frozen=True)
class _Method:
    look: MethodStyle
    runs: Sequence[Run]
    seeds: Sequence[float]
    score: Score


@dataclass(frozen=True)
class _Cost:
    axis: CostAxis
    of: Callable[[Run], float]


_COSTS = {
    "trainable": _Cost(COST_AXES["trainable"], lambda run: run.cost.trainable),
    "seconds": _Cost(COST_AXES["seconds"], lambda run: run.cost.seconds),
    "memory": _Cost(COST_AXES["peak_memory_bytes"], lambda run: run.cost.peak_memory_bytes / 1e6),
    "saved": _Cost(COST_AXES["saved_bytes"], lambda run: run.cost.saved_bytes / 1e6),
}


def _summaries(comparison: Comparison, metric: str) -> list[_Method]:
    if not comparison.runs:
        raise DataError(f"the comparison on {comparison.task_name!r} holds no run; compare at least one method")
    for run in comparison.runs:
        if metric not in run.scores:
            raise UnknownNameError("metric", metric, list(run.scores))
    return [
        _Method(method_style(name), runs, [run.scores[metric].value for run in runs], comparison.score(name, metric))
        for name, runs in comparison.by_method().items()
    ]


def _title(comparison: Comparison, text: str) -> str:
    return f"{text}: {comparison.title}"


def _draw_method(axes: Axes, row: int, method: _Method) -> None:
    score, look = method.score, method.look
    axes.plot(
        [100 * score.low, 100 * score.high],
        [row, row],
        color=look.colour,
        linewidth=5,
        alpha=0.35,
        zorder=2,
        solid_capstyle="butt",
    )
    seeds = method.seeds if len(method.seeds) > 1 else []
    for value, offset in zip(seeds, 0.22 * np.linspace(-1, 1, len(seeds)), strict=True):
        axes.plot(100 * value, row + offset, ".", color=look.colour, alpha=0.6, markersize=7, zorder=3)
    axes.plot(
        100 * score.value,
        row,
        look.marker,
        color=look.colour,
        markersize=9,
        markeredgecolor="white",
        markeredgewidth=0.6,
        zorder=4,
    )
    axes.text(
        1.015,
        row,
        f"{100 * score.value:.1f}  ({100 * score.low:.1f} to {100 * score.high:.1f})",
        va="center",
        fontsize=9,
        transform=axes.get_yaxis_transform(),
    )


def _keep_below_hundred(axes: Axes) -> None:
    left, right = axes.get_xlim()
    axes.set_xlim(max(0, left), min(100.8, right))


def _key(methods: Sequence[_Method]) -> str:
    grouped = methods[0].runs[0].predictions.groups is not None
    items = "whole groups of test items" if grouped else "test items"
    several = any(len(method.runs) > 1 for method in methods)
    if several:
        return f"dots: single seeds, marker: their mean, bar: 95 % interval over seeds and {items}"
    return f"bar: 95 % interval over {items}"


def _told(methods: Sequence[_Method]) -> str:
    return "Score and 95 % interval: " + "; ".join(f"{each.look.title} {each.score}" for each in methods) + "."
