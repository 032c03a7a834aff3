"""Whisper tiny.en: the encoder of a speech recogniser, cut to short windows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from transformers import WhisperConfig, WhisperFeatureExtractor
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from ftkit.backbones import LONGEST_SECONDS, SAMPLE_RATE
from ftkit.backbones.attention import ATTENTION
from ftkit.backbones.base import Backbone, Embedded, Targets

SAMPLES_PER_POSITION = 320  # a mel frame every 160 samples, and the second convolution halves the frames
CLIPS_AT_ONCE = 32
"""Clips whose spectrograms are computed together: more need far more memory, and no less time."""


@dataclass(frozen=True)
class SpeechInput:
    """One clip, ready for the encoder.

    Attributes
    ----------
    mel
        Float32 array (80, frames): log-mel spectrogram of the whole window.
    positions
        How many of the encoder's positions (20 ms each) hold the clip; the rest is padding.
    """

    mel: np.ndarray
    positions: int

    @property
    def nbytes(self) -> int:
        """Size of the spectrogram in bytes."""
        return self.mel.nbytes


PASS_POSITIONS = 16 * 75
"""Positions of all clips together that go through the model at once: 16 windows of 1.5 s."""


class FrameEmbedding(nn.Module):
    """Log-mel frames to hidden states: two convolutions and the position embeddings of the window."""

    position_embeddings: Tensor

    def __init__(self, encoder: WhisperEncoder, positions: int) -> None:
        super().__init__()
        self.convolution_1 = encoder.conv1
        self.convolution_2 = encoder.conv2
        # fixed sinusoids, so a buffer: no method trains them
        self.register_buffer("position_embeddings", encoder.embed_positions.weight[:positions].detach().clone())

    def forward(self, batch: dict[str, Tensor]) -> Embedded:
        """Embed ``mel`` (batch, 80, frames); only frames that hold the clip pool.

        Padding stays visible to attention, as it was when Whisper was trained.
        """
        hidden = nn.functional.gelu(self.convolution_1(batch["mel"]))
        hidden = nn.functional.gelu(self.convolution_2(hidden)).transpose(1, 2)
        return Embedded(hidden + self.position_embeddings, pools=batch["mask"])


@lru_cache(maxsize=1)
def _feature_extractor() -> WhisperFeatureExtractor:
    return WhisperFeatureExtractor(feature_size=80)  # computes its filters when it is made


class WhisperBackbone(Backbone):
    """Whisper's encoder over a window as long as the task needs, with mean pooling over the clip.

    The recogniser reads 30 s at a time; its sinusoidal positions can be sliced, so a word of a second
    needs no 30 s of padding.

    Parameters
    ----------
    name
        Catalog name.
    encoder
        The transformers encoder with all its 1,500 positions.
    seconds
        Window length; longer clips are cut, shorter ones padded with silence.
    """

    preparation_is_slow: ClassVar[bool] = True
    modality: ClassVar[str] = "audio"
    targets: ClassVar[Targets] = Targets(
        linear_maps=r".*blocks\.\d+\.self_attn\.(q_proj|v_proj)",
        sublayer_outputs=r".*blocks\.\d+\.(self_attn\.out_proj|fc2)",
        feed_forward_outputs=r".*blocks\.\d+\.fc2",
        prompt=r"(.*\.)?embed",
        scaled_inputs=r".*blocks\.\d+\.fc2",
        scaled_outputs=r".*blocks\.\d+\.self_attn\.(k_proj|v_proj)",
        attention=r".*blocks\.\d+\.self_attn",
    )

    def __init__(self, name: str, encoder: WhisperEncoder, seconds: float = 1.5) -> None:
        super().__init__()
        self.name = name
        encoder.set_attn_implementation(ATTENTION)
        self.configuration: WhisperConfig = encoder.config
        self.width = encoder.config.d_model
        self.attention_heads = encoder.config.num_attention_heads
        self.seconds = seconds
        self.positions = math.ceil(seconds * SAMPLE_RATE / SAMPLES_PER_POSITION)
        self.embed = FrameEmbedding(encoder, self.positions)
        self.blocks = nn.ModuleList(encoder.layers)
        self.norm = encoder.layer_norm

    @classmethod
    def load(cls, name: str, encoder: WhisperEncoder, *, seconds: float = 1.5) -> WhisperBackbone:
        """Cut a loaded encoder to a window of ``seconds``."""
        return cls(name, encoder, min(seconds, LONGEST_SECONDS))

    @property
    def pass_length(self) -> int:
        """Clips that go through the model at once: fewer where the window is long."""
        return max(1, PASS_POSITIONS // self.positions)

    @property
    def settings(self) -> dict[str, Any]:
        """Keyword arguments with which `load_backbone` builds the same backbone again."""
        return {"seconds": self.seconds}

    @property
    def block_names(self) -> list[str]:
        """One short name for each block, from input to output."""
        return [f"layer {number}" for number in range(1, len(self.blocks) + 1)]

    def prepare(self, items: Sequence[np.ndarray]) -> list[SpeechInput]:
        """Compute the log-mel spectrogram of waveforms (float32, mono, 16 kHz)."""
        samples = self.positions * SAMPLES_PER_POSITION
        extract = _feature_extractor()
        prepared: list[SpeechInput] = []
        for start in range(0, len(items), CLIPS_AT_ONCE):
            clips = [np.asarray(clip[:samples], dtype=np.float32) for clip in items[start : start + CLIPS_AT_ONCE]]
            with torch.autocast("cpu", enabled=False):  # spectrograms are float32, whatever a training computes in
                mel = extract(
                    clips, sampling_rate=SAMPLE_RATE, padding="max_length", max_length=samples, return_tensors="np"
                )["input_features"]
            prepared += [
                SpeechInput(frames, max(1, math.ceil(len(clip) / SAMPLES_PER_POSITION)))
                for frames, clip in zip(mel, clips, strict=True)
            ]
        return prepared

    def collate(self, inputs: Sequence[SpeechInput]) -> dict[str, Tensor]:
        """Stack windows and mark the positions that hold the clips."""
        filled = torch.tensor([clip.positions for clip in inputs])
        return {
            "mel": torch.from_numpy(np.stack([clip.mel for clip in inputs])),
            "mask": torch.arange(self.positions) < filled[:, None],
        }

    def run_block(self, block: nn.Module, hidden: Tensor, attends: Tensor | None) -> Tensor:
        """Apply one transformer layer; every position attends to every other."""
        return block(hidden, attention_mask=None)

    def reset_parameters(self) -> None:
        """Replace every weight by Whisper's own random initialisation; the sinusoidal positions are no weights."""
        self.copy_weights(WhisperBackbone(self.name, WhisperEncoder(self.configuration), self.seconds))
