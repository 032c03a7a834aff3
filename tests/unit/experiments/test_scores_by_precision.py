"""A model scores the same in both precisions, over seeds and test items."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from ftkit import fine_tune, load_task
from ftkit.evaluation import METRICS, paired_runs

EXAMPLES = {"movie-reviews": 400, "solar-cells": 96, "spoken-digits": 100}
TESTED = 240
SEEDS = {"movie-reviews": 3, "solar-cells": 16, "spoken-digits": 3}
"""So few cells leave scores that lie far apart from one seed to the next: only many seeds tell of precision."""


@pytest.mark.parametrize(
    ("name", "method"),
    [
        ("movie-reviews", "full"),
        ("solar-cells", "full"),
        ("solar-cells", "lora"),  # its frozen norms are computed inside the convolutions
        ("spoken-digits", "lora"),
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
            for seed in range(SEEDS[name])
        }
        for precision in ("bf16", "float32")
    }
    for precision, found in runs.items():  # two that guess agree too
        learned = np.mean([METRICS["balanced_accuracy"].function(task.test.labels, each) for each in found.values()])
        chance = 1 / len(task.label_names)
        assert learned > chance + 2 * math.sqrt(chance * (1 - chance) / len(task.test)), precision
    test = paired_runs("accuracy", task.test.labels, runs["bf16"], runs["float32"])
    assert test.low <= 0 <= test.high, test
    assert abs(test.difference) < 0.05, test
    assert test.n_discordant > 0  # they are two trainings, not one
