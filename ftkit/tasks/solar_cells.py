"""Does a solar cell have a defect? Electroluminescence photographs of single cells."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ftkit.fetch import fetch
from ftkit.processor import usable_cores
from ftkit.progress import progress_bar
from ftkit.tasks.base import Split, Task, TaskInfo, grey_to_rgb
from ftkit.tasks.preparation import prepare
from ftkit.tasks.splitting import draw_training, stratified_draw

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["IMAGE_SIZE", "INFO", "load"]

INFO = TaskInfo(
    name="solar-cells",
    title="Solar cells",
    modality="image",
    description="Electroluminescence photographs of solar cells, ok or with a defect.",
    assets=("elpv",),
    default_train=1000,
    default_validation=300,
    default_epochs=2,
)

IMAGE_SIZE = 128
"""Every method scores on these as on 160 pixels, in two thirds of the time and with less memory."""
LABEL_NAMES = ("ok", "defect")
_VERSION = 2
_SPLIT_SEED = 2024


def load(limit: int | None = None, seed: int = 0) -> Task:
    """Load the task; see `ftkit.tasks.load_task` for the parameters.

    Of the ELPV data (Deitsch et al., Solar Energy 2019; Buerhop-Lutz et al., EU PVSEC 2018) it takes the cells
    on whose state the experts were certain. Identifiers start with the kind of cell, ``mono/`` or ``poly/``.
    Images are (128, 128, 3) uint8, the three channels equal.
    """
    splits = prepare(INFO.name, _VERSION, INFO.assets, _build)
    train, validation = draw_training(
        splits["train"],
        splits["validation"],
        (INFO.default_train, INFO.default_validation),
        task_name=INFO.name,
        limit=limit,
        seed=seed,
    )
    return Task(
        name=INFO.name,
        title=INFO.title,
        modality=INFO.modality,
        backbone="efficientnet-lite0",
        label_names=LABEL_NAMES,
        train=train,
        validation=validation,
        test=splits["test"],
        metric="balanced_accuracy",
        metrics=("balanced_accuracy", "roc_auc", "accuracy"),
        assets=INFO.assets,
        notes=(
            "The data do not say which cells come from one solar module, so cells of one module may be in "
            "several splits; scores on a new module may be lower.",
        ),
        epochs=INFO.default_epochs,
    )


def _build() -> dict[str, Split]:
    folder = fetch("elpv")
    rows = [line.split() for line in (folder / "labels.csv").read_text(encoding="utf-8").splitlines()]
    certain = [(path, float(defect), kind) for path, defect, kind in rows if float(defect) in (0.0, 1.0)]
    pictures: list[np.ndarray] = []
    kept: list[tuple[str, float, str]] = []
    seen: set[str] = set()
    with progress_bar("Reading solar cells", len(certain)) as advance, ThreadPoolExecutor(usable_cores()) as readers:
        read = readers.map(_read, [folder / path for path, _, _ in certain])
        for (path, defect, kind), (picture, pixels) in zip(certain, read, strict=True):
            advance(1)
            # The same picture twice could be in training and test at once.
            if pixels in seen:
                continue
            seen.add(pixels)
            pictures.append(picture)
            kept.append((f"{kind}/{Path(path).name}", defect, kind))
    labels = np.array([int(defect) for _, defect, _ in kept])
    split = Split(grey_to_rgb(np.stack(pictures)), labels, None, np.array([identifier for identifier, _, _ in kept]))
    strata = np.array([f"{kind} {defect}" for _, defect, kind in kept])
    train = stratified_draw(strata, INFO.default_train, seed=_SPLIT_SEED)
    rest = np.setdiff1d(np.arange(len(strata)), train)
    validation = rest[stratified_draw(strata[rest], INFO.default_validation, seed=_SPLIT_SEED)]
    test = np.setdiff1d(rest, validation)
    return {"train": split.take(train), "validation": split.take(validation), "test": split.take(test)}


def _read(path: Path) -> tuple[np.ndarray, str]:
    """Return the small grey picture, (IMAGE_SIZE, IMAGE_SIZE) uint8, and a hash of the full one's pixels."""
    full = open_grey(path)
    return scale(full), hashlib.sha256(full.tobytes()).hexdigest()


def open_grey(path: Path) -> Image:
    """Read and decode a picture, in grey."""
    from PIL import Image

    with Image.open(path) as opened:
        return opened.convert("L")


def scale(full: Image) -> np.ndarray:
    """Return a grey picture in the size that models see, (IMAGE_SIZE, IMAGE_SIZE) uint8."""
    from PIL.Image import Resampling

    return np.asarray(full.resize((IMAGE_SIZE, IMAGE_SIZE), Resampling.BICUBIC))
