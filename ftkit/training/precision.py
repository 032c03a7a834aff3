"""Which number format trains fastest here, by measurement, and frozen weights held in it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path

import torch
from torch import nn

from ftkit.classifier import Head
from ftkit.errors import TrainingError
from ftkit.paths import cache_folder, locked, write_text
from ftkit.processor import one_thread, processor_name
from ftkit.randomness import seeded

MUCH_FASTER = 1.1
"""bf16 must beat float32 by this factor to be chosen: a small gain is not worth its three digits."""
ROUNDS = 7
AUTOCAST_TYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
"""Types that autocast computes in, by precision; float32 is left as it is."""


def choose_precision(precision: str, modality: str = "text") -> str:
    """Resolve ``"auto"`` to the precision to train in; any other value is returned as it is.

    On a GPU, "auto" is bf16 where the card computes in it, else fp16; on another accelerator, such as Apple's, it is
    float32; on a processor it is measured.

    Parameters
    ----------
    precision
        ``"auto"``, ``"float32"``, ``"bf16"`` or ``"fp16"``.
    modality
        ``"text"``, ``"image"`` or ``"audio"``: convolutions gain other than attention layers do.

    Raises
    ------
    TrainingError
        If there is no such precision, or fp16 is asked for where there is no GPU: a processor would silently train in
        float32.

    Examples
    --------
    >>> choose_precision("float32")
    'float32'
    """
    known = ("auto", "float32", *AUTOCAST_TYPES)
    if precision not in known:
        raise TrainingError(f"precision = {precision!r}: choose one of {', '.join(known)}.")
    if precision == "fp16" and not torch.accelerator.is_available():
        raise TrainingError(
            "precision = 'fp16' needs a GPU, and there is none here: choose 'bf16', 'float32' or 'auto'."
        )
    if precision != "auto":
        return precision
    if torch.cuda.is_available():
        # Older cards emulate bf16, far slower than they compute in fp16.
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    if torch.accelerator.is_available():
        return "float32"
    return "bf16" if bf16_speed(modality) >= MUCH_FASTER else "float32"


def answering_precision(trained_in: str) -> str:
    """Precision in which a saved run answers here: the one it was trained in, where this machine has it.

    Parameters
    ----------
    trained_in
        ``"float32"``, ``"bf16"`` or ``"fp16"``. The last is of GPUs alone; where there is none, float32 answers.

    Examples
    --------
    >>> answering_precision("bf16")
    'bf16'
    """
    return "float32" if trained_in == "fp16" and not torch.accelerator.is_available() else trained_in


@lru_cache(maxsize=3)
def bf16_speed(modality: str = "text") -> float:
    """How many times faster a training step of a block of the modality's model is in bf16 than in float32 here.

    Measured once on a machine and then kept in the cache folder, so that every run on it makes the same choice: two
    runs of one seed would differ otherwise.

    Parameters
    ----------
    modality
        ``"text"``, ``"image"`` or ``"audio"``.
    """
    path = cache_folder() / "precision.json"
    key = f"{modality}, {processor_name()}, one thread, torch {torch.__version__}"
    known = _speeds_in(path)
    if key not in known:
        with suppress(OSError), locked(path):  # where nothing can be written, every process measures for itself
            known = _speeds_in(path)
            if key not in known:
                known[key] = measure_bf16_speed(modality)
                write_text(path, json.dumps(known, indent=1) + "\n")
    return known[key] if key in known else measure_bf16_speed(modality)


def _speeds_in(path: Path) -> dict[str, float]:
    """Read what was measured before; nothing where the file is missing or damaged."""
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return {}


def measure_bf16_speed(modality: str) -> float:
    """Time one block in both precisions in turns, about a second in all, and compare the shortest times.

    One thread computes: where other programs are busy, threads that wait for each other take as long in either.
    """
    with seeded(0):
        step = _image_step() if modality == "image" else _transformer_step()
    times: dict[bool, list[float]] = {False: [], True: []}
    with one_thread():
        for _ in range(ROUNDS):
            for in_bf16, taken in times.items():
                started = time.perf_counter()
                with torch.autocast("cpu", dtype=torch.bfloat16, enabled=in_bf16):
                    result = step()
                result.float().mean().backward()
                taken.append(time.perf_counter() - started)
    return min(times[False]) / min(times[True])


@contextmanager
def frozen_weights_cast(model: nn.Module, trained: Iterable[nn.Parameter], dtype: torch.dtype | None) -> Iterator[None]:
    """Hold the weights of frozen linear maps in the type in which they are multiplied; afterwards they are as before.

    Autocast casts them at every use, to the same numbers each time. What trains is left alone: it learns in float32;
    so is a classifier's head, which computes in it.

    Parameters
    ----------
    model
        Its linear maps are meant.
    trained
        Parameters that the optimizer knows, should they be frozen at the moment or not; none while a model only
        answers.
    dtype
        Type that autocast computes in; None, or float32, changes nothing.

    Examples
    --------
    >>> layer = nn.Linear(2, 2).requires_grad_(False)
    >>> with frozen_weights_cast(layer, [], torch.bfloat16):
    ...     print(layer.weight.dtype)
    torch.bfloat16
    >>> layer.weight.dtype
    torch.float32
    """
    kept = set(map(id, trained)) | {id(weight) for module in model.modules() for weight in _needed_in_float32(module)}
    weights = [
        weight
        for module in model.modules()
        if isinstance(module, nn.Linear)
        for weight in module.parameters()
        if id(weight) not in kept
    ]
    before = [weight.data for weight in weights]
    try:
        if dtype is not None:
            for weight in weights:
                weight.data = weight.data.to(dtype)
        yield
    finally:
        for weight, data in zip(weights, before, strict=True):
            weight.data = data


def _needed_in_float32(module: nn.Module) -> list[nn.Parameter]:
    """Weights not only multiplied in autocast's type: a head's, and DoRA's, of whose sum the length is taken."""
    is_needed = isinstance(module, Head) or getattr(module, "lora_magnitude_vector", None)
    return list(module.parameters()) if is_needed else []


def _transformer_step() -> Callable[[], torch.Tensor]:
    feed_forward = nn.Sequential(nn.Linear(384, 1536), nn.GELU(), nn.Linear(1536, 384))
    hidden = torch.randn(1024, 384)
    return lambda: feed_forward(hidden)


def _image_step() -> Callable[[], torch.Tensor]:
    from ftkit.backbones.depthwise import DepthwiseConvolution

    block = nn.Sequential(
        nn.Conv2d(24, 144, 1, bias=False),
        nn.BatchNorm2d(144),
        nn.ReLU6(inplace=True),
        DepthwiseConvolution(nn.Conv2d(144, 144, 5, groups=144, bias=False)),
        nn.BatchNorm2d(144),
        nn.ReLU6(inplace=True),
        nn.Conv2d(144, 24, 1, bias=False),
        nn.BatchNorm2d(24),
    )
    block.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    pixels = torch.randn(8, 24, 80, 80).contiguous(memory_format=torch.channels_last)
    return lambda: block(pixels)
