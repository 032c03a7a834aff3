"""What happened while training: every step and every epoch."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Step:
    """One update of the weights.

    Attributes
    ----------
    step
        Number of the update, from 1.
    epoch
        Passes through the training data so far, a fraction.
    loss
        Mean cross-entropy of the batch in nats.
    learning_rate
        Learning rate of the update.
    gradient_norm
        Euclidean norm of the gradient before clipping.
    """

    step: int
    epoch: float
    loss: float
    learning_rate: float
    gradient_norm: float


@dataclass(frozen=True)
class Epoch:
    """One pass through the training data and the validation after it.

    Attributes
    ----------
    epoch
        Number of the pass, from 1.
    train_loss
        Mean of its steps' losses, weighted by batch size, in nats.
    validation_loss
        Mean cross-entropy on the validation split in nats.
    validation_score
        The task's selecting metric on the validation split, 0 to 1.
    seconds
        Time spent training, validation excluded.
    """

    epoch: int
    train_loss: float
    validation_loss: float
    validation_score: float
    seconds: float


@dataclass
class History:
    """Everything recorded during one training.

    Attributes
    ----------
    metric
        Name of the metric that ``validation_score`` holds.
    steps, epochs
        The records, in order.
    best_epoch
        The epoch whose weights were kept, 0 before the first validation.
    interrupted
        True where the user stopped the training before its end.
    """

    metric: str
    steps: list[Step] = field(default_factory=list)
    epochs: list[Epoch] = field(default_factory=list)
    best_epoch: int = 0
    interrupted: bool = False

    @property
    def seconds(self) -> float:
        """Time spent training, validation excluded."""
        return sum(epoch.seconds for epoch in self.epochs)

    @property
    def best(self) -> Epoch:
        """The epoch whose weights were kept."""
        return self.epochs[self.best_epoch - 1]

    def to_dict(self) -> dict[str, Any]:
        """Plain dictionaries and lists, for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> History:
        """Rebuild from what `to_dict` returned.

        Examples
        --------
        >>> History.from_dict(History("accuracy").to_dict()) == History("accuracy")
        True
        """
        return cls(
            **{
                **values,
                "steps": [Step(**step) for step in values["steps"]],
                "epochs": [Epoch(**epoch) for epoch in values["epochs"]],
            }
        )
