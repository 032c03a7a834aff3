"""One classifier for text, images and speech: backbone, masked mean pooling, head."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ftkit.backbones import LONGEST_SECONDS, SAMPLE_RATE, load_backbone
from ftkit.randomness import seeded

if TYPE_CHECKING:
    from ftkit.backbones.base import Backbone, Embedded
    from ftkit.tasks.base import Task

__all__ = ["Classifier", "Head", "backbone_settings", "build_classifier", "masked_mean", "new_head"]


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
        The new output layer; every method trains it.
    """

    def __init__(self, backbone: Backbone, classes: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.backbone = backbone
        self.dropout = nn.Dropout(dropout)
        self.classes = classes
        self.head = Head(backbone.width, classes)

    def forward(self, batch: dict[str, Tensor] | Embedded | Tensor) -> Tensor:
        """Compute logits.

        Parameters
        ----------
        batch
            Made by ``backbone.collate``; or hidden states on their way through the backbone; or pooled features,
            float tensor (batch, width).

        Returns
        -------
        Tensor
            Float (batch, classes).
        """
        pooled = batch if isinstance(batch, Tensor) else self.pooled(batch)
        return self.head(self.dropout(pooled))

    def pooled(self, batch: dict[str, Tensor] | Embedded) -> Tensor:
        """Features that enter the head, float tensor (batch, width)."""
        features = self.backbone(batch)
        return masked_mean(features.hidden, features.pools)


class Head(nn.Linear):
    """An output layer that computes in float32, whatever the blocks compute in.

    It costs next to nothing, and at the high learning rates that suit a head rounding would decide which way many of
    its weights go.

    Parameters
    ----------
    in_features, out_features
        Width of the features and number of labels.

    Examples
    --------
    >>> head = Head(3, 2)
    >>> with torch.autocast("cpu", torch.bfloat16):
    ...     head(torch.ones(1, 3)).dtype
    torch.float32
    """

    def forward(self, features: Tensor) -> Tensor:
        """Logits, float32 (batch, classes), of features (batch, width)."""
        with torch.autocast(features.device.type, enabled=False):
            return super().forward(features.to(self.weight.dtype))


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
        Float32 (batch, width), or of the hidden states' type where that is finer.

    Examples
    --------
    >>> import torch
    >>> hidden = torch.tensor([[[1.0], [3.0], [100.0]]])
    >>> masked_mean(hidden, torch.tensor([[True, True, False]]))
    tensor([[2.]])
    """
    dtype = torch.promote_types(hidden.dtype, torch.float32)
    if pools is None:
        return hidden.mean(dim=1, dtype=dtype)
    weights = pools.unsqueeze(-1)
    return (hidden * weights).sum(dim=1, dtype=dtype) / weights.sum(dim=1).clamp(min=1)


def build_classifier(task: Task, *, seed: int = 0, dropout: float = 0.0) -> Classifier:
    """Load a task's backbone and put a freshly initialised head on it.

    Parameters
    ----------
    task
        Names the backbone and the labels.
    seed
        Seed of the head's initialisation; the global random state stays as it was.
    dropout
        See `Classifier`.
    """
    with seeded(seed):
        backbone = load_backbone(task.backbone, **backbone_settings(task))
        classifier = Classifier(backbone, len(task.label_names), dropout)
    classifier.head = new_head(backbone.width, len(task.label_names), seed)
    return classifier


def new_head(width: int, classes: int, seed: int) -> Head:
    """Return an output layer as `build_classifier` initialises it; the global random state stays as it was."""
    with seeded(seed):
        return Head(width, classes)


def backbone_settings(task: Task) -> dict[str, object]:
    """Choose the backbone's settings from the data: the pictures' size, the longest clip that is heard."""
    if task.modality == "text":
        return {}
    if task.modality == "image":
        return {"image_size": int(task.train.items[0].shape[0])}
    longest = max(len(clip) for split in task.splits.values() for clip in split.items) / SAMPLE_RATE
    return {"seconds": min(LONGEST_SECONDS, max(1.5, round(longest + 0.05, 1)))}
