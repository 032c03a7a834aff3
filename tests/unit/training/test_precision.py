from __future__ import annotations

import pytest
import torch

from ftkit.training.loop import new_accelerator
from ftkit.training.precision import MUCH_FASTER, bf16_speed, choose_precision


@pytest.mark.parametrize("precision", ["float32", "bf16", "fp16"])
def test_a_chosen_precision_stays(precision: str):
    assert choose_precision(precision) == precision


def test_on_a_processor_the_choice_follows_the_measurement():
    if torch.cuda.is_available():
        assert choose_precision("auto") in ("bf16", "fp16")
    else:
        assert choose_precision("auto") == ("bf16" if bf16_speed() >= MUCH_FASTER else "float32")


def test_it_is_measured_once_so_that_one_process_trains_in_one_precision():
    assert bf16_speed() == bf16_speed() > 0


def test_one_process_can_use_several_precisions_in_turn():
    left, right = torch.ones(4, 4), torch.ones(4, 4)
    found = []
    for precision in ("float32", "bf16", "float32"):
        accelerator = new_accelerator(precision)
        with accelerator.autocast():
            product = left.to(accelerator.device) @ right.to(accelerator.device)
        found.append(product.dtype)
    assert found == [torch.float32, torch.bfloat16, torch.float32]
