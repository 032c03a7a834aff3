"""What a notebook gets: the living widget, and still content for where no widget can run."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType
from typing import Any

from ftkit.errors import FtkitError

__all__ = ["Panel", "import_ipywidgets"]


def import_ipywidgets(purpose: str) -> ModuleType:
    """Return the module ipywidgets.

    Parameters
    ----------
    purpose
        What needs it, as the subject of a sentence: ``"The freeze explorer"``.

    Raises
    ------
    FtkitError
        If it is not installed; the message says how to install it.
    """
    try:
        return import_module("ipywidgets")
    except ImportError:
        raise FtkitError(
            f"{purpose} needs ipywidgets, which is not installed. Install it with: "
            'python -m pip install "ftkit[lab]", then restart the kernel.'
        ) from None


class Panel:
    """A widget and its still picture.

    A notebook page that has no kernel, such as one on a code-hosting site, shows the still content instead of an
    error.

    Parameters
    ----------
    box
        The ipywidgets widget.
    still
        HTML of what the widget shows at first.
    title
        What it is, in a few words.

    Attributes
    ----------
    box, still, title
        As given.
    """

    def __init__(self, box: Any, still: str, title: str) -> None:
        self.box = box
        self.still = still
        self.title = title

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        return {
            **self.box._repr_mimebundle_(),
            "text/html": f"{self.still}<p><em>{self.title}: run this cell to use it.</em></p>",
            "text/plain": f"{self.title}: run this cell to use it.",
        }
