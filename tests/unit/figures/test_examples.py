from __future__ import annotations

import base64
import io
import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
import soundfile

from ftkit import figures
from ftkit.errors import DataError
from ftkit.experiments.run import Predictions
from ftkit.figures.examples import chosen_examples, spectrogram
from ftkit.tasks.base import Split

NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


@pytest.fixture(scope="module")
def answers(predictions: Callable[[str, int], Predictions]) -> Predictions:
    return predictions("partial", 0)


def test_mistakes_come_first_and_the_most_confident_ones(digits: Split, answers: Predictions) -> None:
    examples = chosen_examples(digits, answers, NAMES, 8)
    assert [example.right for example in examples] == [False] * 4 + [True] * 4
    probabilities = np.asarray(answers.probabilities)
    wrong = probabilities.argmax(axis=1) != answers.labels
    assert [example.probability for example in examples[:4]] == sorted(probabilities.max(axis=1)[wrong], reverse=True)[
        :4
    ]
    for example in examples:
        assert answers.identifiers[example.position] == example.identifier
        assert NAMES[digits.labels[example.position]] == example.true


def test_items_are_matched_by_identifier_not_by_place(digits: Split, answers: Predictions) -> None:
    turned = digits.take(np.arange(len(digits))[::-1])
    straight, mirrored = chosen_examples(digits, answers, NAMES, 6), chosen_examples(turned, answers, NAMES, 6)
    assert [example.identifier for example in straight] == [example.identifier for example in mirrored]
    assert [len(digits) - 1 - example.position for example in straight] == [example.position for example in mirrored]


def test_without_mistakes_all_examples_are_right_and_without_right_answers_all_are_mistakes(digits: Split) -> None:
    right = Predictions(digits.identifiers.tolist(), digits.labels, np.eye(10)[digits.labels], None)
    wrong = replace(right, probabilities=np.eye(10)[(digits.labels + 1) % 10])
    assert [example.right for example in chosen_examples(digits, right, NAMES, 5)] == [True] * 5
    assert [example.right for example in chosen_examples(digits, wrong, NAMES, 5)] == [False] * 5


def test_predictions_of_other_items_are_refused(digits: Split, answers: Predictions) -> None:
    with pytest.raises(DataError, match="digit-0"):
        chosen_examples(digits.take(np.arange(1, 100)), answers, NAMES)
    with pytest.raises(DataError, match="number is 1"):
        chosen_examples(digits, answers, NAMES, 1)


def test_pictures_are_those_of_the_split_with_their_answers_and_licence(digits: Split, answers: Predictions) -> None:
    figure = figures.examples_images(digits, answers, NAMES, 6, credit="Alpaydin and Kaynak, CC BY 4.0")
    examples = chosen_examples(digits, answers, NAMES, 6)
    drawn = [axes for axes in figure.axes if axes.images]
    for axes, example in zip(drawn, examples, strict=True):
        np.testing.assert_array_equal(axes.images[0].get_array(), digits.items[example.position])
        percent = f"{100 * example.probability:.0f} %"
        mark = "✓" if example.right else "✗"
        assert axes.get_title(loc="left") == f"{mark} {example.predicted}, {percent}\ntrue: {example.true}"
        assert f"{example.identifier} {example}." in figure.ftkit_alt
    assert figure.get_supxlabel() == "Alpaydin and Kaynak, CC BY 4.0"
    assert figure.ftkit_alt.endswith("CC BY 4.0")


class Cells(HTMLParser):
    """Collects the text of each cell, as a browser reads it."""

    def __init__(self) -> None:
        super().__init__()
        self.cells: list[str] = []
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.append(tag)
        if tag in ("td", "th"):
            self.cells.append("")

    def handle_data(self, data: str) -> None:
        if self.cells:
            self.cells[-1] += data


def test_texts_are_shown_as_they_are_never_as_html(digits: Split, answers: Predictions) -> None:
    texts = [f"<script>alert({index})</script> & more" for index in range(len(digits))]
    split = Split(texts, digits.labels, None, digits.identifiers)
    table = figures.examples_text(split, answers, NAMES, 4, credit="A & B")
    parsed = Cells()
    parsed.feed(str(table))
    examples = chosen_examples(digits, answers, NAMES, 4)
    assert "script" not in parsed.tags
    for row, example in enumerate(examples, start=1):
        mark, text, true, predicted, probability = parsed.cells[5 * row : 5 * row + 5]
        assert mark == ("✓ right" if example.right else "✗ wrong")
        assert text == texts[example.position]
        assert (true, predicted) == (example.true, example.predicted)
        assert probability.startswith(f"{100 * example.probability:.0f} %")
    assert table._repr_html_() == str(table)


def test_long_texts_are_cut(digits: Split, answers: Predictions) -> None:
    split = Split(["word " * 500] * len(digits), digits.labels, None, digits.identifiers)
    assert len(str(figures.examples_text(split, answers, NAMES, 2, longest=50))) < 1500


@pytest.fixture(scope="module")
def recordings(digits: Split) -> Split:
    """Return tones whose frequency in units of 500 Hz is the digit plus one, of different lengths."""
    sounds = []
    for index, digit in enumerate(digits.labels):
        time = np.arange(6000 + 10 * (index % 200)) / 16_000
        sounds.append((0.5 * np.sin(2 * np.pi * 500 * (digit + 1) * time)).astype(np.float32))
    return Split(sounds, digits.labels, None, digits.identifiers)


def test_spectrogram_is_loudest_at_the_frequency_of_a_tone() -> None:
    tone = np.sin(2 * np.pi * 2000 * np.arange(8000) / 16_000)
    levels = spectrogram(tone)
    assert levels.shape == (201, 101)
    assert set(levels[:, 5:-5].argmax(axis=0)) == {50}
    assert levels.max() == 0
    assert levels.min() >= -80


def test_spectrogram_of_silence_is_finite() -> None:
    assert np.isfinite(spectrogram(np.zeros(800))).all()


def test_recordings_have_axes_in_seconds_and_kilohertz(recordings: Split, answers: Predictions) -> None:
    figure = figures.examples_audio(recordings, answers, NAMES, 5, credit="Our own tones")
    examples = chosen_examples(recordings, answers, NAMES, 5)
    drawn = [axes for axes in figure.axes if axes.images]
    assert {axes.get_xlabel() for axes in drawn} == {"", "Time, s"}
    assert {axes.get_ylabel() for axes in drawn} == {"", "Frequency, kHz"}
    for axes, example in zip(drawn, examples, strict=True):
        left, right, bottom, top = axes.images[0].get_extent()
        assert (left, bottom, top) == (0, 0, 8)
        assert right == pytest.approx(len(recordings.items[example.position]) / 16_000)
        loudest = np.asarray(axes.images[0].get_array()).mean(axis=1).argmax() * 40
        assert loudest == pytest.approx(500 * (recordings.labels[example.position] + 1), abs=40)


def test_players_hold_the_sound_of_the_examples(recordings: Split, answers: Predictions) -> None:
    players = figures.audio_players(recordings, answers, NAMES, 4, credit="Our own tones")
    examples = chosen_examples(recordings, answers, NAMES, 4)
    sounds = re.findall(r'src="data:audio/wav;base64,([^"]+)"', str(players))
    for sound, example in zip(sounds, examples, strict=True):
        heard, rate = soundfile.read(io.BytesIO(base64.b64decode(sound)), dtype="float32")
        assert rate == 16_000
        np.testing.assert_allclose(heard, recordings.items[example.position], atol=1e-4)
        assert f"{example.identifier}: {example}" in str(players)


@pytest.mark.parametrize("number", [2, 5, 8, 12])
def test_texts_of_examples_are_readable(
    number: int,
    digits: Split,
    recordings: Split,
    answers: Predictions,
    assert_readable: Callable[[figures.DescribedFigure], None],
) -> None:
    credit = (
        "A credit that is long enough to need a second line, with the names of all the people who made the data. " * 2
    )
    assert_readable(figures.examples_images(digits, answers, NAMES, number, credit))
    assert_readable(figures.examples_audio(recordings, answers, NAMES, number, credit))
