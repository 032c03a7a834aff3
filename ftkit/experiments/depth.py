"""How many top blocks to train: partial fine-tuning at every depth, recorded for the freeze explorer."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ftkit.evaluation import Score
from ftkit.experiments.fine_tuning import fine_tune
from ftkit.experiments.trials import recorded_rate
from ftkit.methods import LinearProbe, Partial
from ftkit.paths import data_folder, write_text

if TYPE_CHECKING:
    from ftkit.tasks.base import Task


@dataclass(frozen=True)
class DepthPoint:
    """One depth of partial fine-tuning.

    Attributes
    ----------
    blocks
        Blocks that trained, counted from the output; 0 is the linear probe.
    learning_rate
        That of the recorded trials: the linear probe's at depth 0, partial fine-tuning's at every other.
    trainable
        Parameters that trained, head included.
    score
        Test score by the task's metric.
    validation_score
        The same on validation.
    seconds
        Training time.
    """

    blocks: int
    learning_rate: float
    trainable: int
    score: Score
    validation_score: Score
    seconds: float


@dataclass(frozen=True)
class DepthSweep:
    """Partial fine-tuning of one task at every depth, with one seed for all.

    Attributes
    ----------
    task, metric, backbone
        Names.
    block_names
        The backbone's blocks from input to output.
    epochs, train_examples, processor, created
        How, where and when it was run.
    points
        One a depth.
    """

    task: str
    metric: str
    backbone: str
    block_names: tuple[str, ...]
    epochs: int
    train_examples: int
    processor: str
    created: str
    points: tuple[DepthPoint, ...]

    def save(self, path: Path) -> None:
        """Write as JSON."""
        write_text(path, json.dumps(asdict(self), indent=1) + "\n")

    @classmethod
    def load(cls, path: Path) -> DepthSweep:
        """Read what `save` wrote."""
        values = json.loads(path.read_text(encoding="utf-8"))
        points = tuple(
            DepthPoint(
                **{
                    **point,
                    "score": Score(**point["score"]),
                    "validation_score": Score(**point["validation_score"]),
                }
            )
            for point in values["points"]
        )
        return cls(**{**values, "block_names": tuple(values["block_names"]), "points": points})


def recorded_sweep(task_name: str) -> DepthSweep:
    """Return the sweep that comes with the kit for a ready-made task."""
    return DepthSweep.load(sweep_path(task_name))


def sweep_path(task_name: str) -> Path:
    """File of the sweep that comes with the kit."""
    return data_folder() / "evidence" / "depth" / f"{task_name}.json"


def sweep_depth(task: Task, on_point: Callable[[DepthPoint], None] | None = None) -> DepthSweep:
    """Train the top 0, 1, ... all blocks of a task's backbone.

    Depth 0 trains at the linear probe's recorded learning rate, every other depth at partial fine-tuning's.
    """
    points: list[DepthPoint] = []
    depth = 0
    while True:
        rate = recorded_rate(task, Partial() if depth else LinearProbe())
        run = fine_tune(task, Partial(blocks=depth), lr=rate)
        block_names = run.model.classifier.backbone.block_names
        validation = run.validation_scores[task.metric]
        point = DepthPoint(depth, rate, run.cost.trainable, run.score, validation, run.seconds)
        points.append(point)
        if on_point is not None:
            on_point(point)
        if depth == len(block_names):
            break
        depth += 1
    return DepthSweep(
        task=task.name,
        metric=task.metric,
        backbone=task.backbone,
        block_names=tuple(block_names),
        epochs=run.spec.epochs,
        train_examples=len(task.train),
        processor=run.machine.processor,
        created=run.created,
        points=tuple(points),
    )
