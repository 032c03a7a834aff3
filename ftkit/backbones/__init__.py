"""Pretrained encoders by catalog name."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftkit.catalog import asset
from ftkit.errors import UnknownNameError
from ftkit.fetch import fetch
from ftkit.paths import cache_folder, locked
from ftkit.processor import limit_threads

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import WhisperForConditionalGeneration
    from transformers.models.whisper.modeling_whisper import WhisperEncoder

    from ftkit.backbones.base import Backbone

__all__ = [
    "BACKBONES",
    "LONGEST_SECONDS",
    "SAMPLE_RATE",
    "backbone_for",
    "load_backbone",
    "load_full_whisper",
    "whisper_encoder_weights",
]

BACKBONES = {"minilm": "text", "efficientnet-lite0": "image", "whisper-tiny-en": "audio"}
"""Modality of every backbone, by catalog name."""
SAMPLE_RATE = 16_000
"""Samples per second of what the speech backbone hears."""
LONGEST_SECONDS = 30.0
"""The longest recording that it hears at once."""


def backbone_for(modality: str) -> str:
    """Catalog name of the pretrained model that tasks of a modality use.

    Examples
    --------
    >>> backbone_for("text")
    'minilm'
    """
    return next(name for name, suited in BACKBONES.items() if suited == modality)


def load_backbone(name: str, **settings: Any) -> Backbone:
    """Load a pretrained encoder, fetching it first where it is not in the cache.

    Parameters
    ----------
    name
        ``"minilm"`` (text), ``"efficientnet-lite0"`` (images) or ``"whisper-tiny-en"`` (speech).
    **settings
        ``max_tokens`` (default 128) for text, ``image_size`` (default 160 pixels) for pictures, ``seconds``
        (default 1.5, at most 30) for speech.

    Returns
    -------
    Backbone
        In float32, on the CPU, in eval mode.

    Raises
    ------
    UnknownNameError
        If there is no backbone of that name.
    AssetError
        If its files can't be had.
    """
    if name not in BACKBONES:
        raise UnknownNameError("backbone", name, BACKBONES)
    limit_threads()  # before anything computes
    if name == "minilm":
        from ftkit.backbones.text import BertBackbone

        return BertBackbone.load(name, _model_folder(name), **settings).eval()
    if name == "efficientnet-lite0":
        from ftkit.backbones.vision import EfficientNetBackbone

        return EfficientNetBackbone.load(name, fetch(name), **settings).eval()
    from ftkit.backbones.speech import WhisperBackbone

    return WhisperBackbone.load(name, _whisper_encoder(), **settings).eval()


def load_full_whisper() -> WhisperForConditionalGeneration:
    """Load the whole recogniser, encoder and decoder; it is what proves that the converted encoder is the real one."""
    from ftkit.backbones.whisper_container import load_whisper

    return load_whisper(_model_folder("whisper-tiny-en") / "model.bin")


def _model_folder(name: str) -> Path:
    return next(fetch(name).rglob("config.json")).parent


def whisper_encoder_weights() -> dict[str, Tensor]:
    """Read the encoder's weights from the conversion kept beside the assets.

    It is converted where there is none yet of the catalog's version, or none that can be read.

    Returns
    -------
    dict
        Names of transformers' ``WhisperEncoder`` to float32 tensors.

    Raises
    ------
    AssetError
        If the model's files can't be had.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file, save_file

    version = asset("whisper-tiny-en").fingerprint[:12]
    converted = cache_folder() / "converted" / f"whisper-tiny-en-encoder-{version}.safetensors"
    with suppress(FileNotFoundError, SafetensorError):
        return load_file(converted)  # without a lock, which a cache that one may only read does not give
    converted.parent.mkdir(parents=True, exist_ok=True)
    with locked(converted):
        with suppress(FileNotFoundError, SafetensorError):
            return load_file(converted)
        partial = converted.with_suffix(".partial")
        save_file(load_full_whisper().get_encoder().state_dict(), partial)
        partial.replace(converted)
        return load_file(converted)


def _whisper_encoder() -> WhisperEncoder:
    from transformers import WhisperConfig
    from transformers.initialization import no_init_weights
    from transformers.models.whisper.modeling_whisper import WhisperEncoder

    from ftkit.backbones.whisper_container import TINY_EN

    with no_init_weights():  # they are read
        encoder = WhisperEncoder(WhisperConfig(**TINY_EN))
    encoder.load_state_dict(whisper_encoder_weights())
    return encoder
