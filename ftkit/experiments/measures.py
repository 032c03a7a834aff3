"""What is measured of a trained model beyond its scores."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from ftkit.classifier import build_classifier
from ftkit.evaluation import METRICS
from ftkit.experiments.condition_data import clean, kinds_of, labelled
from ftkit.experiments.corruption import CORRUPTIONS, corrupted
from ftkit.experiments.experiment import Condition
from ftkit.experiments.features import fit_probe, similarity, stage_features
from ftkit.experiments.forgetting import source_ability
from ftkit.experiments.run import Run
from ftkit.methods.base import is_vector
from ftkit.methods.parameter_efficient import PeftTrainable
from ftkit.tasks import Split, Task


def moved_weights(run: Run, task: Task, condition: Condition) -> dict[str, Any]:
    """How far each stage of the backbone has moved from its pretrained weights, and in how many directions.

    Parameters
    ----------
    run
        A run with its model; an update is folded into the weights.
    task, condition
        What it was trained on, and how.

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


def layers(run: Run, task: Task, condition: Condition) -> dict[str, Any]:
    """What each stage of the backbone holds for the task, before and after, and how much its features have changed.

    Parameters
    ----------
    run, task, condition
        See `moved_weights`.

    Returns
    -------
    dict
        ``"stages"``: names from input to output; ``"probe_before"`` and ``"probe"``: accuracy on validation of a linear
        classifier fitted on the stage's features of the training items, of the pretrained and of the tuned model;
        ``"cka"``: similarity of the two models' features of all these items, at most 1 (`similarity`).
    """
    start = build_classifier(task, seed=run.spec.seed).backbone
    splits = (task.train, task.validation)
    before, after = (
        [stage_features(backbone, split.items) for split in splits]
        for backbone in (start, run.model.classifier.backbone)
    )

    def accuracies(features: list[list[np.ndarray]]) -> list[float]:
        pairs = zip(*features, strict=True)
        return [round(_accuracy(train, task.train, asked, task.validation), 5) for train, asked in pairs]

    return {
        "stages": ["input", *start.block_names],
        "probe_before": accuracies(before),
        "probe": accuracies(after),
        "cka": [round(similarity(one, other), 5) for one, other in zip(*map(_joined, (before, after)), strict=True)],
    }


def _joined(splits: list[list[np.ndarray]]) -> list[np.ndarray]:
    """Features of all splits below each other, stage by stage."""
    return [np.concatenate(features) for features in zip(*splits, strict=True)]


def _accuracy(train: np.ndarray, learned: Split, asked: np.ndarray, test: Split) -> float:
    return float(fit_probe(train, learned.labels).score(asked, test.labels))


def forgetting(run: Run, task: Task, condition: Condition) -> dict[str, Any]:
    """What is left of an ability that the pretrained model came with, see `source_ability`.

    A method that peft carries out is also asked with what it added switched off (``"adapter_off"``).

    Parameters
    ----------
    run, task, condition
        See `moved_weights`.
    """
    found = source_ability(copy.deepcopy(run.model).merge().backbone)
    if isinstance(run.model, PeftTrainable):
        found["adapter_off"] = source_ability(copy.deepcopy(run.model).switched_off().backbone)["after"]
    return found


def corruption(run: Run, task: Task, condition: Condition) -> dict[str, Any]:
    """Test score by the metric that selects, on items damaged more and more.

    Parameters
    ----------
    run, task, condition
        See `moved_weights`.

    Returns
    -------
    dict
        ``"kind"``, ``"unit"``, ``"strengths"``, ``"severities"`` and ``"scores"``, see `CORRUPTIONS`.
    """
    way = CORRUPTIONS[task.modality]
    severities = range(len(way.strengths))
    damaged = (corrupted(task.modality, task.test.items, severity) for severity in severities)
    metric = METRICS[task.metric].function
    scores = [metric(task.test.labels, run.predict(items).probabilities) for items in damaged]
    return {
        "kind": way.kind,
        "unit": way.unit,
        "strengths": [None if np.isinf(strength) else strength for strength in way.strengths],
        "severities": list(severities),
        "scores": [round(float(score), 5) for score in scores],
    }


def kinds(run: Run, task: Task, condition: Condition) -> dict[str, float]:
    """Test score by the metric that selects, for each kind of item (`kinds_of`); empty where items have no kind."""
    of_item = kinds_of(task.test)
    metric = METRICS[task.metric].function
    chances = run.predictions.probabilities
    return {
        str(kind): round(float(metric(task.test.labels[of_item == kind], chances[of_item == kind])), 5)
        for kind in np.unique(of_item)
        if kind
    }


def label_errors(run: Run, task: Task, condition: Condition) -> dict[str, int]:
    """How many labels were wrong, how many items were taken out for that, and how many of these rightly."""
    noisy = labelled(condition)
    wrong = noisy.train.labels != clean(condition).train.labels
    found = ~np.isin(noisy.train.identifiers, task.train.identifiers)
    return {"wrong": int(wrong.sum()), "taken_out": int(found.sum()), "rightly": int((found & wrong).sum())}


MEASURES: dict[str, Callable[[Run, Task, Condition], dict[str, Any]]] = {
    "moved weights": moved_weights,
    "layers": layers,
    "forgetting": forgetting,
    "corruption": corruption,
    "kinds": kinds,
    "label errors": label_errors,
}
"""By name, as experiments ask for them."""
