"""Runs on scikit-learn's handwritten digits: real pictures and real answers, by logistic regressions that have seen
more or fewer training items, one for each method."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations

import numpy as np
import pytest
from matplotlib.path import Path
from matplotlib.text import Annotation, Text
from matplotlib.transforms import Bbox
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from ftkit.evaluation import score
from ftkit.experiments.comparison import Baseline, Comparison
from ftkit.experiments.machine import Machine
from ftkit.experiments.run import Cost, Predictions, Run, Spec
from ftkit.figures import DescribedFigure
from ftkit.tasks.base import Split
from ftkit.training.history import Epoch, History, Step

NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
METRICS = ("accuracy", "macro_f1")
# Training items, trained parameters, seconds, megabytes of memory, megabytes on disk.
METHODS = {
    "scratch": (30, 22_700_000, 61.0, 880, 90.8),
    "linear-probe": (90, 770, 9.0, 520, 0.005),
    "partial": (200, 3_600_000, 38.0, 640, 14.2),
    "full": (400, 22_700_000, 64.0, 890, 90.8),
    "lora": (500, 147_000, 55.0, 700, 0.6),
    "adapter": (300, 310_000, 52.0, 690, 1.2),
    "prompt": (130, 8_450, 58.0, 700, 0.04),
}


@pytest.fixture(scope="session")
def digits() -> Split:
    data = load_digits()
    pictures = np.repeat((data.images * 15.9).astype(np.uint8)[..., None], 3, axis=-1)[1000:]
    names = np.array([f"digit-{index}" for index in range(len(pictures))])
    return Split(pictures, data.target[1000:], np.array([f"writer {index % 12:02}" for index in range(797)]), names)


@pytest.fixture(scope="session")
def predictions(digits: Split) -> Callable[[str, int], Predictions]:
    data = load_digits()

    def predict(method: str, seed: int) -> Predictions:
        seen = np.random.default_rng(seed).permutation(1000)[: METHODS[method][0]]
        model = LogisticRegression(max_iter=1000).fit(data.data[seen] / 16, data.target[seen])
        probabilities = np.zeros((len(digits), 10))
        probabilities[:, model.classes_] = model.predict_proba(data.data[1000:] / 16)
        return Predictions(digits.identifiers.tolist(), digits.labels, probabilities, list(digits.groups))

    return predict


def run_of(method: str, seed: int, predictions: Predictions) -> Run:
    _, trainable, seconds, memory, saved = METHODS[method]
    scores = {name: score(name, predictions.labels, predictions.probabilities, predictions.groups) for name in METRICS}
    generator = np.random.default_rng(seed)
    reached = scores["accuracy"].value
    epochs = [
        Epoch(epoch, 0.5, 0.6, reached - 0.3 / (1 + epoch) ** 2 - 0.01 * (epoch == 4), 12.0) for epoch in range(1, 5)
    ]
    losses = 0.2 + 2 * np.exp(-np.arange(1, 161) / 40) + 0.1 * generator.random(160)
    steps = [Step(step, step / 40, float(loss), 1e-3, 1.0) for step, loss in enumerate(losses, start=1)]
    return Run(
        spec=Spec(
            task="digits",
            fingerprint="0" * 64,
            modality="image",
            backbone="pixels",
            backbone_settings={},
            method=method,
            settings={},
            learning_rate=1e-3,
            epochs=4,
            batch_size=16,
            weight_decay=0.0,
            warmup=0.1,
            clip_norm=1.0,
            label_smoothing=0.0,
            class_weights=False,
            patience=None,
            augmentation=None,
            precision="float32",
            seed=seed,
            train_examples=METHODS[method][0],
            validation_examples=100,
        ),
        label_names=NAMES,
        metric="accuracy",
        history=History("accuracy", steps, epochs, best_epoch=3),
        scores=scores,
        validation_scores=scores,
        predictions=predictions,
        cost=Cost(trainable, 770, 22_700_000, seconds + seed, 4.0, int(memory * 1e6), int(saved * 1e6)),
        machine=Machine("processor", 2, 1, 8_000_000_000, "Linux x86_64", "3.11.7", {}),
        created="2026-11-22T00:00:00+00:00",
    )


@pytest.fixture(scope="session")
def comparison(predictions: Callable[[str, int], Predictions]) -> Comparison:
    runs = [run_of(method, seed, predictions(method, seed)) for method in METHODS for seed in range(3)]
    labels = runs[0].predictions.labels
    baselines = []
    for name, title, answers in (
        ("majority", "Majority class", np.tile(np.eye(10)[1], (len(labels), 1))),
        ("pixels-svm", "Pixels + support vector machine", predictions("partial", 9).probabilities),
    ):
        scores = {metric: score(metric, labels, answers) for metric in METRICS}
        baselines.append(Baseline(name, title, scores, "usual settings", 1.0))
    return Comparison("digits", "Handwritten digits", "accuracy", runs, baselines)


@pytest.fixture(scope="session")
def run_of_many_groups(predictions: Callable[[str, int], Predictions]) -> Run:
    answers = predictions("partial", 0)
    writers = [f"writer {index % 45:02}" for index in range(len(answers.labels))]
    return run_of("partial", 0, Predictions(answers.identifiers, answers.labels, answers.probabilities, writers))


def texts_of(figure: DescribedFigure) -> list[Text]:
    """Return the texts that are drawn: those of ticks only where the tick is inside the axes."""
    figure.draw_without_rendering()
    of_ticks, drawn = set(), []
    for axes in figure.axes:
        for axis, place in ((axes.xaxis, 0), (axes.yaxis, 1)):
            low, high = sorted(axis.get_view_interval())
            for label in [*axis.get_ticklabels(minor=False), *axis.get_ticklabels(minor=True)]:
                of_ticks.add(label)
                if low <= label.get_position()[place] <= high and axes.axison:
                    drawn.append(label)
    drawn += [text for text in figure.findobj(Text) if text not in of_ticks]  # type: ignore[misc]
    return [text for text in drawn if text.get_visible() and text.get_text().strip()]


def pointers_of(texts: Sequence[Text]) -> list[tuple[str, Path]]:
    """Return the texts that have a pointer, and its way in pixels."""
    annotations = [text for text in texts if isinstance(text, Annotation) and text.arrow_patch is not None]
    return [(each.get_text(), each.arrow_patch.get_path()) for each in annotations if each.arrow_patch is not None]


@pytest.fixture(scope="session")
def assert_readable() -> Callable[[DescribedFigure], None]:
    """Return a check that no text covers another or leaves the figure, and all are of 9 points or more."""

    def check(figure: DescribedFigure) -> None:
        texts = texts_of(figure)
        assert figure.get_figwidth() <= 8
        assert min(text.get_fontsize() for text in texts) >= 9
        level = [text for text in texts if text.get_rotation() % 90 == 0]
        # Of an annotation the text alone: its own extent would be a box around the pointer too.
        boxes = [(text.get_text(), Text.get_window_extent(text)) for text in level]
        assert len(boxes) >= 4
        for (one, first), (other, second) in combinations(boxes, 2):
            shared = Bbox.intersection(first, second)
            covered = 0 if shared is None else shared.width * shared.height
            assert covered < 2, f"{one!r} and {other!r} overlap by {covered:.0f} square pixels"
        for one, pointer in pointers_of(level):
            for other, box in boxes:
                assert one == other or not pointer.intersects_bbox(box), f"the pointer of {one!r} crosses {other!r}"
        for text, box in boxes:
            inside = box.x0 >= -1 and box.y0 >= -1 and box.x1 <= figure.bbox.x1 + 1 and box.y1 <= figure.bbox.y1 + 1
            assert inside, f"{text!r} leaves the figure"

    return check
