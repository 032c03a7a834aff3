"""Labels beside points that cover neither each other nor what is drawn."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice, pairwise
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.path import Path
from matplotlib.patheffects import withStroke
from matplotlib.text import Annotation, Text
from matplotlib.transforms import Bbox
from numpy.typing import NDArray

from ftkit.figures.display import DescribedFigure

COVERING = 10
"""How many times dearer it is to cover something than to have a label between a pointer's ends."""
CROSSING = 2_000
"""What it costs that a pointer runs through a text, in square pixels of pointers' surroundings."""
MISTAKEN = 2_000
"""What it costs that a label without a pointer may be read as another point's, in the same unit."""


POINTER = {"arrowstyle": "-", "linestyle": ":", "linewidth": 1.2, "shrinkB": 6}
"""The line from a text to its point."""


@dataclass(frozen=True)
class LabelledPoint:
    """A point with its intervals, sideways and upright, and a text to write beside it, in the units of the axes.

    The line that points from a text farther away has the point's colour, and is dotted, as no interval is.
    """

    x: float
    y: float
    low: float
    high: float
    text: str
    left: float
    right: float
    colour: str


@dataclass(frozen=True)
class _Place:
    right: float
    up: float
    horizontal: str
    vertical: str


def label_points(
    figure: DescribedFigure, axes: Axes, points: Sequence[LabelledPoint], steps: Sequence[tuple[float, float]]
) -> None:
    """Write each point's text at the first place around it that is free, or at the least covered one.

    Parameters
    ----------
    figure, axes
        Where the points are drawn; call this last, when nothing else will move.
    points
        The points with their texts; one without is only kept clear of.
    steps
        The points of a line stepped to the right and then up, which labels keep clear of, in the units of the axes.
    """
    figure.settle()
    renderer = figure.canvas.get_renderer()  # type: ignore[attr-defined]
    frame = axes.get_window_extent(renderer)
    taken = [box for point in points for box in _boxes_of_point(axes, point)] + _boxes_of_steps(axes, steps)
    written: list[_Label] = []
    centres = axes.transData.transform([(point.x, point.y) for point in points])

    def price(label: _Label, most: float = math.inf) -> float:
        """What a place costs: what the text covers, whose it could be, texts that pointers cross, labels they pass.

        Above ``most`` any price will do.
        """
        covered = _covered(label.box, taken) + _outside(label.box, frame)
        cost = COVERING * covered + MISTAKEN * label.could_be_of_another(centres)
        if cost >= most:
            return cost
        crossings = sum(label.crosses(other) for other in written)
        return cost + CROSSING * crossings + _covered(label.whole, [other.whole for other in written])

    def beside(point: LabelledPoint) -> float:
        """The lower price of the two places right and left of a point."""
        tried = [
            _Label(_annotated(axes, point, place), renderer) for place in islice(_places(axes, point, figure.dpi), 2)
        ]
        lower = min(price(label) for label in tried)
        for label in tried:
            label.annotation.remove()
        return lower

    named = [point for point in points if point.text]
    for point in sorted(named, key=beside):  # those that can stand beside their point, before another takes its place
        best: tuple[float, _Label] | None = None
        for place in _places(axes, point, figure.dpi):
            label = _Label(_annotated(axes, point, place), renderer)
            cost = price(label, math.inf if best is None else best[0])
            if best is not None and cost >= best[0]:
                label.annotation.remove()
                continue
            if best is not None:
                best[1].annotation.remove()
            best = cost, label
            if cost == 0:
                break
        assert best is not None  # there are places around every point
        taken.append(best[1].box)
        written.append(best[1])


@dataclass(frozen=True)
class _Label:
    """A text at a place that is tried, and where it lies in pixels, each computed once."""

    annotation: Annotation
    renderer: Any

    @cached_property
    def _text(self) -> Bbox:
        """Extent of the text alone: an annotation's own would include its pointer."""
        self.annotation.update_positions(self.renderer)
        return Text.get_window_extent(self.annotation, self.renderer)

    @cached_property
    def box(self) -> Bbox:
        """The text, and a little around it."""
        return self._text.padded(2)

    @cached_property
    def _pointer(self) -> Path | None:
        self.annotation.update_positions(self.renderer)
        pointer = self.annotation.arrow_patch
        return None if pointer is None else pointer.get_path()

    @cached_property
    def whole(self) -> Bbox:
        """The text together with its pointer."""
        return self._text if self._pointer is None else Bbox.union([self._text, self._pointer.get_extents()])

    def crosses(self, other: _Label) -> bool:
        """Whether the pointer of either runs through the text of the other."""
        return any(
            pointing._pointer is not None and pointing._pointer.intersects_bbox(read.box)
            for pointing, read in ((self, other), (other, self))
        )

    def could_be_of_another(self, centres: NDArray[np.float64]) -> bool:
        """Whether a text without a pointer is hardly farther from another point than from its own, in pixels."""
        if self.annotation.arrow_patch is not None:
            return False
        own = self.annotation.axes.transData.transform(self.annotation.xy)  # type: ignore[union-attr]
        corners = [self.box.x0, self.box.y0], [self.box.x1, self.box.y1]
        outside = np.maximum(0, np.maximum(corners[0] - centres, centres - corners[1]))
        gaps = np.hypot(*outside.T)
        is_own = np.all(np.isclose(centres, own), axis=1)
        return bool(np.any(gaps[~is_own] < 1.5 * gaps[is_own].min()))


def _places(axes: Axes, point: LabelledPoint, dpi: float) -> Iterator[_Place]:
    """Yield places around a point, in typographic points from it, the plainest first."""
    low, middle, high = axes.transData.transform([(point.x, end) for end in (point.low, point.y, point.high)])[:, 1]
    above, below = (high - middle) * 72 / dpi + 3, (low - middle) * 72 / dpi - 3
    for right, horizontal in ((8, "left"), (-8, "right")):
        yield _Place(right, 0, horizontal, "center")
    for right, horizontal in ((0, "center"), (8, "left"), (-8, "right")):
        yield _Place(right, above, horizontal, "bottom")
        yield _Place(right, below, horizontal, "top")
        if right:
            yield _Place(right, 8, horizontal, "bottom")
            yield _Place(right, -8, horizontal, "top")
    for farther in (14, 28, 42, 56, 70):
        # right above or below a point its line would run along the interval
        for right, horizontal in ((14, "left"), (-14, "right"), (50, "left"), (-50, "right"), (0, "center")):
            yield _Place(right, above + farther, horizontal, "bottom")
            yield _Place(right, below - farther, horizontal, "top")


def _annotated(axes: Axes, point: LabelledPoint, place: _Place) -> Annotation:
    far = abs(place.up) > 20
    annotation = axes.annotate(
        point.text,
        (point.x, point.y),
        (place.right, place.up),
        textcoords="offset points",
        ha=place.horizontal,
        va=place.vertical,
        fontsize=9,
        arrowprops={**POINTER, "color": point.colour} if far else None,
        zorder=5,
        path_effects=[withStroke(linewidth=3, foreground="white")],  # to be read where it stands on a line
    )
    # A label must not push the axes to another place after it has been set.
    annotation.set_in_layout(False)
    return annotation


def _boxes_of_point(axes: Axes, point: LabelledPoint) -> list[Bbox]:
    corners = axes.transData.transform([(point.left, point.low), (point.x, point.y), (point.right, point.high)])
    (left, low), (x, middle), (right, high) = corners
    return [
        Bbox.from_extents(x - 3, low, x + 3, high),
        Bbox.from_extents(left, middle - 3, right, middle + 3),
        Bbox.from_extents(x - 7, middle - 7, x + 7, middle + 7),
    ]


def _boxes_of_steps(axes: Axes, steps: Sequence[tuple[float, float]]) -> list[Bbox]:
    if not steps:
        return []
    pixels = axes.transData.transform(steps)
    corners: list[NDArray[np.float64]] = [pixels[0]]
    for start, end in pairwise(pixels):
        corners += [np.array([end[0], start[1]]), end]
    segments = [Bbox([np.minimum(start, end), np.maximum(start, end)]) for start, end in pairwise(corners)]
    return [segment.padded(2) for segment in segments]


def _covered(box: Bbox, others: Sequence[Bbox]) -> float:
    shared = [Bbox.intersection(box, other) for other in others]
    return sum(each.width * each.height for each in shared if each is not None)


def _outside(box: Bbox, frame: Bbox) -> float:
    shared = Bbox.intersection(box, frame)
    return box.width * box.height - (0 if shared is None else shared.width * shared.height)
