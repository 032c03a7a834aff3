from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, balanced_accuracy_score

from ftkit import fine_tune
from ftkit.evaluation import METRICS
from ftkit.experiments.condition_data import load
from ftkit.experiments.experiment import Condition
from ftkit.experiments.measures import MEASURES
from ftkit.experiments.record import from_digits
from ftkit.tasks import Task, load_task


@pytest.mark.parametrize("modality", ["text", "image", "audio"])
def test_layers_begin_alike_and_end_changed(modality: str, tiny_task: Callable[[str], Task]):
    task = tiny_task(modality)
    run = fine_tune(task, "full", epochs=1, lr=1e-3, progress=False)
    found = MEASURES["layers"](run, task, Condition(task.name, "full"))
    stages = len(run.model.classifier.backbone.blocks) + 1
    assert {len(found[name]) for name in ("stages", "probe_before", "probe", "cka")} == {stages}
    assert found["cka"][0] > 0.95  # one short epoch hardly moves the input
    assert found["cka"][-1] < found["cka"][0]


def test_lora_switched_off_has_forgotten_nothing(tiny_task: Callable[[str], Task]):
    task = tiny_task("audio")
    run = fine_tune(task, "lora", epochs=2, lr=1e-1, progress=False)
    logits = run.predict(task.test.items[:4]).probabilities
    moved = MEASURES["moved weights"](run, task, Condition(task.name, "lora"))
    assert moved["relative_change"][0] == 0 < min(moved["relative_change"][1:])  # LoRA leaves the embedding alone
    found = MEASURES["forgetting"](run, task, Condition(task.name, "lora"))
    np.testing.assert_array_equal(run.predict(task.test.items[:4]).probabilities, logits)  # nothing was folded in
    assert found["adapter_off"] == pytest.approx(found["before"], abs=0.01)
    assert found["after"] > found["before"]  # a word error rate
    off = found["by_item"]["adapter_off"]
    assert sum(off) / sum(found["sizes"]) == pytest.approx(found["adapter_off"], abs=1e-5)


@pytest.mark.parametrize("modality", ["text", "image", "audio"])
def test_undamaged_items_score_as_the_test_did(modality: str, tiny_task: Callable[[str], Task]):
    task = tiny_task(modality)
    run = fine_tune(task, "linear-probe", epochs=1, progress=False)
    found = MEASURES["corruption"](run, task, Condition(task.name, "linear-probe"))
    assert found["scores"][0] == pytest.approx(run.score.value, abs=1 / len(task.test) + 1e-6)
    assert len(found["scores"]) == len(found["severities"]) == len(found["strengths"]) == 4
    metric = METRICS[task.metric].function
    for score, answers in zip(found["scores"], found["answers"], strict=True):
        table = np.eye(len(task.label_names))[from_digits(answers)]
        assert metric(task.test.labels, table) == pytest.approx(score, abs=1e-5)


def test_each_kind_of_cell_has_its_score(small_task: Callable[[str], Task]):
    task = small_task("image")
    run = fine_tune(task, "linear-probe", epochs=1, progress=False)
    found = MEASURES["kinds"](run, task, Condition(task.name, "linear-probe"))
    assert set(found) == {"mono", "poly"}
    for kind, score in found.items():
        of_kind = np.array([name.startswith(kind) for name in run.predictions.identifiers])
        labels, predicted = run.predictions.labels[of_kind], run.predictions.predicted[of_kind]
        assert score == pytest.approx(balanced_accuracy_score(labels, predicted), abs=1e-4)


@pytest.mark.parametrize("task_name", ["movie-reviews", "spoken-digits"])
def test_groups_trained_on_are_asked_about_items_not_trained_on(task_name: str):
    condition = Condition(task_name, "linear-probe", examples=40, epochs=1)
    task, spare = load(condition), load_task(task_name).train
    run = fine_tune(task, "linear-probe", epochs=1, progress=False)
    asked: list[Any] = []
    run.predict, predict = lambda items: asked.extend(items) or predict(items), run.predict
    found = MEASURES["groups"](run, task, condition)
    places = [next(place for place, item in enumerate(spare.items) if np.array_equal(item, one)) for one in asked]
    assert 40 < len(set(places)) == found["items"] <= 600
    assert not set(spare.identifiers[places]) & set(task.train.identifiers)
    assert set(spare.groups[places]) <= set(task.train.groups)
    seen = accuracy_score(spare.labels[places], predict(asked).probabilities.argmax(axis=1))
    unseen = accuracy_score(run.predictions.labels, run.predictions.predicted)
    assert (found["seen"], found["unseen"]) == pytest.approx((seen, unseen), abs=1e-4)


def test_a_task_without_groups_has_none_to_tell_apart(small_task: Callable[[str], Task]):
    task = small_task("image")
    run = fine_tune(task, "linear-probe", epochs=1, progress=False)
    assert MEASURES["groups"](run, task, Condition(task.name, "linear-probe")) == {}


def test_wrong_labels_are_counted():
    condition = Condition("movie-reviews", "linear-probe", examples=80, label_noise=0.25, repaired=True, epochs=1)
    task = load(condition)
    run = fine_tune(task, "linear-probe", epochs=1, progress=False)
    found = MEASURES["label errors"](run, task, condition)
    assert found["wrong"] == 20
    assert found["taken_out"] == 80 - len(task.train)
    assert 0 < found["rightly"] <= min(found["wrong"], found["taken_out"])
