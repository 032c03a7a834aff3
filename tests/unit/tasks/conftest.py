from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas
import pytest
import soundfile
from PIL import Image

from ftkit.tasks import Task, load_task


@pytest.fixture(scope="session")
def movie_reviews() -> Task:
    return load_task("movie-reviews")


@pytest.fixture(scope="session")
def solar_cells() -> Task:
    return load_task("solar-cells")


@pytest.fixture(scope="session")
def spoken_digits() -> Task:
    return load_task("spoken-digits")


@pytest.fixture
def review_table(movie_reviews: Task) -> pandas.DataFrame:
    """Sixty real reviews of thirty films."""
    split = movie_reviews.train
    names = [movie_reviews.label_names[label] for label in split.labels]
    table = pandas.DataFrame({"review": split.items, "verdict": names, "film": split.groups})
    by_film = table.groupby("film").head(2).groupby("film").filter(lambda film: len(film) == 2)
    return by_film.head(60).reset_index(drop=True)


@pytest.fixture
def cell_folder(solar_cells: Task, tmp_path: Path) -> Path:
    """Twelve real pictures of each class, one folder a class, in several sizes, modes and formats."""
    folder = tmp_path / "cells"
    for label, name in enumerate(solar_cells.label_names):
        (folder / name).mkdir(parents=True)
        chosen = np.flatnonzero(solar_cells.train.labels == label)[:12]
        for number, pixels in enumerate(solar_cells.train.items[chosen]):
            picture = Image.fromarray(pixels)
            if number % 3 == 0:
                picture.resize((240, 180)).save(folder / name / f"{number}.jpg")
            elif number % 3 == 1:
                picture.convert("L").save(folder / name / f"{number}.png")
            else:
                picture.convert("RGBA").resize((90, 130)).save(folder / name / f"{number}.PNG")
    return folder


@pytest.fixture
def digit_folder(spoken_digits: Task, tmp_path: Path) -> Path:
    """Ten real recordings each of one and two, one folder a digit, mono at 16 kHz and stereo at 44.1 kHz."""
    folder = tmp_path / "digits"
    for label in (1, 2):
        (folder / spoken_digits.label_names[label]).mkdir(parents=True)
        chosen = np.flatnonzero(spoken_digits.test.labels == label)[::12][:10]
        for number, position in enumerate(chosen):
            samples = spoken_digits.test.items[position]
            path = folder / spoken_digits.label_names[label] / f"{number}.wav"
            if number % 2:
                soundfile.write(path, np.stack([samples, samples], axis=1), 44_100)
            else:
                soundfile.write(path.with_suffix(".flac"), samples, 16_000)
    return folder
