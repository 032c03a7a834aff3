from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas
import pytest

from ftkit import Comparison, compare, own_task
from ftkit.tasks import Task


@pytest.fixture(scope="session")
def own_reviews(small_task: Callable[[str], Task]) -> Task:
    """A task of one's own: 40 real reviews in a table, under a name for which the kit has no record."""
    task = small_task("text")
    table = pandas.DataFrame(
        {"review": task.test.items, "verdict": [task.label_names[label] for label in task.test.labels]}
    )
    return own_task(table, text="review", label="verdict", name="Forty reviews")


@pytest.fixture(scope="session")
def runs_of_own_reviews(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="session")
def first_comparison(own_reviews: Task, runs_of_own_reviews: Path) -> Comparison:
    """A linear probe with two seeds, saved in `runs_of_own_reviews`."""
    return compare(
        own_reviews,
        ["linear-probe"],
        seeds=2,
        epochs=1,
        trials=2,
        choices=0,
        folder=runs_of_own_reviews,
        progress=False,
    )
