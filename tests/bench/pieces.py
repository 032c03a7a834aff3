"""The pieces that make ftkit's training fast or small, and how each is turned off.

One is not a training's: heavy libraries are imported on first use. `start.py` measures what that gives.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

    from ftkit.backbones.speech import SpeechInput
    from ftkit.experiments.run import Run
    from ftkit.tasks import Split
    from ftkit.training.history import Epoch
    from ftkit.training.loop import Training, TrainingSettings

Off = AbstractContextManager[None]
"""A context in which a piece is off."""
MACHINE_OVER_SHARE = 4
"""How many times as many CPUs as its share of them a process in a container may see on the machine."""


@contextmanager
def replaced(*places: tuple[object, str, Any]) -> Iterator[None]:
    """Give attributes other values, and their own ones back at the end: owner, name and value of each."""
    with ExitStack() as stack:
        for owner, name, value in places:
            stack.enter_context(mock.patch.object(owner, name, value))
        yield


# --- how each piece is turned off


def random_batches() -> Off:
    """Draw batches without regard to length, as a plain loader does."""
    from ftkit.training import batches

    class RandomBatches(batches.LengthBatches):
        def __init__(self, lengths: Sequence[int], *how: int) -> None:
            super().__init__(np.zeros(len(lengths), dtype=np.int64), *how)

    return replaced((batches, "LengthBatches", RandomBatches))


def padded_to_the_most() -> Off:
    """Pad every text to the most tokens that the model reads."""
    from torch.nn import functional

    from ftkit.backbones.text import BertBackbone

    to_the_longest = BertBackbone.collate

    def collate(self: BertBackbone, inputs: Sequence[np.ndarray]) -> dict[str, Tensor]:
        batch = to_the_longest(self, inputs)
        missing = self.max_tokens - batch["tokens"].shape[1]
        return {name: functional.pad(values, (0, missing)) for name, values in batch.items()}

    return replaced((BertBackbone, "collate", collate))


def padding_computed() -> Off:
    """Take the padding of a batch through all layers, and not through attention alone."""
    import torch

    from ftkit.backbones.packing import Packing

    return replaced((Packing, "of", lambda attends: Packing(attends, torch.arange(attends.numel()))))


def prepared_at_every_reading() -> Off:
    """Tokenise texts and compute spectrograms whenever a batch is read."""
    from ftkit.experiments.fine_tuning import Prepared
    from ftkit.training.augmentation import Augmentation

    class NoChange(Augmentation):
        def change_item(self, item: Any) -> Any:
            return item

    inputs = Prepared.inputs
    return replaced((Prepared, "inputs", lambda self, split, augmentation=None: inputs(self, split, NoChange())))


def decoded_at_every_reading() -> Off:
    """Open, decode and scale the pictures of solar cells whenever a batch is read."""
    from ftkit.experiments.fine_tuning import Prepared
    from ftkit.fetch import fetch
    from ftkit.tasks.base import grey_to_rgb
    from ftkit.tasks.solar_cells import open_grey, scale
    from ftkit.training.augmentation import Augmentation, ChangedItems
    from ftkit.training.loop import Inputs

    class FromFile(Augmentation):
        def change_item(self, item: Path) -> np.ndarray:
            return grey_to_rgb(scale(open_grey(item))[None])[0]

    def inputs(self: Prepared, split: Split, augmentation: Augmentation | None = None) -> Inputs:
        files = [fetch("elpv") / "images" / Path(name).name for name in split.identifiers]
        prepare = self.trainable.classifier.backbone.prepare
        return Inputs(ChangedItems(files, FromFile(), prepare), split.labels, lengths=[1] * len(split))

    return replaced((Prepared, "inputs", inputs))


def pictures_in_float32() -> Off:
    """Scale pictures when they are read, and keep them as floating-point numbers."""
    from ftkit.backbones.vision import EfficientNetBackbone, Normalise

    def prepare(self: EfficientNetBackbone, items: Sequence[np.ndarray]) -> list[np.ndarray]:
        return [(item.astype(np.float32) - 127) / 128 for item in items]

    return replaced((EfficientNetBackbone, "prepare", prepare), (Normalise, "forward", lambda self, pixels: pixels))


def best_weights_copied() -> Off:
    """Copy all weights in memory too whenever an epoch is the best so far, frozen ones among them."""
    from ftkit.training.callbacks import BestWeights

    keep = BestWeights.on_epoch
    copies: dict[str, Tensor] = {}

    def on_epoch(self: BestWeights, training: Training, epoch: Epoch) -> None:
        keep(self, training, epoch)
        if self.best is epoch:
            copies.clear()
            copies.update({name: tensor.clone() for name, tensor in training.trainable.model.state_dict().items()})

    return replaced((BestWeights, "on_epoch", on_epoch))


def weights_cast_at_every_use() -> Off:
    """Leave it to autocast to cast frozen weights."""
    from ftkit.training import activations, loop

    return replaced(*((each, "frozen_weights_cast", lambda *_: nullcontext()) for each in (activations, loop)))


def gradients_of_all_weights() -> Off:
    """Compute gradients of frozen weights too, which nobody uses."""
    from ftkit.training import loop

    step = loop.Training._step

    def step_with_all(self: Training, parts: Any) -> tuple[float, float]:
        frozen = [weight for weight in self.trainable.model.parameters() if not weight.requires_grad]
        for weight in frozen:
            weight.requires_grad_(True)
        try:
            return step(self, parts)
        finally:
            for weight in frozen:
                weight.requires_grad_(False)
                weight.grad = None

    return replaced((loop.Training, "_step", step_with_all))


def float32_only() -> Off:
    """Train in float32 whatever a probe of the machine says."""
    from ftkit.experiments import fine_tuning

    return replaced((fine_tuning, "choose_precision", lambda *_: "float32"))


def nothing_kept() -> Off:
    """Compute the frozen blocks in every step and prepare the data in every run."""
    from ftkit.experiments import fine_tuning

    return replaced((fine_tuning, "_cache_for", lambda *_: None))


def default_kernels() -> Off:
    """Use torch's own attention, dropout, convolutions and gradients of them, and normalise whole batches."""
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    from ftkit.backbones import attention, depthwise, normalised, text, vision

    return replaced(
        (attention, "attend_on_cpu", sdpa_attention_forward),
        (text, "with_fast_dropout", lambda model: model),
        (depthwise._Depthwise, "apply", depthwise.convolve),
        (normalised, "is_norm_with_relu6", lambda *_: False),
        (vision, "fused_convolution", lambda *_: None),
    )


def plain_optimizer() -> Off:
    """Let the optimizer go over the weights one tensor at a time."""
    import torch

    from ftkit.training import optimizer

    update = optimizer.adamw
    return replaced(
        (optimizer.AdamW, "__init__", lambda self, groups: torch.optim.AdamW.__init__(self, groups)),
        (optimizer, "adamw", lambda *lists, **options: update(*lists, **{**options, "fused": False})),
    )


def gradients_of_all_words() -> Off:
    """Make gradients and moments of the whole vocabulary, as torch does by itself."""
    from ftkit.training import loop

    return replaced((loop, "gradients_by_row", nullcontext))


def batches_whole() -> Off:
    """Take long batches through the model in one piece, and keep all their activations."""
    from ftkit.training import batches

    return replaced((batches, "split_by_length", lambda lengths, _: [list(range(len(lengths)))]))


def maps_kept() -> Off:
    """Keep the normalised feature maps of the picture network for the backward pass."""
    from ftkit.backbones import normalised, vision

    return replaced((vision, "normalise_and_convolve", normalised._in_turn))


def norms_after_convolutions() -> Off:
    """Normalise by statistics that stand still in a step of its own, as where they are renewed."""
    from ftkit.backbones import vision

    return replaced((vision, "fused_convolution", lambda *_: None))


def updates_beside_the_weights() -> Off:
    """Convolve with the frozen weight, then with LoRA's two, as peft does."""
    from ftkit.methods.folded import FoldedConvolution

    return replaced((FoldedConvolution, "whole_weight", lambda self: None))


def long_windows() -> Off:
    """Pad speech to the thirty seconds that Whisper was trained on, and hear them all, as it does."""
    import torch
    from torch.nn import functional

    from ftkit import classifier
    from ftkit.backbones.speech import WhisperBackbone
    from ftkit.experiments import fine_tuning

    settings, to_the_longest = classifier.backbone_settings, WhisperBackbone.collate

    def collate(self: WhisperBackbone, inputs: Sequence[SpeechInput]) -> dict[str, Tensor]:
        batch = to_the_longest(self, inputs)
        missing = self.positions - batch["pools"].shape[1]
        return {
            "mel": functional.pad(batch["mel"], (0, 2 * missing)),  # two frames a position
            "attends": torch.ones(len(inputs), self.positions, dtype=torch.bool),
            "pools": functional.pad(batch["pools"], (0, missing)),
        }

    return replaced(
        (WhisperBackbone, "collate", collate),
        (WhisperBackbone, "length", lambda self, _: self.positions),  # so few go through the model at once
        *(
            (each, "backbone_settings", lambda task: {**settings(task), "seconds": 30.0})
            for each in (classifier, fine_tuning)
        ),
    )


def freed_memory_given_back() -> Off:
    """Leave it to the C library what becomes of large blocks that are freed."""
    from ftkit.training import loop

    return replaced((loop, "reuse_freed_memory", lambda: None))


@contextmanager
def threads_of_the_machine() -> Iterator[None]:
    """Compute with as many threads as torch starts where a container's share of the machine is a part of its CPUs."""
    import torch

    from ftkit import backbones
    from ftkit.experiments import machine
    from ftkit.processor import usable_cores
    from ftkit.training import loop

    usual, many = torch.get_num_threads(), MACHINE_OVER_SHARE * usable_cores()

    def unlimited() -> int:
        torch.set_num_threads(many)
        return many

    try:
        with replaced(*((each, "limit_threads", unlimited) for each in (backbones, loop, machine))):
            yield
    finally:
        torch.set_num_threads(usual)


def one_head_at_a_time() -> Off:
    """Train linear probes of several rates and seeds one after the other."""
    from ftkit.experiments import probing

    together = probing.Probes

    class OneByOne(together):  # type: ignore[misc, valid-type]
        def runs(self, settings: Sequence[TrainingSettings]) -> Iterator[Run]:
            for each in settings:
                yield from super().runs([each])

    return replaced((probing, "Probes", OneByOne))


# --- which pieces there are

THREADS = "threads limited to the CPUs"
"""The piece whose lack is tried as it would be on another machine."""
PIECES: dict[str, Callable[[], Off]] = {
    "frozen activations": nothing_kept,
    "bf16 where it is faster": float32_only,
    "batches by length": random_batches,
    "padding to the longest of a batch only": padded_to_the_most,
    "padding in attention alone": padding_computed,
    "data prepared once": prepared_at_every_reading,
    "pictures decoded once": decoded_at_every_reading,
    "pictures kept as bytes": pictures_in_float32,
    "frozen weights cast once": weights_cast_at_every_use,
    "gradients only of what trains": gradients_of_all_weights,
    "chosen kernels": default_kernels,
    "fused optimizer": plain_optimizer,
    "words by row": gradients_of_all_words,
    "long batches in parts": batches_whole,
    "only what trains kept of the best epoch": best_weights_copied,
    "feature maps computed again": maps_kept,
    "frozen norms inside convolutions": norms_after_convolutions,
    "LoRA inside the weights": updates_beside_the_weights,
    "speech in short windows": long_windows,
    "freed memory kept": freed_memory_given_back,
    THREADS: threads_of_the_machine,
    "many heads at once": one_head_at_a_time,
}
"""What makes the loop fast or small: name to the context in which it is off."""
PIECES_OF_PROBES = ("many heads at once",)
"""Those of training several linear probes, which have nothing to do with a single training."""
PIECES_OF_MODALITIES = {
    "padding to the longest of a batch only": ("text",),
    "padding in attention alone": ("text", "audio"),
    "batches by length": ("text",),  # pictures are all of one size, and recordings come in random batches
    "long batches in parts": ("text", "audio"),  # batch statistics need the whole batch together
    "data prepared once": ("text", "audio"),
    "pictures decoded once": ("image",),
    "pictures kept as bytes": ("image",),
    "words by row": ("text",),
    "feature maps computed again": ("image",),
    "frozen norms inside convolutions": ("image",),
    "LoRA inside the weights": ("image",),
    "speech in short windows": ("audio",),
}
"""Those that not every kind of data has, and which have them."""
PIECES_OF_METHODS = {
    "frozen activations": ("linear-probe", "partial"),
    "data prepared once": ("full", "scratch", "lora", "adapter"),  # the others read frozen activations
    "pictures decoded once": ("full", "scratch", "lora", "adapter"),
    "pictures kept as bytes": ("full", "scratch", "lora", "adapter"),
    "only what trains kept of the best epoch": ("lora", "adapter"),  # of which the copy is many times what trains
    "frozen weights cast once": ("linear-probe", "partial", "lora", "adapter"),
    "gradients only of what trains": ("lora", "adapter"),  # where frozen blocks are in every step
    "words by row": ("full", "scratch"),
    "feature maps computed again": ("full", "scratch", "partial"),  # where norms renew their statistics
    "frozen norms inside convolutions": ("linear-probe", "partial", "lora", "adapter"),  # and where they stand still
    "LoRA inside the weights": ("lora",),
}
"""Those that not every method has, and which have them."""


def pieces_of(method: str, modality: str) -> list[str]:
    """Names of the pieces that a single training by a method on a kind of data has."""
    return [
        name
        for name in PIECES
        if name not in PIECES_OF_PROBES
        and modality in PIECES_OF_MODALITIES.get(name, (modality,))
        and method in PIECES_OF_METHODS.get(name, (method,))
    ]


@contextmanager
def turned_off(names: Sequence[str]) -> Iterator[None]:
    """Turn the named pieces off."""
    with ExitStack() as stack:
        for name in names:
            stack.enter_context(PIECES[name]())
        yield
