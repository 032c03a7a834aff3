from __future__ import annotations

import errno
import json
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from torch import nn

from ftkit.errors import TrainingError
from ftkit.training import loop
from ftkit.training.loop import Training, new_accelerator, predict
from ftkit.training.precision import (
    MUCH_FASTER,
    bf16_speed,
    choose_precision,
    frozen_weights_cast,
    measure_bf16_speed,
)


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_a_chosen_precision_stays(precision: str):
    assert choose_precision(precision) == precision


def test_half_precision_without_a_gpu_is_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
    with pytest.raises(TrainingError, match="'fp16' needs a GPU"):
        choose_precision("fp16")
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    assert choose_precision("fp16") == "fp16"


@pytest.mark.parametrize(("computes_bf16", "expected"), [(True, "bf16"), (False, "fp16")])
def test_a_card_that_only_emulates_bf16_trains_in_fp16(
    monkeypatch: pytest.MonkeyPatch, computes_bf16: bool, expected: str
):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(
        torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation or computes_bf16
    )
    assert choose_precision("auto") == expected


def test_what_a_processor_measures_does_not_decide_for_another_accelerator(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)  # Apple's, say
    monkeypatch.setattr("ftkit.training.precision.bf16_speed", lambda modality: 10 * MUCH_FASTER)
    assert choose_precision("auto") == "float32"
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
    assert choose_precision("auto") == "bf16"


@pytest.mark.parametrize(("times_as_fast", "expected"), [(0.7, "float32"), (1.0, "float32"), (1.5, "bf16")])
def test_bf16_must_be_much_faster_to_be_chosen(times_as_fast: float, expected: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
    monkeypatch.setattr("ftkit.training.precision.bf16_speed", lambda modality: times_as_fast)
    assert choose_precision("auto", "image") == expected


@pytest.mark.parametrize("modality", ["text", "image", "audio"])
def test_on_a_processor_the_choice_follows_the_measurement(modality: str):
    if torch.cuda.is_available():
        assert choose_precision("auto", modality) in ("bf16", "fp16")
    else:
        expected = "bf16" if bf16_speed(modality) >= MUCH_FASTER else "float32"
        assert choose_precision("auto", modality) == expected


def test_it_is_measured_once_so_that_a_machine_trains_in_one_precision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("FTKIT_CACHE", str(tmp_path))
    bf16_speed.cache_clear()
    first = bf16_speed("text")
    bf16_speed.cache_clear()  # as in another process
    assert bf16_speed("text") == first > 0
    assert len(json.loads((tmp_path / "precision.json").read_text())) == 1
    bf16_speed.cache_clear()


def test_where_nothing_can_be_written_it_is_measured_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def full_disk(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setenv("FTKIT_CACHE", str(tmp_path))
    monkeypatch.setattr("ftkit.training.precision.write_text", full_disk)
    bf16_speed.cache_clear()
    assert bf16_speed("text") > 0
    monkeypatch.setattr("ftkit.training.precision.locked", full_disk)
    bf16_speed.cache_clear()
    assert bf16_speed("text") > 0
    assert not (tmp_path / "precision.json").exists()
    bf16_speed.cache_clear()


def test_one_process_can_use_several_precisions_in_turn():
    left, right = torch.ones(4, 4), torch.ones(4, 4)
    found = []
    for precision in ("float32", "bf16", "float32"):
        accelerator = new_accelerator(precision)
        with accelerator.autocast():
            product = left.to(accelerator.device) @ right.to(accelerator.device)
        found.append(product.dtype)
    assert found == [torch.float32, torch.bfloat16, torch.float32]


def test_measuring_draws_nothing_from_the_users_generator():
    before = torch.get_rng_state()
    measure_bf16_speed("text")
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_only_where_fewer_digits_are_asked_for_may_a_gpu_multiply_with_fewer(precision: str):
    new_accelerator(precision)
    assert torch.backends.cuda.matmul.allow_tf32 == torch.backends.cudnn.allow_tf32 == (precision != "float32")


def test_processes_that_were_started_to_train_together_are_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Accelerator, "num_processes", 2)
    with pytest.raises(TrainingError, match="2 processes were started to train together"):
        new_accelerator()


@pytest.mark.parametrize("method", ["lora", "dora", "ia3", "adapter", "prompt", "gradual", "partial"])
def test_frozen_weights_that_are_cast_once_give_the_losses_of_weights_that_are_cast_at_every_use(
    method: str, new_training: Callable[..., Training], monkeypatch: pytest.MonkeyPatch
):
    once = new_training(method, "text", precision="bf16")
    losses = [step.loss for step in once.run().steps]
    monkeypatch.setattr(loop, "frozen_weights_cast", lambda *_: nullcontext())
    each_time = new_training(method, "text", precision="bf16").run()
    assert losses == [step.loss for step in each_time.steps]
    assert {weight.dtype for weight in once.trainable.model.parameters()} == {torch.float32}


@pytest.mark.parametrize(
    ("method", "modality"),
    [
        *((name, "text") for name in ("full", "lora", "dora", "ia3", "adapter", "prompt", "prefix")),
        *((name, "audio") for name in ("full", "lora", "adapter")),
        ("lora", "image"),
    ],
)
def test_weights_that_are_cast_once_give_the_answers_of_weights_that_are_cast_for_every_batch(
    method: str, modality: str, new_training: Callable[..., Training], monkeypatch: pytest.MonkeyPatch
):
    training = new_training(method, modality, epochs=1, precision="bf16")
    training.run()  # what a method adds does something from then on
    model, backbone, inputs = training.trainable.model, training.backbone, training.validation.inputs
    before = [weight.detach().clone() for weight in model.parameters()]
    once = predict(model, backbone, inputs, accelerator=training.accelerator)
    assert all(torch.equal(*both) for both in zip(before, model.parameters(), strict=True))
    monkeypatch.setattr(loop, "frozen_weights_cast", lambda *_: nullcontext())
    assert np.array_equal(once, predict(model, backbone, inputs, accelerator=training.accelerator))


def test_only_what_never_trains_is_cast_and_it_comes_back_as_it_was():
    frozen, trained = nn.Linear(3, 3).requires_grad_(False), nn.Linear(3, 3).requires_grad_(False)
    before = frozen.weight.detach().clone()
    model = nn.Sequential(frozen, trained, nn.LayerNorm(3))
    with frozen_weights_cast(model, trained.parameters(), torch.bfloat16):
        assert frozen.weight.dtype == frozen.bias.dtype == torch.bfloat16
        assert trained.weight.dtype == torch.float32  # unfreezes later, as in gradual unfreezing
    assert torch.equal(frozen.weight, before)


@pytest.mark.parametrize("modality", ["text", "image", "audio"])
def test_the_head_computes_in_float32(modality: str, new_training: Callable[..., Training]):
    training = new_training("full", modality)
    model, backbone = training.trainable.model, training.backbone
    batch = backbone.collate(training.train.inputs[:4])
    with frozen_weights_cast(model, [], torch.bfloat16), torch.autocast("cpu", torch.bfloat16), torch.no_grad():
        logits, pooled = model.eval()(batch), model.pooled(batch)
        assert model.head.weight.dtype == logits.dtype == torch.float32
    torch.testing.assert_close(logits, pooled @ model.head.weight.T + model.head.bias, rtol=1e-5, atol=1e-5)


def test_weights_whose_length_is_taken_keep_their_digits(new_training: Callable[..., Training]):
    model = new_training("dora", "text").trainable.model
    with frozen_weights_cast(model, [], torch.bfloat16):
        wrapped = [module.base_layer.weight.dtype for module in model.modules() if hasattr(module, "lora_A")]
        others = [module.weight.dtype for name, module in model.named_modules() if name.endswith("intermediate.dense")]
    assert set(wrapped) == {torch.float32}
    assert set(others) == {torch.bfloat16}
