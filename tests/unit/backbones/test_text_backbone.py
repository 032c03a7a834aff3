from __future__ import annotations

import pytest
import torch
from torch import Tensor
from transformers import AutoTokenizer, BertModel

from ftkit.backbones import load_backbone
from ftkit.backbones.text import BertBackbone
from ftkit.classifier import masked_mean
from ftkit.fetch import fetch

SENTENCES = [
    "A man is playing a guitar.",
    "Someone plays the guitar.",
    "The band is on stage.",
    "I paid my taxes late.",
]


@pytest.fixture(scope="module")
def backbone() -> BertBackbone:
    return load_backbone("minilm")


def pooled(backbone: BertBackbone, texts: list[str]) -> Tensor:
    with torch.inference_mode():
        features = backbone(backbone.collate(backbone.prepare(texts)))
    return masked_mean(features.hidden, features.pools)


def test_a_paraphrase_is_nearer_than_a_related_sentence_and_that_nearer_than_an_unrelated_one(backbone: BertBackbone):
    vectors = torch.nn.functional.normalize(pooled(backbone, SENTENCES), dim=1)
    paraphrase, related, unrelated = (vectors[0] @ vectors[1:].T).tolist()
    assert paraphrase > 0.8
    assert paraphrase > related + 0.3
    assert related > unrelated + 0.1


def test_pooled_vectors_are_those_of_transformers(backbone: BertBackbone):
    folder = fetch("minilm")
    batch = AutoTokenizer.from_pretrained(folder)(SENTENCES, padding=True, return_tensors="pt")
    model = BertModel.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.inference_mode():
        hidden = model(**batch).last_hidden_state
    weights = batch["attention_mask"][..., None].float()
    expected = (hidden * weights).sum(1) / weights.sum(1)
    torch.testing.assert_close(pooled(backbone, SENTENCES), expected, atol=1e-5, rtol=1e-5)


def test_padding_does_not_change_a_vector(backbone: BertBackbone):
    alone = pooled(backbone, SENTENCES[:1])
    beside_a_long_text = pooled(backbone, [SENTENCES[0], " ".join(SENTENCES * 4)])[:1]
    torch.testing.assert_close(beside_a_long_text, alone, atol=1e-5, rtol=1e-5)


def test_long_texts_are_cut_to_the_number_of_tokens_that_was_set():
    backbone = load_backbone("minilm", max_tokens=10)
    tokens = backbone.prepare([" ".join(SENTENCES)])[0]
    assert len(tokens) == 10
    assert backbone.tokenizer.id_to_token(tokens[-1]) == "[SEP]"


def test_the_length_of_a_text_is_its_number_of_tokens(backbone: BertBackbone):
    short, long = backbone.prepare(["Fine.", "A very fine film indeed."])
    assert (backbone.length(short), backbone.length(long)) == (4, 8)
