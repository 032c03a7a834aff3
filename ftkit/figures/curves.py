"""Curves: how a training went."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from ftkit.errors import DataError
from ftkit.evaluation import find_metric
from ftkit.figures.display import DescribedFigure, new_figure
from ftkit.figures.run_labels import run_labels
from ftkit.figures.style import INK, MethodStyle, method_style, style

if TYPE_CHECKING:
    from ftkit.experiments.run import Run

FAR_ABOVE = 2.0
"""Times the median of the runs' highest losses: where the axis of the loss ends."""
# Runs of one method are told apart by these; methods by colour and marker.
_LINE_STYLES = ("-", "--", ":", "-.")


def learning_curves(runs: Run | Sequence[Run]) -> DescribedFigure:
    """Draw the training loss at each step and the validation score after each epoch.

    The pale line is the loss of each batch, the strong one its moving average; a ring marks the epoch whose weights
    were kept. Losses far above those of most runs leave the figure at its top, so that the others can be told apart.

    Parameters
    ----------
    runs : Run or sequence of Run
        One or several trainings on the same task.

    Returns
    -------
    DescribedFigure

    Raises
    ------
    DataError
        If there is no run, a run has no history, or the runs were selected by different metrics.
    """
    listed: list[Run] = list(runs) if isinstance(runs, Sequence) else [runs]
    _check_histories(listed)
    metric = find_metric(listed[0].history.metric)
    with style():
        figure = new_figure(height=3.9 if len(listed) < 4 else 4.2)
        loss_axes, score_axes = figure.subplots(1, 2)
        sentences = []
        for run, label, look, line in zip(listed, run_labels(listed), *_looks(listed), strict=True):
            final = _draw_loss(loss_axes, run, look, line, paleness=0.3 / len(listed) ** 0.5)
            sentences.append(_draw_validation(score_axes, run, label, look, line, final))
        loss_axes.set(title="Training loss", xlabel="Training step", ylabel="Cross-entropy, nats")
        _cut(loss_axes, listed)
        score_axes.set(title="Validation score", xlabel="Epoch", ylabel=f"{metric.title}, {metric.unit}")
        score_axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
        score_axes.margins(x=0.06, y=0.12)
        for axes in (loss_axes, score_axes):
            axes.grid(axis="y")
        handles, texts = score_axes.get_legend_handles_labels()
        ring = score_axes.scatter([], [], s=150, facecolors="none", edgecolors=INK, linewidths=1.2)
        figure.legend(
            [*handles, ring],
            [*texts, "epoch kept"],
            loc="outside lower center",
            ncols=min(4, len(texts) + 1),
            handlelength=3,
        )
        figure.describe(f"Training loss and validation {metric.title.lower()}: {listed[0].spec.task}", *sentences)
    return figure


def _cut(axes: Axes, runs: Sequence[Run]) -> None:
    """End the axis of the loss above what most runs reach, and say so where one reaches higher."""
    highest = [float(smoothed(np.array([step.loss for step in run.history.steps])).max()) for run in runs]
    end = FAR_ABOVE * float(np.median(highest))
    axes.set_ylim(bottom=0)
    if max(highest) > end:
        axes.set_ylim(top=end)
        axes.set_title("Training loss, cut off at the top")


def smoothed(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the moving average of the values around each one, with Gaussian weights as wide as 1/25 of all values."""
    spread = max(len(values) / 25, 0.5)
    distance = np.arange(-int(3 * spread), int(3 * spread) + 1)
    weights = np.exp(-0.5 * (distance / spread) ** 2)
    # Dividing by the weights that fall inside keeps the ends from being pulled towards zero.
    inside = slice(len(weights) // 2, len(weights) // 2 + len(values))
    return np.convolve(values, weights)[inside] / np.convolve(np.ones(len(values)), weights)[inside]


def _check_histories(runs: Sequence[Run]) -> None:
    if not runs:
        raise DataError("no run to draw; give at least one")
    for run in runs:
        if not run.history.steps or not run.history.epochs:
            raise DataError(f"the run {run.spec.run_id} ({run.spec.method}) has no history; train at least one epoch")
    metrics = sorted({run.history.metric for run in runs})
    if len(metrics) > 1:
        raise DataError(f"the runs were selected by different metrics ({', '.join(metrics)}); draw them apart")


def _draw_loss(axes: Axes, run: Run, look: MethodStyle, line: str, paleness: float) -> float:
    steps = np.array([step.step for step in run.history.steps])
    losses = np.array([step.loss for step in run.history.steps], dtype=np.float64)
    axes.plot(steps, losses, color=look.colour, alpha=paleness, linewidth=0.8, zorder=1)
    average = smoothed(losses)
    axes.plot(steps, average, color=look.colour, linestyle=line, zorder=3)
    return float(average[-1])


def _draw_validation(axes: Axes, run: Run, label: str, look: MethodStyle, line: str, final_loss: float) -> str:
    numbers = [epoch.epoch for epoch in run.history.epochs]
    values = [100 * epoch.validation_score for epoch in run.history.epochs]
    axes.plot(numbers, values, color=look.colour, linestyle=line, marker=look.marker, label=label)
    best = numbers.index(run.history.best_epoch)
    axes.scatter(
        numbers[best], values[best], s=150, facecolors="none", edgecolors=look.colour, linewidths=1.2, zorder=4
    )
    word = "best" if run.spec.keep == "best" else "kept"
    return (
        f"{label}: smoothed training loss ends at {final_loss:.2f}; validation goes from {values[0]:.1f} % to "
        f"{values[-1]:.1f} % over {len(values)} epochs, {word} {values[best]:.1f} % after epoch {numbers[best]}."
    )


def _looks(runs: Sequence[Run]) -> tuple[list[MethodStyle], list[str]]:
    seen: dict[str, int] = {}
    lines: list[Any] = []
    for run in runs:
        position = seen.setdefault(run.spec.method, 0)
        lines.append(_LINE_STYLES[position % len(_LINE_STYLES)])
        seen[run.spec.method] += 1
    return [method_style(run.spec.method) for run in runs], lines
