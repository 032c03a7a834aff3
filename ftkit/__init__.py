"""ftkit: fine-tuning, tried and compared, on text, images and speech.

Everything a lesson needs is here: ``load_task``, ``own_task``, ``fine_tune``, ``compare``, ``load_run``, the methods.
Heavy libraries load when first used, so ``import ftkit`` takes a moment only.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ftkit.backbones import load_backbone
    from ftkit.errors import FtkitError
    from ftkit.experiments.comparison import Comparison, compare
    from ftkit.experiments.fine_tuning import fine_tune
    from ftkit.experiments.record import load_record
    from ftkit.experiments.run import Run, load_run
    from ftkit.fetch import fetch
    from ftkit.methods import (
        IA3,
        L2SP,
        LPFT,
        METHODS,
        USUAL_METHODS,
        Adapter,
        BitFit,
        Discriminative,
        DoRA,
        Full,
        Gradual,
        LinearProbe,
        LoRA,
        NormTuning,
        Partial,
        Prefix,
        Prompt,
        Replay,
        Scratch,
        Surgical,
    )
    from ftkit.tasks import TASKS, load_task, own_task

__version__ = "0.1.0"

_HOMES = {
    "ftkit.backbones": ("load_backbone",),
    "ftkit.errors": ("FtkitError",),
    "ftkit.experiments.comparison": ("Comparison", "compare"),
    "ftkit.experiments.fine_tuning": ("fine_tune",),
    "ftkit.experiments.record": ("load_record",),
    "ftkit.experiments.run": ("Run", "load_run"),
    "ftkit.fetch": ("fetch",),
    "ftkit.methods": (
        "IA3",
        "L2SP",
        "LPFT",
        "METHODS",
        "USUAL_METHODS",
        "Adapter",
        "BitFit",
        "Discriminative",
        "DoRA",
        "Full",
        "Gradual",
        "LinearProbe",
        "LoRA",
        "NormTuning",
        "Partial",
        "Prefix",
        "Prompt",
        "Replay",
        "Scratch",
        "Surgical",
    ),
    "ftkit.tasks": ("TASKS", "load_task", "own_task"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "IA3",
    "L2SP",
    "LPFT",
    "METHODS",
    "TASKS",
    "USUAL_METHODS",
    "Adapter",
    "BitFit",
    "Comparison",
    "Discriminative",
    "DoRA",
    "FtkitError",
    "Full",
    "Gradual",
    "LinearProbe",
    "LoRA",
    "NormTuning",
    "Partial",
    "Prefix",
    "Prompt",
    "Replay",
    "Run",
    "Scratch",
    "Surgical",
    "compare",
    "fetch",
    "fine_tune",
    "load_backbone",
    "load_record",
    "load_run",
    "load_task",
    "own_task",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'ftkit' has no attribute {name!r}")
    return getattr(import_module(_HOME_OF[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
