"""Features that a model computes, for what is asked of them beside the task: probes, similarity, forgetting."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from accelerate.utils import send_to_device

from ftkit.classifier import masked_mean
from ftkit.processor import libraries_limited
from ftkit.training.batches import evaluation_order

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

    from ftkit.backbones.base import Backbone

HARDLY_VARIES = 0.1
"""Share of the median standard deviation below which a dimension is taken as constant."""


@torch.no_grad()
def stage_features(backbone: Backbone, items: Sequence[Any]) -> list[np.ndarray]:
    """Mean over the positions of what leaves the input stage and every block.

    Parameters
    ----------
    backbone
        In eval mode afterwards.
    items
        Raw items of its modality.

    Returns
    -------
    list of numpy.ndarray
        One float32 array (items, width of the stage) a stage, from input to output; the last one has passed the
        backbone's closing normalisation, so that it is what the head reads.
    """
    backbone.eval()
    inputs = backbone.prepare(items)
    device = next(backbone.parameters()).device
    order = evaluation_order([backbone.length(each) for each in inputs], backbone.evaluation_length)
    stages: list[list[np.ndarray]] = [[] for _ in range(len(backbone.blocks) + 1)]
    for indices in order:
        embedded = backbone.embed(send_to_device(backbone.collate([inputs[index] for index in indices]), device))
        for depth, rows in enumerate(stages):
            embedded = backbone.advance(embedded, depth)
            last = depth == len(backbone.blocks)
            hidden = backbone.sequence(backbone.norm(embedded.hidden) if last else embedded.hidden)
            rows.append(masked_mean(hidden, embedded.pools).cpu().numpy())
    places = np.argsort(np.concatenate(order))
    return [np.concatenate(rows)[places] for rows in stages]


def pooled_features(backbone: Backbone, items: Sequence[Any]) -> np.ndarray:
    """What the head reads: float32 array (items, width)."""
    return stage_features(backbone, items)[-1]


def new_probe() -> Pipeline:
    """Return an unfitted linear classifier of standardised features."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=500))


def fit_probe(features: np.ndarray, labels: np.ndarray) -> Pipeline:
    """Fit a linear classifier on standardised features.

    Parameters
    ----------
    features
        Float array (items, width).
    labels
        Int array (items,).

    References
    ----------
    Alain and Bengio 2016, arXiv:1610.01644.
    """
    with libraries_limited():
        return new_probe().fit(features, labels)


def fit_transferable_probe(features: np.ndarray, labels: np.ndarray) -> Pipeline:
    """Fit a probe that will be asked about another model's features, as `fit_probe` does.

    Dimensions that hardly vary are left out. Some of a pretrained model's are all but constant; standardised, a change
    of a millionth in them would look as large as any, and a probe that leans on them would fail on a model that is the
    same for every purpose.

    Parameters
    ----------
    features, labels
        As for `fit_probe`.

    Returns
    -------
    sklearn.pipeline.Pipeline
        Fitted; it takes features of the same width.
    """
    from sklearn.feature_selection import VarianceThreshold
    from sklearn.pipeline import make_pipeline

    least = HARDLY_VARIES * float(np.median(features.std(axis=0)))
    with libraries_limited():
        return make_pipeline(VarianceThreshold(least**2), new_probe()).fit(features, labels)


def similarity(one: np.ndarray, other: np.ndarray) -> float:
    """Linear centred kernel alignment of two sets of features of the same items.

    It is 1 where one set is the other turned and scaled, and about 0 where they have nothing in common. The estimate is
    free of the bias that makes unrelated features look alike where they are wider than there are items.

    Parameters
    ----------
    one, other
        Float arrays (items, width), four items at least; the widths may differ.

    References
    ----------
    Kornblith et al. 2019, arXiv:1905.00414, section 3; the estimator is that of Song et al. 2012, JMLR 13, section 3.1.

    Examples
    --------
    >>> points = np.random.default_rng(0).normal(size=(50, 3))
    >>> round(similarity(points, -2 * points[:, ::-1]), 6)
    1.0
    """
    with libraries_limited():
        first, second = (_products(features) for features in (one, other))
    own = _shared(first, first) * _shared(second, second)
    return _shared(first, second) / own**0.5 if own > 0 else 0.0


def _products(features: np.ndarray) -> np.ndarray:
    """Scalar products of all pairs of different items, (items, items), zero on the diagonal."""
    centred = (features - features.mean(axis=0)).astype(np.float64)
    products = centred @ centred.T
    np.fill_diagonal(products, 0.0)
    return products


def _shared(first: np.ndarray, second: np.ndarray) -> float:
    """The unbiased Hilbert-Schmidt independence criterion of two tables of products."""
    count = len(first)
    whole = (first * second).sum() + first.sum() * second.sum() / ((count - 1) * (count - 2))
    rows = 2 * first.sum(axis=0) @ second.sum(axis=1) / (count - 2)
    return float((whole - rows) / (count * (count - 3)))
