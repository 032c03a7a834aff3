from __future__ import annotations

import pytest
import torch

from ftkit.backbones import load_backbone
from ftkit.experiments.forgetting import plain_words, source_ability, word_errors

BACKBONES = ["minilm", "efficientnet-lite0", "whisper-tiny-en"]


@pytest.mark.parametrize("name", BACKBONES)
def test_the_pretrained_model_has_forgotten_nothing_and_a_shaken_one_much(name: str):
    backbone = load_backbone(name)
    untouched = source_ability(backbone)
    assert untouched["after"] == pytest.approx(untouched["before"], abs=1e-6)
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in backbone.blocks.parameters():
            if parameter.ndim > 1:
                parameter.add_(torch.randn_like(parameter), alpha=0.5 * float(parameter.std()))
    shaken = source_ability(backbone)
    assert shaken["before"] == untouched["before"]
    for name, parts in shaken["by_item"].items():
        assert len(parts) == len(shaken["sizes"]) > 20
        assert sum(parts) / sum(shaken["sizes"]) == pytest.approx(shaken[name], abs=1e-5)
    lost = shaken["before"] - shaken["after"] if shaken["higher_is_better"] else shaken["after"] - shaken["before"]
    assert lost > 0.1
    if shaken["higher_is_better"]:  # a new probe on the shaken features finds some of it again
        assert untouched["before"] > 0.7
        assert shaken["relearned"] > shaken["after"]
    else:
        assert untouched["before"] < 0.5


@pytest.mark.parametrize("name", BACKBONES)
def test_a_change_that_is_too_small_to_matter_forgets_nothing(name: str):
    backbone = load_backbone(name)
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in backbone.parameters():
            parameter.mul_(1 + 1e-6 * torch.randn_like(parameter))
    found = source_ability(backbone)
    assert found["after"] == pytest.approx(found["before"], abs=0.01)


@pytest.mark.parametrize(
    ("said", "heard", "errors"),
    [("a b c", "a b c", 0), ("a b c", "a c", 1), ("a b c", "a x c d", 2), ("a", "", 1), ("", "a b", 2)],
)
def test_word_errors_are_the_fewest_changes(said: str, heard: str, errors: int):
    assert word_errors(said.split(), heard.split()) == errors


def test_case_and_punctuation_are_no_words():
    assert plain_words("Our neighbour's, DOOR!") == ["our", "neighbour", "s", "door"]
