"""What the record of the experiment "depth" says of every number of trained blocks."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from ftkit.errors import FtkitError
from ftkit.experiments.depth import depth_sweep
from ftkit.experiments.experiment import grid
from ftkit.experiments.library import EXPERIMENTS
from ftkit.experiments.record import Record
from ftkit.experiments.scoring import mean_test_score
from ftkit.tasks import TASKS


def test_a_sweep_has_every_depth_in_order_with_all_its_seeds(invented_record: Callable[..., Record]):
    settings = [{"blocks": blocks} for blocks in (3, 1, 2)]
    common = {"task": "spoken-digits", "examples": 400, "epochs": 3, "seed": [0, 1, 2]}
    conditions = (
        *grid(method="partial", settings=settings, learning_rate=3e-4, **common),
        *grid(method="surgical", settings={"first": 1, "last": 2}, **common),
        *grid(method="linear-probe", **common),
    )
    record = invented_record("depth", conditions, lambda condition: 0.7 + 0.05 * condition.settings.get("blocks", 0))
    sweep = depth_sweep("spoken-digits", record)
    assert [point.blocks for point in sweep.points] == [0, 1, 2, 3]
    assert sweep.blocks == 3
    assert (sweep.modality, sweep.epochs, sweep.train_examples) == ("audio", 3, 400)
    assert [point.validation_scores for point in sweep.points] == [
        pytest.approx((0.7 + 0.05 * blocks,) * 3) for blocks in range(4)
    ]
    two = record.where(method="partial", settings={"blocks": 2})
    assert sweep.points[2].score == mean_test_score(record, two)
    assert sweep.points[2].seconds == sorted(outcome.seconds for outcome in two)[1]


def test_a_task_without_depths_names_those_that_have_some(invented_record: Callable[..., Record]):
    record = invented_record("depth", grid(task="movie-reviews", method="linear-probe", seed=[0, 1]), lambda _: 0.7)
    with pytest.raises(FtkitError, match=r"Unknown depth record 'solar-cells'. Known depth records: movie-reviews"):
        depth_sweep("solar-cells", record)


@pytest.mark.parametrize("task_name", TASKS)
def test_the_recorded_sweeps_go_from_the_head_to_all_blocks(task_name: str):
    sweep = depth_sweep(task_name)
    declared = {
        condition.settings.get("blocks", 0)
        for condition in EXPERIMENTS["depth"].conditions
        if condition.task == task_name and condition.method in ("linear-probe", "partial")
    }
    assert [point.blocks for point in sweep.points] == sorted(declared)
    sizes = [point.trainable for point in sweep.points]
    assert sizes == sorted(set(sizes))
    assert all(len(point.validation_scores) == 5 for point in sweep.points)
