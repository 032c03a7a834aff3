from __future__ import annotations

import tracemalloc
from collections.abc import Callable

import numpy as np
import pytest

from ftkit.errors import UnknownNameError
from ftkit.experiments.corruption import CORRUPTIONS, corrupted
from ftkit.tasks import Task


def distance(modality: str, items: object, others: object) -> float:
    if modality == "text":
        pairs = zip(items, others, strict=True)  # type: ignore[call-overload]
        return float(sum(a != b for one, other in pairs for a, b in zip(one, other, strict=True)))
    pairs = zip(items, others, strict=True)  # type: ignore[call-overload]
    return float(sum(np.square(np.asarray(a, float) - np.asarray(b, float)).sum() for a, b in pairs))


@pytest.mark.parametrize("modality", list(CORRUPTIONS))
def test_severity_zero_changes_nothing_and_each_further_one_more(modality: str, small_task: Callable[[str], Task]):
    items = small_task(modality).test.items
    changes = [distance(modality, items, corrupted(modality, items, severity)) for severity in range(4)]
    assert changes[0] == 0
    assert changes == sorted(changes)
    assert changes[1] > 0
    again = corrupted(modality, items, 2)
    assert distance(modality, again, corrupted(modality, items, 2)) == 0


def test_letters_are_replaced_in_the_share_that_is_said():
    text = ["x" * 10_000]
    changed = corrupted("text", text, 3)[0]
    share = sum(letter != "x" for letter in changed) / len(changed)
    assert share == pytest.approx(CORRUPTIONS["text"].strengths[3] * 25 / 26, abs=0.02)


def test_hiss_has_the_ratio_that_is_said(small_task: Callable[[str], Task]):
    clip = small_task("audio").test.items[0]
    noise = corrupted("audio", [clip], 2)[0] - clip
    assert 10 * np.log10(np.square(clip).sum() / np.square(noise).sum()) == pytest.approx(10.0, abs=0.01)


def test_noise_on_many_pictures_takes_hardly_more_memory_than_these():
    pictures = np.full((300, 64, 64, 3), 128, np.uint8)
    tracemalloc.start()
    grainy = np.asarray(corrupted("image", pictures, 3))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1.2 * pictures.nbytes
    deviation = CORRUPTIONS["image"].strengths[3]
    assert np.std(grainy - 128.0) == pytest.approx(deviation, rel=0.02)
    assert np.abs(np.corrcoef(grainy[0, ..., 0].ravel(), grainy[1, ..., 0].ravel())[0, 1]) < 0.1


def test_other_data_have_no_corruption():
    with pytest.raises(UnknownNameError, match="video"):
        corrupted("video", [], 1)
