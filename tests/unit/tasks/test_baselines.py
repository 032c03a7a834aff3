from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from threadpoolctl import threadpool_info

from ftkit import processor
from ftkit.evaluation import METRICS
from ftkit.tasks import TASKS, baselines, load_task
from ftkit.tasks.baselines import fit_baselines, mfcc


@pytest.mark.parametrize(
    ("name", "classical", "least"),
    [
        ("movie-reviews", "tfidf-logistic", 0.66),
        ("solar-cells", "pixels-svm", 0.72),
        ("spoken-digits", "mfcc-logistic", 0.40),
    ],
)
def test_baselines_give_probabilities_and_the_classical_one_beats_the_majority(
    name: str, classical: str, least: float
) -> None:
    task = load_task(name)
    results = fit_baselines(task)
    assert [result.name for result in results] == ["majority", classical]
    metric = METRICS[task.metric].function
    majority, score = (metric(task.test.labels, result.probabilities) for result in results)
    assert score > least > majority
    for result in results:
        assert result.probabilities.shape == (len(task.test), len(task.label_names))
        np.testing.assert_allclose(result.probabilities.sum(axis=1), 1, atol=1e-6)


def test_scikit_learn_takes_no_more_processors_than_a_container_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    counts: list[int] = []
    monkeypatch.setattr(processor, "usable_cores", lambda: 1)
    monkeypatch.setattr(
        baselines, "_tfidf_logistic", lambda *_: counts.extend(pool["num_threads"] for pool in threadpool_info())
    )
    fit_baselines(load_task("movie-reviews", limit=40))
    assert set(counts) == {1}


@pytest.mark.parametrize("name", list(TASKS))
def test_baselines_work_on_few_examples_and_give_the_same_again(name: str) -> None:
    task = load_task(name, limit=40)
    first, second = fit_baselines(task)[1], fit_baselines(task)[1]
    np.testing.assert_array_equal(first.probabilities, second.probabilities)


def test_the_baseline_of_pictures_does_with_one_of_a_class() -> None:
    task = load_task("solar-cells", limit=40)
    ok, defects = (np.flatnonzero(task.train.labels == label) for label in (0, 1))
    results = fit_baselines(replace(task, train=task.train.take(np.array([*ok, defects[0]]))))
    assert np.isfinite(results[1].probabilities).all()


def test_the_baseline_of_texts_does_without_words_of_two_letters() -> None:
    task = load_task("movie-reviews", limit=40)
    letters = [["+", "-"][label] for label in task.train.labels]
    results = fit_baselines(replace(task, train=replace(task.train, items=letters)))
    assert np.isfinite(results[1].probabilities).all()


def test_mfcc_does_not_hear_loudness() -> None:
    clip = load_task("spoken-digits", limit=10).train.items[0]
    np.testing.assert_allclose(mfcc(clip), mfcc(0.1 * clip), atol=0.01)
