"""What can be had without a pretrained network: the majority class, and one classical method a modality.

Settings are fixed; only the strength of the regularisation is chosen, by the task's metric on validation. The
test split is used once, for the probabilities that are returned.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np

from ftkit.evaluation import METRICS
from ftkit.processor import libraries_limited
from ftkit.progress import progress_bar
from ftkit.tasks.base import SAMPLE_RATE, Split, Task

__all__ = ["BaselineResult", "fit_baselines", "mfcc"]

_STRENGTHS = (0.01, 0.1, 1.0, 10.0, 100.0)
_SEED = 0

_PIXELS = 48
_COMPONENTS = 100

_FRAME, _HOP = int(0.025 * SAMPLE_RATE), int(0.010 * SAMPLE_RATE)
_TRANSFORM_SIZE = 512
_MELS, _COEFFICIENTS = 40, 20
_STRETCHES = 3


@dataclass(frozen=True, eq=False)
class BaselineResult:
    """A baseline's answer on the test split.

    Parameters
    ----------
    name, title
        As in ``"tfidf-logistic"`` and for people.
    probabilities
        Shape (n_test, classes), rows summing to 1.
    seconds
        Wall time of features, choice of the regularisation and test together.
    settings
        In words: the fixed settings and what was chosen on validation.
    """

    name: str
    title: str
    probabilities: np.ndarray
    seconds: float
    settings: str


def fit_baselines(task: Task, *, progress: bool = False) -> list[BaselineResult]:
    """Fit the majority class and the classical method of the task's modality on its training split.

    Text: TF-IDF of words and word pairs with logistic regression. Images: 48 x 48 grey pixels, principal
    components and a support vector machine with RBF kernel (probabilities by Platt's sigmoid). Audio: mel cepstra
    (Davis and Mermelstein, 1980), mean and standard deviation over each third of the clip, with logistic regression.

    Parameters
    ----------
    task
        Its validation split chooses the regularisation; its test split is answered once.
    progress
        Show a progress bar where fitting takes long, default False.

    Returns
    -------
    list of BaselineResult
        The majority class first.
    """
    fit_classical = {"text": _tfidf_logistic, "image": _pixels_svm, "audio": _mfcc_logistic}[task.modality]
    with libraries_limited():
        return [_majority(task), fit_classical(task, progress)]


def mfcc(samples: np.ndarray) -> np.ndarray:
    """Compute mel-frequency cepstral coefficients of a recording.

    Parameters
    ----------
    samples
        Mono at `SAMPLE_RATE`, shape (n,).

    Returns
    -------
    numpy.ndarray
        Shape (frames, 20), a frame each 10 ms. The first coefficient, the loudness, is left out.

    Examples
    --------
    >>> mfcc(np.sin(np.arange(16_000, dtype=np.float32))).shape
    (98, 20)
    """
    from scipy.fft import dct

    padded = np.pad(samples, (0, max(_FRAME - len(samples), 0)))
    frames = np.lib.stride_tricks.sliding_window_view(padded, _FRAME)[::_HOP]
    power = np.abs(np.fft.rfft(frames * np.hanning(_FRAME), _TRANSFORM_SIZE)) ** 2
    energies = power @ _mel_filters().T
    # Relative to the loudest, so that a quiet recording has no other features than a loud one.
    decibels = 10 * np.log10(np.maximum(energies, energies.max() * 1e-8 + 1e-20))
    return dct(decibels, type=2, norm="ortho", axis=1)[:, 1 : _COEFFICIENTS + 1]


def _majority(task: Task) -> BaselineResult:
    start = time.perf_counter()
    shares = np.bincount(task.train.labels, minlength=len(task.label_names)) / len(task.train)
    probabilities = np.tile(shares, (len(task.test), 1))
    return BaselineResult(
        name="majority",
        title="Majority class",
        probabilities=probabilities,
        seconds=time.perf_counter() - start,
        settings="class shares of the training split, whatever the item",
    )


def _tfidf_logistic(task: Task, progress: bool) -> BaselineResult:
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    start = time.perf_counter()
    vectorizer = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
    try:
        vectorizer.fit(task.train.items)
    except ValueError:  # no word has two letters; what stands between spaces will do
        vectorizer.set_params(token_pattern=r"\S+").fit(task.train.items)
    probabilities, strength = _best_on_validation(
        task,
        lambda split: vectorizer.transform(split.items),
        lambda strength: LogisticRegression(C=strength, class_weight=_class_weights(task), max_iter=2000),
        progress,
    )
    return BaselineResult(
        name="tfidf-logistic",
        title="TF-IDF + logistic regression",
        probabilities=probabilities,
        seconds=time.perf_counter() - start,
        settings=f"words and word pairs, sublinear counts; C={strength:g} of {_STRENGTHS}",
    )


def _pixels_svm(task: Task, progress: bool) -> BaselineResult:
    from sklearn.decomposition import PCA
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC

    start = time.perf_counter()
    weights = _class_weights(task)

    with tempfile.TemporaryDirectory(prefix="ftkit-components-") as kept:

        def build(strength: float) -> _CalibratedMachine:
            components = PCA(min(_COMPONENTS, len(task.train) // 2), random_state=_SEED)
            # components of the same pictures are the same at every strength
            machine = make_pipeline(StandardScaler(), components, SVC(C=strength, class_weight=weights), memory=kept)
            return _CalibratedMachine(machine, weights)

        probabilities, strength = _best_on_validation(task, lambda split: _grey_pixels(split.items), build, progress)
    return BaselineResult(
        name="pixels-svm",
        title="Pixels + RBF support vector machine",
        probabilities=probabilities,
        seconds=time.perf_counter() - start,
        settings=f"{_PIXELS} x {_PIXELS} grey pixels, standardised, {_COMPONENTS} principal components; "
        f"C={strength:g} of {_STRENGTHS}",
    )


def _mfcc_logistic(task: Task, progress: bool) -> BaselineResult:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    start = time.perf_counter()
    probabilities, strength = _best_on_validation(
        task,
        lambda split: np.stack([_summary(mfcc(samples)) for samples in split.items]),
        lambda strength: make_pipeline(
            StandardScaler(),
            LogisticRegression(C=strength / 100, class_weight=_class_weights(task), max_iter=5000),
        ),
        progress,
    )
    return BaselineResult(
        name="mfcc-logistic",
        title="Mel cepstra + logistic regression",
        probabilities=probabilities,
        seconds=time.perf_counter() - start,
        settings=f"{_COEFFICIENTS} coefficients, mean and deviation over each third of the clip, standardised; "
        f"C={strength / 100:g} of {tuple(value / 100 for value in _STRENGTHS)}",
    )


class _CalibratedMachine:
    """A support vector machine with probabilities, by logistic regression on held-out decisions (Platt, 1999).

    Where a class has a single item nothing of it can be held out, and the decisions are those on the items themselves.
    scikit-learn's own calibration fits the sigmoid to the class shares; with unequal shares its likelier class
    is then not the machine's decision.
    """

    def __init__(self, machine: Any, weights: str | None) -> None:
        self._machine = machine
        self._weights = weights

    def fit(self, features: np.ndarray, labels: np.ndarray) -> _CalibratedMachine:
        from sklearn.linear_model import LogisticRegression
        from sklearn.model_selection import StratifiedKFold, cross_val_predict

        self._machine.fit(features, labels)
        smallest = int(np.unique(labels, return_counts=True)[1].min())
        if smallest > 1:
            folds = StratifiedKFold(min(5, smallest), shuffle=True, random_state=_SEED)
            decisions = cross_val_predict(self._machine, features, labels, cv=folds, method="decision_function")
        else:
            decisions = self._machine.decision_function(features)
        self._sigmoid = LogisticRegression(C=100.0, class_weight=self._weights).fit(_as_columns(decisions), labels)
        return self

    def predict_proba(self, features: np.ndarray) -> np.ndarray:
        return self._sigmoid.predict_proba(_as_columns(self._machine.decision_function(features)))


def _as_columns(decisions: np.ndarray) -> np.ndarray:
    return decisions.reshape(len(decisions), -1)


def _class_weights(task: Task) -> str | None:
    """Weigh every class alike where the metric does."""
    return "balanced" if task.metric == "balanced_accuracy" else None


def _best_on_validation(
    task: Task, features: Callable[[Split], Any], build: Callable[[float], Any], progress: bool
) -> tuple[np.ndarray, float]:
    """Return the test probabilities of the regularisation that is best on validation, and that regularisation."""
    train, validation = features(task.train), features(task.validation)
    metric = METRICS[task.metric].function
    best_score, best_strength, best_model = -np.inf, _STRENGTHS[0], None
    bar = f"{task.name}, classical method" if progress else None
    with progress_bar(bar, len(_STRENGTHS), "strength") as advance:
        for strength in _STRENGTHS:
            model = build(strength).fit(train, task.train.labels)
            score = metric(task.validation.labels, model.predict_proba(validation))
            # The strongest regularisation wins a tie.
            if score > best_score:
                best_score, best_strength, best_model = score, strength, model
            advance(1)
    assert best_model is not None
    return best_model.predict_proba(features(task.test)), best_strength


def _grey_pixels(images: np.ndarray) -> np.ndarray:
    """Return (n, 48 * 48) float32 in 0..1."""
    from PIL import Image

    small = [
        Image.fromarray(image).convert("L").resize((_PIXELS, _PIXELS), Image.Resampling.BICUBIC) for image in images
    ]
    return np.stack([np.asarray(image, dtype=np.float32).ravel() / 255 for image in small])


def _summary(coefficients: np.ndarray) -> np.ndarray:
    """Return mean and standard deviation of each coefficient over each third of the clip."""
    bounds = np.linspace(0, len(coefficients), _STRETCHES + 1).round().astype(int)
    stretches = [
        coefficients[first : max(last, first + 1)] if first < len(coefficients) else coefficients[-1:]
        for first, last in pairwise(bounds)
    ]
    return np.concatenate([np.concatenate([stretch.mean(axis=0), stretch.std(axis=0)]) for stretch in stretches])


@cache
def _mel_filters() -> np.ndarray:
    """Return triangular filters evenly spaced on the mel scale, shape (mels, frequencies)."""
    top = 2595 * np.log10(1 + SAMPLE_RATE / 2 / 700)
    edges = 700 * (10 ** (np.linspace(0, top, _MELS + 2) / 2595) - 1)
    frequencies = np.fft.rfftfreq(_TRANSFORM_SIZE, 1 / SAMPLE_RATE)
    rising = (frequencies - edges[:-2, np.newaxis]) / (edges[1:-1] - edges[:-2])[:, np.newaxis]
    falling = (edges[2:, np.newaxis] - frequencies) / (edges[2:] - edges[1:-1])[:, np.newaxis]
    return np.maximum(np.minimum(rising, falling), 0)
