"""The claims about fine-tuning with what was measured."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from ftkit.errors import DataError
from ftkit.experiments.claims import COSTS, Judgement
from ftkit.figures.display import DescribedFigure, new_figure
from ftkit.figures.records import error_bars, heading
from ftkit.figures.style import GREY, INK, RIGHT, WRONG, style
from ftkit.tasks import TASKS

LOOKS = {"holds": (RIGHT, "o"), "does not hold here": (WRONG, "X"), "undecided": (GREY, "s")}
"""Colour and marker of each verdict."""
SHARE, WORD_ERRORS, COST = "share", "word errors", "cost"
AXES = {
    SHARE: "Difference of scores or other shares, points (95 % interval)",
    WORD_ERRORS: "Difference of word error rates of the whole recogniser, points (95 % interval)",
    COST: "Cost, first over second, times (logarithmic; 95 % interval)",
}
"""Title of each axis."""
ROW = 0.25
"""Height of a claim in inches."""

Row = str | Judgement
"""A heading, or a claim."""


def claims(judgements: Sequence[Judgement]) -> DescribedFigure:
    """Draw the interval of each claim that was measured, by group, in the colour of its verdict.

    A short upright line is where the rule draws its line. Differences of scores and other shares have one axis, word
    error rates, which may grow far beyond a hundred, one of their own, and ratios of costs another.

    Parameters
    ----------
    judgements : sequence of Judgement
        As `judge_all` yields them.

    Returns
    -------
    DescribedFigure

    Raises
    ------
    DataError
        If none of them was measured.
    """
    measured = _measured(judgements)
    held = {axis: [each for each in measured if _axis(each) == axis] for axis in AXES}
    panels = [(axis, _rows(members)) for axis, members in held.items() if members]
    missing = len(judgements) - len(measured)
    title = "Claims about fine-tuning and what was measured"
    with style():
        figure = new_figure(height=1.5 + sum(0.7 + ROW * len(rows) for _, rows in panels))
        heights = [len(rows) + 1 for _, rows in panels]
        all_axes = figure.subplots(len(panels), 1, squeeze=False, height_ratios=heights)[:, 0]
        for axes, (axis, rows) in zip(all_axes, panels, strict=True):
            _draw(axes, rows, 1 if axis == COST else 100)
            axes.set_xlabel(AXES[axis])
            if axis == COST:
                axes.set_xscale("log")
                axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))  # costs may span less than a decade
                axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
                axes.xaxis.set_minor_formatter(NullFormatter())
        heading(figure, title)
        _add_legend(figure, measured)
        figure.describe(
            title,
            f"{len(measured)} claims measured, {missing} not.",
            *(f"{each.claim.statement} ({each.claim.group}) {str(each).capitalize()}." for each in measured),
        )
    return figure


def verdicts(judgements: Sequence[Judgement]) -> DescribedFigure:
    """Count the claims of each group by their verdict.

    Parameters
    ----------
    judgements : sequence of Judgement
        As `judge_all` yields them.

    Returns
    -------
    DescribedFigure

    Raises
    ------
    DataError
        If none of them was measured.
    """
    measured = _measured(judgements)
    groups = list(dict.fromkeys(each.claim.group for each in measured))
    counts = {verdict: [_count(measured, verdict, group) for group in groups] for verdict in LOOKS}
    title = "What became of the claims"
    with style():
        figure = new_figure(height=1.6 + 0.4 * len(groups))
        axes = figure.subplots()
        reached = [0] * len(groups)
        for verdict, numbers in counts.items():
            bars = axes.barh(groups, numbers, left=reached, color=LOOKS[verdict][0], edgecolor="white")
            bars.set_label(f"{verdict}: {sum(numbers)}")
            axes.bar_label(bars, [number or "" for number in numbers], label_type="center", color="white")
            reached = [before + number for before, number in zip(reached, numbers, strict=True)]
        axes.invert_yaxis()
        axes.tick_params(axis="y", length=0)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlabel("Claims, number")
        heading(figure, title)
        figure.legend(loc="outside lower center", ncols=len(LOOKS))
        told = (
            f"{group.capitalize()}: "
            + ", ".join(f"{verdict} {numbers[row]}" for verdict, numbers in counts.items())
            + "."
            for row, group in enumerate(groups)
        )
        figure.describe(title, *told)
    return figure


def _measured(judgements: Sequence[Judgement]) -> list[Judgement]:
    measured = [each for each in judgements if each.verdict in LOOKS]
    if not measured:
        raise DataError(f"None of {len(judgements)} claims was measured; make the experiments with `ftkit experiment`.")
    return measured


def _count(judgements: Sequence[Judgement], verdict: str, group: str) -> int:
    return sum((each.verdict, each.claim.group) == (verdict, group) for each in judgements)


def _axis(judgement: Judgement) -> str:
    claim = judgement.claim
    if claim.quantity in COSTS:
        return COST
    recognisers = [name for name, info in TASKS.items() if info.modality == "audio"]
    hears = claim.quantity.startswith("forgetting.") and claim.first.get("task") in recognisers
    return WORD_ERRORS if hears else SHARE


def _rows(judgements: Sequence[Judgement]) -> list[Row]:
    """Claims below the headings of their groups; groups in the order in which they come."""
    order = list(dict.fromkeys(each.claim.group for each in judgements))
    ranked = sorted(judgements, key=lambda each: order.index(each.claim.group))
    rows: list[Row] = []
    for group, members in groupby(ranked, key=lambda each: each.claim.group):
        rows += [group.capitalize(), *members]
    return rows


def _draw(axes: Axes, rows: Sequence[Row], scale: float) -> None:
    neutral = 0 if scale == 100 else 1
    axes.axvline(neutral, color=GREY, linewidth=1, linestyle="--", zorder=1)
    for row, each in enumerate(rows):
        if isinstance(each, str):
            continue
        colour, marker = LOOKS[each.verdict]
        axes.errorbar(
            [scale * each.effect],
            [row],
            xerr=scale * error_bars([each.effect], [each.low], [each.high]),
            fmt=marker,
            color=colour,
            markersize=6,
            capsize=2,
            elinewidth=1.5,
            zorder=3,
        )
        for line in _rule_lines(each, neutral):
            axes.plot([scale * line] * 2, [row - 0.35, row + 0.35], color=INK, linewidth=1.4, zorder=2)
    names = [each if isinstance(each, str) else each.claim.name.replace("-", " ") for each in rows]
    axes.set_yticks(range(len(rows)), names)
    for label, each in zip(axes.get_yticklabels(), rows, strict=True):
        label.set_fontweight("bold" if isinstance(each, str) else "normal")
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x")


def _rule_lines(judgement: Judgement, neutral: float) -> list[float]:
    margin = judgement.claim.margin
    return [neutral - margin, neutral + margin] if judgement.claim.rule == "within" else [margin]


def _add_legend(figure: DescribedFigure, judgements: Sequence[Judgement]) -> None:
    handles = [
        Line2D([], [], color=colour, marker=marker, label=f"{verdict}: {count}")
        for verdict, (colour, marker) in LOOKS.items()
        if (count := sum(each.verdict == verdict for each in judgements))
    ]
    handles.append(
        Line2D([], [], color=INK, marker="|", linestyle="", markersize=10, label="where the rule draws its line")
    )
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
