"""How methods stand data that are worse than they should be: corrupted inputs, wrong labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from matplotlib.axes import Axes

from ftkit.experiments.record import Answered, Outcome, Record
from ftkit.experiments.scoring import mean_test_score
from ftkit.figures.baselines import draw_classical, draw_levels, guess
from ftkit.figures.display import DescribedFigure, new_figure
from ftkit.figures.records import (
    RANGE,
    Line,
    Variant,
    add_legend,
    by_task,
    draw_line,
    heading,
    measure_of,
    measured,
    number_line,
    of_one_task,
    panels,
    score_label,
    score_line,
    task_title,
    variants,
)
from ftkit.figures.style import GREY, style

TAKEN_OUT = "labels that look wrong taken out"
APART = 0.6
"""Between markers of equal place, in percent of wrong labels."""
SHARES = ("examples", "label_noise", "repaired", "epochs")


def corruption(record: Record) -> DescribedFigure:
    """Draw the score over the severity of a corruption of the test items, a line a method and a panel a task.

    Parameters
    ----------
    record : Record
        Of the experiment "shift", whose outcomes hold the measure "corruption".

    Returns
    -------
    DescribedFigure

    Raises
    ------
    DataError
        If no outcome holds the measure.
    """
    tasks = by_task(measured(record, "corruption"), record, "measure of corruption")
    title = "Test score over severity of corruption"
    with style():
        figure = new_figure(height=3.8)
        drawn = panels(figure, len(tasks))
        sentences = []
        for axes, (task, outcomes) in zip(drawn, tasks.items(), strict=True):
            told = measure_of(outcomes[0], "corruption")
            lines = [
                number_line(
                    variant,
                    told["severities"],
                    [[100 * score for score in measure_of(each, "corruption")["scores"]] for each in variant.outcomes],
                )
                for variant in variants(outcomes)
            ]
            for line in lines:
                draw_line(axes, line)
            axes.margins(x=0.08, y=0.08)
            kind = told["kind"].capitalize()
            axes.set(title=task_title(task), xlabel=f"{kind}:\n{told['unit']}", ylabel=score_label(record, task))
            axes.set_xticks(told["severities"], _in_words(told["strengths"]))
            guessed = draw_levels(axes, [guess(record, task)])  # no classical method saw damaged items
            axes.grid(axis="y")
            sentences.append(f"{task_title(task)}, {told['kind']}. {' '.join(line.told() for line in lines)} {guessed}")
        heading(figure, title)
        add_legend(figure, drawn, f"Means over seeds; bars: {RANGE}")
        figure.describe(title, f"Means over seeds, {RANGE}, by severity (0: clean).", *sentences)
    return figure


def _in_words(strengths: Sequence[float | None]) -> list[str]:
    """Strengths of a damage, the first of which is none at all."""
    return ["none", *(f"{each:g}" for each in strengths[1:])]


def label_noise(record: Record, task: str | None = None) -> DescribedFigure:
    """Draw the score over the share of wrong labels, beside sets of other sizes, and repaired sets.

    Parameters
    ----------
    record : Record
        Of the experiment "label-noise": conditions with `label_noise`, with other numbers of `examples` and, where
        there are some, `repaired`.
    task : str, optional
        The task to draw; needed where the record is of several.

    Returns
    -------
    DescribedFigure

    Raises
    ------
    DataError
        If there is no training with wrong labels, or it must be said which task is meant.
    """
    noisy = [outcome for outcome in record.outcomes if outcome.condition.label_noise]
    task, chosen = of_one_task(noisy, record, task, "training with wrong labels")
    examples = chosen[0].condition.examples
    outcomes = record.where(task=task)
    whole = [each for each in outcomes if each.condition.examples == examples and not each.condition.repaired]
    repaired = [each for each in outcomes if each.condition.examples == examples and each.condition.repaired]
    others = [each for each in outcomes if each.condition.examples != examples]
    title = f"Test score over wrong labels: {task_title(task)}"
    with style():
        figure = new_figure(height=4.2)
        left, right = figure.subplots(1, 2, sharey=True, width_ratios=(3, 2) if others else (1, 0.001))
        lines = [score_line(record, each, _wrong_percent) for each in variants(whole, SHARES)]
        rest = [score_line(record, each, _wrong_percent) for each in variants(repaired, SHARES)]
        for line in _shifted(lines):
            draw_line(left, line)
        for line in _shifted(rest):
            _draw_repaired(left, line)
        sentences = ["By share of wrong labels in %.", *(line.told() for line in lines)]
        sentences += [f"With {TAKEN_OUT}, {line.told()}" for line in rest]
        left.set(xlabel="Wrong labels, % of the training set", ylabel=score_label(record, task))
        left.set_xticks(sorted({place for line in lines for place in line.xs}))
        left.margins(x=0.06)
        sentences += _draw_other_sizes(right, record, variants(others, [*SHARES, "examples"]))
        of_whole = {"examples": examples, "repaired": False}
        sentences.append(draw_classical(left, record, task, _wrong_percent, **of_whole))
        sentences.append(draw_levels(left, [guess(record, task)]))
        for axes in (left, right):
            axes.grid(axis="y")
        if repaired:
            left.plot([], [], "o", color=GREY, markerfacecolor="white", linestyle=":", label=TAKEN_OUT)
        heading(figure, title)
        add_legend(figure, [left])
        figure.describe(title, "Means over seeds with 95 % intervals.", *sentences)
    return figure


def _wrong_percent(outcome: Answered) -> float:
    return round(100 * outcome.condition.label_noise, 6)


def _shifted(lines: Sequence[Line]) -> list[Line]:
    """Lines a little to the left and right of each other, for drawing: equal scores would hide one another."""
    shifts = APART * (np.arange(len(lines)) - (len(lines) - 1) / 2)
    return [replace(line, xs=[x + shift for x in line.xs]) for line, shift in zip(lines, shifts, strict=True)]


def _draw_repaired(axes: Axes, line: Line) -> None:
    axes.plot(
        line.xs,
        line.values,
        line.look.marker,
        linestyle=":",
        color=line.look.colour,
        markerfacecolor="white",
        markersize=7,
        zorder=4,
    )


def _draw_other_sizes(axes: Axes, record: Record, others: list[Variant]) -> list[str]:
    """Draw the scores of smaller and larger sets, a column for each size and share of wrong labels."""
    if not others:
        axes.set_axis_off()
        return []
    sets = sorted({_size_and_share(outcome) for variant in others for outcome in variant.outcomes})
    sentences = []
    for index, variant in enumerate(others):
        for column, (size, share) in enumerate(sets):
            found = [outcome for outcome in variant.outcomes if _size_and_share(outcome) == (size, share)]
            if not found:
                continue
            score = mean_test_score(record, found)
            # Side by side, so that intervals do not hide each other.
            place = column + 0.5 * (index - (len(others) - 1) / 2) / len(others)
            values = [[100 * each] for each in (score.value, score.low, score.high)]
            draw_line(axes, Line(variant.label, variant.look, "", [place], *values))
            sentences.append(f"{variant.label} with {size:,} examples, {share:g} % of the labels wrong: {score}.")
    axes.set_xticks(range(len(sets)), [f"{size:,},\n{share:g} %" for size, share in sets])
    axes.set_xlim(-0.6, len(sets) - 0.4)
    axes.set_xlabel("Examples, wrong labels")
    return sentences


def _size_and_share(outcome: Outcome) -> tuple[int, float]:
    return outcome.condition.examples or 0, _wrong_percent(outcome)
