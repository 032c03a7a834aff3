"""The freeze explorer's content: a model as a stack of labelled layers, and what training its top reached."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

from ftkit.errors import FtkitError
from ftkit.evaluation import METRICS
from ftkit.figures.style import method_style

if TYPE_CHECKING:
    from ftkit.experiments.depth import DepthPoint, DepthSweep

__all__ = ["Layer", "layers", "point_at", "stack_html"]

_TRAINED = "#0072B2"
_FROZEN = "#E3E3E3"
_INPUTS = {"text": "word embeddings", "image": "first convolution", "audio": "sound embedding"}


@dataclass(frozen=True)
class Layer:
    """One part of the model.

    Attributes
    ----------
    name
        Its name.
    trains
        Whether it trains.
    parameters
        How many parameters it has, None where the sweep does not tell.
    """

    name: str
    trains: bool
    parameters: int | None

    def __str__(self) -> str:
        size = "" if self.parameters is None else f", {self.parameters:,} parameters"
        return f"{self.name}: {'trained' if self.trains else 'frozen'}{size}"


def point_at(sweep: DepthSweep, blocks: int) -> DepthPoint:
    """Return what training the top ``blocks`` blocks reached.

    Raises
    ------
    FtkitError
        If the sweep has no such depth.
    """
    for point in sweep.points:
        if point.blocks == blocks:
            return point
    depths = ", ".join(str(point.blocks) for point in sweep.points)
    raise FtkitError(f"The sweep of {sweep.task} has no run with {blocks} trained blocks; it has {depths}.")


def layers(sweep: DepthSweep, blocks: int) -> list[Layer]:
    """Return the model's parts from the output down to the input.

    Parameters
    ----------
    sweep
        Partial fine-tuning at every depth.
    blocks
        How many blocks train, counted from the output.
    """
    point_at(sweep, blocks)
    trained = {point.blocks: point.trainable for point in sweep.points}
    stack = [Layer("output layer (head)", True, trained.get(0))]
    for depth in range(1, sweep.blocks + 1):
        # One more trained block adds its own parameters, so neighbouring runs tell its size.
        size = trained[depth] - trained[depth - 1] if {depth, depth - 1} <= trained.keys() else None
        stack.append(Layer(f"block {sweep.blocks + 1 - depth}", depth <= blocks, size))
    stack.append(Layer(f"{_INPUTS[sweep.modality]} (input)", False, None))
    return stack


def stack_html(sweep: DepthSweep, blocks: int) -> str:
    """Return the explorer's content as HTML: the stack, one sentence on the depth, and the scores of all depths.

    Parameters
    ----------
    sweep
        Partial fine-tuning at every depth.
    blocks
        How many blocks train, counted from the output.

    Raises
    ------
    FtkitError
        If the sweep has no such depth.
    """
    parts = "".join(_layer_html(layer) for layer in layers(sweep, blocks))
    return (
        '<div style="display: flex; flex-wrap: wrap; gap: 24px">'
        f'<ol aria-label="The model from output to input" style="list-style: none; margin: 0; padding: 0; '
        f'width: 320px">{parts}</ol>'
        f'<div style="max-width: 520px">{_sentences(sweep, blocks)}{_scores_html(sweep, blocks)}</div></div>'
    )


def _layer_html(layer: Layer) -> str:
    background, ink, line = (_TRAINED, "#FFFFFF", "solid") if layer.trains else (_FROZEN, "#333333", "dashed")
    return (
        f'<li style="background-color: {background}; color: {ink}; border: 1px {line} #555555; margin: 2px 0; '
        f'padding: 4px 10px">{escape(str(layer))}</li>'
    )


def _sentences(sweep: DepthSweep, blocks: int) -> str:
    point = point_at(sweep, blocks)
    total = sweep.blocks
    what = {0: "Only the head trains", total: f"All {total} blocks and the head train"}.get(
        blocks, f"The top {blocks} of {total} blocks and the head train"
    )
    title = METRICS[sweep.metric].title.lower()
    on_validation = [100 * value for value in point.validation_scores]
    return (
        f"<p><strong>{what}: {point.trainable:,} parameters.</strong></p>"
        f"<p>Validation {title}: {statistics.fmean(on_validation):.1f} % (seeds from {min(on_validation):.1f} to "
        f"{max(on_validation):.1f}).<br>Test {title}: <strong>{point.score}</strong>.</p>"
        f"<p>Training took {point.seconds:.0f} s.</p>"
        f"<p><small>Recorded until {escape(sweep.created)}, not now: {sweep.train_examples:,} training examples, "
        f"{sweep.epochs} epochs, learning rate {point.learning_rate:g}, {len(on_validation)} seeds, on "
        f"{escape(' and '.join(sweep.processors))}. In brackets after the test score: 95 % interval over seeds and "
        f"items.</small></p>"
    )


def _scores_html(sweep: DepthSweep, blocks: int) -> str:
    rows = "".join(_score_row(point, point.blocks == blocks) for point in sweep.points)
    return (
        "<table><caption>Scores and time at every depth</caption><thead><tr>"
        '<th scope="col">Trained blocks</th><th scope="col">Validation</th><th scope="col">Test</th>'
        '<th scope="col">Test, 0 to 100 %</th><th scope="col">Seconds</th>'
        f"</tr></thead><tbody>{rows}</tbody></table>"
    )


def _score_row(point: DepthPoint, chosen: bool) -> str:
    mark, weight = (" ◀", "bold") if chosen else ("", "normal")
    colour = method_style("partial").colour if chosen else "#AAAAAA"
    bar = f'<div style="background-color: {colour}; height: 10px; width: {90 * point.score.value:.0f}px"></div>'
    return (
        f'<tr style="font-weight: {weight}"><th scope="row">{point.blocks}{mark}</th>'
        f"<td>{100 * statistics.fmean(point.validation_scores):.1f} %</td><td>{point.score}</td><td>{bar}</td>"
        f"<td>{point.seconds:.0f}</td></tr>"
    )
