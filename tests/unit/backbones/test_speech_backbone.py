from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import WhisperFeatureExtractor, WhisperForConditionalGeneration
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from ftkit.backbones import load_backbone, load_full_whisper, whisper_encoder_weights
from ftkit.backbones.transcription import transcribe
from ftkit.catalog import asset
from ftkit.classifier import masked_mean
from ftkit.fetch import fetch
from ftkit.paths import cache_folder
from ftkit.tasks.sound import read_sound

WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
RATE = 16_000


@pytest.fixture(scope="module")
def whisper() -> WhisperForConditionalGeneration:
    return load_full_whisper()


def spoken(recordings: Sequence[Path]) -> np.ndarray:
    """Join recordings, half a second of silence between them."""
    pause = np.zeros(RATE // 2, dtype=np.float32)
    return np.concatenate([pause, *(part for path in recordings for part in (read_sound(path), pause))])


def log_mel(samples: np.ndarray) -> Tensor:
    """Return the log-mel spectrogram of a window of 30 s, (1, 80, 3000)."""
    extract = WhisperFeatureExtractor(feature_size=80)
    return extract([samples], sampling_rate=RATE, return_tensors="pt")["input_features"]


def digits_in(transcript: str) -> list[int]:
    found = re.findall(rf"\d|{'|'.join(WORDS)}", transcript.lower())
    return [int(word) if word.isdigit() else WORDS.index(word) for word in found]


@pytest.mark.parametrize(("speaker", "digits"), [("jackson", [1, 2, 3, 4, 5, 6, 7, 8, 9]), ("theo", [7, 2, 9, 8])])
def test_whisper_writes_down_what_real_speakers_say(
    whisper: WhisperForConditionalGeneration, speaker: str, digits: list[int]
):
    folder = fetch("fsdd")
    (transcript,) = transcribe(whisper, [spoken([folder / f"{digit}_{speaker}_0.wav" for digit in digits])])
    assert digits_in(transcript) == digits


def test_whisper_writes_down_another_collection_of_digits(whisper: WhisperForConditionalGeneration):
    folder = fetch("digits-spokennumbers")
    digits = [3, 1, 4, 1, 5, 9, 2, 6]
    assert digits_in(next(transcribe(whisper, [spoken([folder / f"{digit}.wav" for digit in digits])]))) == digits


def test_a_short_window_has_the_first_positions_of_the_whole_encoder(whisper: WhisperForConditionalGeneration):
    backbone = load_backbone("whisper-tiny-en", seconds=1.5)
    assert backbone.embed.position_embeddings.shape == (75, 384)
    assert torch.equal(backbone.embed.position_embeddings, whisper.get_encoder().embed_positions.weight[:75])


def test_a_window_of_a_second_and_a_half_gives_what_transformers_gives(whisper: WhisperForConditionalGeneration):
    clip = read_sound(fetch("fsdd") / "7_jackson_3.wav")
    backbone = load_backbone("whisper-tiny-en", seconds=1.5)
    batch = backbone.collate(backbone.prepare([clip]))
    encoder = WhisperEncoder(type(whisper.config)(**{**whisper.config.to_dict(), "max_source_positions": 75}))
    weights = whisper.get_encoder().state_dict()
    encoder.load_state_dict({**weights, "embed_positions.weight": weights["embed_positions.weight"][:75]})
    mel = batch["mel"].double()  # in float32, kernels of different processors differ by more than 1e-5
    with torch.inference_mode():
        expected = encoder.eval().double()(mel).last_hidden_state
        found = backbone.double()({**batch, "mel": mel})
    assert mel.shape == (1, 80, 150)
    torch.testing.assert_close(found.hidden, expected, atol=1e-9, rtol=1e-9)


def test_the_whole_window_gives_what_the_recogniser_hears(whisper: WhisperForConditionalGeneration):
    clip = read_sound(fetch("fsdd") / "7_jackson_3.wav")
    backbone = load_backbone("whisper-tiny-en", seconds=30.0)
    with torch.inference_mode():
        found = backbone(backbone.collate(backbone.prepare([clip]))).hidden
        expected = whisper.get_encoder()(log_mel(clip)).last_hidden_state
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_only_the_positions_that_hold_the_clip_are_pooled():
    backbone = load_backbone("whisper-tiny-en", seconds=1.5)
    clips = [np.full(samples, 0.1, dtype=np.float32) for samples in (320, 321, 16_000, 99_000)]
    mask = backbone.collate(backbone.prepare(clips))["mask"]
    assert mask.sum(dim=1).tolist() == [1, 2, 50, 75]
    assert mask[2, :50].all()


def test_a_clip_beside_a_longer_one_has_the_same_vector():
    backbone = load_backbone("whisper-tiny-en")
    clips = [read_sound(fetch("fsdd") / name) for name in ("7_jackson_3.wav", "0_george_1.wav")]
    clips.append(np.concatenate(clips))
    inputs = backbone.prepare(clips)
    with torch.inference_mode():
        together = backbone(backbone.collate(inputs))
        alone = backbone(backbone.collate(inputs[:1]))
    torch.testing.assert_close(
        masked_mean(together.hidden, together.pools)[:1],
        masked_mean(alone.hidden, alone.pools),
        atol=1e-5,
        rtol=1e-5,
    )


def test_a_window_is_never_longer_than_whisper_hears():
    assert load_backbone("whisper-tiny-en", seconds=45.0).settings == {"seconds": 30.0}


def test_the_conversion_is_kept_and_used_again():
    load_backbone("whisper-tiny-en")
    version = asset("whisper-tiny-en").fingerprint[:12]
    kept = cache_folder() / "converted" / f"whisper-tiny-en-encoder-{version}.safetensors"
    before = kept.stat()
    load_backbone("whisper-tiny-en")
    assert kept.stat().st_mtime_ns == before.st_mtime_ns
    assert before.st_size > 4 * 7_600_000


def test_a_conversion_that_cannot_be_read_is_made_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    expected = whisper_encoder_weights()
    monkeypatch.setattr("ftkit.backbones.cache_folder", lambda: tmp_path)
    whisper_encoder_weights()
    (kept,) = (tmp_path / "converted").glob("*.safetensors")
    kept.write_bytes(kept.read_bytes()[:1000])
    found = whisper_encoder_weights()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], weight) for name, weight in expected.items())


def test_clips_of_a_long_window_go_through_the_model_a_few_at_a_time():
    """Attention's memory grows with the square of the window: 32 clips of 30 s would take gigabytes."""
    short, long = (load_backbone("whisper-tiny-en", seconds=seconds) for seconds in (1.5, 30.0))
    assert (short.pass_length, short.evaluation_size) == (16, 32)
    assert (long.pass_length, long.evaluation_size) == (1, 4)
