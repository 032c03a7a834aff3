"""Catastrophic forgetting: an ability that the pretrained model came with, before and after fine-tuning."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from ftkit.backbones import load_backbone, load_full_whisper
from ftkit.experiments.features import fit_transferable_probe, pooled_features
from ftkit.tasks.source_data import SourceData, source_data, spoken_sentences

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline
    from transformers import WhisperForConditionalGeneration

    from ftkit.backbones.base import Backbone


def source_ability(backbone: Backbone) -> dict[str, Any]:
    """How well a backbone still does what the pretrained one could do.

    For texts and pictures a linear classifier was fitted on the pretrained model's features of source data and is now
    put on this one's (``"after"``); it is also fitted anew (``"relearned"``), which tells whether what is lost is the
    knowledge or only its place. For speech the tuned encoder goes back into the whole Whisper, which transcribes
    sentences.

    Parameters
    ----------
    backbone
        The tuned encoder, what was added to it included.

    Returns
    -------
    dict
        ``"ability"``, ``"unit"``, ``"higher_is_better"``, ``"before"``, ``"after"``, and ``"relearned"`` where there
        is a probe; ``"by_item"``: for each of these values what every item gives to it, 1 for a right answer or the
        number of wrong words; ``"sizes"``: of how many, 1 or the number of words said.
    """
    return _speech_ability(backbone) if backbone.modality == "audio" else _probe_ability(backbone)


def _speech_ability(backbone: Backbone) -> dict[str, Any]:
    told = {"ability": "transcribing synthetic sentences", "unit": "word error rate", "higher_is_better": False}
    sizes = [len(sentence.split()) for sentence in spoken_sentences().asked_labels]
    return told | _by_item(sizes, before=_usual_word_errors(), after=wrong_words(backbone))


def _probe_ability(backbone: Backbone) -> dict[str, Any]:
    data, probe, before = _usual_probe(backbone.name, *sorted(backbone.settings.items()))
    rehearsed, asked = pooled_features(backbone, data.rehearsed), pooled_features(backbone, data.asked)
    told = {"ability": f"a linear probe on {data.title}", "unit": "accuracy", "higher_is_better": True}
    return told | _by_item(
        [1] * len(before),
        before=before,
        after=_right(probe, asked, data),
        relearned=_right(fit_transferable_probe(rehearsed, data.rehearsed_labels), asked, data),
    )


def _by_item(sizes: list[int], **parts: list[int]) -> dict[str, Any]:
    """Each value over all items, and what it is made of."""
    values = {name: round(sum(each) / sum(sizes), 5) for name, each in parts.items()}
    return {**values, "by_item": parts, "sizes": sizes}


def _right(probe: Pipeline, features: np.ndarray, data: SourceData) -> list[int]:
    """1 for every item asked about that the probe gets right, else 0."""
    return [int(right) for right in probe.predict(features) == data.asked_labels]


@lru_cache(maxsize=1)
def _usual_probe(name: str, *settings: tuple[str, Any]) -> tuple[SourceData, Pipeline, list[int]]:
    """Source data, the pretrained backbone's probe on them, and which items it gets right."""
    backbone = load_backbone(name, **dict(settings))
    data = source_data(backbone)
    probe = fit_transferable_probe(pooled_features(backbone, data.rehearsed), data.rehearsed_labels)
    return data, probe, _right(probe, pooled_features(backbone, data.asked), data)


@lru_cache(maxsize=1)
def _usual_word_errors() -> list[int]:
    return _wrong_words(load_full_whisper())


def wrong_words(backbone: Backbone) -> list[int]:
    """Count the words that the whole Whisper gets wrong with this encoder in it, sentence by sentence.

    Parameters
    ----------
    backbone
        A plain `WhisperBackbone`, of any window: nothing that a method added inside.

    Returns
    -------
    list of int
        One a sentence of `spoken_sentences`; more than it has words where many are made up.
    """
    whisper = load_full_whisper()
    encoder = whisper.get_encoder()
    for name, module in (
        ("embed.convolution_1", encoder.conv1),
        ("embed.convolution_2", encoder.conv2),
        ("blocks", encoder.layers),
        ("norm", encoder.layer_norm),
    ):
        module.load_state_dict(backbone.get_submodule(name).state_dict())
    return _wrong_words(whisper)


def _wrong_words(whisper: WhisperForConditionalGeneration) -> list[int]:
    from ftkit.backbones.transcription import transcribe

    data = spoken_sentences()
    said = [sentence.split() for sentence in data.asked_labels]
    heard = map(plain_words, transcribe(whisper, data.asked))
    return list(map(word_errors, said, heard))


def plain_words(text: str) -> list[str]:
    """Split into words, lower case, without punctuation.

    Examples
    --------
    >>> plain_words(" The child, sold it.")
    ['the', 'child', 'sold', 'it']
    """
    return "".join(each if each.isalnum() or each.isspace() else " " for each in text.lower()).split()


def word_errors(said: Sequence[str], heard: Sequence[str]) -> int:
    """Least number of words to insert, delete or replace (Levenshtein distance).

    Examples
    --------
    >>> word_errors(["the", "old", "door"], ["the", "door", "now"])
    2
    """
    row = np.arange(len(heard) + 1)
    for number, word in enumerate(said, start=1):
        before, row = row, np.empty_like(row)
        row[0] = number
        for place, other in enumerate(heard, start=1):
            row[place] = min(before[place] + 1, row[place - 1] + 1, before[place - 1] + (word != other))
    return int(row[-1])
