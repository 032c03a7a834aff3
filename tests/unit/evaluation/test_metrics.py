from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score, roc_auc_score

from ftkit.errors import DataError, UnknownNameError
from ftkit.evaluation import METRICS, find_metric


def answers(classes: int, n: int = 240, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return labels and probabilities of a fair model; rounded, so that many probabilities are tied."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(classes, size=n)
    logits = generator.normal(size=(n, classes)) + 1.2 * np.eye(classes)[labels]
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return labels, np.round(probabilities, 1) + 0.01 * np.eye(classes)[probabilities.argmax(axis=1)]


def by_scikit_learn(name: str, labels: np.ndarray, probabilities: np.ndarray, counts: np.ndarray) -> float:
    drawn = np.repeat(np.arange(labels.size), counts.astype(int))
    truth, table = labels[drawn], probabilities[drawn]
    if name == "accuracy":
        return accuracy_score(truth, table.argmax(axis=1))
    if name == "balanced_accuracy":
        return balanced_accuracy_score(truth, table.argmax(axis=1))
    if name == "macro_f1":
        return f1_score(truth, table.argmax(axis=1), average="macro")
    if table.shape[1] == 2:
        return roc_auc_score(truth, table[:, 1])
    return float(np.mean([roc_auc_score(truth == index, table[:, index]) for index in range(table.shape[1])]))


@pytest.mark.parametrize("classes", [2, 4, 10])
@pytest.mark.parametrize("name", list(METRICS))
def test_metric_equals_that_of_scikit_learn(name: str, classes: int) -> None:
    labels, probabilities = answers(classes)
    expected = by_scikit_learn(name, labels, probabilities, np.ones(labels.size))
    assert METRICS[name].function(labels, probabilities) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("name", list(METRICS))
def test_counted_resamples_equal_metrics_of_the_items_drawn(name: str, classes: int) -> None:
    labels, probabilities = answers(classes)
    counts = np.random.default_rng(1).multinomial(labels.size, np.full(labels.size, 1 / labels.size), size=20)
    values = METRICS[name].counted(labels, probabilities, counts.astype(float))
    expected = [by_scikit_learn(name, labels, probabilities, one) for one in counts]
    np.testing.assert_allclose(values, expected, atol=1e-12)


@pytest.mark.parametrize("name", list(METRICS))
@pytest.mark.parametrize("classes", [2, 5])
def test_perfect_answers_score_one_and_random_ones_about_chance(name: str, classes: int) -> None:
    labels = np.arange(20_000) % classes
    guesses = np.random.default_rng(0).random((labels.size, classes))
    assert METRICS[name].function(labels, np.eye(classes)[labels]) == 1
    assert METRICS[name].function(labels, guesses) == pytest.approx(METRICS[name].chance(classes), abs=0.02)


def test_a_class_that_no_item_has_is_left_out_of_the_mean() -> None:
    labels = np.array([0, 1, 0, 1])
    probabilities = np.array([[0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.3, 0.6, 0.1], [0.1, 0.8, 0.1]])
    assert METRICS["balanced_accuracy"].function(labels, probabilities) == 0.75
    assert METRICS["roc_auc"].function(labels, probabilities) == 1


@pytest.mark.parametrize(
    ("labels", "probabilities", "named"),
    [
        ([0, 1], [[0.5, 0.5]], r"\(1, 2\)"),
        ([0, 1], [0.5, 0.5], r"\(2,\)"),
        ([], np.zeros((0, 2)), r"\(0,\)"),
        ([0, 2], [[0.5, 0.5]] * 2, "index 2"),
        ([0, -1], [[0.5, 0.5]] * 2, "index -1"),
        ([0, 0.5], [[0.5, 0.5]] * 2, "float64"),
        ([0, 1], [[0.5, 0.5], [np.nan, 0.5]], "item 1"),
        ([0, 1], [[0.5, 0.5], [np.inf, 0.5]], "item 1"),
    ],
)
def test_unusable_predictions_are_refused_by_name(labels: object, probabilities: object, named: str) -> None:
    for metric in METRICS.values():
        with pytest.raises(DataError, match=named):
            metric.function(labels, probabilities)  # type: ignore[arg-type]


def test_roc_auc_of_one_class_is_refused() -> None:
    with pytest.raises(DataError, match="at least 2 classes"):
        METRICS["roc_auc"].function([1, 1], [[0.5, 0.5]] * 2)


def test_an_unknown_metric_is_answered_with_the_known_ones() -> None:
    with pytest.raises(UnknownNameError, match="accuracy"):
        find_metric("acuracy")
