"""Data like those that a pretrained model learned from: what shows, and what keeps, the abilities that it came with."""

from __future__ import annotations

import csv
import gzip
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ftkit.errors import UnknownNameError
from ftkit.fetch import fetch
from ftkit.tasks.base import SAMPLE_RATE, grey_to_rgb
from ftkit.tasks.sound import resample
from ftkit.tasks.splitting import stratified_draw

if TYPE_CHECKING:
    from ftkit.backbones.base import Backbone

EXAMPLES = 240
"""Items in each half of the source data of texts and pictures."""
SOURCE_ASSETS: dict[str, tuple[str, ...]] = {"text": ("reuters-r8",), "image": ("mnist-5k",), "audio": ()}
"""What is fetched for the source data of each modality; those for speech are made on the spot."""
_SEED = 2024
_VOICES = (("en-us", "m3"), ("en-us", "f2"), ("en", "m7"), ("en-gb-x-rp", "f4"))
_WORDS_A_MINUTE = 160
_PITCH = 50

_SUBJECTS = ("the old teacher", "my younger sister", "a tired driver", "the new doctor", "our neighbour", "the child")
_VERBS = ("opened", "carried", "forgot", "found", "painted", "sold", "repaired", "watched")
_OBJECTS = ("a wooden box", "the green door", "two heavy books", "the broken window", "a small boat", "the last letter")
_PLACES = ("near the river", "after the long meeting", "in the early morning", "behind the church", "before dinner")


@dataclass(frozen=True)
class SourceData:
    """Items with what is known about them, in two halves: one to learn or to rehearse with, one to be asked.

    Attributes
    ----------
    title
        What it is, in a few words.
    rehearsed, asked
        Texts; pictures, uint8 (n, height, width, 3); or clips, float32 at 16 kHz.
    rehearsed_labels, asked_labels
        Class of each item, int array (n,); for speech the words that are said.
    """

    title: str
    rehearsed: Any
    rehearsed_labels: Any
    asked: Any
    asked_labels: Any


def source_data(backbone: Backbone) -> SourceData:
    """Load source data for a backbone, fetching them where they are not in the cache.

    Parameters
    ----------
    backbone
        Its modality decides: Reuters news by topic (R8) for text, handwritten digits (MNIST) at its own size for
        images, sentences spoken by eSpeak NG for audio.

    Raises
    ------
    UnknownNameError
        If there are none for its modality.
    AssetError
        If the data can't be had.
    """
    if backbone.modality == "text":
        return _news()
    if backbone.modality == "image":
        return _handwritten_digits(backbone.settings["image_size"])
    if backbone.modality == "audio":
        return spoken_sentences()
    raise UnknownNameError("modality", backbone.modality, ("text", "image", "audio"))


@lru_cache(maxsize=1)
def _news() -> SourceData:
    (name,) = SOURCE_ASSETS["text"]
    folder = fetch(name)
    halves = [_read_news(next(folder.rglob(f"reuters-r8-{part}.tab"))) for part in ("train", "test")]
    topics = sorted(set(halves[0][1]))
    (rehearsed, first), (asked, second) = (_drawn(texts, np.array(list(map(topics.index, of)))) for texts, of in halves)
    return SourceData("Reuters news, eight topics", rehearsed, first, asked, second)


def _read_news(path: Path) -> tuple[list[str], list[str]]:
    import pandas

    kinds_of_columns = [1, 2]  # Orange writes two more lines under the names
    table = pandas.read_csv(path, sep="\t", skiprows=kinds_of_columns, quoting=csv.QUOTE_NONE)
    return table["Text"].tolist(), table["Category"].tolist()


@lru_cache(maxsize=1)
def _handwritten_digits(size: int) -> SourceData:
    from PIL import Image

    (name,) = SOURCE_ASSETS["image"]
    path = next(fetch(name).rglob("*.csv.gz"))
    with gzip.open(path, "rt", encoding="ascii") as file:
        table = np.loadtxt(file, delimiter=",", dtype=np.int64)
    grey, labels = table[:, :-1].astype(np.uint8).reshape(-1, 28, 28), table[:, -1]
    chosen = stratified_draw(labels, 2 * EXAMPLES, seed=_SEED)
    first = chosen[stratified_draw(labels[chosen], EXAMPLES, seed=_SEED)]
    second = np.setdiff1d(chosen, first)
    halves = [
        grey_to_rgb(np.stack([np.asarray(Image.fromarray(grey[index]).resize((size, size))) for index in half]))
        for half in (first, second)
    ]
    return SourceData("handwritten digits", halves[0], labels[first], halves[1], labels[second])


@lru_cache(maxsize=1)
def spoken_sentences() -> SourceData:
    """Sentences as eSpeak NG speaks them, mono at 16 kHz, with their words."""
    from ftkit.tasks.synthesis import SYNTHESIS_RATE, Utterance, synthesise

    sentences = _sentences(48)
    utterances = [
        Utterance(text, *_VOICES[index % len(_VOICES)], rate=_WORDS_A_MINUTE, pitch=_PITCH)
        for index, text in enumerate(sentences)
    ]
    clips = [resample(clip, SYNTHESIS_RATE, SAMPLE_RATE).astype(np.float32) for clip in synthesise(utterances)]
    return SourceData("synthetic sentences", clips[::2], sentences[::2], clips[1::2], sentences[1::2])


def _sentences(count: int) -> list[str]:
    """So many plain sentences, all different, the same every time."""
    generator = np.random.default_rng(_SEED)
    made: dict[str, None] = {}
    while len(made) < count:
        parts = (part[generator.integers(len(part))] for part in (_SUBJECTS, _VERBS, _OBJECTS, _PLACES))
        made[" ".join(parts)] = None
    return list(made)


def _drawn(texts: list[str], labels: np.ndarray) -> tuple[list[str], np.ndarray]:
    chosen = stratified_draw(labels, EXAMPLES, seed=_SEED)
    return [texts[index] for index in chosen], labels[chosen]
