"""Real runs of a tiny model's size: two methods trained on forty film reviews, and an invented record of depths."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

import ftkit
from ftkit.experiments.depth import DepthSweep, depth_sweep
from ftkit.experiments.experiment import grid
from ftkit.experiments.record import Record
from ftkit.experiments.run import Run
from ftkit.tasks.base import Task


@pytest.fixture(scope="session")
def reviews() -> Task:
    task = ftkit.load_task("movie-reviews", limit=40)
    return replace(task, test=task.test.take(range(24)))


@pytest.fixture(scope="session")
def runs(reviews: Task) -> list[Run]:
    return [ftkit.fine_tune(reviews, name, epochs=1, progress=False) for name in ("linear-probe", "prompt")]


@pytest.fixture(scope="session")
def cells() -> Task:
    task = ftkit.load_task("solar-cells", limit=20)
    return replace(task, test=task.test.take(np.random.default_rng(0).permutation(len(task.test))[:24]))


@pytest.fixture(scope="session")
def picture_run(cells: Task) -> Run:
    return ftkit.fine_tune(cells, "linear-probe", epochs=1, progress=False)


@pytest.fixture(scope="session")
def depths(invented_record: Callable[..., Record]) -> Record:
    """A record of three depths, two seeds each, as if the model had three blocks."""
    common = {"task": "movie-reviews", "examples": 400, "seed": [0, 1]}
    conditions = (
        *grid(method="linear-probe", **common),
        *grid(method="partial", settings=[{"blocks": blocks} for blocks in (1, 2, 3)], learning_rate=3e-4, **common),
    )
    return invented_record("depth", conditions, lambda condition: 0.6 + 0.05 * condition.settings.get("blocks", 0))


@pytest.fixture(scope="session")
def sweep(depths: Record) -> DepthSweep:
    read = depth_sweep("movie-reviews", depths)
    points = tuple(replace(point, trainable=770 + 1000 * point.blocks) for point in read.points)
    return replace(read, points=points, processors=("A <fast> processor",))
