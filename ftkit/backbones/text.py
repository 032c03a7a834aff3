"""MiniLM: a six-layer BERT that reads text."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch import Tensor, nn
from transformers import BertConfig, BertModel
from transformers.initialization import no_init_weights

from ftkit.backbones.attention import ATTENTION
from ftkit.backbones.base import Backbone, Embedded, Targets, padded_length
from ftkit.backbones.dropout import with_fast_dropout
from ftkit.backbones.packing import Packing


class TokenEmbedding(nn.Module):
    """Token ids to hidden states: BERT's word, position and segment embeddings."""

    def __init__(self, embeddings: nn.Module) -> None:
        super().__init__()
        self.embeddings = embeddings

    def forward(self, batch: dict[str, Tensor]) -> Embedded:
        """Embed ``tokens`` (batch, positions); padding neither attends nor pools."""
        return Embedded(self.embeddings(batch["tokens"]), attends=batch["mask"], pools=batch["mask"])


class BertBackbone(Backbone):
    """A BERT encoder with mean pooling over real tokens.

    Parameters
    ----------
    name
        Catalog name.
    model
        The transformers model whose embeddings and layers are used.
    tokenizer
        Its tokenizer, which cuts texts at ``max_tokens`` and does not pad.
    max_tokens
        The most tokens of a text, the two special ones included.
    """

    modality: ClassVar[str] = "text"
    pass_length: ClassVar[int] = 1024
    preparation_is_slow: ClassVar[bool] = True
    targets: ClassVar[Targets] = Targets(
        linear_maps=r".*blocks\.\d+\.attention\.self\.(query|value)",
        sublayer_outputs=r".*blocks\.\d+\.(attention\.)?output\.dense",
        feed_forward_outputs=r".*blocks\.\d+\.output\.dense",
        prompt=r"(.*\.)?embed",
        scaled_inputs=r".*blocks\.\d+\.output\.dense",
        scaled_outputs=r".*blocks\.\d+\.attention\.self\.(key|value)",
        attention=r".*blocks\.\d+\.attention\.self",
    )

    def __init__(self, name: str, model: BertModel, tokenizer: Tokenizer, max_tokens: int = 128) -> None:
        super().__init__()
        self.name = name
        with_fast_dropout(model)
        model.set_attn_implementation(ATTENTION)
        self.configuration: BertConfig = model.config
        self.width = model.config.hidden_size
        self.attention_heads = model.config.num_attention_heads
        self.max_tokens = max_tokens
        self.tokenizer = tokenizer
        self.embed = TokenEmbedding(model.embeddings)
        self.blocks = nn.ModuleList(model.encoder.layer)
        self.norm = nn.Identity()

    @classmethod
    def load(cls, name: str, folder: Path, *, max_tokens: int = 128) -> BertBackbone:
        """Read weights and tokenizer from a folder in transformers' layout."""
        weights = load_file(folder / "model.safetensors")
        kept = {name: tensor for name, tensor in weights.items() if not name.startswith("pooler.")}
        with no_init_weights():  # they are read, and drawing them takes longer than that
            model = BertModel(BertConfig.from_json_file(folder / "config.json"), add_pooling_layer=False)
        kept.pop("embeddings.position_ids", None)  # a counter that older releases of transformers saved
        model.load_state_dict(kept)
        return cls(name, model, read_tokenizer(folder / "tokenizer.json", max_tokens), max_tokens)

    @property
    def settings(self) -> dict[str, Any]:
        """Keyword arguments with which `load_backbone` builds the same backbone again."""
        return {"max_tokens": self.max_tokens}

    @property
    def block_names(self) -> list[str]:
        """One short name for each block, from input to output."""
        return [f"layer {number}" for number in range(1, len(self.blocks) + 1)]

    def prepare(self, items: Sequence[str]) -> list[np.ndarray]:
        """Tokenise texts into int64 arrays of token ids."""
        return [np.asarray(encoding.ids, dtype=np.int64) for encoding in self.tokenizer.encode_batch(list(items))]

    def length(self, prepared: np.ndarray) -> int:
        """Count the tokens of one text."""
        return len(prepared)

    def collate(self, inputs: Sequence[np.ndarray]) -> dict[str, Tensor]:
        """Pad to the longest text of the batch, and on to a multiple of eight."""
        longest = padded_length(max(len(tokens) for tokens in inputs))
        tokens = torch.zeros(len(inputs), longest, dtype=torch.long)
        mask = torch.zeros(len(inputs), longest, dtype=torch.bool)
        for row, ids in enumerate(inputs):
            tokens[row, : len(ids)] = torch.from_numpy(ids)
            mask[row, : len(ids)] = True
        return {"tokens": tokens, "mask": mask}

    def run_block(self, block: nn.Module, hidden: Tensor, packing: Packing | None) -> Tensor:
        """Apply one transformer layer to packed hidden states."""
        return block(hidden, attention_mask=packing)

    def reset_parameters(self) -> None:
        """Replace every weight by BERT's own random initialisation."""
        fresh = BertModel(self.configuration, add_pooling_layer=False)
        self.copy_weights(BertBackbone(self.name, fresh, self.tokenizer, self.max_tokens))


@lru_cache(maxsize=4)
def read_tokenizer(path: Path, max_tokens: int) -> Tokenizer:
    """Read a tokenizer that cuts texts at so many tokens; every training of a comparison wants the same one."""
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.enable_truncation(max_tokens)
    tokenizer.no_padding()
    return tokenizer
