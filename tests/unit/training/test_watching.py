"""Callbacks: best weights, early stopping, interrupts."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ftkit.errors import TrainingError
from ftkit.tasks import Task
from ftkit.training.callbacks import BestWeights, Callback, ProgressBar, as_keeper
from ftkit.training.history import Epoch, History, Step
from ftkit.training.loop import Training, predict

New = Callable[..., Training]


class Answers(Callback):
    """Records the model's answers on validation after every epoch."""

    def __init__(self) -> None:
        self.after: dict[int, np.ndarray] = {}

    def on_epoch(self, training: Training, epoch: Epoch) -> None:
        self.after[epoch.epoch] = answers(training)


class InterruptAt(Callback):
    """Presses Ctrl-C after a step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_step(self, training: Training, step: Step) -> None:
        if step.step == self.step:
            raise KeyboardInterrupt


class InterruptAfterEpoch(Callback):
    """Presses Ctrl-C while an epoch is looked at."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch

    def on_epoch(self, training: Training, epoch: Epoch) -> None:
        if epoch.epoch == self.epoch:
            raise KeyboardInterrupt


def answers(training: Training) -> np.ndarray:
    return predict(training.trainable.model, training.backbone, training.validation.inputs)


@pytest.fixture
def contradicted(tiny_task: Callable[[str], Task]) -> Task:
    """A task whose validation labels are the opposite of the truth: every epoch makes it worse."""
    task = tiny_task("text")
    turned = replace(
        task.train, labels=1 - task.train.labels, identifiers=np.char.add(task.train.identifiers, "-turned")
    )
    return replace(task, validation=replace(turned, groups=None))


@pytest.mark.parametrize("method", ["linear-probe", "full", "adapter"])
def test_the_weights_of_the_best_epoch_are_put_back(method: str, new_training: New, contradicted: Task):
    seen = Answers()
    rate = {"linear-probe": 1e-2, "full": 2e-4, "adapter": 3e-3}[method]
    training = new_training(
        method, "text", task=contradicted, callbacks=[BestWeights(), seen], epochs=3, learning_rate=rate
    )
    history = training.run()
    ranks = [(epoch.validation_score, -epoch.validation_loss) for epoch in history.epochs]
    assert history.best_epoch == 1 + ranks.index(max(ranks)) == 1
    assert history.best == history.epochs[0]
    assert np.array_equal(answers(training), seen.after[1])
    assert not np.array_equal(seen.after[1], seen.after[3])


def test_only_what_trains_is_kept_of_the_best_epoch(new_training: New):
    kept: dict[str, Any] = {}
    keeper = BestWeights()

    class Look(Callback):
        def on_epoch(self, training: Training, epoch: Epoch) -> None:
            assert keeper.folder is not None
            for path in Path(keeper.folder.name).iterdir():
                kept.update(torch.load(path))

    training = new_training("lora", "text", callbacks=[keeper, Look()])
    training.run()
    assert kept.keys() == training.trainable.trained_tensors().keys()
    assert sum(tensor.nbytes for tensor in kept.values()) < training.trainable.count().total  # of four bytes each


def test_a_full_disk_is_named_with_what_to_do(new_training: New, monkeypatch: pytest.MonkeyPatch):
    def full(*_: object) -> None:
        raise RuntimeError("[enforce fail at inline_container.cc] . PytorchStreamWriter failed writing file")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(TrainingError, match=r"best epoch's weights \(\d+ MB\) can't be kept in .*TMPDIR"):
        new_training(callbacks=[BestWeights()]).run()


@pytest.mark.parametrize(("epochs", "copies"), [(1, 0), (2, 1), (3, 2), (5, 2)])
def test_room_for_the_best_epochs_is_looked_for_before_the_first_step(
    epochs: int, copies: int, new_training: New, monkeypatch: pytest.MonkeyPatch
):
    training = new_training("linear-probe", "text", callbacks=[BestWeights()], epochs=epochs)
    size = sum(tensor.nbytes for tensor in training.trainable.trained_tensors().values())
    usage = namedtuple("usage", "free")
    monkeypatch.setattr("ftkit.training.callbacks.shutil.disk_usage", lambda _: usage(copies * size))
    assert len(training.run().epochs) == epochs
    if copies:
        monkeypatch.setattr("ftkit.training.callbacks.shutil.disk_usage", lambda _: usage(copies * size - 1))
        crowded = new_training("linear-probe", "text", callbacks=[BestWeights()], epochs=epochs)
        with pytest.raises(TrainingError, match=r"the disk is too full\. Free some space there.*TMPDIR"):
            crowded.run()
        assert crowded.history.steps == []


def test_where_the_last_epoch_is_asked_for_its_weights_are_kept(new_training: New, contradicted: Task):
    seen = Answers()
    keeper = as_keeper("last")
    training = new_training("full", "text", task=contradicted, callbacks=[keeper, seen], epochs=3, learning_rate=2e-4)
    history = training.run()
    assert history.best_epoch == 3
    assert history.best.validation_loss > history.epochs[0].validation_loss
    assert np.array_equal(answers(training), seen.after[3])


def test_the_last_epoch_of_an_interrupted_training_is_the_last_whole_one(new_training: New):
    seen = Answers()
    training = new_training(epochs=5, callbacks=[as_keeper("last"), seen, InterruptAt(5)])
    assert training.run().best_epoch == 2
    assert np.array_equal(answers(training), seen.after[2])


@pytest.mark.parametrize(("keep", "patience"), [("first", None), ("last", 2)])
def test_what_to_keep_is_best_or_last_and_the_last_has_no_patience(keep: str, patience: int | None):
    with pytest.raises(TrainingError, match=f"keep = '{keep}'"):
        as_keeper(keep, patience)


def test_without_a_better_epoch_the_training_stops_after_the_patience(new_training: New):
    history = new_training(learning_rate=0.0, epochs=8, callbacks=[BestWeights(patience=2)]).run()
    assert len(history.epochs) == 3
    assert history.best_epoch == 1


def test_without_patience_every_epoch_is_trained(new_training: New):
    history = new_training(learning_rate=0.0, epochs=4, callbacks=[BestWeights()]).run()
    assert len(history.epochs) == 4


def test_patience_is_for_epochs_without_a_better_one_only(new_training: New):
    history = new_training(epochs=4, callbacks=[BestWeights(patience=1)]).run()
    assert [epoch.validation_loss for epoch in history.epochs] == sorted(
        (epoch.validation_loss for epoch in history.epochs), reverse=True
    )
    assert len(history.epochs) == 4


def test_an_interrupt_after_an_epoch_keeps_the_best_weights_so_far(new_training: New):
    seen = Answers()
    training = new_training(epochs=5, callbacks=[BestWeights(), seen, InterruptAt(5)])
    history = training.run()
    assert history.interrupted
    assert (len(history.steps), len(history.epochs)) == (5, 2)
    assert np.array_equal(answers(training), seen.after[history.best_epoch])


def test_an_interrupt_before_the_first_validation_goes_on_to_the_caller(new_training: New):
    with pytest.raises(KeyboardInterrupt):
        new_training(callbacks=[BestWeights(), InterruptAt(1)]).run()


def test_an_interrupt_while_an_epoch_is_looked_at_keeps_the_weights_that_history_names(new_training: New):
    seen = Answers()
    training = new_training(epochs=5, callbacks=[BestWeights(), seen, InterruptAfterEpoch(2)])
    history = training.run()
    assert history.interrupted
    assert np.array_equal(answers(training), seen.after[history.best_epoch])
    assert np.array_equal(training.validation_probabilities[history.best_epoch - 1], answers(training))


@pytest.mark.parametrize("epoch", [1, 2])
def test_an_interrupt_before_the_weights_are_kept_leaves_those_before(epoch: int, new_training: New):
    seen = Answers()
    training = new_training(epochs=5, callbacks=[seen, InterruptAfterEpoch(epoch), BestWeights()])
    if epoch == 1:
        with pytest.raises(KeyboardInterrupt):
            training.run()
    else:
        assert training.run().best_epoch == 1
        assert np.array_equal(answers(training), seen.after[1])


@pytest.mark.parametrize("patience", [0, -1, 1.5, "2"])
def test_a_patience_that_is_no_number_of_epochs_is_refused(patience: Any):
    with pytest.raises(TrainingError, match="patience"):
        BestWeights(patience=patience)


def test_callbacks_are_called_in_the_order_of_the_training(new_training: New):
    class Order(Callback):
        def __init__(self) -> None:
            self.calls: list[str] = []

        def on_start(self, training: Training) -> None:
            self.calls.append("start")

        def on_step(self, training: Training, step: Step) -> None:
            self.calls.append(f"step {step.step}")

        def on_epoch(self, training: Training, epoch: Epoch) -> None:
            self.calls.append(f"epoch {epoch.epoch}")

        def on_end(self, training: Training) -> None:
            self.calls.append("end")

    order = Order()
    new_training(callbacks=[order]).run()
    assert order.calls == ["start", "step 1", "step 2", "epoch 1", "step 3", "step 4", "epoch 2", "end"]


def test_the_progress_bar_counts_all_steps(new_training: New, capsys: pytest.CaptureFixture[str]):
    bar = ProgressBar("spoken digits")
    new_training(callbacks=[bar]).run()
    assert bar.bar is not None
    assert (bar.bar.n, bar.bar.total) == (4, 4)
    assert "spoken digits" in capsys.readouterr().err


def test_a_history_survives_plain_dictionaries(new_training: New):
    history = new_training(callbacks=[BestWeights()]).run()
    assert History.from_dict(history.to_dict()) == history
    assert len(history.steps) == 4
