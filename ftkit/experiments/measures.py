"""What is measured of a trained model beyond its scores."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from ftkit.classifier import build_classifier
from ftkit.evaluation import METRICS
from ftkit.experiments.condition_data import clean, labelled
from ftkit.experiments.corruption import CORRUPTIONS, corrupted
from ftkit.experiments.experiment import Condition
from ftkit.experiments.features import fit_probe, similarity, stage_features
from ftkit.experiments.forgetting import source_ability
from ftkit.experiments.record import as_digits
from ftkit.experiments.run import Run
from ftkit.methods.base import is_vector
from ftkit.methods.peft_trainable import PeftTrainable
from ftkit.tasks import Split, Task, load_task

DIRECTIONS = (1, 2, 4, 8, 16, 32, 64, 128)
"""Numbers of directions whose share of a change `moved_weights` tells."""
SEEN_ITEMS = 600
"""Items of groups that were trained on that `groups` asks about; enough for a standard error of two points."""


def moved_weights(run: Run, task: Task, condition: Condition) -> dict[str, Any]:
    """How far each stage of the backbone has moved from its pretrained weights, and in how many directions.

    Parameters
    ----------
    run
        A run with its model; what its method added is folded into the weights of a copy.
    task, condition
        What it was trained on, and how.

    Returns
    -------
    dict
        ``"stages"``: names from input to output; ``"relative_change"``: norm of the change over the norm of the
        weights, one a stage; ``"effective_rank"``: the mean over the stage's matrices that moved of the exponential of
        the entropy of the change's singular values (Roy and Vetterli 2007), 0 where none did; ``"directions"`` and
        ``"spectrum"``: for so many of the largest singular values of each matrix, the share of the change's squared
        norm that they hold, mean over all matrices that moved, 0 to 1; 0 where none did.

    Raises
    ------
    FtkitError
        If what the method added can't be folded into the weights.
    """
    trained = copy.deepcopy(run.model).merge().backbone  # the run's own model stays as it is
    start = build_classifier(task, seed=run.spec.seed).backbone
    stages = {"input": (trained.embed, start.embed)}
    for name, block, before in zip(start.block_names, trained.blocks, start.blocks, strict=True):
        stages[name] = (block, before)
    changes, ranks, spectra = [], [], []
    for after, before in stages.values():
        own = dict(after.named_parameters())
        pairs = [(own[name].detach().float().cpu(), each.detach().float()) for name, each in before.named_parameters()]
        moved = sum(float((new - old).square().sum()) for new, old in pairs)
        size = sum(float(old.square().sum()) for _, old in pairs)
        changes.append(round((moved / size) ** 0.5, 6))
        values = [torch.linalg.svdvals((new - old).flatten(1)) for new, old in pairs if not is_vector(old)]
        moving = [each for each in values if each.any()]
        ranks.append(round(sum(map(effective_rank, moving)) / max(1, len(moving)), 2))
        spectra += [shares_of_largest(each, DIRECTIONS) for each in moving]
    return {
        "stages": list(stages),
        "relative_change": changes,
        "effective_rank": ranks,
        "directions": list(DIRECTIONS),
        "spectrum": np.round(np.mean(spectra or [[0.0] * len(DIRECTIONS)], axis=0), 4).tolist(),
    }


def effective_rank(values: torch.Tensor) -> float:
    """Exponential of the entropy of normalised singular values: how many directions their matrix has.

    Parameters
    ----------
    values
        Float tensor (n,), from the largest to the smallest.

    References
    ----------
    O. Roy and M. Vetterli, The effective rank, EUSIPCO 2007.

    Examples
    --------
    >>> round(effective_rank(torch.ones(4)), 3), round(effective_rank(torch.tensor([4.0, 0.0])), 3)
    (4.0, 1.0)
    >>> effective_rank(torch.zeros(3))
    0.0
    """
    total = float(values.sum())
    if total == 0:
        return 0.0
    shares = values[values > 1e-7 * values[0]] / total
    return float(torch.exp(-(shares * shares.log()).sum()))


def shares_of_largest(values: torch.Tensor, counts: Sequence[int]) -> list[float]:
    """Share of a matrix' squared norm that its largest singular values hold, 0 to 1, for so many of them.

    Parameters
    ----------
    values
        Float tensor (n,), from the largest to the smallest, not all zero.
    counts
        How many; more than there are hold everything.

    Examples
    --------
    >>> [round(share, 2) for share in shares_of_largest(torch.tensor([3.0, 1.0]), (1, 2, 4))]
    [0.9, 1.0, 1.0]
    """
    grown = values.square().cumsum(0) / values.square().sum()
    return [float(grown[min(count, len(grown)) - 1]) for count in counts]


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
    tuned = run.model.classifier.backbone
    start = build_classifier(task, seed=run.spec.seed).backbone.to(next(tuned.parameters()).device)
    splits = (task.train, task.validation)
    before, after = ([stage_features(backbone, split.items) for split in splits] for backbone in (start, tuned))

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
    # on the processor, as the pretrained model: a GPU's last digits differ, and that is no forgetting
    found = source_ability(copy.deepcopy(run.model).merge().backbone.cpu())
    if isinstance(run.model, PeftTrainable):
        off = source_ability(copy.deepcopy(run.model).switched_off().backbone.cpu())
        found["adapter_off"] = off["after"]
        found["by_item"]["adapter_off"] = off["by_item"]["after"]
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
        ``"kind"``, ``"unit"``, ``"strengths"``, ``"severities"`` and ``"scores"``, see `CORRUPTIONS`; ``"answers"``:
        for each severity the class that every item got, as in `Outcome.answers`.
    """
    way = CORRUPTIONS[task.modality]
    severities = range(len(way.strengths))
    damaged = (corrupted(task.modality, task.test.items, severity) for severity in severities[1:])
    tables = [run.predictions.probabilities, *(run.predict(items).probabilities for items in damaged)]
    metric = METRICS[task.metric].function
    return {
        "kind": way.kind,
        "unit": way.unit,
        "strengths": [None if np.isinf(strength) else strength for strength in way.strengths],
        "severities": list(severities),
        "scores": [round(float(metric(task.test.labels, table)), 5) for table in tables],
        "answers": [as_digits(table.argmax(axis=1)) for table in tables],
    }


def kinds(run: Run, task: Task, condition: Condition) -> dict[str, float]:
    """Test score by the metric that selects, for each kind of item (`Split.kinds`); empty where items have no kind."""
    of_item = task.test.kinds
    metric = METRICS[task.metric].function
    chances = run.predictions.probabilities
    return {
        str(kind): round(float(metric(task.test.labels[of_item == kind], chances[of_item == kind])), 5)
        for kind in np.unique(of_item)
        if kind
    }


def groups(run: Run, task: Task, condition: Condition) -> dict[str, float]:
    """Test score by the metric that selects, on groups that were trained on and on groups that were not.

    A group is a film or a voice. What a model knows of the groups that it has trained on makes the difference between
    the two, or whatever else sets the groups of the test apart: in the spoken digits they are real people and the
    others synthetic voices.

    Parameters
    ----------
    run, task, condition
        See `moved_weights`.

    Returns
    -------
    dict
        ``"seen"``: on items that were not trained on, of groups that were, `SEEN_ITEMS` at most; ``"unseen"``: on the
        test split; ``"items"``: how many of the first. Empty where a task has no groups, or trained on all their items.
    """
    if task.train.groups is None:
        return {}
    spare = load_task(condition.task).train
    assert spare.groups is not None
    of_seen_groups = np.isin(spare.groups, task.train.groups) & ~np.isin(spare.identifiers, task.train.identifiers)
    draw = np.random.default_rng(condition.seed).permutation(np.flatnonzero(of_seen_groups))[:SEEN_ITEMS]
    if not len(draw):
        return {}
    seen = spare.take(np.sort(draw))
    found = METRICS[task.metric].function(seen.labels, run.predict(seen.items).probabilities)
    return {
        "seen": round(float(found), 5),
        "unseen": round(run.score.value, 5),
        "items": len(seen),
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
    "groups": groups,
    "label errors": label_errors,
}
"""By name, as experiments ask for them."""
