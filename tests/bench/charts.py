"""Figures of the benchmark results."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from growth import AXES, slope
from harness import CHECKPOINTED, EVERYTHING_OFF, Result, Spread
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter
from targets import peer_of, time_ratio

from ftkit.figures.display import DescribedFigure, new_figure
from ftkit.figures.style import GREY, INK, METHOD_STYLES, method_style, style

ROW = 0.3
"""Height of one row of a chart, in inches."""
TALL_ROW = 0.36
"""Height of a row that holds a point for each of several methods."""
SHARED = 0.72
"""Part of such a row over which its points are spread, one below the other."""
PEER_MARKERS = {"trainer": "o", "fastai": "D", "fastai-fine-tune": "s"}
TASK_COLOURS = {
    "movie-reviews": METHOD_STYLES["lora"].colour,
    "solar-cells": METHOD_STYLES["full"].colour,
    "spoken-digits": METHOD_STYLES["adapter"].colour,
}


def ratios(results: Sequence[Result]) -> DescribedFigure:
    """Draw time and memory, ours over the peer's, one row a comparison."""
    names = [_title(result) for result in results]
    with style():
        figure = new_figure(height=1.6 + ROW * len(results))
        times, memories = figure.subplots(1, 2, sharey=True)
        for axes, title, measure in (
            (times, "Time to a trained model", time_ratio),
            (memories, "Peak memory", _memory_ratio),
        ):
            for row, result in enumerate(results):
                _point(axes, row, measure(result), result)
            axes.axvline(1, color=GREY, linewidth=1, linestyle="--")
            axes.set(title=title, xlabel="ftkit / peer, ratio")
            axes.grid(axis="x")
        _logarithmic(times)
        memories.set_xlim(0, 1.1 * max(1.0, *(_memory_ratio(result).high for result in results)))
        _rows(times, names)
        _task_legend(figure, results)
        sentences = [f"{name}: {time_ratio(result).median:.2f}." for name, result in zip(names, results, strict=True)]
        figure.describe("Time and peak memory, ftkit over peer", "Median time ratios.", *sentences)
    return figure


def _logarithmic(axes: Axes) -> None:
    """Let equal distances sideways be equal ratios."""
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 3.0)))  # more of them run into each other over three decades
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())


def limits(results: Sequence[Result]) -> DescribedFigure:
    """Draw the share of the measured matrix rate that training steps reach."""
    names = [_title(result) for result in results]
    with style():
        figure = new_figure(height=1.6 + ROW * len(results))
        axes = figure.subplots()
        for row, result in enumerate(results):
            share = result.spread("ours", "share")
            scaled = Spread(100 * share.median, 100 * share.low, 100 * share.high, share.count)
            _point(axes, row, scaled, result)
        axes.set(title="Training step against the machine's limit", xlabel="Share of the measured matmul rate, %")
        axes.set_xlim(0, 100)
        axes.grid(axis="x")
        _rows(axes, names)
        _task_legend(figure, results)
        sentences = [
            f"{name}: {result.spread('ours', 'share').median:.0%}." for name, result in zip(names, results, strict=True)
        ]
        figure.describe("Share of the measured matmul rate", *sentences)
    return figure


def ablations(results: Sequence[Result]) -> DescribedFigure:
    """Draw how long our own loop takes with its pieces turned off, relative to all of them on; one panel a task."""
    by_task: dict[str, list[Result]] = {}
    for result in results:
        by_task.setdefault(result.settings["task"], []).append(result)
    cases = {task: _cases(found) for task, found in by_task.items()}
    with style():
        counts = [len(each) for each in cases.values()]
        figure = new_figure(height=1.4 + 0.6 * len(counts) + TALL_ROW * sum(counts))
        panels = figure.subplots(len(counts), 1, sharex=True, squeeze=False, height_ratios=counts)[:, 0]
        for axes, (task, found) in zip(panels, by_task.items(), strict=True):
            for place, result in enumerate(found):
                aside = SHARED * ((place + 0.5) / len(found) - 0.5)
                _slowdowns(axes, result, [row + aside for row in range(len(cases[task]))], cases[task])
            axes.axvline(1, color=GREY, linewidth=1, linestyle="--")
            axes.set_title(f"Our own loop, pieces turned off: {task}")
            _logarithmic(axes)
            axes.grid(axis="x")
            _rows(axes, cases[task])
        panels[-1].set_xlabel("Time / time with everything on, ratio (logarithmic)")
        _method_legend(figure, results)
        sentences = [
            f"{_title(result)}, {case}: {slowdown(result, case).median:.2f} times."
            for result in results
            for case in _cases([result])
        ]
        figure.describe("Time with pieces turned off over time with everything on", *sentences)
    return figure


def _cases(results: Sequence[Result]) -> list[str]:
    """What was turned off in any of some ablations, in their order; everything on, the first case, is not among it."""
    found = dict.fromkeys(case for result in results for case in list(result.samples)[1:])
    return sorted(found, key=(EVERYTHING_OFF, CHECKPOINTED).count)  # these below the single pieces


def _slowdowns(axes: Axes, result: Result, heights: Sequence[float], cases: Sequence[str]) -> None:
    """Draw the cases that one ablation has."""
    for height, case in zip(heights, cases, strict=True):
        if case in result.samples:
            spread = slowdown(result, case)
            axes.errorbar(spread.median, height, xerr=_errors([spread]), capsize=2, **_marker(result))


def _marker(result: Result) -> dict[str, Any]:
    """Colour and marker of what an ablation trains: its method's, hollow for many heads at once."""
    found = method_style(result.settings["method"])
    face = "white" if "rates" in result.settings else found.colour
    return {"fmt": found.marker, "color": found.colour, "markerfacecolor": face, "markersize": 5}


def _method_legend(figure: DescribedFigure, results: Sequence[Result]) -> None:
    markers = {trained(result): _marker(result) for result in results}
    handles = [
        Line2D([], [], linestyle="", label=title, marker=marker.pop("fmt"), **marker)
        for title, marker in markers.items()
    ]
    title = "Point: median; line: lowest to highest"
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), title=title)


def growths(results: Sequence[Result]) -> DescribedFigure:
    """Draw time and added memory against size, with fitted slopes; one column an axis."""
    with style():
        figure = new_figure(height=5.2, width=2.9 * max(2, len(results)))
        grid = figure.subplots(2, len(results), squeeze=False)
        sentences = []
        for column, result in enumerate(results):
            sizes = growth_sizes(result)
            for axes, (key, label, colour, marker) in zip(grid[:, column], GROWTH_ROWS, strict=True):
                spreads = growth_values(result, key)
                medians = [spread.median for spread in spreads]
                exponent = slope(sizes, medians)
                axes.errorbar(sizes, medians, _errors(spreads), fmt=marker, color=colour, capsize=3)
                axes.plot(sizes, _line(sizes, medians), color=INK, linewidth=1)
                axes.set_title(f"slope {exponent:.2f}", loc="right", fontsize="medium", fontweight="normal")
                axes.set(xscale="log", yscale="log", ylabel=label)
                axes.set_xticks(sizes, [f"{size:.0f}" for size in sizes])
                axes.yaxis.set_major_locator(MaxNLocator(4))  # a curve of less than a decade would have no tick
                axes.yaxis.set_major_formatter("{x:g}")
                axes.minorticks_off()
                axes.grid()
                sentences.append(f"{AXES[result.name].title} to {label}: slope {exponent:.2f}.")
            grid[0, column].set_title(f"By {result.name}")
            grid[1, column].set_xlabel(AXES[result.name].title)
        figure.suptitle("How time and memory grow")
        _growth_legend(figure)
        figure.describe("Time and memory against size", *sentences)
    return figure


def _growth_legend(figure: DescribedFigure) -> None:
    measured = [
        Line2D([], [], marker=marker, linestyle="", color=colour, label=label)
        for _, label, colour, marker in GROWTH_ROWS
    ]
    fit = Line2D([], [], color=INK, linewidth=1, label="fitted power law")
    title = "Point: median; line: lowest to highest"
    figure.legend(handles=[*measured, fit], loc="outside lower center", ncols=3, title=title)


GROWTH_ROWS = (
    ("seconds", "Time, s", METHOD_STYLES["lora"].colour, "o"),
    ("added_bytes", "Added memory, MB", METHOD_STYLES["full"].colour, "D"),
)


def growth_sizes(result: Result) -> list[float]:
    """The sizes of a growth curve, as they were really measured."""
    return [sample[0].values["size"] for sample in result.samples.values()]


def growth_values(result: Result, key: str) -> list[Spread]:
    """Seconds, or megabytes above those before the work (one at least, for the logarithm), at every size."""
    if key == "seconds":
        return [result.spread(case, key) for case in result.samples]
    return [
        Spread.of([max(1.0, (sample.values["peak_bytes"] - sample.values["start_bytes"]) / 1e6) for sample in samples])
        for samples in result.samples.values()
    ]


def slowdown(result: Result, case: str) -> Spread:
    """Time of a case of an ablation over the time with everything on."""
    return result.ratio(case, next(iter(result.samples)), "fit_seconds")


def _memory_ratio(result: Result) -> Spread:
    pairs = zip(result.samples["ours"], result.samples[peer_of(result)], strict=True)
    return Spread.of([ours.peak_bytes / peer.peak_bytes for ours, peer in pairs])


def _line(sizes: Sequence[float], values: Sequence[float]) -> np.ndarray:
    coefficients = np.polyfit(np.log(sizes), np.log(values), 1)
    return np.exp(np.polyval(coefficients, np.log(sizes)))


def trained(result: Result) -> str:
    """Say what a result's cases train, and in which precision, where that was not left to us."""
    title = "Nine linear probes" if "rates" in result.settings else method_style(result.settings["method"]).title
    return f"{title}, {result.settings['precision']}" if "precision" in result.settings else title


def _title(result: Result) -> str:
    settings = result.settings
    title = f"{settings['task']}, {trained(result)}"
    fastai = {"fastai": " (fastai)", "fastai-fine-tune": " (fastai's fine_tune)"}
    return title + fastai.get(settings.get("peer", ""), "")


def _point(axes: Any, row: int, spread: Spread, result: Result) -> None:
    axes.errorbar(
        spread.median,
        row,
        xerr=_errors([spread]),
        fmt=PEER_MARKERS.get(result.settings.get("peer", "trainer"), "o"),
        color=TASK_COLOURS.get(result.settings["task"], GREY),
        capsize=3,
    )


def _errors(spreads: Sequence[Spread]) -> list[list[float]]:
    """How far the lowest and the highest lie from the median."""
    return [[each.median - each.low for each in spreads], [each.high - each.median for each in spreads]]


def _rows(axes: Any, names: Sequence[str]) -> None:
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)


def _task_legend(figure: DescribedFigure, results: Sequence[Result]) -> None:
    tasks = dict.fromkeys(result.settings["task"] for result in results)
    handles = [
        Line2D([], [], marker="o", linestyle="", color=TASK_COLOURS.get(task, GREY), label=task) for task in tasks
    ]
    figure.legend(
        handles=handles, loc="outside lower center", ncols=len(tasks), title="Point: median; line: lowest to highest"
    )
