from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from ftkit.classifier import Classifier
from ftkit.experiments.features import fit_probe, pooled_features, similarity, stage_features
from ftkit.tasks import Task

MODALITIES = ["text", "image", "audio"]


@pytest.mark.parametrize("modality", MODALITIES)
def test_there_is_a_row_an_item_in_the_items_order_for_every_stage(
    modality: str, new_classifier: Callable[[str], Classifier], tiny_task: Callable[[str], Task]
):
    classifier, items = new_classifier(modality), tiny_task(modality).train.items
    backbone = classifier.backbone
    stages = stage_features(backbone, items)
    assert len(stages) == len(backbone.blocks) + 1
    assert {len(features) for features in stages} == {len(items)}
    with torch.inference_mode():
        for place, prepared in enumerate(backbone.prepare(items)):
            alone = classifier.pooled(backbone.collate([prepared]))[0].numpy()
            np.testing.assert_allclose(stages[-1][place], alone, atol=1e-3)


def test_features_of_other_weights_are_less_similar(
    new_classifier: Callable[[str], Classifier], tiny_task: Callable[[str], Task]
):
    backbone, items = new_classifier("audio").backbone, tiny_task("audio").train.items
    before = pooled_features(backbone, items)
    assert similarity(before, before) == pytest.approx(1.0)
    torch.manual_seed(0)
    backbone.reset_parameters()
    assert similarity(before, pooled_features(backbone, items)) < 0.9


def test_similarity_sees_neither_turns_nor_scale_nor_shifts():
    generator = np.random.default_rng(0)
    points = generator.normal(size=(40, 5))
    turned = points @ np.linalg.qr(generator.normal(size=(5, 5)))[0]
    assert similarity(points, 3 * turned + 7) == pytest.approx(1.0)
    assert abs(similarity(points, generator.normal(size=(40, 5)))) < 0.3
    wide, other = generator.normal(size=(2, 40, 500))  # wider than there are items: a biased estimate would say 0.9
    assert abs(similarity(wide, other)) < 0.2
    assert similarity(points, np.ones((40, 2))) == 0.0


def test_a_probe_learns_what_features_hold():
    generator = np.random.default_rng(0)
    labels = np.arange(60) % 3
    features = np.eye(3)[labels] + generator.normal(0, 0.1, size=(60, 3))
    assert fit_probe(features[:30], labels[:30]).score(features[30:], labels[30:]) == 1.0
