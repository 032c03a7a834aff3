"""What is measured of a trained model beyond its scores."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from ftkit.classifier import build_classifier
from ftkit.experiments.run import Run
from ftkit.methods.base import is_vector
from ftkit.tasks import Task


def moved_weights(run: Run, task: Task) -> dict[str, Any]:
    """How far each stage of the backbone has moved from its pretrained weights, and in how many directions.

    Parameters
    ----------
    run
        A run with its model; an update is folded into the weights.
    task
        What it was trained on.

    Returns
    -------
    dict
        ``"stages"``: names from input to output; ``"relative_change"``: norm of the change over the norm of the
        weights, one a stage; ``"effective_rank"``: the mean over the stage's matrices of the exponential of the entropy
        of the change's singular values (Roy and Vetterli 2007), 0 where nothing moved.

    Raises
    ------
    FtkitError
        If what the method added can't be folded into the weights.
    """
    trained = run.model.merge().backbone
    start = build_classifier(task, seed=run.spec.seed).backbone
    stages = {"input": (trained.embed, start.embed)}
    for name, block, before in zip(start.block_names, trained.blocks, start.blocks, strict=True):
        stages[name] = (block, before)
    changes, ranks = [], []
    for after, before in stages.values():
        own = dict(after.named_parameters())
        pairs = [(own[name].detach().float().cpu(), each.detach().float()) for name, each in before.named_parameters()]
        moved = sum(float((new - old).square().sum()) for new, old in pairs)
        size = sum(float(old.square().sum()) for _, old in pairs)
        changes.append(round((moved / size) ** 0.5, 6))
        matrices = [(new - old).flatten(1) for new, old in pairs if not is_vector(old)]
        ranks.append(round(sum(map(effective_rank, matrices)) / max(1, len(matrices)), 2))
    return {"stages": list(stages), "relative_change": changes, "effective_rank": ranks}


def effective_rank(matrix: torch.Tensor) -> float:
    """Exponential of the entropy of a matrix' normalised singular values: how many directions it has.

    Parameters
    ----------
    matrix
        Float tensor (rows, columns).

    References
    ----------
    O. Roy and M. Vetterli, The effective rank, EUSIPCO 2007.

    Examples
    --------
    >>> round(effective_rank(torch.eye(4)), 3), round(effective_rank(torch.ones(4, 4)), 3)
    (4.0, 1.0)
    >>> effective_rank(torch.zeros(3, 3))
    0.0
    """
    values = torch.linalg.svdvals(matrix)
    total = float(values.sum())
    if total == 0:
        return 0.0
    shares = values[values > 1e-7 * values[0]] / total
    return float(torch.exp(-(shares * shares.log()).sum()))


MEASURES: dict[str, Callable[[Run, Task], dict[str, Any]]] = {"moved weights": moved_weights}
"""By name, as experiments ask for them."""
