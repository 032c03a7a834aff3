"""The freeze explorer: slide over how many blocks train, see what trains and what that reached."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ftkit.experiments.depth import depth_sweep
from ftkit.widgets.panel import Panel, import_ipywidgets
from ftkit.widgets.stack import stack_html

if TYPE_CHECKING:
    from ftkit.experiments.record import Record

__all__ = ["freeze_explorer"]


def freeze_explorer(task_name: str, record: Record | None = None) -> Panel:
    """Return a slider over the number of trained blocks, with the model drawn as a stack beside the score it reached.

    Parameters
    ----------
    task_name
        Name of a ready-made task.
    record
        Of the experiment "depth"; None, the default, takes the one that comes with the kit.

    Returns
    -------
    Panel
        Show it by making it the last line of a cell.

    Raises
    ------
    FtkitError
        If ipywidgets is not installed, or the record has no depths of that task.

    Examples
    --------
    ``freeze_explorer("movie-reviews")``
    """
    widgets = import_ipywidgets("The freeze explorer")
    chosen = depth_sweep(task_name, record)
    start = chosen.points[len(chosen.points) // 2].blocks
    slider = widgets.SelectionSlider(
        options=[point.blocks for point in chosen.points],
        value=start,
        description="Trained blocks",
        style={"description_width": "initial"},
        layout={"width": "420px"},
    )
    still = stack_html(chosen, start)
    content = widgets.HTML(still)

    def redraw(change: dict[str, Any]) -> None:
        content.value = stack_html(chosen, change["new"])

    slider.observe(redraw, names="value")
    return Panel(widgets.VBox([slider, content]), still, "Freeze explorer")
