"""Strategies of full fine-tuning: in which order, at which rates, from which start, how far from it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from ftkit.errors import FtkitError
from ftkit.methods.base import (
    EVERYWHERE,
    Method,
    Trainable,
    check_whole_number,
    decay_groups,
    freeze,
    has_batch_norm,
    is_number,
    unfreeze,
)
from ftkit.methods.freezing import Full, LinearProbe
from ftkit.tasks.source_data import source_data

if TYPE_CHECKING:
    from ftkit.classifier import Classifier


def _from_output_to_input(model: Classifier) -> list[list[nn.Module]]:
    """Stages of a classifier in the order in which a gradient meets them: head, norm and blocks, input."""
    backbone = model.backbone
    return [
        [model.dropout, model.head],
        *([backbone.norm, block] if index == 0 else [block] for index, block in enumerate(reversed(backbone.blocks))),
        [backbone.embed],
    ]


# ---------------------------------------------------------------------------------------------- gradual unfreezing


@dataclass(frozen=True)
class Gradual(Method):
    """Gradual unfreezing: the head trains first, then one more block from the output at a time, the input last.

    Parameters
    ----------
    until
        Share of the steps over which blocks are unfrozen, default 0.5: after it everything trains. At 1 the input's
        turn would come with the end, so it stays as it is.

    Examples
    --------
    >>> Gradual().settings
    {'until': 0.5}
    """

    name: ClassVar[str] = "gradual"
    title: ClassVar[str] = "Gradual unfreezing"
    trains: ClassVar[str] = "everything, the head first and the input last"
    changes: ClassVar[dict[str, str]] = dict.fromkeys(EVERYWHERE, "all weights, one block after the other")
    paper: ClassVar[str] = "Howard and Ruder 2018, arXiv:1801.06146, section 3.3"
    typical_rate: ClassVar[float] = 1e-4
    choices: ClassVar[dict[str, tuple[Any, ...]]] = {"until": (0.25, 1.0)}

    until: float = 0.5

    def __post_init__(self) -> None:
        if not (is_number(self.until) and 0 < self.until <= 1):
            raise FtkitError(f"gradual unfreezing until = {self.until!r}: choose a share above 0, at most 1.")

    def apply(self, model: Classifier) -> Trainable:
        """Freeze all but the head, and unfreeze as training goes on."""
        return GradualTrainable(model, self.until)


class GradualTrainable(Trainable):
    """A model whose stages start to train one after the other, from the output to the input."""

    def __init__(self, model: Classifier, until: float) -> None:
        super().__init__(model, active=(model,))
        self.until = until
        self.stages = _from_output_to_input(model)
        self.unfrozen = 0
        self._unfreeze(1)

    def trainable_parameters(self) -> dict[str, nn.Parameter]:
        """All parameters, since each may train in the end."""
        return dict(self.model.named_parameters())

    def trained_tensors(self) -> dict[str, Tensor]:
        """All parameters and buffers: each may change in the end."""
        return {**self.trainable_parameters(), **dict(self.model.named_buffers())}

    def frozen_depth(self) -> int:
        """Nothing stays frozen to the end."""
        return 0

    def renews_statistics(self) -> bool:
        """Batch normalisation in any stage, since each trains in the end."""
        return has_batch_norm([self.model])

    def begin_step(self, progress: float) -> None:
        """Unfreeze as many stages as are due."""
        due = 1 + math.floor(progress / self.until * (len(self.stages) - 1))
        if self.unfrozen < min(due, len(self.stages)):
            self._unfreeze(min(due, len(self.stages)))
            self.training_mode()

    def _unfreeze(self, count: int) -> None:
        freeze(self.model)
        modules = [module for stage in self.stages[:count] for module in stage]
        for module in modules:
            unfreeze(module)
        self.active = tuple(modules)
        self.unfrozen = count


# ---------------------------------------------------------------------------------------------- rates by depth


@dataclass(frozen=True)
class Discriminative(Method):
    """Discriminative learning rates: everything trains, each block at a lower rate than the one above it.

    Parameters
    ----------
    decay
        Rate of a block over that of the block above it, default 0.75.

    Examples
    --------
    >>> Discriminative(decay=0.5).settings
    {'decay': 0.5}
    """

    name: ClassVar[str] = "discriminative"
    title: ClassVar[str] = "Discriminative learning rates"
    trains: ClassVar[str] = "everything, lower blocks at lower rates"
    changes: ClassVar[dict[str, str]] = dict.fromkeys(EVERYWHERE, "all weights, a rate a block")
    paper: ClassVar[str] = "Howard and Ruder 2018, arXiv:1801.06146, section 3.1"
    typical_rate: ClassVar[float] = 3e-4
    choices: ClassVar[dict[str, tuple[Any, ...]]] = {"decay": (0.5, 0.9)}

    decay: float = 0.75

    def __post_init__(self) -> None:
        if not (is_number(self.decay) and 0 < self.decay <= 1):
            raise FtkitError(f"discriminative learning rates with decay = {self.decay!r}: choose above 0, at most 1.")

    def apply(self, model: Classifier) -> Trainable:
        """Train every weight."""
        unfreeze(model)
        return DiscriminativeTrainable(model, self.decay)


class DiscriminativeTrainable(Trainable):
    """A model whose optimizer gets a learning rate for each block."""

    def __init__(self, model: Classifier, decay: float) -> None:
        super().__init__(model, active=(model,))
        self.decay = decay

    def parameter_groups(self, weight_decay: float) -> list[dict[str, Any]]:
        """Two groups a stage, matrices and vectors, with the stage's share of the learning rate."""
        groups: list[dict[str, Any]] = []
        for depth, stage in enumerate(_from_output_to_input(self.classifier)):
            parameters = [parameter for module in stage for parameter in module.parameters()]
            groups += [{**group, "rate_share": self.decay**depth} for group in decay_groups(parameters, weight_decay)]
        return groups


# ---------------------------------------------------------------------------------------------- a better start


@dataclass(frozen=True)
class LPFT(Full):
    """Linear probing, then full fine-tuning: the head is trained on frozen features before anything else moves.

    As in the paper's experiments, batch normalisation keeps its statistics: other features would come out of renewed
    ones, to which the probe's head was not fitted.

    Parameters
    ----------
    statistics
        See `Full`, here ``"kept"`` by default.
    probe_rate
        Learning rate of the linear probe, default that method's typical one.

    Examples
    --------
    >>> LPFT().settings
    {'statistics': 'kept', 'probe_rate': 0.01}
    """

    name: ClassVar[str] = "lp-ft"
    title: ClassVar[str] = "LP-FT"
    trains: ClassVar[str] = "everything, from a head that a linear probe has trained"
    changes: ClassVar[dict[str, str]] = {
        **dict.fromkeys(EVERYWHERE, "the head, then all weights"),
        "image": "the head, then all weights; BatchNorm's statistics stay",
    }
    paper: ClassVar[str] = "Kumar et al. 2022, arXiv:2202.10054"
    typical_rate: ClassVar[float] = 1e-4
    choices: ClassVar[dict[str, tuple[Any, ...]]] = {"probe_rate": (3e-3, 3e-2)}

    statistics: str = "kept"
    probe_rate: float = LinearProbe.typical_rate

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (is_number(self.probe_rate) and self.probe_rate > 0):
            raise FtkitError(f"{self.title} with probe_rate = {self.probe_rate!r}: choose a number above 0.")

    @property
    def starts_with(self) -> tuple[Method, float]:
        """The linear probe whose head is taken over, and its learning rate."""
        return LinearProbe(), self.probe_rate


# ---------------------------------------------------------------------------------------------- a pull back


@dataclass(frozen=True)
class L2SP(Method):
    """L2-SP: full fine-tuning whose weights are pulled towards their pretrained values, not towards zero.

    The pull is applied beside the gradient step, as AdamW applies its decay, rather than through the loss as in the
    paper: Adam would rescale it there.

    Parameters
    ----------
    strength
        Each step moves a weight by ``learning rate * strength`` of the way back, default 300: three hundredths at a
        rate of 1e-4. A tenth of that hardly shows within a few hundred steps.

    Examples
    --------
    >>> L2SP(strength=1.0).settings
    {'strength': 1.0}
    """

    name: ClassVar[str] = "l2-sp"
    title: ClassVar[str] = "L2-SP"
    trains: ClassVar[str] = "everything, pulled towards the pretrained weights"
    changes: ClassVar[dict[str, str]] = dict.fromkeys(EVERYWHERE, "all weights")
    paper: ClassVar[str] = "Li et al. 2018, arXiv:1802.01483; decoupled after Loshchilov and Hutter, arXiv:1711.05101"
    typical_rate: ClassVar[float] = 1e-4
    choices: ClassVar[dict[str, tuple[Any, ...]]] = {"strength": (30.0, 1000.0)}

    strength: float = 300.0

    def __post_init__(self) -> None:
        if not (is_number(self.strength) and self.strength >= 0):
            raise FtkitError(f"L2-SP with strength = {self.strength!r}: choose a number from 0.")

    def apply(self, model: Classifier) -> Trainable:
        """Train every weight."""
        unfreeze(model)
        return PulledTrainable(model, self.strength)


class PulledTrainable(Trainable):
    """A model whose backbone is pulled back to where it started; the head decays towards zero."""

    def __init__(self, model: Classifier, strength: float) -> None:
        super().__init__(model, active=(model,))
        self.strength = strength
        self.start: list[Tensor] = []

    def parameter_groups(self, weight_decay: float) -> list[dict[str, Any]]:
        """The head's matrix decays towards zero; nothing else does."""
        backbone = list(self.classifier.backbone.parameters())
        return [*decay_groups(self.head.parameters(), weight_decay), {"params": backbone, "weight_decay": 0.0}]

    def begin_step(self, progress: float) -> None:
        """Remember the backbone's weights before the first step."""
        if not self.start:
            self.start = [parameter.detach().clone() for parameter in self.classifier.backbone.parameters()]

    @torch.no_grad()
    def end_step(self, rate: float) -> None:
        """Move the backbone's weights a part of the way back."""
        for parameter, start in zip(self.classifier.backbone.parameters(), self.start, strict=True):
            parameter.lerp_(start, min(1.0, rate * self.strength))

    def end_training(self) -> None:
        """Let go of the weights of before."""
        self.start = []


# ---------------------------------------------------------------------------------------------- a rehearsal


@dataclass(frozen=True)
class Replay(Method):
    """Replay: full fine-tuning that rehearses a few items of source data in every step.

    What is rehearsed has no labels here: the features that the pretrained model computed are what the tuned one should
    still compute. That keeps the old abilities in their place without the old output layers.

    Parameters
    ----------
    strength
        Weight of the rehearsal beside the task's loss, default 1; its loss is the squared distance of the features over
        their squared length.
    items
        Source items in every step, default 8.

    Examples
    --------
    >>> Replay(items=4).settings
    {'strength': 1.0, 'items': 4}
    """

    name: ClassVar[str] = "replay"
    title: ClassVar[str] = "Replay of source data"
    trains: ClassVar[str] = "everything, while source data are rehearsed"
    changes: ClassVar[dict[str, str]] = {
        "text": "all weights; news is rehearsed",
        "image": "all weights; handwritten digits are rehearsed",
        "audio": "all weights; the beginnings of spoken sentences are rehearsed",
    }
    paper: ClassVar[str] = "Robins 1995, Connection Science 7; with features for labels after Li and Hoiem 2016, \
arXiv:1606.09282"
    typical_rate: ClassVar[float] = 1e-4
    choices: ClassVar[dict[str, tuple[Any, ...]]] = {"strength": (0.1, 10.0)}

    strength: float = 1.0
    items: int = 8

    def __post_init__(self) -> None:
        if not (is_number(self.strength) and self.strength >= 0):
            raise FtkitError(f"replay with strength = {self.strength!r}: choose a number from 0.")
        check_whole_number(self, "items", self.items)

    def apply(self, model: Classifier) -> Trainable:
        """Train every weight."""
        unfreeze(model)
        return RehearsingTrainable(model, self.strength, self.items)


class RehearsingTrainable(Trainable):
    """A model that is also asked for the features that it had for source data before training."""

    def __init__(self, model: Classifier, strength: float, items: int) -> None:
        super().__init__(model, active=(model,))
        self.strength = strength
        self.items = items
        self.inputs: list[Any] = []
        self.wanted: Tensor = torch.empty(0)

    def begin_step(self, progress: float) -> None:
        """Prepare the source items before the first step, and remember the features that they have then."""
        if not self.inputs:
            backbone = self.classifier.backbone
            self.inputs = backbone.prepare(source_data(backbone).rehearsed)
            self.model.eval()
            self.wanted = self._features_now()
            self.training_mode()

    def penalty(self) -> Tensor | None:
        """Distance of the features of a few source items, drawn at random, from what they were before training."""
        self.model.eval()  # neither dropout nor the statistics of another batch belong to a rehearsal
        chosen = torch.randperm(len(self.inputs))[: self.items]
        wanted = self.wanted[chosen]
        found = self._features([self.inputs[index] for index in chosen.tolist()])
        self.training_mode()
        return self.strength * (found - wanted).square().sum() / wanted.square().sum()

    def end_training(self) -> None:
        """Let go of the source items and their features."""
        self.inputs, self.wanted = [], torch.empty(0)

    @torch.no_grad()
    def _features_now(self) -> Tensor:
        parts = [self.inputs[start : start + 32] for start in range(0, len(self.inputs), 32)]
        return torch.cat([self._features(part) for part in parts])

    def _features(self, inputs: list[Any]) -> Tensor:
        device = next(self.model.parameters()).device
        batch = {name: value.to(device) for name, value in self.classifier.backbone.collate(inputs).items()}
        return self.classifier.pooled(batch).float()
