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
from ftkit.backbones.speech import SILENCE, WhisperBackbone
from ftkit.backbones.transcription import transcribe
from ftkit.catalog import asset
from ftkit.classifier import masked_mean
from ftkit.fetch import fetch
from ftkit.paths import cache_folder
from ftkit.tasks.sound import read_sound
from ftkit.training.batches import LengthBatches, evaluation_order

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
    assert backbone.embed.position_embeddings.shape == (75 + SILENCE, 384)
    whole = whisper.get_encoder().embed_positions.weight
    assert torch.equal(backbone.embed.position_embeddings, whole[: 75 + SILENCE])


def test_a_clip_and_its_silence_give_what_transformers_gives(whisper: WhisperForConditionalGeneration):
    clip = read_sound(fetch("fsdd") / "7_jackson_3.wav")
    backbone = load_backbone("whisper-tiny-en", seconds=1.5)
    batch = backbone.collate(backbone.prepare([clip]))
    window = int(batch["attends"].sum())
    assert window == -(-len(clip) // 320) + SILENCE < 75
    weights = whisper.get_encoder().state_dict()
    encoder = WhisperEncoder(type(whisper.config)(**{**whisper.config.to_dict(), "max_source_positions": window}))
    encoder.load_state_dict({**weights, "embed_positions.weight": weights["embed_positions.weight"][:window]})
    mel = batch["mel"].double()  # in float32, kernels of different processors differ by more than 1e-5
    with torch.inference_mode():
        expected = encoder.eval().double()(mel[:, :, : 2 * window]).last_hidden_state
        found = backbone.double()({**batch, "mel": mel})
    torch.testing.assert_close(found.hidden[:, :window], expected, atol=1e-9, rtol=1e-9)


def test_the_sound_that_whisper_hears_at_most_gives_what_the_recogniser_hears(whisper: WhisperForConditionalGeneration):
    clip = np.resize(read_sound(fetch("fsdd") / "7_jackson_3.wav"), 30 * 16_000)
    backbone = load_backbone("whisper-tiny-en", seconds=30.0)
    inputs = backbone.prepare([clip])
    with torch.inference_mode():
        found = backbone(backbone.collate(inputs)).hidden
        expected = whisper.get_encoder()(log_mel(clip)).last_hidden_state
    assert inputs[0].window == inputs[0].positions == 1500
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_only_the_positions_that_hold_the_clip_are_pooled_and_a_little_silence_is_heard():
    backbone = load_backbone("whisper-tiny-en", seconds=1.5)
    clips = [np.full(samples, 0.1, dtype=np.float32) for samples in (320, 321, 16_000, 99_000)]
    batch = backbone.collate(backbone.prepare(clips))
    assert batch["pools"].sum(dim=1).tolist() == [1, 2, 50, 75]
    assert batch["attends"].sum(dim=1).tolist() == [11, 12, 60, 85]
    assert batch["pools"][2, :50].all()
    assert batch["mel"].shape == (4, 80, 2 * 85)


def test_the_spectrogram_of_a_clip_is_its_own_whatever_lies_beside_it():
    backbone = load_backbone("whisper-tiny-en")
    clips = [read_sound(fetch("fsdd") / name) for name in ("7_jackson_3.wav", "0_george_1.wav")]
    together = backbone.prepare([*clips, np.concatenate(clips)])
    for clip, found in zip(clips, together, strict=False):
        (alone,) = backbone.prepare([clip])
        np.testing.assert_array_equal(found.mel, alone.mel)
        assert backbone.length(found) == found.mel.shape[1] / 2


def test_a_clip_beside_a_longer_one_has_the_same_vector():
    backbone = load_backbone("whisper-tiny-en", seconds=5.0)
    clips = [read_sound(fetch("fsdd") / name) for name in ("7_jackson_3.wav", "0_george_1.wav")]
    clips.append(np.concatenate([*clips, *clips]))
    inputs = backbone.prepare(clips)
    with torch.inference_mode():
        together = backbone(backbone.collate(inputs))
        alone = backbone(backbone.collate(inputs[:1]))
    assert together.hidden.shape[1] > 2 * alone.hidden.shape[1]
    torch.testing.assert_close(
        masked_mean(together.hidden, together.pools)[:1],
        masked_mean(alone.hidden, alone.pools),
        atol=1e-5,
        rtol=1e-5,
    )


def test_batches_of_a_training_are_random_whatever_the_clips_lengths():
    lengths = [length for length in range(20, 60) for _ in range(16)]
    batches = LengthBatches(lengths, 32, seed=0, bucket=WhisperBackbone.bucket)
    spread = [np.std([lengths[index] for index in batch]) for batch in batches]
    assert min(spread) > np.std(lengths) / 2


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


def test_long_clips_go_through_the_model_a_few_at_a_time_and_short_ones_together():
    """Attention's memory grows with the square of the length: 32 clips of 30 s would take gigabytes."""
    backbone = load_backbone("whisper-tiny-en", seconds=30.0)
    inputs = backbone.prepare([np.zeros(int(seconds * RATE), np.float32) for seconds in [0.4] * 40 + [30.0] * 4])
    order = evaluation_order([backbone.length(each) for each in inputs], backbone.evaluation_length)
    assert [len(batch) for batch in order] == [32, 8, 3, 1]
