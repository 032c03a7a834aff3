"""The three ready-made tasks, on the real data."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from ftkit.errors import AssetError, DataError, UnknownNameError
from ftkit.fetch import save_archives
from ftkit.tasks import SAMPLE_RATE, TASKS, Split, Task, load_task
from ftkit.tasks.preparation import read_splits, write_splits
from ftkit.tasks.synthesis import Utterance, synthesise


def groups_of(split: Split) -> set[str]:
    assert split.groups is not None
    return set(split.groups.tolist())


def share_of_ones(split: Split) -> float:
    return float(split.labels.mean())


@pytest.mark.parametrize("name", list(TASKS))
def test_loading_again_gives_the_same_task(name: str) -> None:
    assert load_task(name).fingerprint == load_task(name).fingerprint


@pytest.mark.parametrize("name", list(TASKS))
def test_default_sizes_are_as_announced(name: str) -> None:
    task = load_task(name)
    assert (len(task.train), len(task.validation)) == (TASKS[name].default_train, TASKS[name].default_validation)
    assert 900 <= len(task.test) <= 1200


@pytest.mark.parametrize("name", list(TASKS))
def test_limit_cuts_training_and_validation_but_never_the_test(name: str) -> None:
    whole, small = load_task(name), load_task(name, limit=200)
    classes = len(whole.label_names)
    assert len(small.train) == 200
    assert len(small.validation) == max(round(len(whole.validation) * 200 / len(whole.train)), 10 * classes)
    assert np.bincount(small.validation.labels).min() >= 10
    assert np.bincount(small.train.labels) / 200 == pytest.approx(
        np.bincount(whole.train.labels) / len(whole.train), abs=0.01
    )
    assert small.test.identifiers.tolist() == whole.test.identifiers.tolist()


@pytest.mark.parametrize("name", list(TASKS))
def test_seed_changes_the_draw_but_not_the_test(name: str) -> None:
    first, second = load_task(name, limit=100, seed=1), load_task(name, limit=100, seed=2)
    assert set(first.train.identifiers) != set(second.train.identifiers)
    assert first.test.identifiers.tolist() == second.test.identifiers.tolist()


@pytest.mark.parametrize("limit", [0, 1, 100_000, -5])
def test_impossible_limit_is_an_error_that_names_the_range(limit: int) -> None:
    with pytest.raises(DataError, match=rf"limit={limit} .* from 2 \(one a class\) to \d+"):
        load_task("movie-reviews", limit=limit)


@pytest.mark.parametrize("limit", [0.5, True, "100"])
def test_limit_that_is_no_whole_number_is_an_error(limit: object) -> None:
    with pytest.raises(DataError, match="whole number"):
        load_task("movie-reviews", limit=limit)  # type: ignore[arg-type]


def test_unknown_task_is_an_error_with_a_guess() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'movie-reviews'"):
        load_task("movie-review")


def test_movie_reviews_never_share_a_film(movie_reviews: Task) -> None:
    everything = load_task("movie-reviews", limit=8500)
    films = [groups_of(split) for split in everything.splits.values()]
    assert not films[0] & films[1]
    assert not films[0] & films[2]
    assert not films[1] & films[2]
    assert len(groups_of(movie_reviews.test)) >= 90


def test_movie_reviews_are_there_once() -> None:
    task = load_task("movie-reviews", limit=8500)
    texts = [text for split in task.splits.values() for text in split.items]
    normalised = {re.sub(r"\W+", " ", text.lower()).strip() for text in texts}
    assert len(normalised) == len(texts)
    assert "" not in normalised


def test_movie_reviews_have_alike_class_shares(movie_reviews: Task) -> None:
    shares = [share_of_ones(split) for split in movie_reviews.splits.values()]
    assert shares == pytest.approx([0.58] * 3, abs=0.02)


def test_solar_cells_come_out_as_colour_images(solar_cells: Task) -> None:
    batch = solar_cells.train.items[[3, 1]]
    assert batch.shape == (2, 128, 128, 3)
    assert batch.dtype == np.uint8
    assert batch.flags.writeable
    assert (batch[..., 0] == batch[..., 2]).all()
    assert batch.std() > 10


def test_solar_cells_are_stratified_by_label_and_kind(solar_cells: Task) -> None:
    def shares(split: Split) -> list[float]:
        mono = np.char.startswith(split.identifiers, "mono/")
        return [float((mono & (split.labels == 1)).mean()), float((mono & (split.labels == 0)).mean())]

    assert shares(solar_cells.train) == pytest.approx(shares(solar_cells.test), abs=0.01)
    assert shares(solar_cells.validation) == pytest.approx(shares(solar_cells.test), abs=0.01)
    assert [share_of_ones(split) for split in solar_cells.splits.values()] == pytest.approx([0.32] * 3, abs=0.01)


def test_solar_cells_hold_every_certain_picture_once(solar_cells: Task) -> None:
    pictures = [picture for split in solar_cells.splits.values() for picture in split.items]
    assert len(pictures) == 1508 + 715
    assert len({hashlib.sha256(picture.tobytes()).digest() for picture in pictures}) == len(pictures)


def test_spoken_digits_never_share_a_voice() -> None:
    task = load_task("spoken-digits", limit=2000)
    voices = [groups_of(split) for split in task.splits.values()]
    assert [len(names) for names in voices] == [47, 12, 6]
    assert sum(map(len, voices)) == len(set.union(*voices))


def test_spoken_digits_are_tested_on_balanced_real_speakers(spoken_digits: Task) -> None:
    test = spoken_digits.test
    assert groups_of(test) == {"george", "jackson", "lucas", "nicolas", "theo", "yweweler"}
    for speaker in groups_of(test):
        assert np.bincount(test.labels[test.groups == speaker]).tolist() == [20] * 10
    assert "fsdd" in spoken_digits.assets
    assert not any("could not be had" in note for note in spoken_digits.notes)


def test_spoken_digits_are_short_float_clips_below_four_kilohertz(spoken_digits: Task) -> None:
    for split in spoken_digits.splits.values():
        for clip in split.items:
            assert clip.dtype == np.float32
            assert clip.ndim == 1
            assert 0.1 * SAMPLE_RATE <= len(clip) <= 1.5 * SAMPLE_RATE
            assert 0 < np.abs(clip).max() <= 1.5
        spectrum = np.abs(np.fft.rfft(np.concatenate(split.items[:50]))) ** 2
        assert spectrum[int(len(spectrum) * 4200 / 8000) :].sum() < 0.01 * spectrum.sum()


def test_synthesis_gives_the_same_sound_in_another_process() -> None:
    plan = [Utterance("seven", "en-us", "f2", 160, 40), Utterance("two", "en-gb-scotland", "klatt", 200, 60)]
    first = synthesise(plan)
    # Left alone, the library would seed its noise with the time in seconds.
    time.sleep(1.1)
    second = synthesise(plan)
    assert [len(clip) for clip in first] == [len(clip) for clip in second]
    assert all((one == other).all() for one, other in zip(first, second, strict=True))
    alone = synthesise(plan[:1])[0]
    assert (alone == first[0]).all()


def test_unknown_voice_is_an_error_and_not_the_plain_voice() -> None:
    with pytest.raises(AssetError, match="no voice variant 'nobody'"):
        synthesise([Utterance("one", "en-us", "nobody", 160, 50)])


def test_without_the_real_recordings_the_task_says_so_and_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spoken_digits: Task
) -> None:
    mirror = tmp_path / "mirror"
    save_archives(["digits-captcha", "digits-spokennumbers"], mirror, progress=False)
    monkeypatch.setenv("FTKIT_MIRROR", str(mirror))
    monkeypatch.setenv("FTKIT_CACHE", str(tmp_path / "cache"))
    # Nobody listens there: the web is out of reach, as on a plane.
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    task = load_task("spoken-digits")
    assert any("Free Spoken Digit Dataset could not be had" in note for note in task.notes)
    assert task.assets == ("spoken-digits-synthetic", "digits-captcha", "digits-spokennumbers")
    assert len(task.test) == 420
    assert np.bincount(task.test.labels).tolist() == [42] * 10
    assert {"captcha (real)", "spokennumbers (real)"} < groups_of(task.test)
    assert not groups_of(task.test) & (groups_of(task.train) | groups_of(task.validation))
    assert task.train.identifiers.tolist() == spoken_digits.train.identifiers.tolist()
    assert task.fingerprint != spoken_digits.fingerprint
    for one, other in zip(task.train.items, spoken_digits.train.items, strict=True):
        np.testing.assert_array_equal(one, other)


def test_damaged_prepared_file_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fingerprint = load_task("movie-reviews").fingerprint
    save_archives(["rotten-tomatoes"], tmp_path / "mirror", progress=False)
    monkeypatch.setenv("FTKIT_MIRROR", str(tmp_path / "mirror"))
    monkeypatch.setenv("FTKIT_CACHE", str(tmp_path / "cache"))
    load_task("movie-reviews")
    (prepared,) = (tmp_path / "cache" / "prepared").glob("*.npz")
    whole = prepared.read_bytes()
    prepared.write_bytes(whole[: len(whole) // 2])
    assert load_task("movie-reviews").fingerprint == fingerprint
    assert len(prepared.read_bytes()) == len(whole)


@pytest.mark.parametrize("name", list(TASKS))
def test_prepared_splits_come_back_bit_for_bit(name: str, tmp_path: Path) -> None:
    task = load_task(name, limit=50)
    write_splits(tmp_path / "splits.npz", task.splits)
    splits = read_splits(tmp_path / "splits.npz")
    again = Task(
        task.name,
        task.title,
        task.modality,
        task.backbone,
        task.label_names,
        splits["train"],
        splits["validation"],
        splits["test"],
        task.metric,
        task.metrics,
    )
    assert again.fingerprint == task.fingerprint
    assert [path.name for path in tmp_path.iterdir()] == ["splits.npz"]


def test_importing_tasks_is_light() -> None:
    heavy = "torch", "transformers", "pandas", "sklearn", "matplotlib", "scipy"
    code = f"import sys, ftkit.tasks; print([name for name in {heavy!r} if name in sys.modules])"
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert finished.stdout.strip() == "[]"
