"""Test items that a run got wrong and right, as a reader can judge them: texts, pictures, recordings."""

from __future__ import annotations

import base64
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from ftkit.backbones import SAMPLE_RATE
from ftkit.errors import DataError
from ftkit.figures.display import DescribedFigure, Html, new_figure
from ftkit.figures.style import GREY, INK, RIGHT, WRONG, plain, style
from ftkit.tasks.sound import as_wave

if TYPE_CHECKING:
    from ftkit.experiments.run import Predictions
    from ftkit.tasks.base import Split

_WINDOW = 400
_HOP = 80


@dataclass(frozen=True)
class Example:
    """One test item and its answer.

    Attributes
    ----------
    position : int
        Where the item is in the split.
    identifier : str
        The item's name.
    true, predicted : str
        Names of the classes.
    probability : float
        Probability of the predicted class, in 0..1.
    """

    position: int
    identifier: str
    true: str
    predicted: str
    probability: float

    @property
    def right(self) -> bool:
        """Whether the predicted class is the true one."""
        return self.true == self.predicted

    def __str__(self) -> str:
        if self.right:
            return f"right: {self.true}, {100 * self.probability:.0f} %"
        return f"wrong: {self.predicted}, {100 * self.probability:.0f} %, but is {self.true}"


def chosen_examples(
    split: Split, predictions: Predictions, label_names: Sequence[str], number: int = 8
) -> list[Example]:
    """Choose mistakes, the most confident first, then right answers from the most to the least confident.

    Half of the examples are mistakes, or as many as there are; the right ones are spread evenly over the confidences,
    so that they show sure and unsure answers alike.

    Parameters
    ----------
    split : Split
        The items.
    predictions : Predictions
        Predictions for these items, matched by identifier.
    label_names : sequence of str
        Names of the classes.
    number : int, default 8
        How many examples, at least 2.

    Returns
    -------
    list of Example

    Raises
    ------
    DataError
        If `number` is below 2, or the split lacks an item that was predicted.
    """
    if number < 2:
        raise DataError(f"number is {number}; show at least 2 examples, a mistake and a right answer")
    places = {str(identifier): position for position, identifier in enumerate(split.identifiers)}
    missing = [identifier for identifier in predictions.identifiers if str(identifier) not in places]
    if missing:
        raise DataError(f"the split lacks {len(missing)} predicted items (first: {missing[0]!r}); give the test split")
    probabilities = np.asarray(predictions.probabilities)
    chosen, sure = probabilities.argmax(axis=1), probabilities.max(axis=1)
    by_confidence = np.argsort(-sure, kind="stable")
    is_right = (chosen == np.asarray(predictions.labels))[by_confidence]
    wrong, right = by_confidence[~is_right], by_confidence[is_right]
    mistakes = wrong[: max(number // 2, number - len(right))]
    spread = np.linspace(0, len(right) - 1, min(number - len(mistakes), len(right))).round().astype(int)
    return [
        Example(
            places[str(predictions.identifiers[index])],
            str(predictions.identifiers[index]),
            label_names[int(predictions.labels[index])],
            label_names[int(chosen[index])],
            float(sure[index]),
        )
        for index in [*mistakes, *right[spread]]
    ]


def examples_text(
    split: Split,
    predictions: Predictions,
    label_names: Sequence[str],
    number: int = 8,
    credit: str = "",
    longest: int = 300,
) -> Html:
    """Return a table of texts with their true and predicted class, mistakes first.

    Parameters
    ----------
    split : Split
        The texts.
    predictions : Predictions
        Predictions for them.
    label_names : sequence of str
        Names of the classes.
    number : int, default 8
        How many texts.
    credit : str, optional
        Credit and licence of the data, shown below.
    longest : int, default 300
        Longer texts are cut to this many characters.

    Returns
    -------
    Html
        The table; a notebook shows it as such.

    Raises
    ------
    DataError
        As in `chosen_examples`.
    """
    left = 'style="text-align: left; vertical-align: top"'
    heads = "".join(f'<th scope="col" {left}>{head}</th>' for head in ("", "Text", "True", "Predicted", "Probability"))
    rows = []
    for example in chosen_examples(split, predictions, label_names, number):
        text = str(split.items[example.position])
        text = text if len(text) <= longest else text[:longest].rstrip() + " …"
        mark = "✓ right" if example.right else "✗ wrong"
        colour = RIGHT if example.right else WRONG
        cells = (text, example.true, example.predicted, f"{100 * example.probability:.0f} %")
        rows.append(
            f'<tr><td style="text-align: left; vertical-align: top; white-space: nowrap; color: {colour}">{mark}</td>'
            + "".join(f"<td {left}>{escape(cell)}</td>" for cell in cells)
            + "</tr>"
        )
    below = f"<p><small>{escape(credit)}</small></p>" if credit else ""
    return Html(f"<table><thead><tr>{heads}</tr></thead><tbody>{''.join(rows)}</tbody></table>{below}")


def examples_images(
    split: Split, predictions: Predictions, label_names: Sequence[str], number: int = 8, credit: str = ""
) -> DescribedFigure:
    """Draw a grid of pictures with their true and predicted class, mistakes first.

    Parameters
    ----------
    split : Split
        The pictures, an array (n, height, width, 3) of uint8.
    predictions : Predictions
        Predictions for them.
    label_names : sequence of str
        Names of the classes.
    number : int, default 8
        How many pictures.
    credit : str, optional
        Credit and licence of the data, written below the pictures.

    Returns
    -------
    DescribedFigure

    Raises
    ------
    DataError
        As in `chosen_examples`.
    """
    examples = chosen_examples(split, predictions, label_names, number)
    columns = min(4, len(examples))
    rows = -(-len(examples) // columns)
    with style():
        tallness = split.items.shape[1] / split.items.shape[2]
        figure = new_figure(height=0.85 + (0.45 + 1.85 * tallness) * rows)
        grid = figure.subplots(rows, columns, squeeze=False)
        for axes, example in zip(grid.flat, examples, strict=False):
            axes.imshow(split.items[example.position], interpolation="nearest")
            axes.set(xticks=[], yticks=[])
            _caption(axes, example, width=26)
        _finish(figure, list(grid.flat)[len(examples) :], "Pictures", examples, credit)
    return figure


def examples_audio(
    split: Split, predictions: Predictions, label_names: Sequence[str], number: int = 6, credit: str = ""
) -> DescribedFigure:
    """Draw spectrograms of recordings with their true and predicted class, mistakes first.

    A spectrogram shows how strong each frequency is at each moment: the short-time Fourier transform in windows of
    25 ms every 5 ms, in decibels below the loudest.

    Parameters
    ----------
    split : Split
        The recordings, one-dimensional float32 arrays at 16 kHz.
    predictions : Predictions
        Predictions for them.
    label_names : sequence of str
        Names of the classes.
    number : int, default 6
        How many recordings.
    credit : str, optional
        Credit and licence of the data, written below.

    Returns
    -------
    DescribedFigure

    Raises
    ------
    DataError
        As in `chosen_examples`.
    """
    examples = chosen_examples(split, predictions, label_names, number)
    columns = min(3, len(examples))
    rows = -(-len(examples) // columns)
    with style():
        figure = new_figure(height=1.0 + 2.3 * rows)
        grid = figure.subplots(rows, columns, squeeze=False, sharey=True)
        for axes, example in zip(grid.flat, examples, strict=False):
            recording = np.asarray(split.items[example.position], dtype=np.float64)
            picture = axes.imshow(
                spectrogram(recording),
                origin="lower",
                aspect="auto",
                extent=(0, len(recording) / SAMPLE_RATE, 0, SAMPLE_RATE / 2000),
                cmap="magma",
                vmin=-80,
                vmax=0,
            )
            _caption(axes, example, width=34)
        for axes in grid[:, 0]:
            axes.set_ylabel("Frequency, kHz")
        for column in range(columns):
            lowest = max(row for row in range(rows) if row * columns + column < len(examples))
            grid[lowest, column].set_xlabel("Time, s")
        figure.colorbar(picture, ax=grid, label="Level, dB below the loudest", shrink=0.8)
        _finish(figure, list(grid.flat)[len(examples) :], "Recordings", examples, credit)
    return figure


def audio_players(
    split: Split, predictions: Predictions, label_names: Sequence[str], number: int = 6, credit: str = ""
) -> Html:
    """Return players for the recordings that `examples_audio` draws, in the same order.

    Parameters
    ----------
    split : Split
        The recordings, one-dimensional float32 arrays at 16 kHz.
    predictions : Predictions
        Predictions for them.
    label_names : sequence of str
        Names of the classes.
    number : int, default 6
        How many recordings.
    credit : str, optional
        Credit and licence of the data, shown below.

    Returns
    -------
    Html
        The players with the sound in them; a notebook shows them as such.

    Raises
    ------
    DataError
        As in `chosen_examples`.
    """
    players = []
    for example in chosen_examples(split, predictions, label_names, number):
        sound = base64.b64encode(as_wave(np.asarray(split.items[example.position]))).decode("ascii")
        name = escape(f"{example.identifier}: {example}")
        source = f"data:audio/wav;base64,{sound}"
        players.append(f'<p>{name}<br><audio controls preload="none" aria-label="{name}" src="{source}"></audio></p>')
    below = f"<p><small>{escape(credit)}</small></p>" if credit else ""
    return Html("".join(players) + below)


def spectrogram(recording: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the level of each frequency at each moment, in decibels below the loudest, -80 to 0.

    Parameters
    ----------
    recording : array of float, shape (samples,)
        Mono sound at 16 kHz.

    Returns
    -------
    array of float, shape (201, frames)
        Row k is the frequency 40 * k Hz; a frame every 5 ms.
    """
    padded = np.pad(recording, _WINDOW // 2)
    windows = np.lib.stride_tricks.sliding_window_view(padded, _WINDOW)[::_HOP] * np.hanning(_WINDOW)
    power = np.abs(np.fft.rfft(windows, axis=1)) ** 2
    decibels = 10 * np.log10(np.maximum(power, 1e-12) / max(float(power.max()), 1e-12))
    return np.maximum(decibels, -80).T


def _caption(axes: Axes, example: Example, width: int) -> None:
    mark, colour = ("✓", RIGHT) if example.right else ("✗", WRONG)
    lines = [
        _shortened(f"{mark} {example.predicted}, {100 * example.probability:.0f} %", width),
        _shortened(f"true: {example.true}", width),
    ]
    axes.set_title(plain("\n".join(lines)), fontsize=9, fontweight="normal", color=INK, pad=4)
    axes.spines[:].set_visible(True)
    axes.spines[:].set_color(colour)
    axes.spines[:].set_linewidth(1.6)


def _shortened(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"


def _finish(
    figure: DescribedFigure, unused: Sequence[Axes], kind: str, examples: Sequence[Example], credit: str
) -> None:
    for axes in unused:
        axes.set_axis_off()
    mistakes = sum(not example.right for example in examples)
    title = f"{kind}: {mistakes} mistakes, the most confident first, and {len(examples) - mistakes} right answers"
    figure.suptitle(title, x=0.01, ha="left", fontsize=11, fontweight="bold")
    if credit:
        figure.supxlabel(plain(textwrap.fill(credit, 110)), fontsize=9, color=GREY, x=0.01, ha="left")
    figure.describe(title, *(f"{example.identifier} {example}." for example in examples), credit)
