"""A task from one's own data, made of real reviews, pictures and recordings."""

from __future__ import annotations

import os
import struct
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
import soundfile
from PIL import ExifTags, Image, ImageOps
from sklearn.datasets import load_sample_image

from ftkit.errors import DataError
from ftkit.tasks import own_task
from ftkit.tasks.reading import list_items, read_image
from ftkit.tasks.sound import read_sound


def test_table_of_texts_is_split_by_class(review_table: pandas.DataFrame, tmp_path: Path) -> None:
    path = tmp_path / "My reviews.csv"
    review_table.to_csv(path, index=False)
    task = own_task(path, text="review", label="verdict")
    assert (task.name, task.modality, task.backbone) == ("my-reviews", "text", "minilm")
    assert task.label_names == ("fresh", "rotten")
    assert [len(split) for split in task.splits.values()] == [36, 12, 12]
    texts = {text for split in task.splits.values() for text in split.items}
    assert texts == {text.strip() for text in review_table["review"]}
    labels = dict(zip(review_table["review"].str.strip(), review_table["verdict"], strict=True))
    for split in task.splits.values():
        assert [task.label_names[label] for label in split.labels] == [labels[text] for text in split.items]


@pytest.mark.parametrize(("suffix", "separator"), [(".tsv", "\t"), (".csv", ";")])
def test_other_separators_are_read(review_table: pandas.DataFrame, tmp_path: Path, suffix: str, separator: str) -> None:
    path = tmp_path / f"reviews{suffix}"
    review_table.to_csv(path, index=False, sep=separator)
    assert (
        own_task(path, text="review", label="verdict").fingerprint
        == own_task(review_table, text="review", label="verdict").fingerprint
    )


def test_usual_column_names_are_guessed(review_table: pandas.DataFrame) -> None:
    renamed = review_table.rename(columns={"review": "Text", "verdict": "Label"})
    guessed = own_task(renamed)
    assert guessed.fingerprint == own_task(renamed, text="Text", label="Label").fingerprint


def test_groups_are_never_shared(review_table: pandas.DataFrame) -> None:
    task = own_task(review_table, text="review", label="verdict", group="film")
    films = [set(split.groups.tolist()) for split in task.splits.values() if split.groups is not None]
    assert len(films) == 3
    assert sum(map(len, films)) == len(set.union(*films)) == 30


def test_seed_changes_the_split(review_table: pandas.DataFrame) -> None:
    tasks = [own_task(review_table, text="review", label="verdict", seed=seed) for seed in (0, 0, 1)]
    assert tasks[0].fingerprint == tasks[1].fingerprint != tasks[2].fingerprint


def test_given_test_stays_whole_and_repeats_leave_training(review_table: pandas.DataFrame) -> None:
    test = review_table.head(20)
    task = own_task(review_table, test=test, text="review", label="verdict")
    assert len(task.test) == 20
    assert not set(task.test.items) & set(task.train.items) | set(task.test.items) & set(task.validation.items)
    assert len(task.train) + len(task.validation) == 40
    assert "20 repeated items were left out of the train data." in task.notes


def test_three_given_splits_stay_as_they_are(review_table: pandas.DataFrame) -> None:
    parts = [review_table[start : start + 20] for start in (0, 20, 40)]
    task = own_task(*parts, text="review", label="verdict")
    assert [split.items for split in task.splits.values()] == [part["review"].tolist() for part in parts]


def test_copies_with_different_labels_are_left_out(review_table: pandas.DataFrame) -> None:
    contradiction = review_table.head(1).assign(verdict="rotten"), review_table.head(1).assign(verdict="fresh")
    table = pandas.concat([review_table[1:], *contradiction], ignore_index=True)
    task = own_task(table, text="review", label="verdict")
    assert sum(map(len, task.splits.values())) == 59
    assert any("2 items were left out" in note and "different labels" in note for note in task.notes)


def test_blank_rows_are_left_out_and_counted(review_table: pandas.DataFrame, tmp_path: Path) -> None:
    path = tmp_path / "reviews.csv"
    review_table.to_csv(path, index=False)
    path.write_text(path.read_text(encoding="utf-8") + ",,\n,,\n", encoding="utf-8")
    task = own_task(path, text="review", label="verdict")
    assert sum(map(len, task.splits.values())) == 60
    assert any(note.startswith("2 blank rows") for note in task.notes)


def test_stars_are_classes_in_order_of_number(review_table: pandas.DataFrame) -> None:
    stars = review_table.assign(stars=np.tile([10.0, 2.0, 1.0], 20))
    assert own_task(stars, text="review", label="stars").label_names == ("1", "2", "10")


def test_unequal_classes_are_scored_by_balanced_accuracy(review_table: pandas.DataFrame) -> None:
    table = review_table.assign(verdict=["rare"] * 10 + ["common"] * 50)
    task = own_task(table, text="review", label="verdict")
    assert task.metric == "balanced_accuracy"
    assert any("more than twice" in note for note in task.notes)


def test_word_none_is_a_text_like_any_other(review_table: pandas.DataFrame, tmp_path: Path) -> None:
    review_table.loc[0, "review"] = "None"
    path = tmp_path / "reviews.csv"
    review_table.to_csv(path, index=False)
    task = own_task(path, text="review", label="verdict")
    assert any("None" in split.items for split in task.splits.values())


def test_folder_of_pictures_becomes_colour_images(cell_folder: Path) -> None:
    (cell_folder / "ok" / "read me.txt").write_text("about these cells", encoding="utf-8")
    (cell_folder / "ok" / ".hidden.png").write_bytes(b"not a picture")
    task = own_task(cell_folder)
    assert (task.modality, task.backbone, task.label_names) == ("image", "efficientnet-lite0", ("defect", "ok"))
    for split in task.splits.values():
        assert split.items.shape == (len(split), 160, 160, 3)
        assert split.items.dtype == np.uint8
        assert (split.items.reshape(len(split), -1).std(axis=1) > 5).all()
    assert any(note.startswith("1 other files") for note in task.notes)


def test_table_of_pictures_is_read_relative_to_itself(
    cell_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = sorted(path for path in cell_folder.rglob("*") if path.is_file())
    rows = [{"file": path.relative_to(tmp_path).as_posix(), "state": path.parent.name} for path in files]
    pandas.DataFrame(rows).to_csv(tmp_path / "cells.csv", index=False)
    monkeypatch.chdir(Path(tmp_path.anchor))
    task = own_task(tmp_path / "cells.csv", image="file")
    assert sum(map(len, task.splits.values())) == 24
    assert task.label_names == ("defect", "ok")


def test_a_photograph_that_is_decoded_at_a_fraction_of_its_size_looks_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded: list[int] = []

    def noted(image: Image.Image, *how: Any) -> Image.Image:
        decoded.append(max(image.size))
        return fit(image, *how)

    fit = ImageOps.fit
    monkeypatch.setattr(ImageOps, "fit", noted)
    photograph = Image.fromarray(load_sample_image("flower.jpg")).resize((2560, 1708), Image.Resampling.BICUBIC)
    on_its_side = photograph.transpose(Image.Transpose.ROTATE_90)
    orientation = Image.Exif()
    orientation[ExifTags.Base.Orientation] = 6
    on_its_side.save(tmp_path / "camera.jpg", quality=95, exif=orientation)
    photograph.save(tmp_path / "upright.png")
    from_camera, upright = (read_image(tmp_path / name).astype(int) for name in ("camera.jpg", "upright.png"))
    assert decoded == [2560 // 4, 2560]
    assert from_camera.shape == (160, 160, 3)
    assert np.abs(from_camera - upright).mean() < 1.5  # of 255: what the compression changes


def test_pictures_are_never_in_memory_three_times(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for label in ("left", "right"):
        (tmp_path / label).mkdir()
        for number in range(100):
            picture = random.integers(0, 255, (160, 160, 3), dtype=np.uint8)
            Image.fromarray(picture).save(tmp_path / label / f"{number}.png", compress_level=1)
    own_task(tmp_path)  # what is imported on the way does not count
    tracemalloc.start()
    task = own_task(tmp_path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    held = sum(split.items.nbytes for split in task.splits.values())
    assert held == 200 * 160 * 160 * 3
    assert peak < 2.5 * held


def test_deep_grey_picture_keeps_its_range(cell_folder: Path) -> None:
    ramp = np.linspace(1000, 40_000, 160 * 160).reshape(160, 160).astype(np.uint16)
    for path in cell_folder.rglob("*.jpg"):
        path.unlink()
    Image.fromarray(ramp).save(cell_folder / "ok" / "deep.png")
    task = own_task(cell_folder)
    deep = next(
        split.items[split.identifiers == "ok/deep.png"][0]
        for split in task.splits.values()
        if "ok/deep.png" in split.identifiers
    )
    assert (deep.min(), deep.max()) == (0, 255)


def test_folder_of_recordings_becomes_mono_at_sixteen_kilohertz(digit_folder: Path) -> None:
    task = own_task(digit_folder)
    assert (task.modality, task.backbone, task.label_names) == ("audio", "whisper-tiny-en", ("one", "two"))
    for split in task.splits.values():
        for clip, identifier in zip(split.items, split.identifiers, strict=True):
            samples, rate = soundfile.read(digit_folder / identifier)
            assert clip.dtype == np.float32
            assert clip.ndim == 1
            assert len(clip) == pytest.approx(len(samples) * 16_000 / rate, abs=1)


def test_long_recording_is_cut_and_counted(digit_folder: Path) -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, 31 * 8000)
    soundfile.write(digit_folder / "one" / "long.wav", noise, 8000)
    task = own_task(digit_folder)
    assert max(len(clip) for split in task.splits.values() for clip in split.items) == 30 * 16_000
    assert "Recordings that were cut to their first 30 seconds: 1." in task.notes


def test_of_a_very_long_recording_only_the_beginning_is_read(tmp_path: Path) -> None:
    path = tmp_path / "hour.wav"
    soundfile.write(path, np.zeros(3600 * 8000, dtype=np.int16), 8000)
    tracemalloc.start()
    samples = read_sound(path, longest=30)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(samples) == 30 * 16_000
    assert peak < 20e6  # the whole would take 115 MB before it is resampled


def test_texts_that_the_model_does_not_read_to_the_end_are_counted(review_table: pandas.DataFrame) -> None:
    assert not any("tokens" in note for note in own_task(review_table, text="review", label="verdict").notes)
    longer = review_table.assign(
        review=[f"{text} {'very ' * 150}good" for text in review_table["review"][:3]] + list(review_table["review"][3:])
    )
    notes = own_task(longer, text="review", label="verdict").notes
    assert any("the first 128 tokens" in note and note.endswith("more words than fit: 3.") for note in notes)


def test_missing_column_names_those_there_are(review_table: pandas.DataFrame) -> None:
    with pytest.raises(DataError, match=r"no column 'body', given as text=.*'review', 'verdict', 'film'"):
        own_task(review_table, text="body", label="verdict")


def test_label_column_that_cannot_be_guessed_is_an_error(review_table: pandas.DataFrame) -> None:
    with pytest.raises(DataError, match="Say so with label="):
        own_task(review_table, text="review")


def test_single_class_is_an_error(review_table: pandas.DataFrame) -> None:
    with pytest.raises(DataError, match="single class, 'fresh'"):
        own_task(review_table.assign(verdict="fresh"), text="review", label="verdict")


def test_small_class_is_named(review_table: pandas.DataFrame) -> None:
    table = review_table.assign(verdict=["odd", "odd", *["fresh", "rotten"] * 29])
    with pytest.raises(DataError, match=r"at least 3 different examples.*'odd' \(2\)"):
        own_task(table, text="review", label="verdict")


def test_column_of_numbers_is_not_taken_for_classes(review_table: pandas.DataFrame) -> None:
    with pytest.raises(DataError, match="60 classes in 60 examples"):
        own_task(review_table.assign(verdict=np.arange(60)), text="review", label="verdict")


def test_empty_text_names_its_row(review_table: pandas.DataFrame) -> None:
    review_table.loc[6, "review"] = "   "
    with pytest.raises(DataError, match="nothing in the column 'review': row 7"):
        own_task(review_table, text="review", label="verdict")


def test_missing_label_names_its_row(review_table: pandas.DataFrame) -> None:
    review_table.loc[[3, 9], "verdict"] = None
    with pytest.raises(DataError, match=r"2 rows .* nothing in the column 'verdict': row 4, 10"):
        own_task(review_table, text="review", label="verdict")


def test_path_that_does_not_exist_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        own_task(tmp_path / "nothing.csv", text="review", label="verdict")


def test_unreadable_picture_is_named(cell_folder: Path) -> None:
    (cell_folder / "ok" / "broken.png").write_bytes(b"no picture at all")
    with pytest.raises(DataError, match=r"Cannot read .*broken\.png as a picture"):
        own_task(cell_folder)


def test_unreadable_recording_of_a_table_is_named_with_its_row(digit_folder: Path) -> None:
    files = sorted(path for path in digit_folder.rglob("*") if path.is_file())
    table = pandas.DataFrame({"audio": [str(path) for path in files], "label": [path.parent.name for path in files]})
    files[2].write_bytes(b"no sound at all")
    with pytest.raises(DataError, match=rf"Cannot read .*{files[2].name} as a recording.*\(row 3 of the table\)"):
        own_task(table)


def test_missing_file_of_a_table_is_named_with_its_row(tmp_path: Path) -> None:
    (tmp_path / "cells.csv").write_text("image,label\nabsent.png,ok\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"absent\.png does not exist \(row 1 of .*cells\.csv\)"):
        own_task(tmp_path / "cells.csv")


def test_folder_without_classes_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="one folder a class"):
        own_task(tmp_path)


def test_folder_of_splits_is_explained(tmp_path: Path) -> None:
    for name in ("train", "test"):
        (tmp_path / name).mkdir()
    with pytest.raises(DataError, match="named after splits"):
        own_task(tmp_path)


def test_empty_class_folder_is_named(cell_folder: Path) -> None:
    (cell_folder / "cracked").mkdir()
    with pytest.raises(DataError, match="folder 'cracked'"):
        own_task(cell_folder)


def test_class_unknown_in_training_is_named(review_table: pandas.DataFrame) -> None:
    with pytest.raises(DataError, match="test data have the class 'stale'"):
        own_task(review_table, test=review_table.assign(verdict="stale"), text="review", label="verdict")


def test_two_kinds_of_column_are_an_error(review_table: pandas.DataFrame) -> None:
    with pytest.raises(DataError, match="text='review' and image='film'"):
        own_task(review_table, text="review", image="film", label="verdict")


def test_file_that_is_no_table_is_an_error(cell_folder: Path) -> None:
    with pytest.raises(DataError, match="UTF-8"):
        own_task(cell_folder / "ok" / "1.png", text="text", label="label")


def test_ragged_table_is_an_error_that_names_the_line(tmp_path: Path) -> None:
    (tmp_path / "reviews.csv").write_text("text,label\nfine,a\none, two, three,b\n", encoding="utf-8")
    with pytest.raises(DataError, match="line 3"):
        own_task(tmp_path / "reviews.csv")


def test_texts_with_the_separator_and_no_quotes_are_an_error(tmp_path: Path) -> None:
    """Read as they are, all but the end of every text would be lost."""
    (tmp_path / "reviews.csv").write_text("text,label\nfine, but long,good\ndull, and long,bad\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"more fields than its 2 columns.*quotes"):
        own_task(tmp_path / "reviews.csv")


def test_missing_values_of_newer_types_are_nothing(review_table: pandas.DataFrame) -> None:
    table = review_table.astype("string")
    table.loc[3, "review"] = pandas.NA
    with pytest.raises(DataError, match=r"1 rows.*row 4"):
        own_task(table, text="review", label="verdict")


def test_two_columns_of_one_name_are_an_error(review_table: pandas.DataFrame) -> None:
    with pytest.raises(DataError, match="two columns named 'review'"):
        own_task(review_table.rename(columns={"film": "review"}), text="review", label="verdict")


def test_recording_with_samples_that_are_not_numbers_is_named(digit_folder: Path) -> None:
    samples = np.full(8000, np.nan, dtype=np.float32)
    soundfile.write(digit_folder / "one" / "odd.wav", samples, 16_000, subtype="FLOAT")
    with pytest.raises(DataError, match=r"odd\.wav has samples that are not numbers"):
        own_task(digit_folder)


# --- what is to be classified, without classes


def test_texts_to_classify_come_from_the_column_that_is_named_or_the_only_one(
    review_table: pandas.DataFrame, tmp_path: Path
) -> None:
    whole, alone = tmp_path / "whole.csv", tmp_path / "alone.csv"
    review_table.to_csv(whole, index=False)
    review_table[["review"]].rename(columns={"review": "Was man sagt"}).to_csv(alone, index=False)
    texts = [text.strip() for text in review_table["review"]]
    assert list_items(whole, "text", "review") == list_items(whole, "text") == list_items(alone, "text") == texts


def test_a_column_to_classify_that_cannot_be_guessed_or_found_is_an_error(
    review_table: pandas.DataFrame, tmp_path: Path
) -> None:
    path = tmp_path / "table.csv"
    review_table.rename(columns={"review": "words"}).to_csv(path, index=False)
    with pytest.raises(DataError, match=r"Cannot tell which column of .*table.csv.*'words'"):
        list_items(path, "text")
    with pytest.raises(DataError, match="has no column 'review'"):
        list_items(path, "text", "review")


def test_recordings_to_classify_are_a_file_a_folder_or_a_table_of_paths(digit_folder: Path, tmp_path: Path) -> None:
    files = [str(path) for path in sorted(digit_folder.rglob("*")) if path.is_file()]
    assert len(files) == 20
    assert list_items(digit_folder, "audio") == files
    assert list_items(files[0], "audio") == files[:1]
    table = digit_folder / "table.csv"
    paths = [str(Path(file).relative_to(digit_folder)) for file in files]
    pandas.DataFrame({"clip": paths, "length": "short"}).to_csv(table, index=False)
    assert list_items(table, "audio") == files
    pandas.DataFrame({"clip": [*paths, "lost.wav"]}).to_csv(table, index=False)
    with pytest.raises(DataError, match=rf"There is no file .*lost\.wav \(row {len(files) + 1} of"):
        list_items(table, "audio")


def test_what_is_not_there_to_classify_is_an_error(digit_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        list_items(tmp_path / "nowhere.csv", "text")
    with pytest.raises(DataError, match="no table, and texts come from one"):
        list_items(digit_folder, "text")
    with pytest.raises(DataError, match=r"does not hold a picture of a kind that can be read \(.*\.jpg"):
        list_items(digit_folder, "image")
    with pytest.raises(DataError, match="no table, and has no column 'clip'"):
        list_items(digit_folder, "audio", "clip")
    (tmp_path / "memo.m4a").write_bytes(b"\xff\x00")
    with pytest.raises(DataError, match=r"memo.m4a is not a recording of a kind that can be read \(.*\.wav"):
        list_items(tmp_path / "memo.m4a", "audio")
    (tmp_path / "gap.csv").write_text("text,other\nfine,x\n,y\n", encoding="utf-8")
    with pytest.raises(DataError, match="nothing in the column 'text': row 2"):
        list_items(tmp_path / "gap.csv", "text")


# ------------------------------------------------------------------------------------------------ what people have


def test_a_class_whose_groups_are_of_unequal_size_is_still_in_every_split() -> None:
    """Three sick patients, of whom two wrote many texts: no share is right, and none may be nothing."""
    sizes = [("healthy", 10)] * 12 + [("sick", 45), ("sick", 45), ("sick", 10)]
    rows = [
        {"text": f"patient {patient} writes {note}", "label": label, "patient": f"p{patient}"}
        for patient, (label, count) in enumerate(sizes)
        for note in range(count)
    ]
    for seed in range(4):
        task = own_task(pandas.DataFrame(rows), group="patient", seed=seed)
        assert all(set(split.labels) == {0, 1} for split in task.splits.values())


@pytest.mark.parametrize(("classes", "groups"), [(8, 5), (10, 6), (20, 10), (3, 3)])
def test_classes_that_lie_in_groups_of_their_own_are_in_every_split(classes: int, groups: int) -> None:
    rows = [
        {"text": f"plant {label} {plant} leaf {leaf}", "label": f"species {label}", "plant": f"{label} {plant}"}
        for label in range(classes)
        for plant in range(groups)
        for leaf in range(6)
    ]
    for seed in range(3):
        task = own_task(pandas.DataFrame(rows), group="plant", seed=seed)
        parts = [set(split.groups) for split in task.splits.values() if split.groups is not None]
        assert sum(map(len, parts)) == len(set.union(*parts)) == classes * groups
        assert all(len(set(split.labels)) == classes for split in task.splits.values())


def test_a_class_with_too_few_groups_is_named() -> None:
    rows = [
        {"text": f"{label} {group} {note}", "label": label, "patient": f"{label} {group}"}
        for label, groups in (("a", 9), ("b", 9), ("c", 2))
        for group in range(groups)
        for note in range(5)
    ]
    with pytest.raises(DataError, match=r"No way was found to put 'c' into each of 3 splits.* lie in 2 groups"):
        own_task(pandas.DataFrame(rows), group="patient")


@pytest.mark.parametrize("last", ['"What a film', "What a film"])
@pytest.mark.parametrize("text_first", [True, False])
def test_a_quote_between_tabs_swallows_no_rows(text_first: bool, last: str, tmp_path: Path) -> None:
    texts = [f"film number {n}" for n in range(40)]
    texts[9] = '"The plot" is thin, he said'
    texts[12] = '"What a night'
    texts[20] = 'They call it "art"'
    texts[39] = last
    rows = [("text", "label"), *((text, "good" if n % 2 else "bad") for n, text in enumerate(texts))]
    path = tmp_path / "reviews.tsv"
    lines = ["\t".join(row if text_first else reversed(row)) for row in rows]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    task = own_task(path)
    assert sorted(text for split in task.splits.values() for text in split.items) == sorted(texts)


@pytest.mark.parametrize("separator", [",", ";"])
@pytest.mark.parametrize("text_first", [True, False])
def test_a_quote_that_takes_in_other_rows_is_named(text_first: bool, separator: str, tmp_path: Path) -> None:
    texts = [f"film number {n}" for n in range(20)]
    texts[3], texts[9] = '"What a night', '"What a film'
    rows = [("text", "label"), *((text, "good" if n % 2 else "bad") for n, text in enumerate(texts))]
    path = tmp_path / "reviews.csv"
    lines = [separator.join(row if text_first else reversed(row)) for row in rows]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"A quote opens a text in row 4 of .*reviews\.csv and is not closed.*double"):
        own_task(path)


def test_quoted_texts_of_several_lines_may_hold_what_other_columns_do(tmp_path: Path) -> None:
    texts = [f"To bake cake {n}:\n1,5 kg flour\n2,good eggs,good\nand rest" for n in range(20)]
    table = pandas.DataFrame({"number": range(20), "text": texts, "label": ["good", "bad"] * 10})
    table.to_csv(tmp_path / "recipes.csv", index=False)
    task = own_task(tmp_path / "recipes.csv", text="text", label="label")
    assert sorted(text for split in task.splits.values() for text in split.items) == sorted(texts)


def test_quoted_texts_between_tabs_may_hold_line_ends(review_table: pandas.DataFrame, tmp_path: Path) -> None:
    table = review_table.assign(review=[f"{text}\nsecond line" for text in review_table["review"]])
    table.to_csv(tmp_path / "reviews.tsv", index=False, sep="\t")
    task = own_task(tmp_path / "reviews.tsv", text="review", label="verdict")
    assert all(text.endswith("\nsecond line") for split in task.splits.values() for text in split.items)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_is_brought_upright(orientation: int, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (30, 20, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(pixels).save(tmp_path / "held.png", exif=exif)
    with Image.open(tmp_path / "held.png") as opened:
        ImageOps.exif_transpose(opened).save(tmp_path / "upright.png")
    assert np.array_equal(read_image(tmp_path / "held.png"), read_image(tmp_path / "upright.png"))


def test_a_tag_of_a_cameras_own_making_does_not_matter(tmp_path: Path) -> None:
    """Pillow can read pictures with such a tag, and can't write the tag again."""
    exif = Image.Exif()
    exif[0x0112], exif[0x0213] = 6, 1  # YCbCrPositioning, a whole number
    Image.new("RGB", (30, 20), "red").save(tmp_path / "photo.jpg", exif=exif)
    content = (tmp_path / "photo.jpg").read_bytes()
    as_number, as_text = (struct.pack(">HHL", 0x0213, kind, 1) for kind in (3, 2))
    assert content.count(as_number) == 1
    (tmp_path / "photo.jpg").write_bytes(content.replace(as_number, as_text))
    with Image.open(tmp_path / "photo.jpg") as opened, pytest.raises(struct.error):
        ImageOps.exif_transpose(opened)
    assert read_image(tmp_path / "photo.jpg").shape == (160, 160, 3)


@pytest.mark.skipif(os.name == "nt" or sys.platform == "darwin", reason="names are always in Unicode there")
def test_a_recording_whose_name_is_not_in_utf8_is_read(digit_folder: Path) -> None:
    recording = next(digit_folder.rglob("*.wav"))
    recording.rename(os.fsdecode(os.fsencode(recording.parent) + b"/caf\xe9.wav"))
    assert len(own_task(digit_folder).train)


def test_files_of_a_kind_that_cannot_be_read_are_named(cell_folder: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / "memos" / name).mkdir(parents=True)
        (tmp_path / "memos" / name / "memo.m4a").write_bytes(b"\xff\x00")
    with pytest.raises(DataError, match=r"nor recordings \(.*\.wav\)\. Convert what it holds"):
        own_task(tmp_path / "memos")
    (cell_folder / "ok" / "photo.heic").write_bytes(b"\xff\x00")
    assert any(note.endswith("left out: 1 .heic.") for note in own_task(cell_folder).notes)


def test_a_picture_with_pixels_that_are_no_numbers_is_named(cell_folder: Path) -> None:
    pixels = np.ones((20, 20), dtype=np.float32)
    pixels[3, 4] = np.nan
    Image.fromarray(pixels).save(cell_folder / "ok" / "gap.tif")
    with pytest.raises(DataError, match=r"gap\.tif has pixels that are no numbers"):
        own_task(cell_folder)


def test_class_folders_may_be_links_even_in_a_circle(cell_folder: Path, tmp_path: Path) -> None:
    expected = own_task(cell_folder)
    linked = tmp_path / "linked"
    linked.mkdir()
    for folder in cell_folder.iterdir():
        (linked / folder.name).symlink_to(folder, target_is_directory=True)
        (folder / "back").symlink_to(linked, target_is_directory=True)
    (linked / "ok" / "back" / "note.txt").touch()
    found = own_task(linked)
    assert found.fingerprint == expected.fingerprint


def test_a_path_that_begins_with_a_tilde_is_a_name_like_any_other(cell_folder: Path, tmp_path: Path) -> None:
    rows = [
        {"image": str(path), "label": path.parent.name}
        for path in sorted(cell_folder.rglob("*"))
        if path.suffix == ".jpg"
    ]
    (tmp_path / "~nobody-of-this-name.jpg").write_bytes(Path(rows[0]["image"]).read_bytes())
    rows[0]["image"] = "~nobody-of-this-name.jpg"
    pandas.DataFrame(rows).to_csv(tmp_path / "cells.csv", index=False)
    assert len(own_task(tmp_path / "cells.csv").train)
    rows[0]["image"] = "~nobody-else.jpg"
    pandas.DataFrame(rows).to_csv(tmp_path / "cells.csv", index=False)
    with pytest.raises(DataError, match=r"~nobody-else\.jpg does not exist \(row 1 of"):
        own_task(tmp_path / "cells.csv")


def test_own_data_never_have_the_name_of_a_ready_made_task(review_table: pandas.DataFrame, tmp_path: Path) -> None:
    review_table.to_csv(tmp_path / "movie-reviews.csv", index=False)
    task = own_task(tmp_path / "movie-reviews.csv", text="review", label="verdict")
    assert (task.name, task.title) == ("own-movie-reviews", "movie-reviews")


def test_names_that_are_not_in_utf_8_are_escaped(cell_folder: Path) -> None:
    strange = Path(os.fsdecode(os.fsencode(cell_folder / "ok") + b"\xe9"))
    (cell_folder / "ok").rename(strange)
    task = own_task(cell_folder)
    assert task.label_names == ("defect", r"ok\xe9")
    assert all(name.encode().decode().startswith(("defect/", r"ok\xe9/")) for name in task.train.identifiers)
    assert task.fingerprint == own_task(cell_folder).fingerprint


def test_halves_of_characters_in_texts_are_joined_or_replaced(review_table: pandas.DataFrame) -> None:
    review_table.loc[0, "review"] = "A joy \ud83d\ude00 to the end \ud83d"
    task = own_task(review_table, text="review", label="verdict")
    texts = [text for split in task.splits.values() for text in split.items]
    assert "A joy \U0001f600 to the end \ufffd" in texts
    assert task.fingerprint


@pytest.mark.parametrize("column", ["picture", "label"])
def test_an_array_in_a_cell_is_named(column: str) -> None:
    cells = {"picture": ["a.png", "b.png"], "label": ["x", "y"]}
    cells[column] = [np.zeros((2, 3)), np.ones((2, 3))]
    with pytest.raises(DataError, match=r"an array of shape \(2, 3\)\. Give texts, or the paths of files"):
        own_task(pandas.DataFrame(cells), image="picture", label="label")


def test_what_is_too_long_for_a_name_is_no_file_and_is_named_shortly(cell_folder: Path) -> None:
    table = pandas.DataFrame({"image": ["data:image/png;base64," + 5000 * "A"] * 4, "label": ["x", "y"] * 2})
    with pytest.raises(DataError, match=r"A\.\.\. does not exist \(row 1 of") as told:
        own_task(table)
    assert len(str(told.value)) < 500


def test_a_class_called_nan_stands_among_the_words() -> None:
    texts = [f"review number {number}" for number in range(60)]
    labels = ["3", "nan", "10", "inf", "1"] * 12
    task = own_task(pandas.DataFrame({"text": texts, "label": labels}))
    assert task.label_names == ("1", "3", "10", "inf", "nan")


def test_this_folder_has_a_name(cell_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(cell_folder)
    assert own_task(".").title == cell_folder.name
