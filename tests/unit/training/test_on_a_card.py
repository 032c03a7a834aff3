"""Trainings on a stand-in for a GPU: all that meets lies on it, and the numbers are the processor's."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from stand_in_card import CARD, OnCard, stand_in_card
from torch.nn import functional

from ftkit import METHODS, compare, fine_tune, load_run
from ftkit.experiments.run import Run
from ftkit.tasks import Task
from ftkit.training.callbacks import Callback
from ftkit.training.history import Step
from ftkit.training.loop import Training

BATCH = {"text": 8, "image": 4, "audio": 10}
CELLS = [(name, modality) for name, method in METHODS.items() for modality in method.modalities]
WITHOUT_DROPOUT = [(name, modality) for name, modality in CELLS if modality != "text"]


class Moved(Callback):
    """Records where weights lie, and which of them moved."""

    def on_start(self, training: Training) -> None:
        self.devices: set[torch.device] = set()
        self.before = copies(training)

    def on_step(self, training: Training, step: Step) -> None:
        self.devices |= {weight.device for weight in training.model.parameters()}

    def on_end(self, training: Training) -> None:
        after = copies(training)
        self.moved = {name for name, before in self.before.items() if not torch.equal(before, after[name])}


def copies(training: Training) -> dict[str, torch.Tensor]:
    weights = training.trainable.trainable_parameters()
    return {name: weight.detach().cpu().clone() for name, weight in weights.items()}


def briefly(task: Task, method: str, **options: Any) -> Run:
    return fine_tune(task, method, epochs=1, batch_size=BATCH[task.modality], progress=False, **options)


def test_tensors_of_two_devices_do_not_meet_and_numbers_are_those_of_the_processor():
    numbers = torch.arange(6.0).reshape(2, 3)
    with stand_in_card():
        moved = numbers.to(CARD)
        assert isinstance(moved, OnCard)
        assert moved.device == CARD
        with pytest.raises(RuntimeError, match="1 of the tensors are on the processor"):
            moved + numbers
        product = (moved @ moved.T).cpu()
    assert torch.equal(product, numbers @ numbers.T)


def test_autocast_on_the_stand_in_casts_products_and_spares_norms():
    with stand_in_card():
        rows = torch.ones(2, 4).to(CARD)
        with torch.autocast(CARD.type, dtype=torch.bfloat16):
            product = functional.linear(rows, rows)
            assert product.dtype == torch.bfloat16
            assert functional.layer_norm(product, (2,)).dtype == torch.float32
            with torch.autocast(CARD.type, enabled=False):
                assert functional.linear(rows, rows).dtype == torch.float32
        assert functional.linear(rows, rows).dtype == torch.float32


@pytest.mark.parametrize(("method", "modality"), CELLS)
def test_all_that_a_training_in_bf16_needs_goes_to_the_card(
    method: str, modality: str, tiny_task: Callable[[str], Task]
):
    places = Moved()
    with stand_in_card():
        run = briefly(tiny_task(modality), method, precision="bf16", callbacks=[places])
    assert places.devices == {CARD}
    assert places.moved
    assert all(np.isfinite(step.loss) for step in run.history.steps)
    assert np.isfinite(run.predictions.probabilities).all()


@pytest.mark.parametrize(("method", "modality"), WITHOUT_DROPOUT)
def test_a_training_on_the_card_is_that_on_the_processor(
    method: str, modality: str, tiny_task: Callable[[str], Task], cell: Callable[[str, str], object]
):
    here, places = cell(method, modality).run, Moved()
    rate = METHODS[method].typical_rate
    with stand_in_card():
        there = briefly(tiny_task(modality), method, precision="float32", lr=rate, callbacks=[places])
    assert places.devices == {CARD}
    losses = [[step.loss for step in run.history.steps] for run in (here, there)]
    assert losses[1] == pytest.approx(losses[0], rel=1e-3, abs=1e-4)


@pytest.mark.parametrize("modality", ["text", "image", "audio"])
@pytest.mark.parametrize("method", ["full", "lora"])
def test_what_was_trained_on_the_card_answers_there_and_on_the_processor(
    method: str, modality: str, tiny_task: Callable[[str], Task], tmp_path: Path
):
    task = tiny_task(modality)
    with stand_in_card():
        run = briefly(task, method, precision="float32")
        run.save(tmp_path)
        again = load_run(tmp_path).predict(task.test.items)
    here = load_run(tmp_path).predict(task.test.items)
    for answers in (again, here):
        np.testing.assert_allclose(answers.probabilities, run.predictions.probabilities, atol=1e-4)


def test_a_comparison_on_the_card_gives_the_answers_of_one_on_the_processor(
    tiny_task: Callable[[str], Task], tmp_path: Path
):
    boards = {}
    for place, device in (("here", nullcontext()), ("there", stand_in_card())):
        with device:
            boards[place] = compare(
                tiny_task("audio"),
                ["partial", "linear-probe"],
                seeds=2,
                epochs=1,
                precision="float32",
                folder=tmp_path / place,
                progress=False,
            )
    for here, there in zip(boards["here"].runs, boards["there"].runs, strict=True):
        np.testing.assert_allclose(there.predictions.probabilities, here.predictions.probabilities, atol=1e-3)
