"""Figures of runs, comparisons and experiments: each draws only numbers that these hold.

Every function returns a matplotlib figure that carries a description in words (`figure.ftkit_alt`), made from the same
numbers, for readers who do not see it. A method has one colour and one marker in all figures.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ftkit.figures.answers import by_group, confusion
    from ftkit.figures.comparisons import scores, trade_off
    from ftkit.figures.curves import learning_curves
    from ftkit.figures.display import DescribedFigure, Html, as_html, as_png, show
    from ftkit.figures.examples import audio_players, examples_audio, examples_images, examples_text
    from ftkit.figures.lines import data_size, depth, learning_rates, sweeps
    from ftkit.figures.overfitting import regularizers
    from ftkit.figures.overlap import mistakes
    from ftkit.figures.papers import paper_cards
    from ftkit.figures.planes import learn_forget, pareto
    from ftkit.figures.robustness import corruption, label_noise
    from ftkit.figures.stages import layers, moved_weights, spectrum
    from ftkit.figures.style import METHOD_STYLES, MethodStyle, method_style, style
    from ftkit.figures.unmet import other_kind, unseen_groups
    from ftkit.figures.verdicts import claims, verdicts

_MODULES = {
    "METHOD_STYLES": "style",
    "MethodStyle": "style",
    "method_style": "style",
    "style": "style",
    "DescribedFigure": "display",
    "Html": "display",
    "as_html": "display",
    "as_png": "display",
    "show": "display",
    "learning_curves": "curves",
    "scores": "comparisons",
    "trade_off": "comparisons",
    "by_group": "answers",
    "confusion": "answers",
    "audio_players": "examples",
    "examples_audio": "examples",
    "examples_images": "examples",
    "examples_text": "examples",
    "paper_cards": "papers",
    "data_size": "lines",
    "depth": "lines",
    "learning_rates": "lines",
    "sweeps": "lines",
    "learn_forget": "planes",
    "pareto": "planes",
    "layers": "stages",
    "moved_weights": "stages",
    "spectrum": "stages",
    "regularizers": "overfitting",
    "corruption": "robustness",
    "label_noise": "robustness",
    "other_kind": "unmet",
    "unseen_groups": "unmet",
    "mistakes": "overlap",
    "claims": "verdicts",
    "verdicts": "verdicts",
}

__all__ = [
    "METHOD_STYLES",
    "DescribedFigure",
    "Html",
    "MethodStyle",
    "as_html",
    "as_png",
    "audio_players",
    "by_group",
    "claims",
    "confusion",
    "corruption",
    "data_size",
    "depth",
    "examples_audio",
    "examples_images",
    "examples_text",
    "label_noise",
    "layers",
    "learn_forget",
    "learning_curves",
    "learning_rates",
    "method_style",
    "mistakes",
    "moved_weights",
    "other_kind",
    "paper_cards",
    "pareto",
    "regularizers",
    "scores",
    "show",
    "spectrum",
    "style",
    "sweeps",
    "trade_off",
    "unseen_groups",
    "verdicts",
]


def __getattr__(name: str) -> Any:
    # matplotlib loads with the first figure, not with the package.
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = import_module(f"{__name__}.{_MODULES[name]}")
    # `style` is both a module and a function in it; binding each name once makes the function win.
    for public, owner in _MODULES.items():
        if owner == _MODULES[name]:
            globals()[public] = getattr(module, public)
    return globals()[name]


def __dir__() -> list[str]:
    return sorted(__all__)
