"""Read Whisper from CTranslate2's container and give it back to transformers.

The container (little endian) is: version, specification name, revision, then every variable with its name, shape,
dtype and bytes, then aliases (a second name for a variable). Linear maps of queries, keys and values are fused.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from torch import Tensor
from transformers import WhisperConfig, WhisperForConditionalGeneration

from ftkit.errors import AssetError

CONTAINER_VERSION = 6
SPECIFICATION = "WhisperSpec"
AGAIN = "Delete its folder in the cache (`ftkit fetch --verify` names it) and run `ftkit fetch whisper-tiny-en`."
DTYPES = {0: np.float32, 1: np.int8, 2: np.int16, 3: np.int32, 4: np.float16}
TINY_EN = {
    "vocab_size": 51864,
    "num_mel_bins": 80,
    "d_model": 384,
    "encoder_layers": 4,
    "encoder_attention_heads": 6,
    "encoder_ffn_dim": 1536,
    "decoder_layers": 4,
    "decoder_attention_heads": 6,
    "decoder_ffn_dim": 1536,
    "max_source_positions": 1500,
    "max_target_positions": 448,
    "bos_token_id": 50256,
    "eos_token_id": 50256,
    "pad_token_id": 50256,
    "decoder_start_token_id": 50257,
    "suppress_tokens": None,
    "begin_suppress_tokens": None,
}


@dataclass(frozen=True)
class Container:
    """Variables of a container by name, and aliases as (alias, name) pairs."""

    variables: dict[str, np.ndarray]
    aliases: tuple[tuple[str, str], ...]


def read_container(path: Path) -> Container:
    """Read a whole container.

    Raises
    ------
    AssetError
        If the file is not a Whisper container of the known version, is damaged, or does not end where its contents do.
    """
    with path.open("rb") as file:
        try:
            return _read(file, path)
        except (KeyError, ValueError) as error:  # an unknown dtype, a name that is no text, a shape that does not fit
            raise AssetError(f"{path.name} is damaged ({error}). {AGAIN}") from error


def load_whisper(path: Path) -> WhisperForConditionalGeneration:
    """Build transformers' Whisper tiny.en from a container.

    Parameters
    ----------
    path
        The container, ``model.bin``; its float16 weights become float32.

    Returns
    -------
    WhisperForConditionalGeneration
        In eval mode.

    Raises
    ------
    AssetError
        If a weight is missing, left over, or of another shape.
    """
    model = WhisperForConditionalGeneration(WhisperConfig(**TINY_EN))
    state = dict(_named_tensors(read_container(path).variables))
    state["proj_out.weight"] = state["model.decoder.embed_tokens.weight"]
    missing = sorted(set(model.state_dict()) ^ set(state))
    if missing:
        raise AssetError(f"{path.name} does not fit Whisper tiny.en: {', '.join(missing[:5])} found on one side only.")
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise AssetError(f"{path.name} does not fit Whisper tiny.en: {error}") from error
    return model.eval()


def _read(file: BinaryIO, path: Path) -> Container:
    version, specification = _unsigned(file), _string(file)
    if (version, specification) != (CONTAINER_VERSION, SPECIFICATION):
        raise AssetError(
            f"{path.name} is a container of version {version} for {specification!r}; ftkit reads version "
            f"{CONTAINER_VERSION} for {SPECIFICATION!r}. {AGAIN}"
        )
    _unsigned(file)  # revision of the specification; the version above fixes the layout
    variables = dict(_variable(file) for _ in range(_unsigned(file)))
    aliases = tuple((_string(file), _string(file)) for _ in range(_unsigned(file)))
    if file.read(1):
        raise AssetError(f"{path.name} holds more than its table of contents says. {AGAIN}")
    return Container(variables, aliases)


def _unsigned(file: BinaryIO) -> int:
    return struct.unpack("<I", _exactly(file, 4))[0]


def _string(file: BinaryIO) -> str:
    (length,) = struct.unpack("<H", _exactly(file, 2))
    return _exactly(file, length)[:-1].decode()  # the last byte is a NUL


def _variable(file: BinaryIO) -> tuple[str, np.ndarray]:
    name = _string(file)
    (rank,) = _exactly(file, 1)
    shape = struct.unpack(f"<{rank}I", _exactly(file, 4 * rank))
    (dtype,) = _exactly(file, 1)
    values = np.frombuffer(_exactly(file, _unsigned(file)), dtype=DTYPES[dtype])
    return name, values.reshape(shape)


def _exactly(file: BinaryIO, count: int) -> bytes:
    data = file.read(count)
    if len(data) != count:
        raise AssetError(f"The Whisper container ends too early. {AGAIN}")
    return data


RENAMES = (
    (r"^(encoder|decoder)/", r"model.\1/"),
    (r"/layer_(\d+)/", r"/layers/\1/"),
    (r"/self_attention/layer_norm/", "/self_attn_layer_norm/"),
    (r"/attention/layer_norm/", "/encoder_attn_layer_norm/"),
    (r"/ffn/layer_norm/", "/final_layer_norm/"),
    (r"/ffn/linear_0/", "/fc1/"),
    (r"/ffn/linear_1/", "/fc2/"),
    (r"/self_attention/", "/self_attn/"),
    (r"/attention/", "/encoder_attn/"),
    (r"/position_encodings/encodings$", "/embed_positions/weight"),
    (r"/embeddings/weight$", "/embed_tokens/weight"),
    (r"/gamma$", "/weight"),
    (r"/beta$", "/bias"),
)


def _named_tensors(variables: dict[str, np.ndarray]) -> Iterator[tuple[str, Tensor]]:
    """Yield tensors under transformers' names, fused projections taken apart."""
    for name, values in variables.items():
        if not name.startswith(("encoder/", "decoder/")) or values.ndim == 0 or name.startswith("decoder/projection"):
            continue
        for pattern, replacement in RENAMES:
            name = re.sub(pattern, replacement, name)
        tensor = torch.from_numpy(values.astype(np.float32))
        yield from _projections(name.replace("/", "."), tensor)


def _projections(name: str, tensor: Tensor) -> Iterator[tuple[str, Tensor]]:
    match = re.fullmatch(r"(.*)\.(self_attn|encoder_attn)\.linear_(\d)\.(weight|bias)", name)
    if match is None:
        yield name, tensor
        return
    prefix, attention, number, kind = match.groups()
    parts = {
        ("self_attn", "0"): ("q_proj", "k_proj", "v_proj"),
        ("self_attn", "1"): ("out_proj",),
        ("encoder_attn", "0"): ("q_proj",),
        ("encoder_attn", "1"): ("k_proj", "v_proj"),
        ("encoder_attn", "2"): ("out_proj",),
    }[attention, number]
    for part, piece in zip(parts, tensor.chunk(len(parts)), strict=True):
        if (part, kind) != ("k_proj", "bias"):  # stored as zeros; transformers' key projection has no bias
            yield f"{prefix}.{attention}.{part}.{kind}", piece.clone()
