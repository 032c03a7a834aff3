"""Whisper tiny.en: the encoder of a speech recogniser, over windows as long as the clips."""

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
from ftkit.backbones.base import Backbone, Embedded, Targets, padded_length
from ftkit.backbones.packing import Packing

SAMPLES_PER_POSITION = 320  # a mel frame every 160 samples, and the second convolution halves the frames
SILENCE = 10
"""Positions of silence after every clip, 0.2 s: the recogniser has heard each of its clips end in silence."""
CLIPS_AT_ONCE = 32
"""Clips whose spectrograms are computed together: more need far more memory, and no less time."""


@dataclass(frozen=True)
class SpeechInput:
    """One clip, ready for the encoder.

    Attributes
    ----------
    mel
        Float32 array (80, frames): log-mel spectrogram of the clip and the silence after it, two frames a position.
    positions
        How many of the encoder's positions (20 ms each) hold the clip; the rest is silence.
    """

    mel: np.ndarray
    positions: int

    @property
    def nbytes(self) -> int:
        """Size of the spectrogram in bytes."""
        return self.mel.nbytes

    @property
    def window(self) -> int:
        """Positions of the clip and the silence."""
        return self.mel.shape[1] // 2


class FrameEmbedding(nn.Module):
    """Log-mel frames to hidden states: two convolutions and the position embeddings."""

    position_embeddings: Tensor

    def __init__(self, encoder: WhisperEncoder, positions: int) -> None:
        super().__init__()
        self.convolution_1 = encoder.conv1
        self.convolution_2 = encoder.conv2
        # fixed sinusoids, so a buffer: no method trains them
        self.register_buffer("position_embeddings", encoder.embed_positions.weight[:positions].detach().clone())

    def forward(self, batch: dict[str, Tensor]) -> Embedded:
        """Embed ``mel`` (batch, 80, frames); attention sees clip and silence, and only what holds the clip pools."""
        hidden = nn.functional.gelu(self.convolution_1(batch["mel"]))
        hidden = nn.functional.gelu(self.convolution_2(hidden)).transpose(1, 2)
        positions = self.position_embeddings[: hidden.shape[1]]
        return Embedded(hidden + positions, attends=batch["attends"], pools=batch["pools"])


@lru_cache(maxsize=1)
def _feature_extractor() -> WhisperFeatureExtractor:
    return WhisperFeatureExtractor(feature_size=80)  # computes its filters when it is made


class WhisperBackbone(Backbone):
    """Whisper's encoder over windows as long as the clips, with mean pooling over the clip.

    The recogniser reads 30 s at a time; its sinusoidal positions can be sliced, so a word of half a second needs no
    30 s of padding. Every clip ends in a little silence, as it did when Whisper was trained; what fills it up to the
    longest of its batch is invisible, as it is with texts, so that a clip's features are its own.

    Parameters
    ----------
    name
        Catalog name.
    encoder
        The transformers encoder with all its 1,500 positions.
    seconds
        Longest clip that is heard; longer ones are cut.
    """

    bucket: ClassVar[int] = 1  # a word's length tells much of which word it is: batches of a length would hold few
    pass_length: ClassVar[int] = 16 * 75  # 16 clips of a second and a half
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
        self.longest_clip = math.ceil(seconds * SAMPLE_RATE / SAMPLES_PER_POSITION)
        self.positions = min(self.longest_clip + SILENCE, encoder.config.max_source_positions)
        self.embed = FrameEmbedding(encoder, self.positions)
        self.blocks = nn.ModuleList(encoder.layers)
        self.norm = encoder.layer_norm

    @classmethod
    def load(cls, name: str, encoder: WhisperEncoder, *, seconds: float = 1.5) -> WhisperBackbone:
        """Cut a loaded encoder to clips of ``seconds`` at most."""
        return cls(name, encoder, min(seconds, LONGEST_SECONDS))

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
        longest = self.longest_clip * SAMPLES_PER_POSITION
        prepared: list[SpeechInput] = []
        for start in range(0, len(items), CLIPS_AT_ONCE):
            prepared += self._spectrograms(
                [np.asarray(clip[:longest], dtype=np.float32) for clip in items[start : start + CLIPS_AT_ONCE]]
            )
        return prepared

    def _spectrograms(self, clips: Sequence[np.ndarray]) -> list[SpeechInput]:
        filled = [max(1, math.ceil(len(clip) / SAMPLES_PER_POSITION)) for clip in clips]
        windows = [min(positions + SILENCE, self.positions) for positions in filled]
        with torch.autocast("cpu", enabled=False):  # spectrograms are float32, whatever a training computes in
            mel = _feature_extractor()(
                clips,
                sampling_rate=SAMPLE_RATE,
                padding="max_length",
                max_length=max(windows) * SAMPLES_PER_POSITION,
                return_tensors="np",
            )["input_features"]
        return [
            # a copy: a view would keep the spectrograms of all
            SpeechInput(frames[:, : 2 * window].copy(), positions)
            for frames, window, positions in zip(mel, windows, filled, strict=True)
        ]

    def length(self, prepared: SpeechInput) -> int:
        """Count the positions of one clip and the silence after it."""
        return prepared.window

    def collate(self, inputs: Sequence[SpeechInput]) -> dict[str, Tensor]:
        """Fill clips up to the longest of the batch, and on to a multiple of eight positions within the window."""
        longest = min(padded_length(max(clip.window for clip in inputs)), self.positions)
        mel = np.zeros((len(inputs), len(inputs[0].mel), 2 * longest), dtype=np.float32)
        for row, clip in enumerate(inputs):
            mel[row, :, : clip.mel.shape[1]] = clip.mel
        position = torch.arange(longest)
        return {
            "mel": torch.from_numpy(mel),
            "attends": position < torch.tensor([[clip.window] for clip in inputs]),
            "pools": position < torch.tensor([[clip.positions] for clip in inputs]),
        }

    def run_block(self, block: nn.Module, hidden: Tensor, packing: Packing | None) -> Tensor:
        """Apply one transformer layer to packed hidden states."""
        return block(hidden, attention_mask=packing)

    def reset_parameters(self) -> None:
        """Replace every weight by Whisper's own random initialisation; the sinusoidal positions are no weights."""
        self.copy_weights(WhisperBackbone(self.name, WhisperEncoder(self.configuration), self.seconds))
