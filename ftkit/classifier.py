"""One classifier for text, images and speech: backbone, masked mean pooling, head."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ftkit.backbones import load_backbone

if TYPE_CHECKING:
    from ftkit.backbones.base import Backbone
    from ftkit.tasks.base import Task

__all__ = ["Classifier", "build_classifier", "masked_mean"]


class Classifier(nn.Module):
    """A pretrained encoder with a new output layer.

    Parameters
    ----------
    backbone
        The encoder.
    classes
        Number of labels.
    dropout
        Probability of dropping a pooled feature before the head while training, default 0.

    Attributes
    ----------
    head
        The new output layer, ``nn.Linear(width, classes)``; every method trains it.
    """

    def __init__(self, backbone: Backbone, classes: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.backbone = backbone
        self.dropout = nn.Dropout(dropout)
        self.classes = classes
        self.head = nn.Linear(backbone.width, classes)

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        """Logits, float tensor (batch, classes), of a batch made by ``backbone.collate``."""
        features = self.backbone(batch)
        return self.head(self.dropout(masked_mean(features.hidden, features.pools)))


def masked_mean(hidden: Tensor, pools: Tensor | None) -> Tensor:
    """Average hidden states over the positions that hold data.

    Parameters
    ----------
    hidden
        Float tensor (batch, positions, width).
    pools
        Bool tensor (batch, positions), or None for all positions.

    Returns
    -------
    Tensor
        (batch, width).

    Examples
    --------
    >>> import torch
    >>> hidden = torch.tensor([[[1.0], [3.0], [100.0]]])
    >>> masked_mean(hidden, torch.tensor([[True, True, False]]))
    tensor([[2.]])
    """
    if pools is None:
        return hidden.mean(dim=1)
    weights = pools.unsqueeze(-1).to(hidden.dtype)
    return (hidden * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1)


def build_classifier(task: Task, *, seed: int = 0, dropout: float = 0.0, **settings: object) -> Classifier:
    """Load a task's backbone and put a freshly initialised head on it.

    Parameters
    ----------
    task
        Names the backbone and the labels.
    seed
        Seed of the head's initialisation; the global random state stays as it was.
    dropout
        See `Classifier`.
    **settings
        Backbone settings, by default those the task's data ask for (`backbone_settings`).
    """
    with torch.random.fork_rng(devices=[]):
        backbone = load_backbone(task.backbone, **(settings or backbone_settings(task)))
        torch.manual_seed(seed)
        return Classifier(backbone, len(task.label_names), dropout)


def backbone_settings(task: Task) -> dict[str, object]:
    """Choose the backbone's settings from the data: the pictures' size, a window that holds the longest clip."""
    if task.modality == "text":
        return {}
    if task.modality == "image":
        return {"image_size": int(task.train.items[0].shape[0])}
    longest = max(len(clip) for clip in task.train.items) / 16_000
    return {"seconds": min(30.0, max(1.5, round(longest + 0.05, 1)))}
