"""Synthetic speech by eSpeak NG, in a process of its own.

The library keeps global state and is under the GPL: it is loaded by ``python -m ftkit.tasks.synthesis`` only,
which reads a plan as JSON from standard input and writes one ``.npz`` file. One plan gives the same samples
every time on one version of the library; in another order, an utterance may sound a little different.
"""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from ftkit.errors import AssetError

__all__ = ["SYNTHESIS_RATE", "Utterance", "synthesise"]

SYNTHESIS_RATE = 22_050
"""Samples per second that eSpeak NG gives."""

_TIMEOUT_SECONDS = 300.0
# From eSpeak NG's speak_lib.h.
_AUDIO_OUTPUT_SYNCHRONOUS = 2
_POSITION_CHARACTER = 1
_CHARACTERS_UTF8 = 1
_PARAMETER_RATE = 1
_PARAMETER_PITCH = 3
_SEED = 1


@dataclass(frozen=True)
class Utterance:
    """A text to be spoken.

    Parameters
    ----------
    text
        What is said.
    accent
        eSpeak NG's language, such as ``"en-us"``.
    voice
        eSpeak NG's voice variant, such as ``"f2"``.
    rate
        Words a minute, 80 to 450; eSpeak's own default is 175.
    pitch
        0 to 99; eSpeak's own default is 50.
    """

    text: str
    accent: str
    voice: str
    rate: int
    pitch: int


def synthesise(utterances: Sequence[Utterance]) -> list[np.ndarray]:
    """Speak texts.

    Parameters
    ----------
    utterances
        What to say and how.

    Returns
    -------
    list of numpy.ndarray
        One float32 array in -1..1 for each utterance, mono at `SYNTHESIS_RATE`.

    Raises
    ------
    AssetError
        When eSpeak NG is not installed, lacks an accent or a voice, or fails.
    """
    with tempfile.TemporaryDirectory(prefix="ftkit-speech-") as folder:
        output = Path(folder) / "speech.npz"
        plan = {"output": str(output), "utterances": [asdict(utterance) for utterance in utterances]}
        try:
            finished = subprocess.run(
                [sys.executable, "-m", "ftkit.tasks.synthesis"],
                input=json.dumps(plan),
                capture_output=True,
                text=True,
                encoding="utf-8",
                timeout=_TIMEOUT_SECONDS,
                check=False,
                env=os.environ | {"PYTHONPATH": _search_path()},
            )
        except subprocess.TimeoutExpired as error:
            raise AssetError(
                f"eSpeak NG did not finish {len(utterances)} utterances in {_TIMEOUT_SECONDS:.0f} seconds. "
                "Ask for fewer at a time."
            ) from error
        if finished.returncode != 0:
            reason = finished.stderr.strip().splitlines()[-1:] or [f"exit status {finished.returncode}"]
            raise AssetError(
                f"Speech synthesis by eSpeak NG failed: {reason[0]} "
                "Reinstall it with: python -m pip install --force-reinstall espeakng-loader"
            )
        with np.load(output) as archive:
            samples, lengths = archive["samples"], archive["lengths"]
    clips = np.split(samples, np.cumsum(lengths)[:-1])
    return [clip.astype(np.float32) / 32768 for clip in clips]


class _Speaker:
    """eSpeak NG's C interface, as far as it is needed. One a process: the library's state is global."""

    def __init__(self) -> None:
        import espeakng_loader

        data_folder = Path(espeakng_loader.get_data_path())
        self.voices = {file.name for file in (data_folder / "voices" / "!v").iterdir()}
        self._library = ctypes.CDLL(espeakng_loader.get_library_path())
        rate = self._library.espeak_Initialize(_AUDIO_OUTPUT_SYNCHRONOUS, 0, str(data_folder).encode(), 0)
        if rate != SYNTHESIS_RATE:
            raise RuntimeError(f"espeak_Initialize gave the sample rate {rate}, not {SYNTHESIS_RATE}.")
        self._chunks: list[np.ndarray] = []
        kind = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)
        # Kept as an attribute: the library calls it for as long as the process lives.
        self._callback = kind(self._collect)
        self._library.espeak_SetSynthCallback(self._callback)
        self._library.espeak_Synth.argtypes = [
            ctypes.c_char_p,
            ctypes.c_size_t,
            ctypes.c_uint,
            ctypes.c_int,
            ctypes.c_uint,
            ctypes.c_uint,
            ctypes.c_void_p,
            ctypes.c_void_p,
        ]

    def say(self, utterance: Utterance) -> np.ndarray:
        """Return the int16 samples of an utterance."""
        # The library takes an unknown variant for the plain voice without a word.
        if utterance.voice not in self.voices:
            raise RuntimeError(f"eSpeak NG has no voice variant {utterance.voice!r}.")
        voice = f"{utterance.accent}+{utterance.voice}"
        self._check(self._library.espeak_SetVoiceByName(voice.encode()), f"choosing the voice {voice!r}")
        self._check(self._library.espeak_SetParameter(_PARAMETER_RATE, utterance.rate, 0), "setting the rate")
        self._check(self._library.espeak_SetParameter(_PARAMETER_PITCH, utterance.pitch, 0), "setting the pitch")
        # The library draws noise and flutter from a generator that it seeds with the time of day.
        self._check(self._library.espeak_ng_SetRandSeed(ctypes.c_long(_SEED)), "setting the seed")
        self._chunks = []
        text = utterance.text.encode("utf-8")
        status = self._library.espeak_Synth(
            text, len(text) + 1, 0, _POSITION_CHARACTER, 0, _CHARACTERS_UTF8, None, None
        )
        self._check(status, f"speaking {utterance.text!r}")
        self._check(self._library.espeak_Synchronize(), f"speaking {utterance.text!r}")
        if not self._chunks:
            raise RuntimeError(f"eSpeak NG gave no sound for {utterance.text!r} by {voice!r}.")
        return np.concatenate(self._chunks)

    def _collect(self, samples: ctypes._Pointer[ctypes.c_short], count: int, _events: int | None) -> int:
        if samples and count > 0:
            self._chunks.append(np.ctypeslib.as_array(samples, (count,)).copy())
        return 0

    @staticmethod
    def _check(status: int, doing: str) -> None:
        if status != 0:
            raise RuntimeError(f"eSpeak NG gave status {status} when {doing}.")


def _search_path() -> str:
    """Return a PYTHONPATH on which the new process finds this same ftkit, wherever it was imported from."""
    package_folder = str(Path(__file__).resolve().parents[2])
    return os.pathsep.join(filter(None, (package_folder, os.environ.get("PYTHONPATH"))))


def _main() -> None:
    plan = json.load(sys.stdin)
    speaker = _Speaker()
    clips = [speaker.say(Utterance(**utterance)) for utterance in plan["utterances"]]
    np.savez(plan["output"], samples=np.concatenate(clips), lengths=np.array([len(clip) for clip in clips]))


if __name__ == "__main__":
    _main()
