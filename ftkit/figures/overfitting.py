"""Training too long on little data: the losses, and what each remedy gives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from ftkit.evaluation import Score
from ftkit.experiments.record import Outcome, Record
from ftkit.experiments.scoring import mean_test_score
from ftkit.figures.baselines import draw_levels, levels
from ftkit.figures.display import DescribedFigure, new_figure
from ftkit.figures.records import Variant, heading, of_one_task, score_bars, score_label, task_title, variants
from ftkit.figures.style import MethodStyle, style

DASH = 4.0
"""Length of a dash of curves that take turns on one line, in widths of the line."""
LOOKS = (
    ("#D55E00", "D"),
    ("#117733", "s"),
    ("#AA4499", "P"),
    ("#332288", "v"),
    ("#999933", "h"),
    ("#661100", "X"),
    ("#44AA99", "^"),
    ("#E69F00", "<"),
    ("#56B4E9", "o"),
    ("#882255", "p"),
    ("#000000", "d"),
    ("#CC6677", "8"),
)
"""Colour and marker of variants of one method, which would look the same otherwise."""


def regularizers(record: Record, task: str | None = None) -> DescribedFigure:
    """Draw the losses of every remedy against overfitting, its test score and the epoch whose weights were kept.

    Parameters
    ----------
    record : Record
        Of the experiment "regularizers": conditions differ by method and `options`.
    task : str, optional
        The task to draw; needed where the record is of several.

    Returns
    -------
    DescribedFigure

    Raises
    ------
    DataError
        If there is no training, or it must be said which task is meant.
    """
    task, outcomes = of_one_task(record.outcomes, record, task, "training")
    remedies = [
        _Remedy(variant, look, mean_test_score(record, variant.outcomes))
        for variant, look in _looks(_by_rate(outcomes))
    ]
    title = f"Overfitting and its remedies: {task_title(task)}"
    shared_rate = _shared_rate(outcomes)
    with style():
        figure = new_figure(height=4.4 + 0.36 * len(remedies))
        # The long names of the lower part would take their room from the upper one, were they one layout.
        upper, lower = figure.subfigures(2, 1, squeeze=False, height_ratios=(3, 0.6 + 0.36 * len(remedies)))[:, 0]
        train, validation = upper.subplots(1, 2)
        scores = lower.subplots()
        _draw_losses(train, remedies, "train_loss")
        _draw_losses(validation, remedies, "validation_loss")
        for row, remedy in enumerate(remedies):
            _draw_score(scores, row, remedy)
        train.set(title="Training loss", ylabel="Cross-entropy, nats")
        validation.set_title("Validation loss")
        for axes in (train, validation):
            axes.set(xlabel="Epoch (colours as below)")
            axes.set_ylim(bottom=0)
            axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
            axes.grid(axis="y")
        scores.set_yticks(range(len(remedies)), [remedy.variant.label for remedy in remedies], fontsize=10)
        scores.set_ylim(len(remedies) - 0.4, -0.6)
        scores.tick_params(axis="y", length=0)
        measure = f"{score_label(record, task)}, on the test set (95 % interval over seeds and test items)"
        scores.set_xlabel("\n".join([measure, *(each.rstrip(".") for each in shared_rate)]))
        scores.grid(axis="x")
        without = draw_levels(scores, levels(record, task), upright=True)
        if scores.get_legend_handles_labels()[0]:
            lower.legend(loc="outside lower center", ncols=2, handlelength=3)
        heading(figure, title)
        figure.describe(title, *shared_rate, *(remedy.told() for remedy in remedies), without)
    return figure


@dataclass(frozen=True)
class _Remedy:
    variant: Variant
    look: MethodStyle
    score: Score

    def epochs(self) -> str:
        """The epochs whose weights were kept, over seeds."""
        kept = sorted(outcome.best_epoch for outcome in self.variant.outcomes)
        middle = f"{np.median(kept):g}"
        return middle if kept[0] == kept[-1] else f"{middle} ({kept[0]} to {kept[-1]})"

    def losses(self, name: str) -> np.ndarray:
        """Mean over seeds, up to the last epoch that all of them reached."""
        curves = [getattr(outcome, name) for outcome in self.variant.outcomes]
        shortest = min(map(len, curves))
        return np.mean([curve[:shortest] for curve in curves], axis=0)

    def told(self) -> str:
        """The numbers in words."""
        train, validation = self.losses("train_loss"), self.losses("validation_loss")
        stopped = any(len(outcome.train_loss) > len(train) for outcome in self.variant.outcomes)
        end = f"after the {len(train)} epochs that all seeds made" if stopped else f"after {len(train)} epochs"
        return (
            f"{self.variant.label}: {self.score}, weights of epoch {self.epochs()}; {end} training loss "
            f"{train[-1]:.2f}, validation loss {validation[-1]:.2f}, lowest {validation.min():.2f}."
        )


def _by_rate(outcomes: Sequence[Outcome]) -> list[Variant]:
    """Variants at the rate that remedies share, and those at a rate that trials chose, which their labels say."""
    given = [outcome for outcome in outcomes if outcome.condition.learning_rate is not None]
    chosen = [outcome for outcome in outcomes if outcome.condition.learning_rate is None]
    return variants(given) + [replace(each, label=f"{each.label}, chosen rate") for each in variants(chosen)]


def _shared_rate(outcomes: Sequence[Outcome]) -> list[str]:
    """Sentence that names the rate which labels leave out, where there is one."""
    rates = {outcome.condition.learning_rate for outcome in outcomes} - {None}
    return [f"Learning rate {rates.pop():g} where no other is named."] if len(rates) == 1 else []


def _looks(found: list[Variant]) -> list[tuple[Variant, MethodStyle]]:
    """Give each variant a look of its own: the method's where it is the only one of it."""
    alone = [sum(other.look == each.look for other in found) == 1 for each in found]
    taken = {each.look.marker for each, single in zip(found, alone, strict=True) if single}
    spare = iter([look for look in LOOKS if look[1] not in taken] * len(found))
    looks = []
    for variant, single in zip(found, alone, strict=True):
        colour, marker = (variant.look.colour, variant.look.marker) if single else next(spare)
        looks.append((variant, replace(variant.look, colour=colour, marker=marker)))
    return looks


def _draw_losses(axes: Axes, remedies: Sequence[_Remedy], name: str) -> None:
    """Draw the curve of each remedy; of some that run into one, each takes its turn on the line."""
    curves = [remedy.losses(name) for remedy in remedies]
    for remedy, values, (turn, count) in zip(remedies, curves, turns(curves), strict=True):
        axes.plot(
            range(1, len(values) + 1),
            values,
            color=remedy.look.colour,
            marker=remedy.look.marker,
            markersize=4.5,
            markevery=(turn, count),
            linewidth=1.6,
            linestyle="-" if count == 1 else (DASH * turn, (DASH, DASH * (count - 1))),
        )


def turns(curves: Sequence[np.ndarray]) -> list[tuple[int, int]]:
    """For each curve its place among those that run into one with it, from 0, and how many they are.

    Examples
    --------
    >>> one, other = np.array([0.7, 0.1]), np.array([0.7, 0.5])
    >>> turns([one, other, one + 0.001])
    [(0, 2), (0, 1), (1, 2)]
    """
    tolerance = 0.02 * max(float(np.ptp(curve)) for curve in curves)
    groups: list[list[int]] = []
    for index, curve in enumerate(curves):
        alike = (group for group in groups if _run_into_one(curves[group[0]], curve, tolerance))
        found = next(alike, None)
        if found is None:
            groups.append([index])
        else:
            found.append(index)
    places = {index: (turn, len(group)) for group in groups for turn, index in enumerate(group)}
    return [places[index] for index in range(len(curves))]


def _run_into_one(one: np.ndarray, other: np.ndarray, tolerance: float) -> bool:
    return len(one) == len(other) and bool(np.abs(one - other).max() <= tolerance)


def _draw_score(axes: Axes, row: int, remedy: _Remedy) -> None:
    score = remedy.score
    axes.errorbar(
        [100 * score.value],
        [row],
        xerr=score_bars(score),
        fmt=remedy.look.marker,
        color=remedy.look.colour,
        markersize=8,
        capsize=3,
        elinewidth=1.6,
    )
    text = f"{100 * score.value:.1f}, epoch {remedy.epochs()}"
    axes.text(1.015, row, text, va="center", fontsize=9, transform=axes.get_yaxis_transform())
