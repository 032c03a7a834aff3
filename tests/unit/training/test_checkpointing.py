from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from ftkit.training.loop import Training

New = Callable[..., Training]
CELLS = [("full", "text"), ("full", "image"), ("lora", "image"), ("lora", "audio"), ("partial", "image")]


@pytest.mark.parametrize(("method", "modality"), CELLS)
def test_a_training_with_checkpointing_is_the_same_training(method: str, modality: str, new_training: New):
    plain = new_training(method, modality, learning_rate=1e-3)
    saving = new_training(method, modality, learning_rate=1e-3, checkpointing=True)
    expected, found = plain.run().steps, saving.run().steps
    assert [step.loss for step in found] == pytest.approx([step.loss for step in expected], rel=1e-4)
    assert [s.gradient_norm for s in found] == pytest.approx([s.gradient_norm for s in expected], rel=1e-3)
    weights, others = plain.trainable.trained_state(), saving.trainable.trained_state()
    for name, tensor in weights.items():  # the statistics of batch normalisation among them
        torch.testing.assert_close(others[name], tensor, rtol=1e-3, atol=1e-4, msg=name)


@pytest.mark.parametrize("modality", ["text", "image", "audio"])
def test_much_less_is_kept_for_the_backward_pass(modality: str, new_training: New):
    def kept(checkpointing: bool) -> int:
        sizes: list[int] = []

        def pack(tensor: Tensor) -> Tensor:
            sizes.append(tensor.nbytes)
            return tensor

        training = new_training("full", modality, epochs=1, checkpointing=checkpointing)
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            training.run()
        return sum(sizes)

    assert kept(checkpointing=True) < kept(checkpointing=False) / 2


def test_the_model_goes_back_without_it(new_training: New):
    training = new_training("full", "text", epochs=1, checkpointing=True)
    training.run()
    assert training.backbone.checkpointed_blocks == 0
