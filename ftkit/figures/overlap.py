"""Which methods get the same test items wrong, and what their majority vote gives."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes

from ftkit.experiments.mistakes import Mistakes, mistakes_of
from ftkit.experiments.record import Record
from ftkit.figures.display import DescribedFigure, new_figure
from ftkit.figures.records import heading, of_one_task, score_bars, score_label, task_title
from ftkit.figures.style import INK, METHOD_STYLES, WIDTH, MethodStyle, method_style, style

VOTE = MethodStyle("vote", "Majority vote of all", INK, "D")


def mistakes(record: Record, task: str | None = None) -> DescribedFigure:
    """Draw how far methods get the same test items wrong, and the score of their majority vote.

    A cell is the share, of the items that one or the other method gets wrong, of those that both do, for trainings with
    different seeds; the diagonal is that of two trainings of one method.

    Parameters
    ----------
    record : Record
        Of the experiment "methods".
    task : str, optional
        The task to draw; needed where the record is of several.

    Returns
    -------
    DescribedFigure

    Raises
    ------
    DataError
        If there are fewer than two methods, they share no seed, or it must be said which task is meant.
    """
    task, _ = of_one_task(record.outcomes, record, task, "training")
    found = mistakes_of(record, task)
    count = len(found.methods)
    title = f"Mistakes that methods share: {task_title(task)}"
    with style():
        side = 0.6 + 0.3 * count
        figure = new_figure(height=side + 3.2, width=min(WIDTH, max(6.5, side + 3.4)))
        matrix, scores = figure.subplots(2, 1, height_ratios=(side, 0.8))
        _draw_matrix(figure, matrix, found)
        _draw_vote(scores, found)
        scores.set_xlabel(f"{score_label(record, task)}, on the test set (95 % interval)")
        heading(figure, title)
        figure.describe(title, *_told(found))
    return figure


def _order(found: Mistakes) -> list[int]:
    known = list(METHOD_STYLES)
    return sorted(
        range(len(found.methods)),
        key=lambda index: known.index(found.methods[index]) if found.methods[index] in known else len(known),
    )


def _draw_matrix(figure: DescribedFigure, axes: Axes, found: Mistakes) -> None:
    order = _order(found)
    titles = [method_style(found.methods[index]).title for index in order]
    shares = 100 * found.overlap[np.ix_(order, order)]
    darkest = float(shares.max())
    picture = axes.imshow(shares, cmap="Blues", vmin=0, vmax=darkest, aspect="auto")
    for row, column in np.ndindex(shares.shape):
        colour = "white" if shares[row, column] > 0.55 * darkest else INK
        axes.text(column, row, f"{shares[row, column]:.0f}", ha="center", va="center", fontsize=9, color=colour)
    axes.set_xticks(range(len(titles)), titles, rotation=90)
    axes.set_yticks(range(len(titles)), titles)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    figure.colorbar(picture, ax=axes, label="Wrong in both, % of wrong in either\n(diagonal: two seeds of one method)")


def _draw_vote(axes: Axes, found: Mistakes) -> None:
    best = method_style(found.best)
    rows = ((VOTE, VOTE.title, found.vote), (best, f"Best on validation: {best.title}", found.best_score))
    for row, (look, _, score) in enumerate(rows):
        axes.errorbar(
            [100 * score.value],
            [row],
            xerr=score_bars(score),
            fmt=look.marker,
            color=look.colour,
            markersize=8,
            capsize=3,
        )
        axes.text(1.015, row, f"{100 * score.value:.1f}", va="center", fontsize=9, transform=axes.get_yaxis_transform())
    axes.set_yticks(range(len(rows)), [title for _, title, _ in rows])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x")


def _told(found: Mistakes) -> list[str]:
    order = _order(found)
    titles = [method_style(found.methods[index]).title for index in order]
    shares = 100 * found.overlap[np.ix_(order, order)]
    rows = [
        f"{title}: " + ", ".join(f"{other} {share:.0f}" for other, share in zip(titles, row, strict=True)) + "."
        for title, row in zip(titles, shares, strict=True)
    ]
    return [
        f"Majority vote of {len(titles)} methods {found.vote}; best on validation, {method_style(found.best).title}, "
        f"{found.best_score}; difference {found.gain}.",
        "Items wrong in both, in % of those wrong in either.",
        *rows,
    ]
