"""How runs are named where several stand side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ftkit.figures.style import method_style

if TYPE_CHECKING:
    from ftkit.experiments.run import Run

__all__ = ["run_labels"]

_TOLD = {"learning_rate": "rate {:g}", "epochs": "{} epochs", "train_examples": "{:,} examples", "seed": "seed {}"}
"""How parts of a specification are told whose name would not do."""
_LEFT_OUT = ("task", "fingerprint", "modality", "backbone", "backbone_settings", "method", "settings")


def run_labels(runs: Sequence[Run]) -> list[str]:
    """Name the method of each run, with whatever tells it from the other runs of that method.

    Parameters
    ----------
    runs
        In the order in which they are shown.

    Returns
    -------
    list of str
        One label a run; runs that differ in nothing have the same.

    Examples
    --------
    Two LoRA runs with seeds 0 and 1 are "LoRA, seed 0" and "LoRA, seed 1".
    """
    labels = []
    for run in runs:
        same = [_parts(other) for other in runs if other.spec.method == run.spec.method]
        differing = [text for name, text in _parts(run).items() if any(text != other.get(name) for other in same)]
        labels.append(", ".join([method_style(run.spec.method).title, *differing]))
    return labels


def _parts(run: Run) -> dict[str, str]:
    """Everything that a run could differ in from another of its method, by name, in words."""
    training = {name: _in_words(name, value) for name, value in vars(run.spec).items() if name not in _LEFT_OUT}
    # a method may have a setting of the same name, such as the dropout of LoRA
    return {**{f"method's {name}": _in_words(name, value) for name, value in run.spec.settings.items()}, **training}


def _in_words(name: str, value: Any) -> str:
    return _TOLD.get(name, f"{name.replace('_', ' ')} {{}}").format(value)
