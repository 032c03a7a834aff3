"""How methods do on items unlike those that they trained on: films and voices never met, another kind of item."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes

from ftkit.experiments.record import Outcome, Record
from ftkit.figures.display import DescribedFigure, new_figure
from ftkit.figures.records import (
    RANGE,
    Variant,
    by_task,
    error_bars,
    heading,
    measure_of,
    measured,
    score_label,
    task_title,
    variants,
)
from ftkit.figures.style import GREY, MethodStyle, style

GROUPS = {"seen": "of films and voices trained on", "unseen": "of films and voices never met"}
"""What the measure of groups tells, in words."""
APART = 0.14
"""Half the distance between the two points of a method, in rows."""


@dataclass(frozen=True)
class Pair:
    """The scores of one method that are compared, in percent, one a seed."""

    label: str
    look: MethodStyle
    first: list[float]
    second: list[float]


def unseen_groups(record: Record) -> DescribedFigure:
    """Draw the score on groups that were trained on beside that on groups never met, a row a method, a panel a task.

    Parameters
    ----------
    record : Record
        Of the experiment "shift", whose outcomes hold the measure "groups".

    Returns
    -------
    DescribedFigure

    Raises
    ------
    DataError
        If no outcome holds the measure.
    """
    told = [outcome for outcome in measured(record, "groups") if measure_of(outcome, "groups")]
    tasks = by_task(told, record, "measure of groups")

    def pair(variant: Variant) -> Pair:
        return Pair(variant.label, variant.look, *(_percents(variant.outcomes, "groups", end) for end in GROUPS))

    return _figure(
        record,
        "Test score on films and voices trained on and never met",
        {
            task_title(task): (task, [pair(variant) for variant in variants(outcomes)])
            for task, outcomes in tasks.items()
        },
        list(GROUPS.values()),
    )


def other_kind(record: Record) -> DescribedFigure:
    """Draw the score on each kind of item after training on all kinds and on one, a row a method, a panel a kind.

    Parameters
    ----------
    record : Record
        Of the experiment "other-kind", whose outcomes hold the measure "kinds": some of them with a `kind`, some
        without.

    Returns
    -------
    DescribedFigure

    Raises
    ------
    DataError
        If no outcome holds the measure.
    """
    told = [outcome for outcome in measured(record, "kinds") if measure_of(outcome, "kinds")]
    (task, outcomes), *_ = by_task(told, record, "measure of kinds").items()
    trained = next((outcome.condition.kind for outcome in outcomes if outcome.condition.kind), "one")
    panels: dict[str, tuple[str, list[Pair]]] = {}
    for kind in measure_of(outcomes[0], "kinds"):
        pairs = []
        for variant in variants(outcomes, apart_from=["kind"]):
            both = [each for each in variant.outcomes if not each.condition.kind]
            one = [each for each in variant.outcomes if each.condition.kind]
            if both and one:
                sides = (_percents(side, "kinds", kind) for side in (both, one))
                pairs.append(Pair(variant.label, variant.look, *sides))
        panels[f"{task_title(task)}: {kind}"] = (task, pairs)
    title = f"Test score by kind of item, after training on all kinds and on {trained} only"
    return _figure(record, title, panels, ["after training on all kinds", f"after training on {trained} only"])


def _percents(outcomes: Sequence[Outcome], measure: str, end: str) -> list[float]:
    return [100 * measure_of(outcome, measure)[end] for outcome in outcomes]


def _figure(
    record: Record, title: str, panels: dict[str, tuple[str, list[Pair]]], ends: Sequence[str]
) -> DescribedFigure:
    """Draw a panel for each task or kind, whose title is the key, and say all numbers."""
    rows = list(dict.fromkeys(pair.label for _, pairs in panels.values() for pair in pairs))
    with style():
        figure = new_figure(height=1.6 + 0.42 * len(rows))
        all_axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
        sentences = []
        for axes, (name, (task, pairs)) in zip(all_axes, panels.items(), strict=True):
            sentences.append(f"{name}. {' '.join(_draw_pair(axes, rows.index(pair.label), pair) for pair in pairs)}")
            axes.set(title=name, xlabel=score_label(record, task))
            axes.grid(axis="x")
            axes.margins(x=0.08)
        all_axes[0].set_yticks(range(len(rows)), rows)
        all_axes[0].set_ylim(len(rows) - 0.5, -0.5)
        heading(figure, title)
        handles = [
            all_axes[0].plot([], [], "o", color=GREY, markerfacecolor=face, linestyle="", label=end)[0]
            for end, face in zip(ends, (GREY, "white"), strict=True)
        ]
        figure.legend(handles=handles, loc="outside lower center", ncols=2, title=f"Means over seeds; bars: {RANGE}")
        figure.describe(title, f"Means over seeds, {RANGE}. First {ends[0]}, then {ends[1]}.", *sentences)
    return figure


def _draw_pair(axes: Axes, row: int, pair: Pair) -> str:
    """Draw two points beside each other in a row, the second one hollow, and say them."""
    said = []
    for values, place, face in ((pair.first, row - APART, pair.look.colour), (pair.second, row + APART, "white")):
        mean, low, high = float(np.mean(values)), min(values), max(values)
        axes.errorbar(
            [mean],
            [place],
            xerr=error_bars([mean], [low], [high]),
            fmt=pair.look.marker,
            color=pair.look.colour,
            markerfacecolor=face,
            markersize=7,
            elinewidth=1.2,
            capsize=2,
            zorder=3,
        )
        said.append(f"{mean:.1f} ({low:.1f} to {high:.1f})")
    return f"{pair.label}: {said[0]}; {said[1]}."
