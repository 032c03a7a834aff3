"""Scores, intervals and paired tests: pure functions over numpy arrays.

Every score in ftkit is a fraction in 0..1 with a 95 % interval, and every comparison of two models is paired, because
both are tested on the same items.

Examples
--------
>>> from ftkit.evaluation import wilson
>>> print(wilson(90, 100))
90.0 % (82.6 to 94.5)
"""

from __future__ import annotations

from ftkit.evaluation.by_group import score_by_group
from ftkit.evaluation.intervals import Score, bootstrap, mean_score, score, wilson
from ftkit.evaluation.item_variation import item_variation
from ftkit.evaluation.metrics import METRICS, Metric, find_metric
from ftkit.evaluation.paired import PairedTest, holm, mcnemar, paired_against, paired_bootstrap, paired_runs
from ftkit.evaluation.student import Variation, jackknife, run_variation, student_interval, without_own

__all__ = [
    "METRICS",
    "Metric",
    "PairedTest",
    "Score",
    "Variation",
    "bootstrap",
    "find_metric",
    "holm",
    "item_variation",
    "jackknife",
    "mcnemar",
    "mean_score",
    "paired_against",
    "paired_bootstrap",
    "paired_runs",
    "run_variation",
    "score",
    "score_by_group",
    "student_interval",
    "wilson",
    "without_own",
]
