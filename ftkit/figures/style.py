"""How figures look: one colour and one marker for each method, the same everywhere."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

WIDTH = 8.0
"""Width of a figure in inches, that of a notebook's column."""

INK = "#222222"
GREY = "#6E6E6E"
LIGHT_GREY = "#D9D9D9"
RIGHT = "#0072B2"
WRONG = "#D55E00"


@dataclass(frozen=True)
class MethodStyle:
    """How a method is named and drawn in every figure.

    Attributes
    ----------
    name : str
        The method's name, as in `fine_tune`.
    title : str
        The name as figures write it.
    colour : str
        Hexadecimal colour; the usual methods have those of the Okabe and Ito palette, which readers with any colour
        vision can tell apart, the others those of Tol's muted scheme.
    marker : str
        A matplotlib marker, so that no figure relies on colour alone.
    """

    name: str
    title: str
    colour: str
    marker: str


METHOD_STYLES: Mapping[str, MethodStyle] = MappingProxyType(
    {
        each.name: each
        for each in (
            MethodStyle("scratch", "From scratch", "#000000", "X"),
            MethodStyle("linear-probe", "Linear probe", "#E69F00", "o"),
            MethodStyle("partial", "Partial fine-tuning", "#56B4E9", "s"),
            MethodStyle("surgical", "Surgical fine-tuning", "#332288", "<"),
            MethodStyle("bitfit", "BitFit", "#999933", "p"),
            MethodStyle("norm-tuning", "Norm tuning", "#A8893B", "h"),
            MethodStyle("full", "Full fine-tuning", "#D55E00", "D"),
            MethodStyle("gradual", "Gradual unfreezing", "#882255", "d"),
            MethodStyle("discriminative", "Discriminative learning rates", "#CC6677", "8"),
            MethodStyle("lp-ft", "LP-FT", "#661100", "H"),
            MethodStyle("l2-sp", "L2-SP", "#777777", ">"),
            MethodStyle("replay", "Replay of source data", "#44AA99", "s"),
            MethodStyle("lora", "LoRA", "#0072B2", "^"),
            MethodStyle("dora", "DoRA", "#6699CC", "*"),
            MethodStyle("ia3", "IA3", "#117733", "X"),
            MethodStyle("adapter", "Bottleneck adapter", "#009E73", "v"),
            MethodStyle("prompt", "Prompt tuning", "#CC79A7", "P"),
            MethodStyle("prefix", "Prefix tuning", "#AA4499", "o"),
        )
    }
)
"""The styles of the methods, in the order in which every figure shows them.

The colours are those of M. Okabe and K. Ito, Color universal design (2008), and of P. Tol, Colour schemes (2021).
No two methods share both colour and marker.
"""

_PARAMETERS: dict[Any, Any] = {
    "figure.facecolor": "white",
    "figure.dpi": 110,
    "savefig.facecolor": "white",
    "savefig.dpi": 110,
    "savefig.bbox": None,
    "font.family": ["DejaVu Sans"],
    "font.size": 10,
    "axes.facecolor": "white",
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 8,
    "axes.labelsize": 10,
    "axes.labelcolor": INK,
    "axes.edgecolor": GREY,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": False,
    "axes.axisbelow": True,
    "grid.color": LIGHT_GREY,
    "grid.linewidth": 0.6,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "xtick.color": INK,
    "ytick.color": INK,
    "text.color": INK,
    "legend.fontsize": 9,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "lines.markersize": 6,
}


def method_style(name: str) -> MethodStyle:
    """Return how a method is drawn; methods that ftkit does not know share one colour and marker.

    Parameters
    ----------
    name : str
        The method's name.

    Examples
    --------
    >>> method_style("lora").title
    'LoRA'
    """
    return METHOD_STYLES.get(name, MethodStyle(name, name, "#7F4F24", "*"))


def plain(text: str) -> str:
    r"""Return a user's words as matplotlib writes them: it would take what stands between dollars for mathematics.

    Examples
    --------
    >>> print(plain("$30K to $50K"))
    \$30K to \$50K
    """
    return text.replace("$", r"\$")


@contextmanager
def style() -> Iterator[None]:
    """Draw in ftkit's style inside this context, and leave matplotlib's settings as they were after it.

    Examples
    --------
    >>> import matplotlib
    >>> before = dict(matplotlib.rcParams)
    >>> with style():
    ...     matplotlib.rcParams["axes.spines.top"]
    False
    >>> dict(matplotlib.rcParams) == before
    True
    """
    import matplotlib
    from cycler import cycler

    cycle = cycler(color=[each.colour for each in METHOD_STYLES.values()])
    with matplotlib.rc_context({**_PARAMETERS, "axes.prop_cycle": cycle}):
        yield
