from __future__ import annotations

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.text import Annotation

from ftkit.figures.display import new_figure
from ftkit.figures.labels import LabelledPoint, label_points
from ftkit.figures.style import style


@pytest.mark.parametrize("below", [0.05, 0.06, 0.07])
def test_a_label_without_a_pointer_is_plainly_nearest_to_its_own_point(below: float):
    """At the right edge, left of the point is free: but what stands there would stand just above another point."""
    own = LabelledPoint(0.95, 0.5, 0.2, 0.8, "a label of some length", 0.95, 0.95, "black")
    other = LabelledPoint(0.85, 0.5 - below, 0.5 - below, 0.5 - below, "", 0.85, 0.85, "grey")
    with style():
        figure = new_figure(height=4)
        axes = figure.subplots()
        axes.set(xlim=(0, 1), ylim=(0, 1))
        label_points(figure, axes, [own, other], [])
    (label,) = axes.texts
    centres = axes.transData.transform([(each.x, each.y) for each in (own, other)])
    box = label.get_window_extent(figure.canvas.get_renderer())  # type: ignore[attr-defined]
    to_own, to_other = (np.hypot(*np.maximum(0, np.maximum(box.min - at, at - box.max))) for at in centres)
    assert label.arrow_patch is not None or to_other > 1.25 * to_own


def test_a_pointer_has_the_colour_of_its_point():
    """Between two points that stand close, the line says whose name it brings."""
    crowd = [LabelledPoint(0.5 + step / 100, 0.5, 0.1, 0.9, "", 0.2, 0.9, "grey") for step in range(-20, 20)]
    own = LabelledPoint(0.5, 0.5, 0.1, 0.9, "a label of some length", 0.2, 0.9, "#009e73")
    with style():
        figure = new_figure(height=4)
        axes = figure.subplots()
        axes.set(xlim=(0, 1), ylim=(0, 1))
        label_points(figure, axes, [own, *crowd], [])
    (label,) = axes.texts
    assert isinstance(label, Annotation)
    assert label.arrow_patch is not None
    assert to_hex(label.arrow_patch.get_edgecolor()) == own.colour
