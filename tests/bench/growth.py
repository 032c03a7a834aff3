"""How time and memory grow: with the examples, the texts' length, the model's width, the seeds and the methods."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from measuring import fresh_activations, load, resident_memory, warm_up

from ftkit.memory import peak_memory

if TYPE_CHECKING:
    from ftkit.tasks import Split, Task

TEST_ITEMS = 40
SPECIAL_TOKENS = 2
ALIKE = ("lora", "dora", "ia3", "adapter", "prompt", "prefix", "bitfit", "norm-tuning")
"""Methods of which a step costs about the same, since all pass through every block and train little: more of them are
no costlier ones."""
METHOD_SEEDS = 2
HEAD_WIDTH = 32
"""Width of an attention head: that of MiniLM, so that a wider model has more heads, as published ones do."""


@dataclass(frozen=True)
class Point:
    """One measurement of a growth curve.

    Attributes
    ----------
    size
        What grows: examples, tokens, width, runs or methods.
    seconds
        Time spent training.
    peak_bytes, start_bytes
        Highest resident memory, and that before the work, libraries and data loaded.
    """

    size: float
    seconds: float
    peak_bytes: int
    start_bytes: int


@dataclass(frozen=True)
class Axis:
    """One way to grow.

    Attributes
    ----------
    title
        What the figure's axis says, with its unit.
    values
        The sizes that are measured unless told otherwise.
    """

    title: str
    values: tuple[int, ...]


AXES = {
    "examples": Axis("Training examples", (250, 500, 1000, 2000)),
    "length": Axis("Text length, tokens", (16, 32, 64, 128)),
    "width": Axis("Model width, features", (128, 256, 384, 512)),
    "runs": Axis("Runs (two methods x seeds)", (2, 4, 8, 16)),
    "methods": Axis("Methods (x two seeds)", (1, 2, 4, 8)),
}


def examples(value: int, task: str = "movie-reviews", method: str = "full", limit: int = 0) -> Point:
    """Train one epoch on so many examples."""
    return _train(load(task, value, TEST_ITEMS), method, value)


def length(value: int, task: str = "movie-reviews", method: str = "full", limit: int = 500) -> Point:
    """Train one epoch on texts of so many tokens, made by joining the task's texts and cutting them."""
    from ftkit.backbones import load_backbone

    loaded = load(task, limit, TEST_ITEMS)
    tokenizer = load_backbone(loaded.backbone).tokenizer
    parts = {name: _of_length(split, value, tokenizer) for name, split in loaded.splits.items()}
    longer = replace(loaded, **parts)
    counted = [len(encoding.ids) for encoding in tokenizer.encode_batch(longer.train.items)]
    return _train(longer, method, float(np.mean(counted)))


def runs(value: int, task: str = "movie-reviews", method: str = "linear-probe,lora", limit: int = 250) -> Point:
    """Make so many runs of one comparison: the same methods, each with as many seeds as that takes."""
    chosen = method.split(",")
    return _compare(load(task, limit, TEST_ITEMS), chosen, value // len(chosen), value)


def methods(value: int, task: str = "movie-reviews", method: str = ",".join(ALIKE), limit: int = 250) -> Point:
    """Compare so many methods, the first ones of a list, each with as many seeds."""
    return _compare(load(task, limit, TEST_ITEMS), method.split(",")[:value], METHOD_SEEDS, value)


def width(value: int, task: str = "movie-reviews", method: str = "full", limit: int = 500) -> Point:
    """Train one epoch of an encoder so wide, of MiniLM's depth, with random weights."""
    from ftkit.experiments.fine_tuning import default_settings
    from ftkit.methods import as_method
    from ftkit.training.loop import Inputs, Training

    loaded = load(task, limit, TEST_ITEMS)
    chosen = as_method(method)
    warm_up(loaded, method)  # its libraries are loaded then, and do not count as growth
    start = resident_memory()
    trainable = chosen.apply(_classifier_of(loaded, value))
    backbone = trainable.classifier.backbone
    train, validation = (
        Inputs(backbone.prepare(split.items), split.labels) for split in (loaded.train, loaded.validation)
    )
    settings = replace(default_settings(loaded, chosen), epochs=1)
    history = Training(trainable, train, validation, settings, loaded.metric).run()
    return Point(value, history.seconds, peak_memory(), start)


def slope(sizes: Sequence[float], values: Sequence[float]) -> float:
    """Exponent of the power law that fits best: the slope of a straight line through the logarithms.

    Examples
    --------
    >>> round(slope([1, 2, 4], [3, 12, 48]), 6)
    2.0
    """
    return float(np.polyfit(np.log(sizes), np.log(values), 1)[0])


def _train(task: Task, method: str, size: float) -> Point:
    import ftkit

    warm_up(task, method)
    start = resident_memory()
    with fresh_activations():
        run = ftkit.fine_tune(task, method, epochs=1, progress=False)
    return Point(size, run.seconds, peak_memory(), start)


def _compare(task: Task, methods: Sequence[str], seeds: int, size: float) -> Point:
    import ftkit

    warm_up(task, methods[0])
    start = resident_memory()
    with fresh_activations(), tempfile.TemporaryDirectory(prefix="ftkit-bench-") as folder:
        board = ftkit.compare(task, methods, seeds=seeds, epochs=1, folder=folder, progress=False)
    return Point(size, sum(run.seconds for run in board.runs), peak_memory(), start)


def _of_length(split: Split, tokens: int, tokenizer: Any) -> Split:
    """Give every item of a split ``tokens`` tokens, the special ones included; labels stay."""
    tokenizer.no_truncation()
    texts = list(split.items)
    made = []
    for index in range(len(texts)):
        text, following = texts[index], index
        encoding = tokenizer.encode(text)
        while len(encoding.ids) < tokens:
            following = (following + 1) % len(texts)
            text = f"{text} {texts[following]}"
            encoding = tokenizer.encode(text)
        last = encoding.offsets[tokens - SPECIAL_TOKENS]
        made.append(text[: last[1]])
    return replace(split, items=made)


def _classifier_of(task: Task, hidden: int) -> Any:
    from transformers import BertConfig, BertModel

    from ftkit.backbones import load_backbone
    from ftkit.backbones.text import BertBackbone
    from ftkit.classifier import Classifier

    known = load_backbone(task.backbone)
    configuration = BertConfig(
        **{
            **known.configuration.to_dict(),
            "hidden_size": hidden,
            "intermediate_size": 4 * hidden,
            "num_attention_heads": hidden // HEAD_WIDTH,
        }
    )
    model = BertModel(configuration, add_pooling_layer=False)
    backbone = BertBackbone(f"random-{hidden}", model, known.tokenizer, known.max_tokens)
    return Classifier(backbone, len(task.label_names))
