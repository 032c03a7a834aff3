"""Inside the backbone: what fine-tuning changes, stage by stage."""

from __future__ import annotations

from collections.abc import Callable

from ftkit.experiments.record import Outcome, Record
from ftkit.figures.display import DescribedFigure, new_figure
from ftkit.figures.records import (
    RANGE,
    Line,
    Variant,
    add_legend,
    by_task,
    draw_line,
    draw_stages,
    heading,
    measure_of,
    measured,
    number_line,
    panels,
    task_title,
    variants,
)
from ftkit.figures.style import INK, MethodStyle, style

BEFORE = MethodStyle("", "Before fine-tuning", INK, ".")
MEANS = f"Means over seeds, {RANGE}."

Row = tuple[str, str, Callable[[Outcome], list[float]], int]
"""A row of panels: the axis' name, its name in words, what it draws of an outcome, and the digits it is told with."""


def layers(record: Record) -> DescribedFigure:
    """Draw, stage by stage, a linear probe's accuracy before and after fine-tuning, and the likeness to before (CKA).

    Parameters
    ----------
    record : Record
        Of the experiment "layers", whose outcomes hold the measure "layers".

    Returns
    -------
    DescribedFigure

    Raises
    ------
    DataError
        If no outcome holds the measure.
    """
    rows: tuple[Row, ...] = (
        ("Linear probe,\nvalidation accuracy, %", "probe in %", lambda outcome: _percent(outcome, "probe"), 1),
        ("CKA with the\npretrained model, 0 to 1", "CKA", lambda outcome: measure_of(outcome, "layers")["cka"], 2),
    )
    return _draw_stages_of(record, "layers", "What each stage knows, and how far it is from before", rows)


def moved_weights(record: Record) -> DescribedFigure:
    """Draw how far each stage has moved from its pretrained weights, and in how many directions.

    Parameters
    ----------
    record : Record
        Of the experiment "moved-weights", whose outcomes hold the measure "moved weights".

    Returns
    -------
    DescribedFigure

    Raises
    ------
    DataError
        If no outcome holds the measure.
    """
    name = "moved weights"
    rows: tuple[Row, ...] = (
        ("Change of the weights, %", "change in %", lambda outcome: _percent(outcome, "relative_change", name), 2),
        (
            "Effective rank\nof the change",
            "effective rank",
            lambda outcome: measure_of(outcome, name)["effective_rank"],
            1,
        ),
    )
    return _draw_stages_of(record, name, "What fine-tuning moves, stage by stage", rows)


def spectrum(record: Record) -> DescribedFigure:
    """Draw how much of a matrix' change lies in its strongest directions, a line a method and a panel a task.

    Parameters
    ----------
    record : Record
        Of the experiment "moved-weights", whose outcomes hold the measure "moved weights".

    Returns
    -------
    DescribedFigure

    Raises
    ------
    DataError
        If no outcome holds the measure.
    """
    name = "moved weights"
    tasks = by_task(measured(record, name), record, f"measure of {name}")
    title = "In how many directions fine-tuning moves"
    with style():
        figure = new_figure(height=3.8)
        drawn = panels(figure, len(tasks))
        sentences = []
        for axes, (task, outcomes) in zip(drawn, tasks.items(), strict=True):
            directions = measure_of(outcomes[0], name)["directions"]
            for variant in variants(outcomes):
                line = number_line(variant, directions, [_percent(each, "spectrum", name) for each in variant.outcomes])
                draw_line(axes, line)
                sentences.append(f"{task_title(task)}, {line.told()}")
            axes.set_xscale("log", base=2)
            axes.set_xticks(directions[::2], [f"{count}" for count in directions[::2]])
            axes.set(title=task_title(task), xlabel="Strongest directions", ylim=(0, 105))
            axes.set_ylabel("Squared change held, %" if axes is drawn[0] else "")
            axes.grid(axis="y")
        heading(figure, title)
        add_legend(figure, drawn, f"Means over matrices and seeds; bars: {RANGE}")
        figure.describe(
            title,
            f"Share in % of the squared change of a matrix in its strongest directions, by their number. {MEANS}",
            *sentences,
        )
    return figure


def _draw_stages_of(record: Record, name: str, title: str, rows: tuple[Row, ...]) -> DescribedFigure:
    """Draw a row of panels for each quantity, a column a task, a line a method."""
    tasks = by_task(measured(record, name), record, f"measure of {name}")
    with style():
        figure = new_figure(height=5.8)
        grid = figure.subplots(len(rows), len(tasks), squeeze=False, sharex="col", sharey="row")
        sentences = []
        for column, (task, outcomes) in zip(grid.T, tasks.items(), strict=True):
            stages = measure_of(outcomes[0], name)["stages"]
            for axes, (label, words, values, digits) in zip(column, rows, strict=True):
                places = list(range(len(stages)))
                lines = [
                    number_line(each, places, [values(one) for one in each.outcomes]) for each in variants(outcomes)
                ]
                if words.startswith("probe"):
                    lines.insert(0, _before(outcomes, places))
                for line in lines:
                    draw_line(axes, line)
                    told = line.told(digits, stages)
                    sentences.append(f"{task_title(task)}, {words}, {told}")
                axes.grid(axis="y")
                axes.set_ylabel(label if axes in grid[:, 0] else "")
            column[0].set_title(task_title(task))
            draw_stages(column[-1], stages)
        heading(figure, title)
        add_legend(figure, list(grid[0]), f"Means over seeds; bars: {RANGE}")
        figure.describe(title, MEANS, *sentences)
    return figure


def _percent(outcome: Outcome, key: str, name: str = "layers") -> list[float]:
    return [100 * value for value in measure_of(outcome, name)[key]]


def _before(outcomes: list[Outcome], places: list[int]) -> Line:
    """The probe on the pretrained model, which is the same for all methods but for the seed's draw."""
    everything = Variant(BEFORE.title, "", BEFORE, ":", tuple(outcomes))
    return number_line(everything, places, [_percent(outcome, "probe_before") for outcome in outcomes])
