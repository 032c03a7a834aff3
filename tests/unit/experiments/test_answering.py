"""`Run.predict` on texts, pictures and recordings, and `predict_file` on whole folders of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from PIL import Image

from ftkit import load_run
from ftkit.errors import DataError
from ftkit.experiments import prediction
from ftkit.experiments.prediction import predict_file
from ftkit.tasks import Task

SCRATCH = 1e-5  # stored probabilities are rounded to five places


def test_texts_get_the_answers_of_the_test(cell: Callable[..., Any], tiny_task: Callable[[str], Task]):
    run = load_run(cell("lora", "text").folder)
    answers = run.predict(tiny_task("text").test.items)
    np.testing.assert_allclose(answers.probabilities, run.predictions.probabilities, atol=SCRATCH)
    assert answers.labels == [run.label_names[index] for index in run.predictions.predicted]
    assert answers.label_names == ("rotten", "fresh")


def test_a_picture_file_gets_the_answer_of_the_test(
    cell: Callable[..., Any], tiny_task: Callable[[str], Task], tmp_path: Path
):
    run = load_run(cell("full", "image").folder)
    path = tmp_path / "cell.png"
    Image.fromarray(tiny_task("image").test.items[1]).save(path)
    answers = run.predict([path, str(path)])
    np.testing.assert_allclose(answers.probabilities, run.predictions.probabilities[[1, 1]], atol=SCRATCH)


def test_a_recording_gets_the_answer_of_the_test(
    cell: Callable[..., Any], tiny_task: Callable[[str], Task], tmp_path: Path
):
    run = load_run(cell("adapter", "audio").folder)
    path = tmp_path / "digit.wav"
    soundfile.write(path, tiny_task("audio").test.items[3], 16_000, subtype="FLOAT")
    np.testing.assert_allclose(run.predict([path]).probabilities, run.predictions.probabilities[[3]], atol=SCRATCH)


def test_a_folder_is_answered_part_by_part(
    cell: Callable[..., Any], tiny_task: Callable[[str], Task], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    run, test = load_run(cell("full", "image").folder), tiny_task("image").test
    (tmp_path / "roof" / "south").mkdir(parents=True)
    names = ["a.png", "roof/b.PNG", "roof/south/c.png"]
    for name, item in zip(names, test.items, strict=False):
        Image.fromarray(item).save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no picture", encoding="utf-8")
    monkeypatch.setattr(prediction, "PART", 2)
    table = predict_file(run, tmp_path, progress=False)
    assert table["item"].tolist() == [str(tmp_path / name) for name in names]
    assert table["answer"].tolist() == [run.label_names[index] for index in run.predictions.predicted[:3]]
    found = table[[f"probability of {name}" for name in run.label_names]].to_numpy()
    np.testing.assert_allclose(found, run.predictions.probabilities[:3], atol=SCRATCH)


@pytest.mark.parametrize("modality", ["image", "audio"])
def test_arrays_are_taken_as_they_are(modality: str, cell: Callable[..., Any], tiny_task: Callable[[str], Task]):
    run = load_run(cell("linear-probe", modality).folder)
    answers = run.predict(tiny_task(modality).test.items[:2])
    np.testing.assert_allclose(answers.probabilities, run.predictions.probabilities[:2], atol=SCRATCH)


def test_a_run_of_a_gpu_answers_on_a_processor(cell: Callable[..., Any], tiny_task: Callable[[str], Task]):
    run = load_run(cell("linear-probe", "text").folder)
    run.spec = replace(run.spec, precision="fp16")
    answers = run.predict(tiny_task("text").test.items)
    np.testing.assert_allclose(answers.probabilities, run.predictions.probabilities, atol=0.02)


def test_of_long_recordings_the_beginning_is_answered_and_a_warning_says_so(
    cell: Callable[..., Any], tiny_task: Callable[[str], Task], tmp_path: Path
):
    run = load_run(cell("linear-probe", "audio").folder)
    seconds = run.spec.backbone_settings["seconds"]
    clip = np.pad(tiny_task("audio").test.items[2], (0, 16_000 * 20))
    for name, samples in (("long.wav", clip), ("short.wav", clip[: int(seconds * 16_000)])):
        soundfile.write(tmp_path / name, samples, 16_000, subtype="FLOAT")
    with pytest.warns(UserWarning, match=rf"1 of 2 recordings are longer than the {seconds:.3g} seconds"):
        answers = run.predict([tmp_path / "long.wav", tmp_path / "short.wav"])
    np.testing.assert_allclose(answers.probabilities[0], answers.probabilities[1], atol=SCRATCH)


def test_answers_are_shown_one_a_line(cell: Callable[..., Any]):
    answers = load_run(cell("linear-probe", "text").folder).predict(["A fine film.", "Dull."])
    lines = repr(answers).splitlines()
    assert len(lines) == 2
    assert lines[0] == f"{answers.labels[0]} ({answers.probabilities[0].max():.0%})"


@pytest.mark.parametrize(
    ("modality", "items", "message"),
    [
        ("text", "A fine film.", r"put the one you have into a list: predict\(\['A fine film\.'\]\)"),
        ("text", [], "empty list"),
        ("text", ["Fine.", 3], "3 is a int. Give strings"),
        ("image", ["missing.png"], r"no file missing\.png"),
        ("image", ["data:image/png;base64," + 5000 * "A"], r"no file data:image/png;base64,A+\.\.\.\. Give"),
        ("image", Path("cell.png"), "into a list"),
        ("image", [3.5], "Give paths"),
        ("audio", ["missing.wav"], r"no file missing\.wav"),
        ("image", [np.zeros((160, 160, 3))], r"uint8 \(\d+, \d+, 3\), and this is an array of float64 \(160, 160, 3\)"),
        ("image", [np.zeros((9, 9), np.uint8)], r"and this is an array of uint8 \(9, 9\)"),
        ("audio", [np.zeros(16_000, np.int16)], r"float \(samples,\), and this is an array of int16 \(16000,\)"),
        ("audio", [np.zeros((16_000, 2))], r"and this is an array of float64 \(16000, 2\)"),
        ("audio", [np.full(16_000, 12_000.0)], "loudest sample is 12000; .* Divide"),
        ("audio", [np.full(16_000, np.nan)], "loudest sample is nan"),
    ],
)
def test_items_of_the_wrong_kind_are_named(cell: Callable[..., Any], modality: str, items: Any, message: str):
    run = load_run(cell("linear-probe", modality).folder)
    with pytest.raises(DataError, match=message):
        run.predict(items)


def test_halves_of_characters_are_answered_as_a_sign(cell: Callable[..., Any]):
    run = load_run(cell("linear-probe", "text").folder)
    cut, whole = run.predict(["A joy \ud83d", "A joy \ufffd"]).probabilities
    assert (cut == whole).all()


@pytest.mark.parametrize(("modality", "name"), [("image", "notes.png"), ("audio", "notes.wav")])
def test_a_file_that_cannot_be_read_is_named(cell: Callable[..., Any], tmp_path: Path, modality: str, name: str):
    path = tmp_path / name
    path.write_text("no picture and no sound")
    with pytest.raises(DataError, match=name):
        load_run(cell("linear-probe", modality).folder).predict([path])


def test_what_cannot_be_read_in_a_folder_costs_no_other_answer(
    cell: Callable[..., Any],
    tiny_task: Callable[[str], Task],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
):
    run, test = load_run(cell("linear-probe", "image").folder), tiny_task("image").test
    for name, item in zip("abcdef", test.items, strict=False):
        Image.fromarray(item).save(tmp_path / f"{name}.png")
    for name in ("b1", "e1"):
        (tmp_path / f"{name}.png").write_text("no picture", encoding="utf-8")
    monkeypatch.setattr(prediction, "PART", 5)
    table = predict_file(run, tmp_path, progress=False)
    assert [Path(item).stem for item in table["item"]] == ["a", "b", "b1", "c", "d", "e", "e1", "f"]
    assert table.isna().any(axis=1).tolist() == [False, False, True, False, False, False, True, False]
    readable = table.dropna()
    assert readable["answer"].tolist() == [run.label_names[index] for index in run.predictions.predicted[:6]]
    (said,) = caplog.messages
    assert said.startswith("2 of 8 can't be read and have no answer: ")
    assert all(name in said for name in ("b1.png", "e1.png"))
    for name in "abcdef":
        (tmp_path / f"{name}.png").unlink()
    with pytest.raises(DataError, match=r"b1\.png"):
        predict_file(run, tmp_path, progress=False)
