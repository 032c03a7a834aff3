"""How many top blocks to train: what the record of the experiment "depth" says of it, for the freeze explorer."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ftkit.errors import UnknownNameError
from ftkit.experiments.record import load_record
from ftkit.experiments.scoring import mean_test_score
from ftkit.tasks import TASKS

if TYPE_CHECKING:
    from ftkit.evaluation import Score
    from ftkit.experiments.record import Outcome, Record


@dataclass(frozen=True)
class DepthPoint:
    """One depth of partial fine-tuning, trained with several seeds.

    Attributes
    ----------
    blocks
        Blocks that trained, counted from the output; 0 is the linear probe.
    learning_rate
        At which they trained.
    trainable
        Parameters that trained, head included.
    score
        Mean test score over the seeds by the task's metric.
    validation_scores
        The same metric on validation, one value a seed.
    seconds
        Median training time.
    """

    blocks: int
    learning_rate: float
    trainable: int
    score: Score
    validation_scores: tuple[float, ...]
    seconds: float


@dataclass(frozen=True)
class DepthSweep:
    """Partial fine-tuning of one task at every depth.

    Attributes
    ----------
    task, modality, metric
        Names.
    epochs, train_examples, processors, created
        How, where and, by its last day, when it was made.
    points
        One a depth, from the linear probe to all blocks.
    """

    task: str
    modality: str
    metric: str
    epochs: int
    train_examples: int
    processors: tuple[str, ...]
    created: str
    points: tuple[DepthPoint, ...]

    @property
    def blocks(self) -> int:
        """Most blocks that were trained: all that the model has."""
        return self.points[-1].blocks


def depth_sweep(task_name: str, record: Record | None = None) -> DepthSweep:
    """Read from a record what partial fine-tuning reached at every depth.

    Parameters
    ----------
    task_name
        Name of a ready-made task.
    record
        Of the experiment "depth"; None, the default, takes the one that comes with the kit.

    Raises
    ------
    UnknownNameError
        If the record has no depths of that task.

    Examples
    --------
    >>> [point.blocks for point in depth_sweep("movie-reviews").points]
    [0, 1, 2, 3, 4, 5, 6]
    """
    record = load_record("depth") if record is None else record
    by_blocks: dict[int, list[Outcome]] = {}
    for outcome in record.where(task=task_name, method=["linear-probe", "partial"]):
        by_blocks.setdefault(outcome.condition.settings.get("blocks", 0), []).append(outcome)
    if not by_blocks:
        made = sorted({outcome.condition.task for outcome in record.outcomes})
        raise UnknownNameError("depth record", task_name, made)
    outcomes = [outcome for group in by_blocks.values() for outcome in group]
    return DepthSweep(
        task=task_name,
        modality=TASKS[task_name].modality,
        metric=record.tests[task_name].metric,
        epochs=outcomes[0].epochs,
        train_examples=outcomes[0].condition.examples or TASKS[task_name].default_train,
        processors=tuple(dict.fromkeys(record.machines[outcome.machine].processor for outcome in outcomes)),
        created=max(outcome.created for outcome in outcomes),
        points=tuple(_point(record, blocks, by_blocks[blocks]) for blocks in sorted(by_blocks)),
    )


def _point(record: Record, blocks: int, outcomes: list[Outcome]) -> DepthPoint:
    return DepthPoint(
        blocks=blocks,
        learning_rate=outcomes[0].learning_rate,
        trainable=outcomes[0].trainable,
        score=mean_test_score(record, outcomes),
        validation_scores=tuple(outcome.validation_score for outcome in outcomes),
        seconds=statistics.median(outcome.seconds for outcome in outcomes),
    )
