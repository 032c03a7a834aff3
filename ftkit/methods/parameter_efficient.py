"""Methods that leave the pretrained weights alone and train something small beside them.

Peft, which carries them out, takes longer to load than torch, so it loads when the first of them is applied.
"""

from __future__ import annotations

import re
from abc import abstractmethod
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from ftkit.errors import FtkitError
from ftkit.methods.base import Method, Trainable, check_whole_number, is_number, targets_of

if TYPE_CHECKING:
    from peft import IA3Config, LoraConfig, PeftConfig

    from ftkit.classifier import Classifier
    from ftkit.methods.peft_tuners import AttentionPrefixConfig, BottleneckConfig, InputPromptConfig


@dataclass(frozen=True)
class PeftMethod(Method):
    """A method that peft carries out."""

    @abstractmethod
    def configuration(self, model: Classifier, **common: Any) -> PeftConfig:
        """Peft's configuration of the method for a model."""

    def apply(self, model: Classifier) -> Trainable:
        """Wrap the classifier; only what the method adds and the head train."""
        from peft import get_peft_model

        from ftkit.methods.peft_trainable import PeftTrainable

        wrapped = get_peft_model(model, self.configuration(model, modules_to_save=["head"]))
        added = [module for name, module in wrapped.named_modules() if name.rpartition(".")[2] == "lora_dropout"]
        head = wrapped.get_base_model().head
        return PeftTrainable(wrapped, active=(*added, model.dropout, head))


def _below_the_top(model: Classifier, blocks: int | None) -> str | None:
    """Regular expression of what lies below the top blocks, or None where every block is meant.

    Raises
    ------
    FtkitError
        If the backbone has no such number of blocks.
    """
    depth = len(model.backbone.blocks)
    if blocks is None or blocks == depth:
        return None
    if not 1 <= blocks < depth:
        raise FtkitError(f"blocks = {blocks}: {model.backbone.name} has {depth} blocks; choose 1 to {depth}.")
    below = "|".join(str(index) for index in range(depth - blocks))
    return rf".*blocks\.({below})\..*"


def _has_place(model: Classifier, places: str, below: str) -> bool:
    names = [name for name, _ in model.named_modules()]
    return any(re.fullmatch(places, name) and not re.fullmatch(below, name) for name in names)


@dataclass(frozen=True)
class LoRA(PeftMethod):
    """Low-rank adaptation: frozen weights plus a trained product of two thin matrices.

    Parameters
    ----------
    rank
        Rank of the update, default 8.
    alpha
        The update is scaled by ``alpha / rank``, default 16.
    dropout
        Probability of dropping an input of the update, default 0.
    blocks
        How many blocks get an update, counted from the output; None, the default, is all of them.

    Examples
    --------
    >>> LoRA(rank=4).settings
    {'rank': 4, 'alpha': 16, 'dropout': 0.0, 'blocks': None}
    """

    name: ClassVar[str] = "lora"
    title: ClassVar[str] = "LoRA"
    trains: ClassVar[str] = "low-rank updates and the head"
    changes: ClassVar[dict[str, str]] = {
        "text": "queries and values of every layer",
        "image": "every 1x1 convolution (Conv2d LoRA)",
        "audio": "queries and values of every layer",
    }
    paper: ClassVar[str] = "Hu et al. 2021, arXiv:2106.09685"
    typical_rate: ClassVar[float] = 3e-3
    choices: ClassVar[dict[str, tuple[Any, ...]]] = {"rank": (2, 32)}

    rank: int = 8
    alpha: int = 16
    dropout: float = 0.0
    blocks: int | None = None

    def __post_init__(self) -> None:
        check_whole_number(self, "rank", self.rank)
        check_whole_number(self, "alpha", self.alpha)
        if self.blocks is not None:
            check_whole_number(self, "blocks", self.blocks)
        if not (is_number(self.dropout) and 0 <= self.dropout < 1):
            raise FtkitError(f"{self.name} with dropout = {self.dropout!r}: choose a number from 0 to below 1.")

    def alternatives(self) -> list[Method]:
        """Other ranks at the same scale, ``alpha / rank``, where a whole ``alpha`` gives it."""
        ranks = [rank for rank in self.choices["rank"] if rank != self.rank and rank * self.alpha % self.rank == 0]
        return [replace(self, rank=rank, alpha=rank * self.alpha // self.rank) for rank in ranks]

    def configuration(self, model: Classifier, **common: Any) -> LoraConfig:
        """Peft's ``LoraConfig`` on the backbone's linear maps."""
        from peft import LoraConfig
        from torch import nn

        from ftkit.methods.folded import FoldedConvolution

        config = LoraConfig(
            r=self.rank,
            lora_alpha=self.alpha,
            lora_dropout=self.dropout,
            target_modules=targets_of(model).linear_maps,
            exclude_modules=_below_the_top(model, self.blocks),
            **common,
        )
        config._register_custom_module({nn.Conv2d: FoldedConvolution})
        return config


@dataclass(frozen=True)
class DoRA(LoRA):
    """Weight-decomposed low-rank adaptation: LoRA for the direction of every weight vector, and its length apart.

    Its settings are those of `LoRA`.

    Examples
    --------
    >>> DoRA(rank=4).rank
    4
    """

    name: ClassVar[str] = "dora"
    title: ClassVar[str] = "DoRA"
    trains: ClassVar[str] = "low-rank updates, the weights' lengths and the head"
    paper: ClassVar[str] = "Liu et al. 2024, arXiv:2402.09353"

    def configuration(self, model: Classifier, **common: Any) -> LoraConfig:
        """Peft's ``LoraConfig`` with DoRA on the backbone's linear maps."""
        return super().configuration(model, use_dora=True, **common)


@dataclass(frozen=True)
class IA3(PeftMethod):
    """IA3: inner activations are scaled by trained vectors.

    Examples
    --------
    >>> IA3().settings
    {}
    """

    name: ClassVar[str] = "ia3"
    title: ClassVar[str] = "IA3"
    trains: ClassVar[str] = "vectors that scale inner activations, and the head"
    changes: ClassVar[dict[str, str]] = {
        "text": "keys, values and feed-forward activations of every layer",
        "image": "the channels inside every inverted residual",
        "audio": "keys, values and feed-forward activations of every layer",
    }
    paper: ClassVar[str] = "Liu et al. 2022, arXiv:2205.05638, section 3.3"
    typical_rate: ClassVar[float] = 1e-2

    def configuration(self, model: Classifier, **common: Any) -> IA3Config:
        """Peft's ``IA3Config`` on the backbone's keys, values and feed-forward parts."""
        from peft import IA3Config

        targets = targets_of(model)
        places = "|".join(filter(None, (targets.scaled_outputs, targets.scaled_inputs)))
        return IA3Config(target_modules=places, feedforward_modules=targets.scaled_inputs, **common)


@dataclass(frozen=True)
class Adapter(PeftMethod):
    """Bottleneck adapter: a small trained network after every frozen sub-layer.

    The paper also trains the layer norms; here they stay frozen: the added part and the head are all that trains. It
    lies before the residual connection and the norm in either placement, with GELU: of Pfeiffer's the number of places
    is taken, not the connections.

    Parameters
    ----------
    width
        Size of the bottleneck, default 16.
    placement
        ``"houlsby"``, the default: after attention and after the feed-forward part; ``"pfeiffer"``: after the
        feed-forward part only (Pfeiffer et al. 2021, arXiv:2005.00247). A convolutional stage has one place for both.
    blocks
        How many blocks get adapters, counted from the output; None, the default, is all of them.

    Examples
    --------
    >>> Adapter(width=32).settings
    {'width': 32, 'placement': 'houlsby', 'blocks': None}
    """

    name: ClassVar[str] = "adapter"
    title: ClassVar[str] = "Bottleneck adapter"
    trains: ClassVar[str] = "small networks between the layers and the head"
    changes: ClassVar[dict[str, str]] = {
        "text": "after attention and after the feed-forward part",
        "image": "1x1 bottleneck after every inverted residual",
        "audio": "after attention and after the feed-forward part",
    }
    paper: ClassVar[str] = "Houlsby et al. 2019, arXiv:1902.00751"
    typical_rate: ClassVar[float] = 3e-3
    choices: ClassVar[dict[str, tuple[Any, ...]]] = {"width": (4, 64)}

    width: int = 16
    placement: Literal["houlsby", "pfeiffer"] = "houlsby"
    blocks: int | None = None

    def __post_init__(self) -> None:
        check_whole_number(self, "width", self.width)
        if self.blocks is not None:
            check_whole_number(self, "blocks", self.blocks)
        if self.placement not in ("houlsby", "pfeiffer"):
            raise FtkitError(f"adapter placement {self.placement!r}: choose 'houlsby' or 'pfeiffer'.")

    def configuration(self, model: Classifier, **common: Any) -> BottleneckConfig:
        """Our `BottleneckConfig` on the backbone's sub-layers."""
        from ftkit.methods.peft_tuners import BottleneckConfig

        targets = targets_of(model)
        places = targets.sublayer_outputs if self.placement == "houlsby" else targets.feed_forward_outputs
        below = _below_the_top(model, self.blocks)
        if below is not None and not _has_place(model, places, below):
            raise FtkitError(
                f"{self.title} finds no place in the top {self.blocks} of {model.backbone.name}: it follows residual "
                "blocks, and there is none. Choose more blocks."
            )
        return BottleneckConfig(width=self.width, target_modules=places, exclude_modules=below, **common)


@dataclass(frozen=True)
class Prompt(PeftMethod):
    """Prompt tuning: learned values at the input of a frozen model.

    Parameters
    ----------
    length
        Virtual tokens or frames before the sequence, default 16; for pictures, thickness of the border in pixels.

    Examples
    --------
    >>> Prompt(length=8).length
    8
    """

    name: ClassVar[str] = "prompt"
    title: ClassVar[str] = "Prompt tuning"
    trains: ClassVar[str] = "learned inputs and the head"
    changes: ClassVar[dict[str, str]] = {
        "text": "virtual tokens before the text",
        "image": "a learned border of pixels",
        "audio": "virtual frames before the clip",
    }
    paper: ClassVar[str] = "Lester et al. 2021, arXiv:2104.08691; pictures: Bahng et al. 2022, arXiv:2203.17274"
    typical_rate: ClassVar[float] = 3e-2
    choices: ClassVar[dict[str, tuple[Any, ...]]] = {"length": (4, 32)}

    length: int = 16

    def __post_init__(self) -> None:
        check_whole_number(self, "length", self.length)

    def configuration(self, model: Classifier, **common: Any) -> InputPromptConfig:
        """Our `InputPromptConfig` at the backbone's input."""
        from ftkit.methods.peft_tuners import InputPromptConfig

        image_size = model.backbone.settings.get("image_size")
        return InputPromptConfig(
            length=self.length,
            image_size=image_size,
            width=None if image_size else model.backbone.width,
            target_modules=targets_of(model).prompt,
            **common,
        )


@dataclass(frozen=True)
class Prefix(PeftMethod):
    """Prefix tuning: learned keys and values that every position of every layer may attend to.

    The vectors train directly; the paper's detour over a small network only steadies its training.

    Parameters
    ----------
    length
        Learned keys and values a layer, default 16.

    Examples
    --------
    >>> Prefix(length=8).length
    8
    """

    name: ClassVar[str] = "prefix"
    title: ClassVar[str] = "Prefix tuning"
    trains: ClassVar[str] = "learned keys and values in every layer, and the head"
    changes: ClassVar[dict[str, str]] = {
        "text": "keys and values before those of the text",
        "image": "does not apply: a convolutional network has no attention",
        "audio": "keys and values before those of the clip",
    }
    modalities: ClassVar[tuple[str, ...]] = ("text", "audio")
    paper: ClassVar[str] = "Li and Liang 2021, arXiv:2101.00190"
    typical_rate: ClassVar[float] = 1e-2
    choices: ClassVar[dict[str, tuple[Any, ...]]] = {"length": (4, 64)}

    length: int = 16

    def __post_init__(self) -> None:
        check_whole_number(self, "length", self.length)

    def configuration(self, model: Classifier, **common: Any) -> AttentionPrefixConfig:
        """Our `AttentionPrefixConfig` on the backbone's self-attention.

        Raises
        ------
        FtkitError
            If the backbone has none.
        """
        from ftkit.methods.peft_tuners import AttentionPrefixConfig

        self.check_applies(model.backbone.modality)
        heads = model.backbone.attention_heads
        return AttentionPrefixConfig(
            length=self.length,
            heads=heads,
            width=model.backbone.width // heads,
            target_modules=targets_of(model).attention,
            **common,
        )
