"""What every pretrained encoder looks like to the rest of the kit."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ftkit.backbones.checkpointing import checkpointed
from ftkit.backbones.packing import Packing

LENGTH_STEP = 8


def padded_length(longest: int) -> int:
    """Length to which sequences are padded: the next multiple of eight.

    A CPU prepares its kernels for every shape that it meets, and keeps them: with every length that occurs, that takes
    more memory and time than the padding.

    Parameters
    ----------
    longest
        Length of the longest sequence of a batch, in positions.

    Examples
    --------
    >>> [padded_length(longest) for longest in (1, 8, 9)]
    [8, 8, 16]
    """
    return -(-longest // LENGTH_STEP) * LENGTH_STEP


@dataclass(frozen=True)
class Embedded:
    """The hidden states that enter a block: the first one, or a later one where those below are done.

    Attributes
    ----------
    hidden
        Float tensor, (batch, positions, width) for text and speech, (batch, channels, height, width) for images.
    attends
        Bool tensor (batch, positions): positions that attention may look at; None where every position counts.
    pools
        Bool tensor (batch, positions): positions that the mean is taken over; None where every position counts.
    depth
        How many blocks the hidden states have passed, default 0.
    """

    hidden: Tensor
    attends: Tensor | None = None
    pools: Tensor | None = None
    depth: int = 0

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Embedded:
        """Move to a device; what loads batches asks for it."""
        return self._each(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> Embedded:
        """Copy to memory that a GPU reads while the program goes on; what loads batches asks for it."""
        return self._each(torch.Tensor.pin_memory)

    def _each(self, change: Callable[[Tensor], Tensor]) -> Embedded:
        attends = None if self.attends is None else change(self.attends)
        pools = None if self.pools is None else change(self.pools)
        return replace(self, hidden=change(self.hidden), attends=attends, pools=pools)


@dataclass(frozen=True)
class Features:
    """What leaves the last block.

    Attributes
    ----------
    hidden
        Float tensor (batch, positions, width).
    pools
        Bool tensor (batch, positions), or None where every position counts.
    """

    hidden: Tensor
    pools: Tensor | None = None


@dataclass(frozen=True)
class Targets:
    """Where parameter-efficient methods attach to a backbone, as regular expressions over module names.

    Attributes
    ----------
    linear_maps
        Linear maps (or 1x1 convolutions) that LoRA re-parametrises.
    sublayer_outputs
        Last operation of every sub-layer, after which a bottleneck adapter sits.
    feed_forward_outputs
        The part of ``sublayer_outputs`` that closes a feed-forward sub-layer.
    prompt
        The module whose output a prompt is added to.
    scaled_inputs
        Linear maps (or 1x1 convolutions) whose input IA3 scales: those that close a feed-forward part.
    scaled_outputs
        Linear maps whose output IA3 scales: keys and values; empty where there is no attention.
    attention
        Self-attention modules, which a prefix goes into; empty where there are none.
    """

    linear_maps: str
    sublayer_outputs: str
    feed_forward_outputs: str
    prompt: str
    scaled_inputs: str
    scaled_outputs: str = ""
    attention: str = ""


class Backbone(nn.Module, ABC):
    """A pretrained encoder: ``embed``, then ``blocks`` from input to output, then ``norm``.

    Attributes
    ----------
    name
        Catalog name of the weights.
    modality
        ``"text"``, ``"image"`` or ``"audio"``.
    width
        Size of the features that leave the last block.
    attention_heads
        Heads of each self-attention; 0 where there is none.
    embed, blocks, norm
        The modules in the order in which data meets them.
    targets
        Where parameter-efficient methods attach.
    bucket
        Batches of a training that are sorted by length together, default 32: enough to save padding, few enough to keep
        batches random.
    pass_length
        Most that goes through the model at once in a training, in units of `length`. Larger batches go in parts, with
        the same gradient and less memory.
    preparation_is_slow
        Whether `prepare` takes long enough for its result to be worth keeping.
    checkpointed_blocks
        How many blocks, from the input on, keep their inputs only and are computed again in the backward pass; none
        unless it pays.
    """

    attention_heads: int = 0
    checkpointed_blocks: int = 0
    bucket: ClassVar[int] = 32
    pass_length: ClassVar[int]
    preparation_is_slow: ClassVar[bool] = False
    modality: ClassVar[str]
    targets: ClassVar[Targets]
    name: str
    width: int
    embed: nn.Module
    blocks: nn.ModuleList
    norm: nn.Module

    @property
    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """Keyword arguments with which `load_backbone` builds the same backbone again."""

    @property
    @abstractmethod
    def block_names(self) -> list[str]:
        """One short name for each block, from input to output."""

    @abstractmethod
    def prepare(self, items: Sequence[Any]) -> list[Any]:
        """Turn raw items (texts, pictures, waveforms) into one model input each, once per task."""

    @abstractmethod
    def collate(self, inputs: Sequence[Any]) -> dict[str, Tensor]:
        """Stack prepared inputs into one batch."""

    @abstractmethod
    def run_block(self, block: nn.Module, hidden: Tensor, packing: Packing | None) -> Tensor:
        """Apply one block to the hidden states, packed unless every position counts."""

    @abstractmethod
    def reset_parameters(self) -> None:
        """Replace every weight by the architecture's own random initialisation."""

    def nbytes(self, prepared: Any) -> int:
        """Size of one prepared input in bytes."""
        return prepared.nbytes

    @property
    def evaluation_length(self) -> int:
        """Most that goes through the model at once where no gradient is kept, in units of `length`."""
        return 4 * self.pass_length

    def length(self, prepared: Any) -> int:
        """Cost of one prepared input in positions."""
        return 1

    def forward(self, batch: dict[str, Tensor] | Embedded) -> Features:
        """Encode a batch made by `collate`, or go on from hidden states that have passed some blocks."""
        last = self.advance(batch, len(self.blocks))
        return Features(self.sequence(self.norm(last.hidden)), last.pools)

    def advance(self, batch: dict[str, Tensor] | Embedded, depth: int) -> Embedded:
        """Take a batch through the first ``depth`` blocks, or through those of them that it has not passed."""
        embedded: Embedded = batch if isinstance(batch, Embedded) else self.embed(batch)
        packing = None if embedded.attends is None else Packing.of(embedded.attends)
        hidden = _in_autocast_type(embedded.hidden)
        if packing is not None:
            hidden = packing.pack(hidden)
        for index in range(embedded.depth, depth):
            block = self.blocks[index]
            if index < self.checkpointed_blocks and torch.is_grad_enabled():
                hidden = checkpointed(self.run_block, block, hidden, packing)
            else:
                hidden = self.run_block(block, hidden, packing)
        if packing is not None:
            hidden = packing.unpack(hidden)
        return replace(embedded, hidden=hidden, depth=depth)

    def sequence(self, hidden: Tensor) -> Tensor:
        """Arrange the last hidden states as (batch, positions, width)."""
        return hidden

    def copy_weights(self, other: Backbone) -> None:
        """Take over the weights and buffers of a backbone of the same architecture."""
        with torch.no_grad():
            self.load_state_dict(other.state_dict())


def _in_autocast_type(hidden: Tensor) -> Tensor:
    """Hold what enters the blocks in bf16 where they compute in it.

    Residual connections would carry float32 through all blocks, and every linear map would cast it anew. The range of
    fp16 is too small for that.
    """
    device = hidden.device.type
    if torch.is_autocast_enabled(device) and torch.get_autocast_dtype(device) == torch.bfloat16:
        return hidden.to(torch.bfloat16)
    return hidden
