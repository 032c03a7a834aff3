from __future__ import annotations

import numpy as np
import pytest

from ftkit.figures.display import new_figure
from ftkit.figures.labels import LabelledPoint, label_points
from ftkit.figures.style import style


@pytest.mark.parametrize("below", [0.05, 0.06, 0.07])
def test_a_label_without_a_pointer_is_plainly_nearest_to_its_own_point(below: float):
    """At the right edge, left of the point is free: but what stands there would stand just above another point."""
    own = LabelledPoint(0.95, 0.5, 0.2, 0.8, "a label of some length", 0.95, 0.95)
    other = LabelledPoint(0.85, 0.5 - below, 0.5 - below, 0.5 - below, "", 0.85, 0.85)
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
