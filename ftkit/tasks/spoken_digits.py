"""Which digit is said? Training speech is synthetic; the test is real people, who were never heard before."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from ftkit.errors import AssetError
from ftkit.fetch import fetch
from ftkit.progress import progress_bar
from ftkit.tasks.base import SAMPLE_RATE, Split, Task, TaskInfo
from ftkit.tasks.preparation import prepare
from ftkit.tasks.sound import cut_to, read_sound, resample, trim_silence
from ftkit.tasks.splitting import draw_training

__all__ = ["INFO", "LONGEST_SECONDS", "load"]

INFO = TaskInfo(
    name="spoken-digits",
    title="Spoken digits",
    modality="audio",
    description="Single English digits: trained on synthetic voices, tested on real speakers.",
    assets=("spoken-digits-synthetic", "fsdd"),
    default_train=800,
    default_validation=200,
)

LABEL_NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
LONGEST_SECONDS = 1.5

_SYNTHETIC_NOTE = (
    "Training and validation speech is synthetic; validation scores therefore tell more about synthetic than about "
    "real speech."
)

_VERSION = 2
_SEED = 2024
_RECORDINGS_PER_SPEAKER_AND_DIGIT = 20
_WITHOUT_RECORDINGS = ("spoken-digits-synthetic", "digits-captcha", "digits-spokennumbers")

# British English goes by the plain name "en" in eSpeak NG.
_ACCENTS = ("en-us", "en", "en-gb-scotland", "en-gb-x-rp")
# One voice of each family of near-copies (of iven to iven4, say, only iven), and none that is a robot, a
# whisper or a monster: the voices stand for people, and no person is in two splits.
_VOICE_NAMES = """
    Alex Alicia Andrea Andy Annie Denis Diogo Gene Henrique Hugo Jacky Lee Marco Mario Michael Mike Nguyen Reed
    RicishayMax Storm adam anika announcer antonio aunty belinda benjamin boris caleb david ed edward f1 f2 f3
    f4 f5 grandma grandpa gustave ian iven john kaukovalta klatt linda m1 m2 m3 m4 m5 m6 m7 m8 marcelo max
    michel miguel norbert pablo paul pedro quincy rob robert sandro shelby steph travis victor zac
"""
_VOICES = tuple(_VOICE_NAMES.split())
_TRAIN_VOICES, _VALIDATION_VOICES, _TEST_VOICES = 47, 12, 12
_TRAIN_CLIPS, _VALIDATION_CLIPS, _TEST_CLIPS = 2000, 500, 400

# The real recordings are of 8 kHz, from -50 to -18 dB of full scale and 13 to 43 dB above their noise.
_BAND_RATE = 8_000
_LEVEL_DB = (-45.0, -18.0)
_SIGNAL_TO_NOISE_DB = (12.0, 40.0)
_RATE_WORDS_A_MINUTE = (130, 260)
_PITCH = (15, 85)


def load(limit: int | None = None, seed: int = 0) -> Task:
    """Load the task; see `ftkit.tasks.load_task` for the parameters.

    Training and validation clips are spoken by eSpeak NG, each voice in one split only, in four accents and at
    many rates and pitches. As the real recordings are telephone-like, every synthetic clip is limited to the band
    below 4 kHz, set to a random level and given light noise. The test is a balanced part of the Free Spoken Digit
    Dataset (Jackson et al.): 20 recordings of each of ten digits by each of six speakers. Where that cannot be had,
    the test is of unseen synthetic voices and twenty real recordings, and the notes of the task say so.
    """
    try:
        splits = prepare(INFO.name, _VERSION, INFO.assets, _build_with_recordings, extra=_synthesiser())
        assets, notes = INFO.assets, [_SYNTHETIC_NOTE]
    except AssetError:
        splits = prepare(
            f"{INFO.name}-synthetic", _VERSION, _WITHOUT_RECORDINGS, _build_without_recordings, extra=_synthesiser()
        )
        assets = _WITHOUT_RECORDINGS
        notes = [
            _SYNTHETIC_NOTE,
            "The Free Spoken Digit Dataset could not be had, so the test is NOT on its six real speakers: it is "
            f"{_TEST_CLIPS} clips of {_TEST_VOICES} unseen synthetic voices and {2 * len(LABEL_NAMES)} real "
            f"recordings by two voices. Scores are not comparable with those on the real speakers. "
            "`ftkit fetch fsdd` tells why, and fetches it when it can.",
        ]
    train, validation = draw_training(
        splits["train"],
        splits["validation"],
        (INFO.default_train, INFO.default_validation),
        task_name=INFO.name,
        limit=limit,
        seed=seed,
    )
    return Task(
        name=INFO.name,
        title=INFO.title,
        modality=INFO.modality,
        backbone="whisper-tiny-en",
        label_names=LABEL_NAMES,
        train=train,
        validation=validation,
        test=splits["test"],
        metric="accuracy",
        metrics=("accuracy", "macro_f1"),
        assets=assets,
        notes=tuple(notes),
    )


def _synthesiser() -> str:
    try:
        return f"espeakng-loader {importlib.metadata.version('espeakng-loader')}"
    except importlib.metadata.PackageNotFoundError as error:
        raise AssetError(
            "The synthetic speech needs eSpeak NG. Install it with: python -m pip install espeakng-loader"
        ) from error


def _build_with_recordings() -> Mapping[str, Split]:
    folder = fetch("fsdd")  # first, so that a missing data set is known before work begins
    with ThreadPoolExecutor(1) as beside:  # the synthesiser is a process of its own
        test = beside.submit(_real_test, folder)
        return {**_synthetic_splits(("train", "validation")), "test": test.result()}


def _build_without_recordings() -> Mapping[str, Split]:
    few_real = _few_real_recordings()
    splits = _synthetic_splits(("train", "validation", "test"))
    return {**splits, "test": _concatenate(splits["test"], few_real)}


def _synthetic_splits(names: Sequence[str]) -> dict[str, Split]:
    generator = np.random.default_rng(_SEED)
    voices = generator.permutation(_VOICES)
    sizes = {
        "train": (_TRAIN_VOICES, _TRAIN_CLIPS),
        "validation": (_VALIDATION_VOICES, _VALIDATION_CLIPS),
        "test": (_TEST_VOICES, _TEST_CLIPS),
    }
    starts = dict(zip(sizes, np.cumsum([0, _TRAIN_VOICES, _VALIDATION_VOICES]), strict=True))
    with progress_bar("Speaking digits", sum(sizes[name][1] for name in names)) as advance:
        # A generator for each split: the training clips are the same with and without the real recordings.
        return {
            name: _speak(
                voices[starts[name] : starts[name] + sizes[name][0]],
                sizes[name][1],
                np.random.default_rng([_SEED, position]),
                advance,
            )
            for position, name in enumerate(names)
        }


def _speak(voices: np.ndarray, count: int, generator: np.random.Generator, advance: Callable[[int], object]) -> Split:
    """Return `count` clips, the digits in turn, every voice as often as the others say each digit."""
    # Not at the top: `python -m ftkit.tasks.synthesis` warns when importing this package has imported it already.
    from ftkit.tasks.synthesis import SYNTHESIS_RATE, Utterance, synthesise

    labels = np.arange(count) % len(LABEL_NAMES)
    speakers = voices[np.arange(count) // len(LABEL_NAMES) % len(voices)]
    utterances = [
        Utterance(
            text=LABEL_NAMES[label],
            accent=_ACCENTS[generator.integers(len(_ACCENTS))],
            voice=str(voice),
            rate=int(generator.integers(*_RATE_WORDS_A_MINUTE, endpoint=True)),
            pitch=int(generator.integers(*_PITCH, endpoint=True)),
        )
        for label, voice in zip(labels, speakers, strict=True)
    ]
    clips = []
    for clip in synthesise(utterances):
        clips.append(_like_a_recording(trim_silence(clip, SYNTHESIS_RATE), SYNTHESIS_RATE, generator))
        advance(1)
    identifiers = [
        f"{label}_{utterance.voice}_{utterance.accent}_{utterance.rate}_{utterance.pitch}_{index}"
        for index, (label, utterance) in enumerate(zip(labels, utterances, strict=True))
    ]
    return Split(clips, labels, np.array([utterance.voice for utterance in utterances]), np.array(identifiers))


def _like_a_recording(clip: np.ndarray, rate: int, generator: np.random.Generator) -> np.ndarray:
    """Limit the band of a clip, set its level and add noise of random colour, as a cheap recorder would."""
    speech = resample(clip, rate, _BAND_RATE)
    noise = _noise(len(speech), generator)
    speech = speech / np.sqrt(np.square(speech).mean())
    level = 10 ** (generator.uniform(*_LEVEL_DB) / 20)
    noisy = level * (speech + noise * 10 ** (-generator.uniform(*_SIGNAL_TO_NOISE_DB) / 20))
    pcm = np.round(np.clip(noisy, -1, 1) * 32767) / 32767
    return cut_to(resample(pcm.astype(np.float32), _BAND_RATE, SAMPLE_RATE), int(LONGEST_SECONDS * SAMPLE_RATE))


def _noise(length: int, generator: np.random.Generator) -> np.ndarray:
    """Return noise of unit power whose spectrum falls by 0 (white) to 20 dB (brown) a decade."""
    spectrum = np.fft.rfft(generator.standard_normal(length))
    frequency = np.maximum(np.fft.rfftfreq(length, 1 / _BAND_RATE), 50.0)
    noise = np.fft.irfft(spectrum * frequency ** -generator.uniform(0.0, 1.0), length)
    return noise / np.sqrt(np.square(noise).mean())


def _real_test(folder: Path) -> Split:
    recordings = sorted(folder.glob("*.wav"))
    keys = [path.stem.split("_")[:2] for path in recordings]
    generator = np.random.default_rng(_SEED)
    chosen: list[int] = []
    for speaker in sorted({speaker for _, speaker in keys}):
        for digit in range(len(LABEL_NAMES)):
            positions = [position for position, key in enumerate(keys) if key == [str(digit), speaker]]
            chosen.extend(generator.permutation(positions)[:_RECORDINGS_PER_SPEAKER_AND_DIGIT].tolist())
    return Split(
        items=[_read(recordings[position]) for position in chosen],
        labels=np.array([int(keys[position][0]) for position in chosen]),
        groups=np.array([keys[position][1] for position in chosen]),
        identifiers=np.array([recordings[position].name for position in chosen]),
    )


def _few_real_recordings() -> Split:
    captcha, numbers = fetch("digits-captcha"), fetch("digits-spokennumbers")
    digits = range(len(LABEL_NAMES))
    paths = [captcha / f"{digit}.wav" for digit in digits]
    paths += [numbers / f"{digit}.wav" for digit in digits]
    groups = np.repeat(["captcha (real)", "spokennumbers (real)"], len(LABEL_NAMES))
    return Split(
        items=[_read(path) for path in paths],
        labels=np.tile(np.arange(len(LABEL_NAMES)), 2),
        groups=groups,
        identifiers=np.array([f"{group}_{digit}" for group, digit in zip(groups, [*digits, *digits], strict=True)]),
    )


def _read(path: Path) -> np.ndarray:
    samples = resample(read_sound(path, _BAND_RATE), _BAND_RATE, SAMPLE_RATE)
    return cut_to(trim_silence(samples, SAMPLE_RATE), int(LONGEST_SECONDS * SAMPLE_RATE))


def _concatenate(first: Split, second: Split) -> Split:
    assert first.groups is not None
    assert second.groups is not None
    return Split(
        items=[*first.items, *second.items],
        labels=np.concatenate([first.labels, second.labels]),
        groups=np.concatenate([first.groups, second.groups]),
        identifiers=np.concatenate([first.identifiers, second.identifiers]),
    )
