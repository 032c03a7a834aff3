from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from ftkit.training.loop import new_accelerator
from ftkit.training.precision import MUCH_FASTER, bf16_speed, choose_precision


@pytest.mark.parametrize("precision", ["float32", "bf16", "fp16"])
def test_a_chosen_precision_stays(precision: str):
    assert choose_precision(precision) == precision


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


def test_one_process_can_use_several_precisions_in_turn():
    left, right = torch.ones(4, 4), torch.ones(4, 4)
    found = []
    for precision in ("float32", "bf16", "float32"):
        accelerator = new_accelerator(precision)
        with accelerator.autocast():
            product = left.to(accelerator.device) @ right.to(accelerator.device)
        found.append(product.dtype)
    assert found == [torch.float32, torch.bfloat16, torch.float32]
