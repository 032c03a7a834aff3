from __future__ import annotations

import contextlib
import gc
import json
import math
import weakref
from collections.abc import Callable
from dataclasses import asdict, replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch

from ftkit.errors import DataError, TrainingError
from ftkit.tasks import Task
from ftkit.training.callbacks import Callback
from ftkit.training.loop import Inputs, Training, TrainingSettings, predict

New = Callable[..., Training]


def initial_probabilities(training: Training) -> np.ndarray:
    return predict(training.trainable.model, training.backbone, training.train.inputs).astype(float)


# ------------------------------------------------------------------------------------------------ learning


@pytest.mark.parametrize("modality", ["text", "image", "audio"])
def test_the_loss_falls(modality: str, new_training: New):
    history = new_training("full", modality, epochs=3, learning_rate=2e-4).run()
    assert history.epochs[-1].train_loss < 0.95 * history.epochs[0].train_loss


def test_a_linear_probe_learns_spoken_digits_far_better_than_chance(
    new_training: New, small_task: Callable[[str], Task]
):
    task = small_task("audio")
    task = replace(task, validation=task.validation.take(range(0, len(task.validation), 4)))
    training = new_training(task=task, learning_rate=3e-2, epochs=6, batch_size=8)
    history = training.run()
    assert history.best.validation_score > 0.5  # chance is 0.1
    test = task.test
    probabilities = predict(training.trainable.model, training.backbone, training.backbone.prepare(test.items))
    assert (probabilities.argmax(axis=1) == test.labels).mean() > 0.4


@pytest.mark.parametrize("method", ["linear-probe", "full"])
def test_the_same_seed_gives_the_same_training_bit_for_bit(method: str, new_training: New):
    first, again = (new_training(method, "text", batch_size=4, seed=3) for _ in range(2))
    assert first.run().steps == again.run().steps
    one, other = first.trainable.trained_state(), again.trainable.trained_state()
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_another_seed_gives_another_training(new_training: New):
    losses = [[step.loss for step in new_training(seed=seed).run().steps] for seed in (0, 1)]
    assert losses[0] != losses[1]


def test_training_leaves_the_global_random_state_alone(new_training: New):
    training = new_training("full", "text", epochs=1)
    torch.manual_seed(7)
    expected = torch.rand(2)
    torch.manual_seed(7)
    training.run()
    assert torch.equal(torch.rand(2), expected)


def test_the_model_comes_back_in_eval_mode(new_training: New):
    training = new_training("full", "text", epochs=1)
    training.run()
    assert not any(module.training for module in training.trainable.model.modules())


def test_bf16_reaches_what_float32_reaches(new_training: New):
    probabilities = []
    for precision in ("float32", "bf16"):
        training = new_training("lora", "text", epochs=2, learning_rate=3e-3, precision=precision)
        history = training.run()
        assert all(parameter.dtype == torch.float32 for parameter in training.trainable.model.parameters())
        probabilities.append(initial_probabilities(training))
        assert math.isfinite(history.best.validation_loss)
    assert np.abs(probabilities[0] - probabilities[1]).max() < 0.05
    assert not np.array_equal(*probabilities)


# ------------------------------------------------------------------------------------------------ history


def test_the_history_counts_steps_and_epochs(new_training: New):
    history = new_training(epochs=3).run()  # 20 items, 10 a batch
    assert [step.step for step in history.steps] == [1, 2, 3, 4, 5, 6]
    assert [step.epoch for step in history.steps] == [0.5, 1.0, 1.5, 2.0, 2.5, 3.0]
    assert [epoch.epoch for epoch in history.epochs] == [1, 2, 3]
    assert not history.interrupted
    assert history.seconds == sum(epoch.seconds for epoch in history.epochs) > 0


def test_the_loss_of_an_epoch_is_the_mean_over_its_items(new_training: New):
    history = new_training(epochs=1, batch_size=8).run()  # batches of 8, 8 and 4
    sizes = {round(step.loss, 12): None for step in history.steps}
    assert len(sizes) == 3
    candidates = [
        sum(size * step.loss for size, step in zip(order, history.steps, strict=True)) / 20
        for order in ((8, 8, 4), (8, 4, 8), (4, 8, 8))
    ]
    assert min(abs(candidate - history.epochs[0].train_loss) for candidate in candidates) < 1e-9


def test_validation_loss_and_score_are_those_of_the_model(new_training: New):
    training = new_training(epochs=1)
    epoch = training.run().epochs[0]
    labels = training.validation.labels
    probabilities = predict(training.trainable.model, training.backbone, training.validation.inputs)
    assert epoch.validation_score == pytest.approx((probabilities.argmax(axis=1) == labels).mean())
    assert epoch.validation_loss == pytest.approx(-np.log(probabilities[np.arange(len(labels)), labels]).mean())


# ------------------------------------------------------------------------------------------------ optimisation


def test_the_learning_rate_rises_over_the_warm_up_and_falls_as_a_cosine(new_training: New):
    steps = new_training(epochs=1, batch_size=1, learning_rate=0.1, warmup=0.1).run().steps
    rates = [step.learning_rate for step in steps]
    assert len(rates) == 20
    assert rates[:3] == pytest.approx([0.05, 0.1, 0.1])  # two steps of warm-up, then the top of the cosine
    assert rates[11] == pytest.approx(0.05)  # half of the way down
    assert rates[-1] == pytest.approx(0.1 * 0.5 * (1 + math.cos(math.pi * 17 / 18)))
    assert all(later < earlier for earlier, later in pairwise(rates[2:]))


class AtEveryUpdate(Callback):
    """Records the gradient's norm at the moment when the optimizer uses it."""

    def on_start(self, training: Training) -> None:
        self.by_step: dict[int, float] = {}
        parameters = list(training.trainable.trainable_parameters().values())

        # where torch's own AdamW was made before ours in this process, torch calls the hook twice a step
        def record(*_: Any) -> None:
            gradients = torch.cat([p.grad.flatten() for p in parameters if p.grad is not None])
            self.by_step[len(training.history.steps)] = float(gradients.norm())

        training.optimizer.optimizer.register_step_pre_hook(record)

    @property
    def norms(self) -> list[float]:
        return list(self.by_step.values())


def test_long_gradients_are_cut_to_the_limit(new_training: New):
    watch = AtEveryUpdate()
    history = new_training(callbacks=[watch], clip_norm=0.01).run()
    assert min(step.gradient_norm for step in history.steps) > 0.1
    assert watch.norms == pytest.approx([0.01] * 4, rel=1e-3)


def test_short_gradients_are_left_as_they_are(new_training: New):
    watch = AtEveryUpdate()
    history = new_training(callbacks=[watch], clip_norm=1e6).run()
    assert watch.norms == pytest.approx([step.gradient_norm for step in history.steps], rel=1e-5)


def test_decay_shrinks_matrices_only(new_training: New):
    without, with_decay = (new_training(epochs=1, weight_decay=decay) for decay in (0.0, 10.0))
    for training in (without, with_decay):
        training.run()
    one, other = without.trainable.head, with_decay.trainable.head
    assert other.weight.norm() < 0.95 * one.weight.norm()
    torch.testing.assert_close(other.bias, one.bias, atol=2e-3, rtol=0)


# ------------------------------------------------------------------------------------------------ the loss


def test_the_first_loss_is_the_cross_entropy_of_the_model_as_it_came(new_training: New):
    training = new_training(batch_size=20, epochs=1)
    probabilities, labels = initial_probabilities(training), training.train.labels
    expected = -np.log(probabilities[np.arange(20), labels]).mean()
    assert training.run().steps[0].loss == pytest.approx(expected, rel=1e-5)


def test_label_smoothing_spreads_a_share_of_the_target_over_all_labels(new_training: New):
    training = new_training(batch_size=20, epochs=1, label_smoothing=0.3)
    surprise, labels = -np.log(initial_probabilities(training)), training.train.labels
    expected = 0.7 * surprise[np.arange(20), labels].mean() + 0.3 * surprise.mean()
    assert training.run().steps[0].loss == pytest.approx(expected, rel=1e-5)


def test_class_weights_are_the_inverse_of_the_class_frequencies(new_training: New, tiny_task: Callable[[str], Task]):
    task = tiny_task("text")
    unbalanced = replace(task, train=task.train.take([*np.flatnonzero(task.train.labels == 0), 8, 9]))
    training = new_training("linear-probe", "text", task=unbalanced, batch_size=10, epochs=1, class_weights=True)
    labels = training.train.labels
    assert np.bincount(labels).tolist() == [8, 2]
    surprise = -np.log(initial_probabilities(training)[np.arange(10), labels])
    expected = (surprise[labels == 0].mean() + surprise[labels == 1].mean()) / 2
    assert training.run().steps[0].loss == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(("method", "modality"), [("lora", "text"), ("adapter", "image"), ("full", "audio")])
@pytest.mark.parametrize("class_weights", [False, True])
def test_a_batch_in_parts_has_the_gradient_of_the_whole(
    method: str, modality: str, class_weights: bool, new_training: New, monkeypatch: pytest.MonkeyPatch
):
    options = {"batch_size": 8, "epochs": 1, "class_weights": class_weights, "learning_rate": 1e-3}
    whole = new_training(method, modality, **options)
    monkeypatch.setattr(type(whole.backbone), "pass_length", 10**9)
    expected = whole.run().steps
    monkeypatch.setattr(type(whole.backbone), "pass_length", 3 if modality != "text" else 60)
    found = new_training(method, modality, **options).run().steps
    assert [step.loss for step in found] == pytest.approx([step.loss for step in expected], rel=1e-3)
    assert [step.gradient_norm for step in found] == pytest.approx([s.gradient_norm for s in expected], rel=1e-2)


def test_batch_statistics_are_those_of_the_whole_batch(new_training: New):
    processor = torch.device("cpu")
    assert new_training("full", "image")._pass_length(processor) is None
    assert new_training("gradual", "image")._pass_length(processor) is None  # at first none are renewed
    assert new_training("lora", "image")._pass_length(processor) is not None
    assert new_training("lp-ft", "image")._pass_length(processor) is not None  # keeps those it has


@pytest.mark.parametrize("modality", ["text", "image", "audio"])
@pytest.mark.parametrize("method", ["partial", "lora", "adapter"])
def test_what_is_frozen_has_neither_gradients_nor_moments(method: str, modality: str, new_training: New):
    training = new_training(method, modality, epochs=1)
    trained = {id(weight) for weight in training.trainable.trainable_parameters().values()}
    frozen = [weight for weight in training.trainable.model.parameters() if id(weight) not in trained]
    before = [weight.detach().clone() for weight in frozen]
    with_gradient: set[int] = set()
    for weight in training.trainable.model.parameters():
        if weight.requires_grad:
            weight.register_post_accumulate_grad_hook(lambda weight: with_gradient.add(id(weight)))
    training.run()
    assert frozen
    assert all(map(torch.equal, frozen, before))
    assert with_gradient == trained
    assert {id(weight) for group in training.optimizer.param_groups for weight in group["params"]} == trained
    assert {id(weight) for weight in training.optimizer.state} == trained


@pytest.mark.parametrize("modality", ["text", "image", "audio"])
def test_frozen_blocks_keep_nothing_for_the_backward_pass(modality: str, new_training: New):
    def kept(method: str) -> int:
        sizes: list[int] = []

        def pack(tensor: torch.Tensor) -> torch.Tensor:
            sizes.append(tensor.nbytes)
            return tensor

        training = new_training(method, modality, epochs=1)
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            training.run()
        return sum(sizes)

    whole = kept("full")
    assert kept("partial") < 0.6 * whole
    assert kept("linear-probe") < 0.01 * whole


def test_a_gpu_is_given_whole_batches(new_training: New):
    assert new_training("lora", "text")._pass_length(torch.device("cuda")) is None


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_a_model_that_was_trained_is_freed_as_soon_as_nobody_has_it(precision: str, new_training: New):
    training = new_training("linear-probe", "text", precision=precision, epochs=1)
    training.run()
    model = weakref.ref(training.trainable.model)
    gc.disable()
    try:
        del training
        assert model() is None
    finally:
        gc.enable()


# ------------------------------------------------------------------------------------------------ failures


def test_a_loss_that_is_not_a_number_stops_the_training_at_once(new_training: New):
    training = new_training(learning_rate=0.5)
    with torch.no_grad():
        training.trainable.head.weight[0, 0] = torch.inf
    with pytest.raises(TrainingError, match=r"loss became (nan|inf) at step 1 with learning rate 0\.5\. Try a third"):
        training.run()
    assert training.history.steps == []


@pytest.mark.parametrize("batch_size", [10, 20])
def test_a_learning_rate_far_too_high_is_named(new_training: New, batch_size: int):
    with pytest.raises(TrainingError, match=r"with learning rate 1e\+38"):
        new_training(learning_rate=1e38, epochs=1, batch_size=batch_size, warmup=0).run()


@pytest.mark.parametrize("which", ["training", "validation"])
def test_an_empty_split_is_refused_before_any_work(which: str, new_training: New):
    whole = new_training()
    splits = {"training": whole.train, "validation": whole.validation, which: Inputs([], np.zeros(0, dtype=np.int64))}
    with pytest.raises(DataError, match=f"The {which} split is empty"):
        Training(whole.trainable, *splits.values(), whole.settings, "accuracy")


@pytest.mark.parametrize("which", ["training", "validation"])
def test_a_split_of_one_class_is_refused_before_any_work(which: str, new_training: New):
    whole = new_training()
    one_class = Inputs(whole.train.inputs[:2], np.array([3, 3]))
    splits = {"training": whole.train, "validation": whole.validation, which: one_class}
    with pytest.raises(DataError, match=f"The {which} split holds one class only"):
        Training(whole.trainable, *splits.values(), whole.settings, "accuracy")


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("learning_rate", -1e-3),
        ("learning_rate", math.nan),
        ("learning_rate", math.inf),
        ("weight_decay", -0.1),
        ("warmup", 1.5),
        ("label_smoothing", 1.0),
        ("clip_norm", -1.0),
        ("clip_norm", 0.0),
        ("learning_rate", "1e-3"),
        ("seed", -1),
        ("epochs", 0),
        ("epochs", 2.5),
        ("batch_size", 0),
        ("precision", "float8"),
    ],
)
def test_a_setting_out_of_its_range_is_named_with_the_range(setting: str, value: Any):
    with pytest.raises(TrainingError, match=f"{setting} = {value!r}: choose"):
        TrainingSettings(**{"learning_rate": 1e-3, "epochs": 1, setting: value})


def test_numbers_of_numpy_are_as_good_as_others():
    settings = TrainingSettings(np.float32(0.5), np.int64(2), batch_size=np.int64(8))
    assert json.loads(json.dumps(asdict(settings))) == asdict(TrainingSettings(0.5, 2, batch_size=8))


# ------------------------------------------------------------------------------------------------ prediction


class AsIfMoved:
    """Stands for an accelerator on whose device the model is not: moving it makes new tensors."""

    device = torch.float32
    autocast = staticmethod(contextlib.nullcontext)
    mixed_precision = "no"


def test_a_model_that_has_answered_can_still_train(new_training: New):
    training = new_training("full", "image", epochs=1)
    model = training.trainable.model.double()
    predict(model, training.backbone, training.validation.inputs, accelerator=AsIfMoved())
    assert not any(tensor.is_inference() for tensor in [*model.parameters(), *model.buffers()])
    training.run()


def test_predictions_come_in_the_order_of_the_items(new_training: New):
    training = new_training("linear-probe", "text")
    inputs = training.train.inputs
    together = predict(training.trainable.model, training.backbone, inputs, most=100)
    alone = np.concatenate([predict(training.trainable.model, training.backbone, [item]) for item in inputs])
    np.testing.assert_allclose(together, alone, atol=1e-6)
    np.testing.assert_allclose(together.sum(axis=1), 1, atol=1e-6)
    assert together.shape == (16, 2)
