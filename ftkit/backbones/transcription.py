"""What the whole Whisper writes down of speech."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from tokenizers import Tokenizer
from transformers import GenerationConfig, WhisperFeatureExtractor, WhisperForConditionalGeneration

from ftkit.backbones import SAMPLE_RATE
from ftkit.fetch import fetch

CLIPS_AT_ONCE = 8
_NO_TIMESTAMPS = 50362


def transcribe(
    model: WhisperForConditionalGeneration, clips: Sequence[np.ndarray], *, longest: int = 40
) -> Iterator[str]:
    """Write down clips one after the other, greedily and without time stamps.

    Parameters
    ----------
    model
        From `load_full_whisper`, its encoder tuned or not.
    clips
        Float32 waveforms, mono, 16 kHz, at most 30 s each.
    longest
        Most tokens of one transcript, default 40.

    Yields
    ------
    str
        One transcript a clip, with punctuation as the model gives it.
    """
    folder = fetch("whisper-tiny-en")
    published = json.loads(next(folder.rglob("config.json")).read_text(encoding="utf-8"))
    tokenizer = Tokenizer.from_file(str(next(folder.rglob("tokenizer.json"))))
    extract = WhisperFeatureExtractor(feature_size=80)
    greedy = GenerationConfig(
        max_length=longest,
        eos_token_id=model.config.eos_token_id,
        pad_token_id=model.config.pad_token_id,
        suppress_tokens=published["suppress_ids"],
        begin_suppress_tokens=published["suppress_ids_begin"],
    )
    model.eval()
    for start in range(0, len(clips), CLIPS_AT_ONCE):
        some = [np.asarray(clip, dtype=np.float32) for clip in clips[start : start + CLIPS_AT_ONCE]]
        mel = extract(some, sampling_rate=SAMPLE_RATE, return_tensors="pt")["input_features"]
        begun = torch.tensor([[model.config.decoder_start_token_id, _NO_TIMESTAMPS]]).repeat(len(some), 1)
        with torch.no_grad():
            tokens = model.generate(
                mel,
                generation_config=greedy,
                decoder_input_ids=begun,
                attention_mask=torch.ones(mel.shape[0], mel.shape[2], dtype=torch.long),
            )
        yield from tokenizer.decode_batch(tokens.tolist())
