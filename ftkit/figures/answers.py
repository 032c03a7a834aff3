"""The answers of one run: which classes it confuses, and whom it serves badly."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from ftkit.errors import DataError
from ftkit.evaluation import Score, score, score_by_group
from ftkit.figures.display import DescribedFigure, new_figure
from ftkit.figures.style import GREY, INK, WIDTH, method_style, plain, style

if TYPE_CHECKING:
    from ftkit.experiments.run import Run

_MOST_GROUPS = 30
_GROUPS_AT_EACH_END = 10
_MOST_WRITTEN_CLASSES = 12


def confusion(run: Run) -> DescribedFigure:
    """Draw how often each class is taken for each other one, in percent of the true class, with counts.

    Parameters
    ----------
    run : Run
        The run whose test predictions are drawn.

    Returns
    -------
    DescribedFigure
    """
    names = list(run.label_names)
    labels = np.asarray(run.predictions.labels)
    chosen = np.asarray(run.predictions.probabilities).argmax(axis=1)
    counts = np.zeros((len(names), len(names)), dtype=int)
    np.add.at(counts, (labels, chosen), 1)
    sizes = counts.sum(axis=1)
    shares = 100 * counts / np.maximum(sizes, 1)[:, None]
    side = float(np.clip(1.1 * len(names), 2.4, 5.2))
    with style():
        figure = new_figure(height=side + 0.95, width=min(WIDTH, 1.1 * side + 2.9))
        axes = figure.subplots()
        picture = axes.imshow(shares, cmap="Blues", vmin=0, vmax=100, aspect="auto")
        _write_cells(axes, shares, counts)
        slanted = 0.08 * max(map(len, names)) > 0.95 * side / len(names)
        axes.set_xticks(
            range(len(names)),
            [plain(name) for name in names],
            rotation=40 if slanted else 0,
            ha="right" if slanted else "center",
            rotation_mode="anchor" if slanted else "default",
        )
        axes.set_yticks(
            range(len(names)), [f"{plain(name)} (n = {size})" for name, size in zip(names, sizes, strict=True)]
        )
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        axes.set(xlabel="Predicted class", ylabel="True class")
        figure.colorbar(picture, ax=axes, label="Share of the true class, %", shrink=0.8)
        figure.suptitle(plain(_title(run, "Confusion of classes")), x=0.01, ha="left", fontsize=11, fontweight="bold")
        figure.describe(_title(run, "Confusion of classes"), *_told_rows(names, counts, shares))
    return figure


def by_group(run: Run) -> DescribedFigure:
    """Draw the accuracy for each group (speaker, film) with Wilson's 95 % interval, the worst on top.

    Of more than 30 groups only the 10 worst and the 10 best are drawn.

    Parameters
    ----------
    run : Run
        The run whose test predictions are drawn.

    Returns
    -------
    DescribedFigure

    Raises
    ------
    DataError
        If the run's predictions carry no groups.
    """
    predictions = run.predictions
    if predictions.groups is None:
        raise DataError(
            f"the test items of the run {run.spec.run_id} ({run.spec.task}) have no groups; draw `confusion`"
        )
    labels, probabilities = np.asarray(predictions.labels), np.asarray(predictions.probabilities)
    found = score_by_group(labels, probabilities, np.asarray(predictions.groups))
    ranked = sorted(found.items(), key=lambda item: (item[1].value, item[0]))
    left_out = len(ranked) - 2 * _GROUPS_AT_EACH_END if len(ranked) > _MOST_GROUPS else 0
    shown = ranked[:_GROUPS_AT_EACH_END] + ranked[-_GROUPS_AT_EACH_END:] if left_out else ranked
    overall = score("accuracy", labels, probabilities, predictions.groups)
    with style():
        figure = new_figure(height=1.7 + 0.27 * (len(shown) + bool(left_out)))
        axes = figure.subplots()
        rows = [index + (1 if left_out and index >= _GROUPS_AT_EACH_END else 0) for index in range(len(shown))]
        _draw_groups(axes, rows, [each for _, each in shown], run)
        if left_out:
            axes.text(
                0.01,
                _GROUPS_AT_EACH_END,
                f"{left_out} groups between not shown",
                va="center",
                fontsize=9,
                color=GREY,
                transform=axes.get_yaxis_transform(),
            )
        axes.axvline(
            100 * overall.value,
            color=GREY,
            linestyle="--",
            linewidth=1.2,
            zorder=1,
            label=f"All {overall.n} test items: {100 * overall.value:.1f} %",
        )
        axes.set_yticks(rows, [f"{plain(str(name))} (n = {each.n})" for name, each in shown])
        axes.set_ylim(rows[-1] + 0.7, -0.7)
        axes.tick_params(axis="y", length=0)
        axes.set_xlim(right=101)
        axes.set(xlabel="Accuracy, % (bar: 95 % Wilson interval)", title=plain(_title(run, "Accuracy by group")))
        axes.grid(axis="x")
        figure.legend(loc="outside lower center")
        told = "; ".join(f"{name} {each}" for name, each in shown)
        note = f"Shown are the 10 worst and the 10 best of {len(ranked)} groups." if left_out else ""
        figure.describe(_title(run, "Accuracy by group"), f"All items {overall}.", note, f"By group: {told}.")
    return figure


def _title(run: Run, text: str) -> str:
    return f"{text}: {method_style(run.spec.method).title}, {run.spec.task}"


def _write_cells(axes: Axes, shares: NDArray[np.float64], counts: NDArray[np.int_]) -> None:
    classes = len(shares)
    if classes > _MOST_WRITTEN_CLASSES:
        return
    roomy = classes <= 6
    for row, column in np.ndindex(shares.shape):
        if roomy or counts[row, column]:
            text = f"{shares[row, column]:.0f}{' %' if roomy else ''}\n({counts[row, column]})"
            colour = "white" if shares[row, column] > 55 else INK
            axes.text(column, row, text, ha="center", va="center", fontsize=10 if classes <= 4 else 9, color=colour)


def _told_rows(names: list[str], counts: NDArray[np.int_], shares: NDArray[np.float64]) -> list[str]:
    sentences = []
    for row, name in enumerate(names):
        taken = [
            f"{shares[row, column]:.0f} % ({counts[row, column]}) as {names[column]}"
            for column in np.argsort(-counts[row], kind="stable")
            if counts[row, column]
        ]
        sentences.append(f"Of {counts[row].sum()} {name}: {', '.join(taken) or 'none in the test set'}.")
    return sentences


def _draw_groups(axes: Axes, rows: list[int], scores: list[Score], run: Run) -> None:
    look = method_style(run.spec.method)
    values = 100 * np.array([each.value for each in scores])
    lows = 100 * np.array([each.low for each in scores])
    highs = 100 * np.array([each.high for each in scores])
    axes.errorbar(
        values,
        rows,
        xerr=[values - lows, highs - values],
        fmt=look.marker,
        color=look.colour,
        capsize=2,
        elinewidth=1.4,
        zorder=3,
    )
