"""Recordings as arrays: reading, writing, resampling, trimming."""

from __future__ import annotations

import io
import os
import wave
from functools import lru_cache
from math import gcd
from pathlib import Path

import numpy as np

from ftkit.errors import DataError
from ftkit.tasks.base import SAMPLE_RATE

__all__ = ["as_wave", "cut_to", "read_sound", "resample", "trim_silence"]

_FRAME_SECONDS = 0.01
_MARGIN_SECONDS = 0.03


def read_sound(path: Path, rate: int = SAMPLE_RATE, longest: float | None = None) -> np.ndarray:
    """Read a recording in any format and rate that libsndfile knows.

    Parameters
    ----------
    path
        The file.
    rate
        Samples per second of the result.
    longest
        Seconds from the beginning that are read, so that an hour does not fill the memory; None reads all.

    Returns
    -------
    numpy.ndarray
        float32 in about -1..1, shape (samples,): the mean of the channels.

    Raises
    ------
    DataError
        When the file cannot be read as sound, or holds none or samples that are not numbers.
    """
    import soundfile

    try:
        # as bytes, where systems have them: a name may be in any encoding
        with soundfile.SoundFile(path if os.name == "nt" else os.fsencode(path)) as file:
            file_rate = file.samplerate
            frames = -1 if longest is None else int(longest * file_rate)
            samples = file.read(frames, dtype="float32", always_2d=True)
    except (soundfile.SoundFileError, OSError, TypeError) as error:
        raise DataError(f"Cannot read {path} as a recording: {error}. Convert it to WAV or FLAC.") from error
    if len(samples) == 0:
        raise DataError(f"The recording {path} has no samples. Take it out or record it again.")
    if not np.isfinite(samples).all():
        raise DataError(f"The recording {path} has samples that are not numbers. Take it out or export it again.")
    return resample(samples.mean(axis=1), file_rate, rate)


def as_wave(samples: np.ndarray) -> bytes:
    """Return mono sound at 16 kHz in -1..1 as a WAV file of 16 bits.

    Examples
    --------
    >>> as_wave(np.zeros(16))[:4]
    b'RIFF'
    """
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE)
        file.writeframes((np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes())
    return buffer.getvalue()


def resample(samples: np.ndarray, rate: int, new_rate: int) -> np.ndarray:
    """Change the sample rate by polyphase filtering; frequencies above half the lower rate are taken out.

    Examples
    --------
    >>> len(resample(np.zeros(22_050, dtype=np.float32), 22_050, 16_000))
    16000
    """
    if rate == new_rate:
        return samples.astype(np.float32, copy=False)
    from scipy.signal import resample_poly

    divisor = gcd(rate, new_rate)
    up, down = new_rate // divisor, rate // divisor
    return resample_poly(samples, up, down, window=_low_pass(max(up, down), samples.dtype)).astype(np.float32)


@lru_cache
def _low_pass(times: int, dtype: np.dtype) -> np.ndarray:
    """The filter that `scipy.signal.resample_poly` designs, which would take longer than to resample a word."""
    from scipy.signal import firwin

    return firwin(20 * times + 1, 1 / times, window=("kaiser", 5.0)).astype(dtype)


def trim_silence(samples: np.ndarray, rate: int, below_loudest_db: float = 30.0) -> np.ndarray:
    """Take away what comes before the first and after the last loud moment, but for a margin of 30 ms.

    Parameters
    ----------
    samples
        Mono, shape (n,).
    rate
        Samples per second.
    below_loudest_db
        Frames of 10 ms are silent when their level is that many decibels below the loudest one.
    """
    size = int(rate * _FRAME_SECONDS)
    count = len(samples) // size
    if count == 0:
        return samples
    power = np.square(samples[: count * size].reshape(count, size), dtype=np.float64).mean(axis=1)
    loud = np.flatnonzero(power > power.max() * 10 ** (-below_loudest_db / 10))
    if len(loud) == 0:
        return samples
    margin = int(rate * _MARGIN_SECONDS)
    return samples[max(loud[0] * size - margin, 0) : (loud[-1] + 1) * size + margin]


def cut_to(samples: np.ndarray, length: int) -> np.ndarray:
    """Return at most `length` samples: the stretch with the most energy.

    Examples
    --------
    >>> cut_to(np.array([0.0, 0.1, 0.9, 0.8, 0.0]), 2)
    array([0.9, 0.8])
    """
    if len(samples) <= length:
        return samples
    energy = np.concatenate([[0.0], np.cumsum(np.square(samples, dtype=np.float64))])
    start = int(np.argmax(energy[length:] - energy[:-length]))
    return samples[start : start + length]
