"""Records as the experiments of the kit would leave them, with invented answers, to draw figures of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ftkit import figures
from ftkit.experiments.claims import COSTS, SCORE, Judgement, judge, load_claims
from ftkit.experiments.corruption import CORRUPTIONS
from ftkit.experiments.experiment import Condition, grid
from ftkit.experiments.library import EXPERIMENTS
from ftkit.experiments.record import Record
from ftkit.figures import DescribedFigure
from ftkit.figures.style import METHOD_STYLES

STAGES = {"movie-reviews": 6, "solar-cells": 7, "spoken-digits": 4}
TASKS = list(STAGES)
Make = Callable[..., Record]


def skill(condition: Condition) -> float:
    """A share of right answers that grows with the data and falls with the method's place in the list of styles."""
    place = list(METHOD_STYLES).index(condition.method)
    grown = 0.02 * np.log2((condition.examples or 400) / 32)
    moved = 0.03 * abs(np.log10((condition.learning_rate or 1e-3) / 1e-3))
    base = 0.6 if condition.method == "scratch" else 0.85 - 0.01 * place
    size = sum(value for value in condition.settings.values() if isinstance(value, (int, float)))
    noise = condition.label_noise * (0.1 if condition.repaired else 0.3)
    return float(np.clip(base + grown - moved + 0.004 * size - noise, 0.3, 0.97))


def stages_of(task: str) -> list[str]:
    """Names like those of the backbones."""
    kind = "stage" if task == "solar-cells" else "layer"
    last = ["last convolution"] if task == "solar-cells" else []
    return ["input", *(f"{kind} {number}" for number in range(1, STAGES[task] + 1)), *last]


def layers(condition: Condition) -> dict[str, Any]:
    stages = stages_of(condition.task)
    before = np.linspace(0.5, 0.8, len(stages))
    shift = 0.01 * (len(condition.method) + condition.seed)
    return {
        "layers": {
            "stages": stages,
            "probe_before": before.tolist(),
            "probe": (before + shift * np.linspace(0, 1, len(stages))).tolist(),
            "cka": np.linspace(1, 1 - 4 * shift, len(stages)).tolist(),
        }
    }


def moved(condition: Condition) -> dict[str, Any]:
    stages = stages_of(condition.task)
    size = len(condition.method) / 100 + 0.001 * condition.seed
    return {
        "moved weights": {
            "stages": stages,
            "relative_change": np.linspace(size / 10, size, len(stages)).tolist(),
            "effective_rank": np.linspace(0, 10 * len(condition.method), len(stages)).tolist(),
            "directions": [1, 4, 16, 64],
            "spectrum": (np.array([0.2, 0.4, 0.6, 0.8]) + size).tolist(),
        }
    }


def forgetting(condition: Condition) -> dict[str, Any]:
    place = list(METHOD_STYLES).index(condition.method)
    lost = 0.2 + 0.4 * place + 100 * (condition.learning_rate or 0) + 0.05 * condition.seed
    told = {"ability": "perplexity of masked words", "unit": "nats", "higher_is_better": False, "before": 2.0}
    off = {"adapter_off": 2.0} if condition.method == "lora" else {}
    return {"forgetting": {**told, "after": 2.0 + lost, **off}}


def corruption(condition: Condition) -> dict[str, Any]:
    scores = [skill(condition) - step * (0.04 + 0.002 * len(condition.method)) for step in range(4)]
    way = CORRUPTIONS["text"]
    told = {"kind": way.kind, "unit": way.unit, "strengths": list(way.strengths), "severities": [0, 1, 2, 3]}
    return {"corruption": {**told, "scores": scores}}


def unlike(condition: Condition) -> dict[str, Any]:
    right = skill(condition) + 0.001 * condition.seed
    groups = {} if condition.task == "solar-cells" else {"seen": right + 0.1, "unseen": right, "items": 600}
    return {**corruption(condition), "groups": groups}


def kinds(condition: Condition) -> dict[str, Any]:
    right = skill(condition) + 0.001 * condition.seed
    return {"kinds": {"mono": right, "poly": right - 0.1 * (condition.kind == "mono")}}


def records(make: Make) -> dict[str, Record]:
    """A record for every figure."""
    common = {"examples": 400, "epochs": 3, "seed": [0, 1, 2, 3, 4]}
    kept = {name: make(name, experiment.conditions, skill) for name, experiment in EXPERIMENTS.items()}
    depth = (
        *grid(task=TASKS, method="linear-probe", **common),
        *grid(task=TASKS, method="partial", settings=[{"blocks": count} for count in (1, 2, 3, 4)], **common),
        *grid(task=TASKS, method="surgical", settings=[{"first": 1, "last": last} for last in (1, 2, 3)], **common),
    )
    sizes = (
        *grid(task="movie-reviews", method=["lora"], settings=[{"rank": rank} for rank in (1, 4, 16, 64)], **common),
        *grid(task="movie-reviews", method="adapter", settings=[{"width": width} for width in (4, 16, 64)], **common),
        *grid(task="movie-reviews", method="prompt", settings=[{"length": long} for long in (4, 16, 64)], **common),
    )
    source = (
        *grid(task=TASKS[:2], method=["linear-probe", "partial", "lora", "bitfit", "l2-sp"], **common),
        *grid(task=TASKS[:2], method="full", learning_rate=[1e-5, 1e-4, 1e-3, 1e-2], **common),
    )
    some = ["linear-probe", "full", "lora", "lp-ft"]
    return kept | {
        "moved-weights": make("moved-weights", EXPERIMENTS["moved-weights"].conditions, skill, moved),
        "depth": make("depth", depth, skill),
        "sizes": make("sizes", sizes, skill),
        "layers": make("layers", grid(task=TASKS, method=some, **common), skill, layers),
        "forgetting": make("forgetting", source, skill, forgetting),
        "batch-statistics": make("batch-statistics", EXPERIMENTS["batch-statistics"].conditions, skill, forgetting),
        "shift": make("shift", grid(task=TASKS, method=some, **common), skill, unlike),
        "other-kind": make("other-kind", EXPERIMENTS["other-kind"].conditions, skill, kinds),
    }


def judgements(kept: dict[str, Record]) -> list[Judgement]:
    """The claims of the kit, judged by invented records."""
    known = (SCORE, *COSTS, "forgetting.after", "corruption.scores.3")
    return [judge(claim, kept.get(claim.experiment)) for claim in load_claims() if claim.quantity in known]


DRAWN: dict[str, Callable[[dict[str, Record]], DescribedFigure]] = {
    "data_size": lambda kept: figures.data_size(kept["data-size"]),
    "learning_rates": lambda kept: figures.learning_rates(kept["learning-rates"]),
    **{
        f"pareto {cost}": lambda kept, cost=cost: figures.pareto(kept["methods"], cost, "movie-reviews")
        for cost in ("trainable", "seconds", "peak_memory_bytes", "saved_bytes")
    },
    "depth": lambda kept: figures.depth(kept["depth"]),
    "layers": lambda kept: figures.layers(kept["layers"]),
    "regularizers": lambda kept: figures.regularizers(kept["regularizers"], "movie-reviews"),
    "learn_forget": lambda kept: figures.learn_forget(kept["forgetting"]),
    "corruption": lambda kept: figures.corruption(kept["shift"]),
    "unseen_groups": lambda kept: figures.unseen_groups(kept["shift"]),
    "other_kind": lambda kept: figures.other_kind(kept["other-kind"]),
    "label_noise": lambda kept: figures.label_noise(kept["label-noise"]),
    "sweeps": lambda kept: figures.sweeps(kept["sizes"]),
    "moved_weights": lambda kept: figures.moved_weights(kept["moved-weights"]),
    "spectrum": lambda kept: figures.spectrum(kept["moved-weights"]),
    "mistakes": lambda kept: figures.mistakes(kept["methods"], "movie-reviews"),
    "claims": lambda kept: figures.claims(judgements(kept)),
    "verdicts": lambda kept: figures.verdicts(judgements(kept)),
}
"""Every figure of experiments, drawn from the records above."""
