"""Real runs of a tiny model's size: two methods trained on forty film reviews, and a sweep as the kit records it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import ftkit
from ftkit.evaluation import wilson
from ftkit.experiments.depth import DepthPoint, DepthSweep
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


@pytest.fixture
def sweep() -> DepthSweep:
    points = [
        DepthPoint(
            blocks, 3e-4, 770 + 1000 * blocks, wilson(60 + 5 * blocks, 100), wilson(30 + blocks, 50), 3.0 + blocks
        )
        for blocks in range(4)
    ]
    return DepthSweep(
        task="movie-reviews",
        metric="accuracy",
        backbone="minilm",
        block_names=("layer 1", "layer 2", "layer 3"),
        epochs=3,
        train_examples=4000,
        processor="A <fast> processor",
        created="2026-11-22T12:00:00+00:00",
        points=tuple(points),
    )
