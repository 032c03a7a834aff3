"""A model scores the same in both precisions, over seeds and test items."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ftkit import fine_tune, load_task
from ftkit.evaluation import paired_runs

EXAMPLES = {"movie-reviews": 192, "solar-cells": 96, "spoken-digits": 100}
TESTED = 240
SEEDS = (0, 1, 2)


@pytest.mark.parametrize(
    ("name", "method"),
    [
        *((name, "full") for name in EXAMPLES),
        ("solar-cells", "lora"),  # its frozen norms are computed inside the convolutions
    ],
)
def test_bf16_scores_what_float32_scores(name: str, method: str):
    task = load_task(name, limit=EXAMPLES[name])
    step = max(1, len(task.test) // TESTED)
    task = replace(task, test=task.test.take(range(0, len(task.test), step)))
    runs = {
        precision: {
            seed: fine_tune(
                task, method, epochs=2, seed=seed, precision=precision, progress=False
            ).predictions.probabilities
            for seed in SEEDS
        }
        for precision in ("bf16", "float32")
    }
    test = paired_runs("accuracy", task.test.labels, runs["bf16"], runs["float32"])
    assert test.low <= 0 <= test.high, test
    assert abs(test.difference) < 0.05, test
    assert test.n_discordant > 0  # they are two trainings, not one
