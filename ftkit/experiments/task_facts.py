"""What is kept of a task's data beside its runs."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ftkit.paths import write_text
from ftkit.tasks import TASKS, Task

if TYPE_CHECKING:
    from ftkit.experiments.comparison import Comparison

__all__ = ["TaskFacts", "facts_of"]


@dataclass(frozen=True)
class TaskFacts:
    """What a reader must know of a task's data, kept beside its runs so that reports need not load the data.

    Attributes
    ----------
    name, title, modality, description, backbone, label_names, metric, assets, notes
        As in `Task` and `TaskInfo`.
    fingerprint
        SHA-256 of the data.
    counts
        Items by split and class; a split whose classes are not known has the one entry ``""``.
    groups
        Number of groups (films, speakers) by split; empty where there are none.
    """

    name: str
    title: str
    modality: str
    description: str
    backbone: str
    label_names: tuple[str, ...]
    metric: str
    assets: tuple[str, ...]
    notes: tuple[str, ...]
    fingerprint: str
    counts: dict[str, dict[str, int]]
    groups: dict[str, int]

    @classmethod
    def of(cls, task: Task) -> TaskFacts:
        """Collect the facts of a task."""
        return cls(
            name=task.name,
            title=task.title,
            modality=task.modality,
            description=TASKS[task.name].description if task.name in TASKS else "",
            backbone=task.backbone,
            label_names=task.label_names,
            metric=task.metric,
            assets=task.assets,
            notes=task.notes,
            fingerprint=task.fingerprint,
            counts=task.counts(),
            groups={
                name: len(np.unique(split.groups)) for name, split in task.splits.items() if split.groups is not None
            },
        )

    def save(self, folder: Path) -> None:
        """Write the facts beside the runs of the task, where they are not there yet."""
        path, text = _facts_path(folder, self.name, self.fingerprint), json.dumps(asdict(self), indent=1) + "\n"
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            write_text(path, text)


def facts_of(comparison: Comparison, folder: Path) -> TaskFacts:
    """Facts of a comparison's task: those kept in the folder, else what the runs tell.

    Parameters
    ----------
    comparison
        Its first run names the data.
    folder
        Where its runs are kept.
    """
    first = comparison.runs[0]
    path = _facts_path(folder, comparison.task_name, first.spec.fingerprint)
    if path.is_file():
        values = json.loads(path.read_text(encoding="utf-8"))
        texts = ("label_names", "assets", "notes")
        return TaskFacts(**{**values, **{name: tuple(values[name]) for name in texts}})
    info = TASKS.get(comparison.task_name)
    test = np.bincount(first.predictions.labels, minlength=len(first.label_names)).tolist()
    groups = first.predictions.groups
    return TaskFacts(
        name=comparison.task_name,
        title=info.title if info else comparison.task_name,
        modality=first.spec.modality,
        description=info.description if info else "",
        backbone=first.spec.backbone,
        label_names=first.label_names,
        metric=first.metric,
        assets=info.assets if info else (),
        notes=comparison.notes,
        fingerprint=first.spec.fingerprint,
        counts={
            "train": {"": first.spec.train_examples},
            "validation": {"": first.spec.validation_examples},
            "test": dict(zip(first.label_names, test, strict=True)),
        },
        groups={} if groups is None else {"test": len(set(groups))},
    )


def _facts_path(folder: Path, task: str, fingerprint: str) -> Path:
    return folder / task / f"task-{fingerprint[:12]}.json"
