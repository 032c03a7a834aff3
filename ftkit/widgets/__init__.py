"""Widgets for notebooks: `freeze_explorer` and `try_it`.

What they show is made by plain functions in `stack`, `answers` and `uploads`, which need no ipywidgets; the widgets
only put it on the page. Without ipywidgets the two say how to install it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ftkit.widgets.answers import answers_table
    from ftkit.widgets.explorer import freeze_explorer
    from ftkit.widgets.panel import Panel
    from ftkit.widgets.stack import stack_html
    from ftkit.widgets.trying import try_it

_HOME_OF = {
    "Panel": "panel",
    "answers_table": "answers",
    "freeze_explorer": "explorer",
    "stack_html": "stack",
    "try_it": "trying",
}

__all__ = ["Panel", "answers_table", "freeze_explorer", "stack_html", "try_it"]


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME_OF[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
