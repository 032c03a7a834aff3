"""Methods that choose which of the model's own weights train, and leave them where they are."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from torch import nn

from ftkit.errors import FtkitError
from ftkit.methods.base import EVERYWHERE, Method, Trainable, check_whole_number, train_only, unfreeze

if TYPE_CHECKING:
    from ftkit.classifier import Classifier

STATISTICS = ("renewed", "kept")
"""What may become of the statistics of batch normalisation in full fine-tuning."""


@dataclass(frozen=True)
class Scratch(Method):
    """Training from scratch: the same architecture without what it learned before.

    Examples
    --------
    >>> Scratch().name
    'scratch'
    """

    name: ClassVar[str] = "scratch"
    title: ClassVar[str] = "From scratch"
    trains: ClassVar[str] = "everything, from random weights"
    changes: ClassVar[dict[str, str]] = dict.fromkeys(EVERYWHERE, "all weights drawn anew")
    paper: ClassVar[str] = "the baseline of Yosinski et al. 2014, arXiv:1411.1792"
    typical_rate: ClassVar[float] = 3e-4

    def apply(self, model: Classifier) -> Trainable:
        """Draw all weights anew and train them."""
        model.backbone.reset_parameters()
        return Full().apply(model)


@dataclass(frozen=True)
class LinearProbe(Method):
    """Linear probe: only the output layer trains, on features that stay as they are."""

    name: ClassVar[str] = "linear-probe"
    title: ClassVar[str] = "Linear probe"
    trains: ClassVar[str] = "the head"
    changes: ClassVar[dict[str, str]] = dict.fromkeys(EVERYWHERE, "backbone frozen")
    paper: ClassVar[str] = "Alain and Bengio 2016, arXiv:1610.01644"
    typical_rate: ClassVar[float] = 1e-2

    def apply(self, model: Classifier) -> Trainable:
        """Freeze the backbone."""
        return train_only(model)


@dataclass(frozen=True)
class Partial(Method):
    """Partial fine-tuning: the top blocks and the head train, what lies below stays frozen.

    Parameters
    ----------
    blocks
        How many blocks train, counted from the output; None, the default, is a third of them, rounded up.

    Examples
    --------
    >>> Partial(blocks=2).settings
    {'blocks': 2}
    """

    name: ClassVar[str] = "partial"
    title: ClassVar[str] = "Partial fine-tuning"
    trains: ClassVar[str] = "the top blocks and the head"
    changes: ClassVar[dict[str, str]] = {
        "text": "top 2 of 6 layers",
        "image": "top 3 of 8 stages; frozen BatchNorm keeps its statistics",
        "audio": "top 2 of 4 layers",
    }
    paper: ClassVar[str] = "Yosinski et al. 2014, arXiv:1411.1792"
    typical_rate: ClassVar[float] = 3e-4
    choices: ClassVar[dict[str, tuple[Any, ...]]] = {"blocks": (1, 4)}

    blocks: int | None = None

    def __post_init__(self) -> None:
        if self.blocks is not None:
            check_whole_number(self, "blocks", self.blocks, lowest=0)

    def apply(self, model: Classifier) -> Trainable:
        """Freeze everything below the top blocks.

        Raises
        ------
        FtkitError
            If the backbone has no such number of blocks.
        """
        depth = len(model.backbone.blocks)
        count = -(-depth // 3) if self.blocks is None else self.blocks
        if not 0 <= count <= depth:
            raise FtkitError(
                f"partial fine-tuning of {count} blocks: {model.backbone.name} has {depth} blocks; choose 0 to {depth}."
            )
        top = [*model.backbone.blocks[depth - count :], model.backbone.norm] if count else []
        return train_only(model, *top)


@dataclass(frozen=True)
class Full(Method):
    """Full fine-tuning: every weight trains, from the pretrained values.

    Parameters
    ----------
    statistics
        By what batch normalisation, which only picture models have, shifts and scales while training. ``"renewed"``,
        the default: by the mean and variance of each batch, whose running averages replace the pretrained ones.
        ``"kept"``: by the pretrained ones, as when the model is used.

    Raises
    ------
    FtkitError
        If ``statistics`` is neither.

    Examples
    --------
    >>> Full(statistics="kept").settings
    {'statistics': 'kept'}
    """

    name: ClassVar[str] = "full"
    title: ClassVar[str] = "Full fine-tuning"
    trains: ClassVar[str] = "everything, from pretrained weights"
    changes: ClassVar[dict[str, str]] = dict.fromkeys(EVERYWHERE, "all weights")
    paper: ClassVar[str] = "Howard and Ruder 2018, arXiv:1801.06146; Devlin et al. 2019, arXiv:1810.04805"
    typical_rate: ClassVar[float] = 1e-4

    statistics: str = "renewed"

    def __post_init__(self) -> None:
        if self.statistics not in STATISTICS:
            raise FtkitError(
                f"{self.title} with statistics = {self.statistics!r}: choose {' or '.join(map(repr, STATISTICS))}."
            )

    def apply(self, model: Classifier) -> Trainable:
        """Train every weight."""
        unfreeze(model)
        made = Trainable if self.statistics == "renewed" else StillTrainable
        return made(model, active=(model,))


class StillTrainable(Trainable):
    """A model whose batch normalisation goes on with the statistics that it has."""

    def renews_statistics(self) -> bool:
        """Never."""
        return False

    def training_mode(self) -> None:
        """Put what trains in training mode, batch normalisation apart."""
        super().training_mode()
        for module in self.model.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.eval()


@dataclass(frozen=True)
class Surgical(Method):
    """Surgical fine-tuning: one range of blocks and the head train, what lies below and above stays frozen.

    Parameters
    ----------
    first
        First block that trains, counted from the input, from 1; default 1.
    last
        Last block that trains; None, the default, makes the range a third of all blocks, rounded up.

    Examples
    --------
    >>> Surgical(first=3, last=4).settings
    {'first': 3, 'last': 4}
    """

    name: ClassVar[str] = "surgical"
    title: ClassVar[str] = "Surgical fine-tuning"
    trains: ClassVar[str] = "a range of blocks and the head"
    changes: ClassVar[dict[str, str]] = {
        "text": "layers 1 and 2 of 6",
        "image": "stages 1 to 3 of 8; frozen BatchNorm keeps its statistics",
        "audio": "layers 1 and 2 of 4",
    }
    paper: ClassVar[str] = "Lee et al. 2023, arXiv:2210.11466"
    typical_rate: ClassVar[float] = 3e-4
    choices: ClassVar[dict[str, tuple[Any, ...]]] = {"last": (1, 4)}

    first: int = 1
    last: int | None = None

    def __post_init__(self) -> None:
        check_whole_number(self, "first", self.first)
        if self.last is not None:
            check_whole_number(self, "last", self.last)

    def alternatives(self) -> list[Method]:
        """Other last blocks, as far as they don't lie before the first."""
        lasts = [last for last in self.choices["last"] if last >= self.first and last != self.last]
        return [replace(self, last=last) for last in lasts]

    def apply(self, model: Classifier) -> Trainable:
        """Freeze everything but the range.

        Raises
        ------
        FtkitError
            If the backbone has no such blocks.
        """
        blocks = model.backbone.blocks
        last = min(len(blocks), self.first - 1 - (-len(blocks) // 3)) if self.last is None else self.last
        if not 1 <= self.first <= last <= len(blocks):
            raise FtkitError(
                f"surgical fine-tuning of blocks {self.first} to {last}: {model.backbone.name} has {len(blocks)} "
                f"blocks; choose a range within 1 to {len(blocks)}."
            )
        return train_only(model, *blocks[self.first - 1 : last])


@dataclass(frozen=True)
class BitFit(Method):
    """BitFit: the biases and the head train; every matrix and every filter stays frozen."""

    name: ClassVar[str] = "bitfit"
    title: ClassVar[str] = "BitFit"
    trains: ClassVar[str] = "the biases and the head"
    changes: ClassVar[dict[str, str]] = {
        "text": "biases of maps and norms",
        "image": "biases of BatchNorm, the only ones there are; its statistics stay",
        "audio": "biases of maps, convolutions and norms",
    }
    paper: ClassVar[str] = "Ben Zaken et al. 2022, arXiv:2106.10199"
    typical_rate: ClassVar[float] = 3e-3

    def apply(self, model: Classifier) -> Trainable:
        """Freeze everything but the biases."""
        trainable = train_only(model)
        for name, parameter in model.backbone.named_parameters():
            parameter.requires_grad = name.rpartition(".")[2] == "bias"
        return trainable


@dataclass(frozen=True)
class NormTuning(Method):
    """Norm tuning: scales and shifts of the normalisation layers and the head train."""

    name: ClassVar[str] = "norm-tuning"
    title: ClassVar[str] = "Norm tuning"
    trains: ClassVar[str] = "the normalisation layers' scales and shifts, and the head"
    changes: ClassVar[dict[str, str]] = {
        "text": "every LayerNorm",
        "image": "every BatchNorm; its statistics stay",
        "audio": "every LayerNorm",
    }
    paper: ClassVar[str] = "Zhao et al. 2024, arXiv:2312.11420; pictures: Frankle et al. 2021, arXiv:2003.00152"
    typical_rate: ClassVar[float] = 3e-3

    def apply(self, model: Classifier) -> Trainable:
        """Freeze everything but the normalisation layers' parameters."""
        trainable = train_only(model)
        for module in model.backbone.modules():
            if isinstance(module, nn.LayerNorm | nn.modules.batchnorm._BatchNorm):
                unfreeze(module)
        return trainable
