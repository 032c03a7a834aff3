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
from ftkit.evaluation.metrics import METRICS, Metric, find_metric
from ftkit.evaluation.paired import PairedTest, mcnemar, paired_bootstrap

__all__ = [
    "METRICS",
    "Metric",
    "PairedTest",
    "Score",
    "bootstrap",
    "find_metric",
    "mcnemar",
    "mean_score",
    "paired_bootstrap",
    "score",
    "score_by_group",
    "wilson",
]
