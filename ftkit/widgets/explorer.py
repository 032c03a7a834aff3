"""The freeze explorer: slide over how many blocks train, see what trains and what that reached."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ftkit.experiments.depth import recorded_sweep, sweep_path
from ftkit.widgets.panel import Panel, import_ipywidgets
from ftkit.widgets.stack import stack_html

if TYPE_CHECKING:
    from ftkit.experiments.depth import DepthSweep

__all__ = ["freeze_explorer"]


def freeze_explorer(sweep: DepthSweep | str) -> Panel:
    """Return a slider over the number of trained blocks, with the model drawn as a stack beside the score it reached.

    Parameters
    ----------
    sweep
        Name of a ready-made task, whose sweep comes with the kit; or a sweep of your own
        (`ftkit.experiments.depth.sweep_depth`).

    Returns
    -------
    Panel
        Show it by making it the last line of a cell.

    Raises
    ------
    FtkitError
        If ipywidgets is not installed, or the kit has no sweep of that task.

    Examples
    --------
    ``freeze_explorer("movie-reviews")``
    """
    widgets = import_ipywidgets("The freeze explorer")
    chosen = _recorded(sweep) if isinstance(sweep, str) else sweep
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


def _recorded(task_name: str) -> DepthSweep:
    if not sweep_path(task_name).is_file():
        from ftkit.errors import UnknownNameError

        folder = sweep_path(task_name).parent
        raise UnknownNameError("recorded depth sweep", task_name, sorted(path.stem for path in folder.glob("*.json")))
    return recorded_sweep(task_name)
