"""Figures with a description in words, and the ways to show them: in a notebook, in a report, as a file."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass, field
from html import escape
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from ftkit.figures.style import METHOD_STYLES, WIDTH, style


class DescribedFigure(Figure):
    """A matplotlib figure that carries its description, and shows itself in a notebook with it.

    It is made without pyplot: no global list of figures keeps it alive, and it shows only when asked.

    Attributes
    ----------
    ftkit_title : str
        What the figure is of, in a few words.
    ftkit_alt : str
        What the figure shows, in words and numbers: the alternative text of the picture.
    """

    ftkit_title: str = ""
    ftkit_alt: str = ""

    def describe(self, title: str, *sentences: str) -> None:
        """Set the title and the description, which opens with the title; the figure is complete then."""
        self.ftkit_title = title
        self.ftkit_alt = " ".join([f"{title}.", *filter(None, sentences)])
        self.settle()

    def settle(self) -> None:
        """Fix the places of all parts, so that every later drawing is the same, to the byte."""
        if not isinstance(self.get_layout_engine(), ConstrainedLayoutEngine):
            return  # settled before
        places: list[Any] = []
        # Making room changes what needs room; by the third time nothing moves.
        for _ in range(3):
            before = places
            self.draw_without_rendering()
            places = [axes.get_position().bounds for axes in self.axes]
            if places == before:
                break
        self.set_layout_engine("none")
        self._forget_drawing()

    def savefig(self, *arguments: Any, **options: Any) -> None:
        """Draw the figure into a file, as any of matplotlib's."""
        super().savefig(*arguments, **options)
        self._forget_drawing()

    def _forget_drawing(self) -> None:
        # Its pixels are some megabytes, and a notebook keeps every figure that it has shown.
        FigureCanvasAgg(self)

    def _repr_html_(self) -> str:
        return _image_tag(self)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return {"text/html": _image_tag(self), "text/plain": f"Figure: {self.ftkit_title}"}

    def _ipython_display_(self) -> None:
        # Without this, a notebook with inline plots would store the picture a second time, without its description.
        from IPython.display import display

        display(self._repr_mimebundle_(), raw=True)


@dataclass(frozen=True)
class Html:
    """A piece of HTML that a notebook shows as such; `str` gives its source."""

    # Not in the repr: a notebook stores that too, and sound would be in the file twice.
    source: str = field(repr=False)

    def __str__(self) -> str:
        return self.source

    def _repr_html_(self) -> str:
        return self.source


def new_figure(height: float, width: float = WIDTH) -> DescribedFigure:
    """Return an empty figure of this size in inches, whose parts make room for each other."""
    margin = ConstrainedLayoutEngine(w_pad=0.09, h_pad=0.08)
    figure = DescribedFigure(figsize=(width, height), layout=margin)
    FigureCanvasAgg(figure)
    return figure


def as_png(figure: Figure) -> bytes:
    """Return the figure as a PNG picture; the same figure gives the same bytes.

    It has 256 colours, which our figures hardly exceed: a third of the size, so that notebooks stay small. Those that
    methods are known by are among them, however few points have them.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
        Any figure.
    """
    from PIL import Image

    drawn, small = io.BytesIO(), io.BytesIO()
    with style():
        figure.savefig(drawn, format="png", metadata={"Software": None})
    picture = Image.open(drawn).convert("RGB")
    known = [round(255 * part) for each in METHOD_STYLES.values() for part in to_rgb(each.colour)]
    palette = Image.new("P", (1, 1))
    palette.putpalette([*known, *(picture.quantize(256 - len(known) // 3).getpalette() or [])])
    picture.quantize(palette=palette, dither=Image.Dither.NONE).save(small, format="PNG", optimize=True)
    return small.getvalue()


def as_html(figure: Figure, caption: str | None = None) -> str:
    """Return the figure as a self-contained HTML element: picture, alternative text and caption.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
        A figure of this package, or any other with an attribute `ftkit_alt`.
    caption : str, optional
        Text below the picture, by default the figure's title.
    """
    text = getattr(figure, "ftkit_title", "") if caption is None else caption
    return f"<figure>{_image_tag(figure)}<figcaption>{escape(text)}</figcaption></figure>"


def show(figure: Figure) -> None:
    """Show the figure in a notebook, as one picture with its alternative text.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
        A figure of this package, or any other with an attribute `ftkit_alt`.
    """
    from IPython.display import display

    title = getattr(figure, "ftkit_title", "")
    display({"text/html": _image_tag(figure), "text/plain": f"Figure: {title}"}, raw=True)


def _image_tag(figure: Figure) -> str:
    picture = base64.b64encode(as_png(figure)).decode("ascii")
    description = escape(getattr(figure, "ftkit_alt", ""))
    return f'<img src="data:image/png;base64,{picture}" alt="{description}" style="max-width: 100%">'
