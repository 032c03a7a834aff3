"""ftkit's side of every comparison: the same call that a lesson makes, with the pieces that make it fast."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from measuring import Measured, Stopwatch, added, fresh_activations, load, scores_of, warm_up

from ftkit.memory import peak_memory
from ftkit.training.callbacks import BestWeights, Callback

if TYPE_CHECKING:
    from torch import Tensor

    from ftkit.experiments.run import Run
    from ftkit.tasks import Task
    from ftkit.training.history import Epoch, Step
    from ftkit.training.loop import Training, TrainingSettings


class FitClock(Callback):
    """Tells training from validation by the moments at which the loop calls: the same for every version of the loop.

    Keeping the best epoch's weights, which happens between the two, is part of the training.
    """

    def __init__(self) -> None:
        self.validation_seconds = 0.0
        self.ended = 0.0
        self._last_step = 0.0

    def on_start(self, training: Training) -> None:
        self.validation_seconds += training.validation.seconds  # its frozen blocks
        keeper = next(each for each in training.callbacks if isinstance(each, BestWeights))
        keep = keeper.on_epoch

        def timed(training: Training, epoch: Epoch) -> None:
            began = time.perf_counter()
            keep(training, epoch)
            self.validation_seconds -= time.perf_counter() - began

        keeper.on_epoch = timed  # type: ignore[method-assign]

    def on_step(self, training: Training, step: Step) -> None:
        self._last_step = time.perf_counter()

    def on_epoch(self, training: Training, epoch: Epoch) -> None:
        self.validation_seconds += time.perf_counter() - self._last_step

    def on_end(self, training: Training) -> None:
        self.ended = time.perf_counter()


# --- the pieces, and how each is turned off


@contextmanager
def random_batches() -> Iterator[None]:
    """Draw batches without regard to length, as a plain loader does."""
    from ftkit.training import batches

    class RandomBatches(batches.LengthBatches):
        def __init__(self, lengths: Sequence[int], batch_size: int, seed: int) -> None:
            super().__init__(np.zeros(len(lengths), dtype=np.int64), batch_size, seed)

    kept, batches.LengthBatches = batches.LengthBatches, RandomBatches  # type: ignore[misc]
    try:
        yield
    finally:
        batches.LengthBatches = kept  # type: ignore[misc]


@contextmanager
def padded_to_the_most() -> Iterator[None]:
    """Pad every text to the most tokens that the model reads."""
    from torch.nn import functional

    from ftkit.backbones.text import BertBackbone

    kept = BertBackbone.collate

    def collate(self: BertBackbone, inputs: Sequence[np.ndarray]) -> dict[str, Tensor]:
        batch = kept(self, inputs)
        missing = self.max_tokens - batch["tokens"].shape[1]
        return {name: functional.pad(values, (0, missing)) for name, values in batch.items()}

    BertBackbone.collate = collate  # type: ignore[method-assign]
    try:
        yield
    finally:
        BertBackbone.collate = kept  # type: ignore[method-assign]


@contextmanager
def prepared_at_every_reading() -> Iterator[None]:
    """Tokenise texts, scale pictures and compute spectrograms whenever a batch is read."""
    from ftkit.experiments.fine_tuning import Prepared
    from ftkit.training.augmentation import Augmentation

    class NoChange(Augmentation):
        def change_item(self, item: Any) -> Any:
            return item

    kept = Prepared.inputs
    Prepared.inputs = lambda self, split, augmentation=None: kept(self, split, NoChange())  # type: ignore[method-assign]
    try:
        yield
    finally:
        Prepared.inputs = kept  # type: ignore[method-assign]


@contextmanager
def weights_cast_at_every_use() -> Iterator[None]:
    """Leave it to autocast to cast frozen weights."""
    from ftkit.training import activations, loop

    kept = loop.frozen_weights_cast
    loop.frozen_weights_cast = activations.frozen_weights_cast = lambda *_: nullcontext()
    try:
        yield
    finally:
        loop.frozen_weights_cast = activations.frozen_weights_cast = kept


@contextmanager
def gradients_of_all_weights() -> Iterator[None]:
    """Compute gradients of frozen weights too, which nobody uses."""
    from ftkit.training import loop

    step, clippable = loop.Training._step, loop.clippable

    def step_with_all(self: Training, parts: Any) -> tuple[float, float]:
        frozen = [weight for weight in self.trainable.model.parameters() if not weight.requires_grad]
        unused = set(map(id, frozen))
        loop.clippable = lambda weights: clippable(each for each in weights if id(each) not in unused)
        for weight in frozen:
            weight.requires_grad_(True)
        try:
            return step(self, parts)
        finally:
            for weight in frozen:
                weight.requires_grad_(False)
                weight.grad = None

    loop.Training._step = step_with_all  # type: ignore[method-assign]
    try:
        yield
    finally:
        loop.Training._step, loop.clippable = step, clippable  # type: ignore[method-assign]


@contextmanager
def float32_only() -> Iterator[None]:
    """Train in float32 whatever a probe of the machine says."""
    from ftkit.experiments import fine_tuning

    kept, fine_tuning.choose_precision = fine_tuning.choose_precision, lambda *_: "float32"
    try:
        yield
    finally:
        fine_tuning.choose_precision = kept


@contextmanager
def nothing_kept() -> Iterator[None]:
    """Compute the frozen blocks in every step and prepare the data in every run."""
    from ftkit.experiments import fine_tuning

    kept, fine_tuning._cache_for = fine_tuning._cache_for, lambda *_: None
    try:
        yield
    finally:
        fine_tuning._cache_for = kept


@contextmanager
def default_kernels() -> Iterator[None]:
    """Use torch's own attention, dropout and gradients of depthwise convolutions, and normalise whole batches."""
    from ftkit.backbones import depthwise, normalised, speech, text

    kept = text.ATTENTION, text.with_fast_dropout, depthwise._Depthwise.apply, normalised._is_known
    text.ATTENTION = speech.ATTENTION = "sdpa"
    text.with_fast_dropout = lambda model: model
    depthwise._Depthwise.apply = depthwise.convolve  # type: ignore[method-assign,assignment]
    normalised._is_known = lambda *_: False
    try:
        yield
    finally:
        (text.ATTENTION, text.with_fast_dropout, depthwise._Depthwise.apply, normalised._is_known) = kept  # type: ignore[method-assign]
        speech.ATTENTION = text.ATTENTION


@contextmanager
def plain_optimizer() -> Iterator[None]:
    """Let the optimizer go over the weights one tensor at a time."""
    import torch

    from ftkit.training import optimizer

    kept, update = optimizer.AdamW.__init__, optimizer.adamw
    optimizer.AdamW.__init__ = lambda self, groups: torch.optim.AdamW.__init__(self, groups)  # type: ignore[method-assign]
    optimizer.adamw = lambda *lists, **options: update(*lists, **{**options, "fused": False})  # type: ignore[assignment]
    try:
        yield
    finally:
        optimizer.AdamW.__init__, optimizer.adamw = kept, update  # type: ignore[method-assign]


@contextmanager
def gradients_of_all_words() -> Iterator[None]:
    """Make gradients and moments of the whole vocabulary, as torch does by itself."""
    from ftkit.training import loop

    kept, loop.gradients_by_row = loop.gradients_by_row, nullcontext
    try:
        yield
    finally:
        loop.gradients_by_row = kept


@contextmanager
def batches_whole() -> Iterator[None]:
    """Take long batches through the model in one piece, and keep all their activations."""
    from ftkit.training import batches

    kept, batches.split_by_length = batches.split_by_length, lambda lengths, _: [list(range(len(lengths)))]
    try:
        yield
    finally:
        batches.split_by_length = kept


@contextmanager
def maps_kept() -> Iterator[None]:
    """Keep the normalised feature maps of the picture network for the backward pass."""
    from ftkit.backbones import normalised, vision

    kept, vision.normalise_and_convolve = vision.normalise_and_convolve, normalised._in_turn
    try:
        yield
    finally:
        vision.normalise_and_convolve = kept


@contextmanager
def updates_beside_the_weights() -> Iterator[None]:
    """Convolve with the frozen weight, then with LoRA's two, as peft does."""
    from ftkit.methods.folded import FoldedConvolution

    kept, FoldedConvolution.whole_weight = FoldedConvolution.whole_weight, lambda self: None  # type: ignore[method-assign]
    try:
        yield
    finally:
        FoldedConvolution.whole_weight = kept  # type: ignore[method-assign]


@contextmanager
def long_windows() -> Iterator[None]:
    """Pad speech to the thirty seconds that Whisper was trained on."""
    from ftkit import classifier
    from ftkit.experiments import fine_tuning

    kept = classifier.backbone_settings
    classifier.backbone_settings = fine_tuning.backbone_settings = lambda task: {**kept(task), "seconds": 30.0}
    try:
        yield
    finally:
        classifier.backbone_settings = fine_tuning.backbone_settings = kept


@contextmanager
def freed_memory_given_back() -> Iterator[None]:
    """Leave it to the C library what becomes of large blocks that are freed."""
    from ftkit.training import loop

    kept, loop.reuse_freed_memory = loop.reuse_freed_memory, lambda: None
    try:
        yield
    finally:
        loop.reuse_freed_memory = kept


@contextmanager
def one_head_at_a_time() -> Iterator[None]:
    """Train linear probes of several rates and seeds one after the other."""
    from ftkit.experiments import probing

    kept = probing.probe_runs

    def one_by_one(task: Task, settings: Sequence[TrainingSettings]) -> Iterator[Run]:
        for each in settings:
            yield from kept(task, [each])

    probing.probe_runs = one_by_one  # type: ignore[assignment]
    try:
        yield
    finally:
        probing.probe_runs = kept


PIECES: dict[str, Any] = {
    "frozen activations": nothing_kept,
    "bf16 where it is faster": float32_only,
    "batches by length": random_batches,
    "padding to the longest of a batch only": padded_to_the_most,
    "data prepared once": prepared_at_every_reading,
    "frozen weights cast once": weights_cast_at_every_use,
    "gradients only of what trains": gradients_of_all_weights,
    "chosen kernels": default_kernels,
    "fused optimizer": plain_optimizer,
    "words by row": gradients_of_all_words,
    "long batches in parts": batches_whole,
    "feature maps computed again": maps_kept,
    "LoRA inside the weights": updates_beside_the_weights,
    "speech in short windows": long_windows,
    "freed memory kept": freed_memory_given_back,
    "many heads at once": one_head_at_a_time,
}
"""What makes the loop fast or small: name to the context in which it is off."""
PIECES_OF_PROBES = ("many heads at once",)
"""Those of training several linear probes, which have nothing to do with a single training."""
PIECES_OF_MODALITIES = {
    "padding to the longest of a batch only": ("text",),
    "batches by length": ("text",),  # pictures and windows of speech are all of one length
    "long batches in parts": ("text", "audio"),  # batch statistics need the whole batch together
    "words by row": ("text",),
    "feature maps computed again": ("image",),
    "LoRA inside the weights": ("image",),
    "speech in short windows": ("audio",),
}
"""Those that not every kind of data has, and which have them."""
PIECES_OF_METHODS = {
    "frozen activations": ("linear-probe", "partial"),
    "data prepared once": ("full", "scratch", "lora", "adapter"),  # the others read frozen activations
    "frozen weights cast once": ("linear-probe", "partial", "lora", "adapter"),
    "gradients only of what trains": ("lora", "adapter"),  # where frozen blocks are in every step
    "words by row": ("full", "scratch"),
    "LoRA inside the weights": ("lora",),
}
"""Those that not every method has, and which have them."""


def pieces_of(method: str, modality: str) -> list[str]:
    """Names of the pieces that a single training by a method on a kind of data has."""
    return [
        name
        for name in PIECES
        if name not in PIECES_OF_PROBES
        and modality in PIECES_OF_MODALITIES.get(name, (modality,))
        and method in PIECES_OF_METHODS.get(name, (method,))
    ]


def turned_off(names: Sequence[str]) -> AbstractContextManager[object]:
    """Return a context in which the named pieces are off."""
    stack = ExitStack()
    for name in names:
        stack.enter_context(PIECES[name]())
    return stack


# --- what is measured


def train(
    task: str,
    method: str,
    *,
    epochs: int,
    seed: int = 0,
    limit: int | None = None,
    test_limit: int | None = None,
    without: Sequence[str] = (),
    **options: Any,
) -> Measured:
    """Fine-tune with ftkit.

    Parameters
    ----------
    task, method
        Names.
    epochs, seed
        See `ftkit.fine_tune`.
    limit, test_limit
        Examples of the training and the test split; None for all.
    without
        Names of `PIECES` that are turned off.
    **options
        More arguments of `ftkit.fine_tune`.
    """
    with turned_off(without), fresh_activations():
        return train_on(load(task, limit, test_limit), method, epochs=epochs, seed=seed, **options)


def train_on(task: Task, method: str, **options: Any) -> Measured:
    """Fine-tune on a loaded task and measure it. Classes are not weighed, since the plain scripts do not weigh them."""
    import ftkit

    warm_up(task, method)
    clock = FitClock()
    watch = Stopwatch()
    run = ftkit.fine_tune(task, method, class_weights=False, callbacks=[clock], progress=False, **options)
    total = watch.seconds
    return Measured(
        fit_seconds=clock.ended - watch.started - clock.validation_seconds,
        training_seconds=run.seconds,
        total_seconds=total,
        peak_bytes=peak_memory(),
        scores=scores_of(run.predictions.labels, run.predictions.probabilities),
        test_items=len(task.test),
        precision=run.spec.precision,
    )


def grid(
    task: str,
    methods: Sequence[str],
    rates: dict[str, list[float]],
    seeds: int,
    epochs: int,
    limit: int | None = None,
    test_limit: int | None = None,
) -> Measured:
    """Train every method at every learning rate with every seed, in one process, as a comparison does."""
    loaded = load(task, limit, test_limit)
    with fresh_activations():
        return added([_all_cells(loaded, method, rates[method], seeds, epochs) for method in methods])


def probes(
    task: str,
    rates: Sequence[float],
    seeds: int,
    epochs: int,
    limit: int | None = None,
    test_limit: int | None = None,
    without: Sequence[str] = (),
) -> Measured:
    """Train linear probes at every learning rate with every seed."""
    with turned_off(without), fresh_activations():
        return probes_on(
            load(task, limit, test_limit), [(rate, seed) for rate in rates for seed in range(seeds)], epochs
        )


def _all_cells(task: Task, method: str, rates: Sequence[float], seeds: int, epochs: int) -> Measured:
    cells = [(rate, seed) for rate in rates for seed in range(seeds)]
    if method == "linear-probe":
        return probes_on(task, cells, epochs)
    return added([train_on(task, method, epochs=epochs, seed=seed, lr=rate) for rate, seed in cells])


def probes_on(task: Task, cells: Sequence[tuple[float, int]], epochs: int) -> Measured:
    """Train linear probes of several learning rates and seeds together, as tuning and comparing do."""
    from ftkit.experiments.fine_tuning import default_settings
    from ftkit.experiments.probing import probe_runs
    from ftkit.methods import LinearProbe

    warm_up(task, "linear-probe")
    usual = replace(default_settings(task, LinearProbe()), epochs=epochs, class_weights=False)
    watch = Stopwatch()
    scores, evaluation_seconds, training_seconds = [], 0.0, 0.0
    for run in probe_runs(task, [usual.with_rate_and_seed(rate, seed) for rate, seed in cells]):
        scores.append(scores_of(run.predictions.labels, run.predictions.probabilities))
        evaluation_seconds += run.cost.evaluation_seconds
        training_seconds += run.seconds
        del run  # and with it, where each has its own, the model
    total = watch.seconds
    return Measured(
        fit_seconds=total - evaluation_seconds,
        training_seconds=training_seconds,
        total_seconds=total,
        peak_bytes=peak_memory(),
        scores={name: float(np.mean([each[name] for each in scores])) for name in scores[0]},
        test_items=len(task.test),
        precision=usual.precision,
        trainings=len(scores),
    )
