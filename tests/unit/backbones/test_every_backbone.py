from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from ftkit import load_backbone
from ftkit.backbones import BACKBONES
from ftkit.errors import UnknownNameError
from ftkit.tasks import Task

NAME_OF = {modality: name for name, modality in BACKBONES.items()}
SETTINGS = {"text": {"max_tokens": 40}, "image": {"image_size": 96}, "audio": {"seconds": 2.0}}
MODALITIES = ("text", "image", "audio")


def test_an_unknown_backbone_is_named_with_the_known_ones():
    with pytest.raises(UnknownNameError, match=r"Unknown backbone 'minilmm'.*'minilm'.*whisper-tiny-en"):
        load_backbone("minilmm")


@pytest.mark.parametrize("modality", MODALITIES)
def test_a_loaded_backbone_is_in_float32_and_in_eval_mode(modality: str):
    backbone = load_backbone(NAME_OF[modality])
    assert {parameter.dtype for parameter in backbone.parameters()} == {torch.float32}
    assert not any(module.training for module in backbone.modules())
    assert (backbone.name, backbone.modality) == (NAME_OF[modality], modality)


@pytest.mark.parametrize("modality", MODALITIES)
def test_what_one_backbone_learns_reaches_neither_another_nor_the_file(modality: str):
    first, second = (load_backbone(NAME_OF[modality]) for _ in range(2))
    with torch.no_grad():
        for weight in first.parameters():
            weight.fill_(7)
    third = load_backbone(NAME_OF[modality])
    for untouched in (second, third):
        assert not any(bool((weight == 7).all()) for weight in untouched.parameters())


@pytest.mark.parametrize("modality", MODALITIES)
def test_settings_build_the_same_backbone_again(modality: str):
    first = load_backbone(NAME_OF[modality], **SETTINGS[modality])
    second = load_backbone(NAME_OF[modality], **first.settings)
    assert first.settings == second.settings == SETTINGS[modality]
    assert [tensor.shape for tensor in first.state_dict().values()] == [
        tensor.shape for tensor in second.state_dict().values()
    ]


@pytest.mark.parametrize("modality", MODALITIES)
def test_blocks_are_listed_in_the_order_in_which_data_meets_them(modality: str, tiny_task: Callable[[str], Task]):
    backbone = load_backbone(NAME_OF[modality])
    met: list[int] = []
    for number, block in enumerate(backbone.blocks):
        block.register_forward_hook(lambda *_, number=number: met.append(number))
    items = backbone.prepare(tiny_task(modality).test.items[:1])
    with torch.inference_mode():
        features = backbone(backbone.collate(items))
    assert met == list(range(len(backbone.blocks)))
    assert len(backbone.block_names) == len(set(backbone.block_names)) == {"text": 6, "image": 8, "audio": 4}[modality]
    assert features.hidden.shape[-1] == backbone.width


@pytest.mark.parametrize("modality", MODALITIES)
def test_reset_draws_every_matrix_anew_and_keeps_the_settings(modality: str):
    backbone = load_backbone(NAME_OF[modality], **SETTINGS[modality])
    before = {name: parameter.clone() for name, parameter in backbone.named_parameters()}
    torch.manual_seed(0)
    backbone.reset_parameters()
    matrices = [name for name, parameter in backbone.named_parameters() if parameter.ndim > 1]
    assert len(matrices) > 20
    assert [name for name in matrices if torch.equal(before[name], backbone.get_parameter(name))] == []
    assert backbone.settings == SETTINGS[modality]


@pytest.mark.parametrize("modality", MODALITIES)
def test_reset_is_decided_by_the_random_state(modality: str):
    backbone = load_backbone(NAME_OF[modality])
    drawn = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        backbone.reset_parameters()
        drawn.append(torch.cat([parameter.detach().flatten() for parameter in backbone.blocks.parameters()]))
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
