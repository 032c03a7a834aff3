"""What is reached without a network, drawn beside the methods: by the most frequent class, by a classical method."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes

from ftkit.experiments.record import Answered, Record
from ftkit.experiments.scoring import guess_score, mean_test_score
from ftkit.figures.records import grouped
from ftkit.figures.style import GREY

GUESS = "Most frequent class"
CLASSICAL = "Classical method, no network"
DASHES: dict[str, Any] = {GUESS: (0, (1, 2)), CLASSICAL: (0, (5, 2, 1, 2))}
"""How the two are told apart in every figure."""


@dataclass(frozen=True)
class Level:
    """A score without a network, in percent.

    Attributes
    ----------
    kind
        `GUESS` or `CLASSICAL`.
    title
        What it is called in words.
    value
        The score.
    """

    kind: str
    title: str
    value: float


def guess(record: Record, task: str) -> Level:
    """Score of the most frequent class on a task of a record."""
    return Level(GUESS, GUESS, 100 * guess_score(record.tests[task]))


def levels(record: Record, task: str) -> list[Level]:
    """Scores without a network on a task: of the most frequent class and, where it was fitted, of a classical method.

    Parameters
    ----------
    record
        That holds the baselines; the classical method's score is their mean over the draws of data.
    task
        Name of the task.
    """
    fitted = record.baselines_where(task=task)
    classical = [Level(CLASSICAL, fitted[0].title, 100 * mean_test_score(record, fitted).value)] if fitted else []
    return [guess(record, task), *classical]


def draw_levels(
    axes: Axes, drawn: Sequence[Level], *, upright: bool = False, near: tuple[float, float] | None = None
) -> str:
    """Draw scores without a network as lines where methods come near them, and return them in words.

    Far below all methods a line would leave these no room: the label of the axis then says where it lies.

    Parameters
    ----------
    axes
        On which the methods are drawn already, and whose horizontal axis has its label.
    drawn
        The scores.
    upright
        Whether scores run along the horizontal axis, default False.
    near
        Lowest and highest score to which a line must come near, default the ends of the axis.
    """
    low, high = sorted(near or (axes.get_xlim() if upright else axes.get_ylim()))
    below = []
    for level in drawn:
        if level.value > low - (high - low) / 2:
            line = axes.axvline if upright else axes.axhline
            line(level.value, color=GREY, linestyle=DASHES[level.kind], linewidth=1.2, label=level.kind, zorder=1)
        else:
            below.append(f"{level.kind.partition(',')[0].lower()} {level.value:.0f} %")
    if below:
        told = f"left of the axis: {', '.join(below)}" if upright else "below the axis:\n" + ",\n".join(below)
        axes.set_xlabel(f"{axes.get_xlabel()}\n({told})".strip())
    return " ".join(f"{level.title}: {level.value:.1f} %." for level in drawn)


def draw_classical(axes: Axes, record: Record, task: str, x: Callable[[Answered], float], **data: Any) -> str:
    """Draw the score of the classical method over what data differ in, and return it in words; empty without one.

    Parameters
    ----------
    axes
        Where.
    record, task
        See `levels`.
    x
        Place on the axis.
    data
        Fields of `Condition` that choose among several sets of data; see `Record.baselines_where`.
    """
    at = grouped(record.baselines_where(task=task, **data), x)
    if not at:
        return ""
    places = sorted(at)
    scores = [mean_test_score(record, at[place]) for place in places]
    axes.plot(
        places,
        [100 * score.value for score in scores],
        color=GREY,
        linestyle=DASHES[CLASSICAL],
        linewidth=1.4,
        label=CLASSICAL,
        zorder=2,
    )
    told = "; ".join(f"{place:g}: {100 * score.value:.1f}" for place, score in zip(places, scores, strict=True))
    return f"{at[places[0]][0].title}: {told}."
