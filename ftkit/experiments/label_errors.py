"""Labels that are probably wrong, found by confident learning."""

from __future__ import annotations

import numpy as np

from ftkit.backbones import load_backbone
from ftkit.classifier import backbone_settings
from ftkit.experiments.features import new_probe, pooled_features
from ftkit.processor import libraries_limited
from ftkit.tasks import Task

FOLDS = 5
_SEED = 0


def find_label_errors(task: Task) -> np.ndarray:
    """Mark training items whose label a classifier that never saw them is confident to be wrong.

    A logistic regression on the pretrained model's features answers every item from the other folds; cleanlab then
    compares its confidence with the labels.

    Parameters
    ----------
    task
        Its training split is judged; nothing is changed.

    Returns
    -------
    numpy.ndarray
        Bool (examples,), True where the label is probably wrong.

    References
    ----------
    Northcutt, Jiang and Chuang 2021, arXiv:1911.00068; the implementation is cleanlab's.
    """
    from cleanlab.filter import find_label_issues
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    backbone = load_backbone(task.backbone, **backbone_settings(task))
    features = pooled_features(backbone, task.train.items)
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=_SEED)
    with libraries_limited():
        probabilities = cross_val_predict(new_probe(), features, task.train.labels, cv=folds, method="predict_proba")
    return np.asarray(find_label_issues(task.train.labels, probabilities, n_jobs=1), dtype=bool)
