"""AdamW that spends on word embeddings what the words of a training need, not what the vocabulary holds.

Half of a small BERT's weights are embeddings of tens of thousands of words; a batch holds some hundred of them, a whole
training set a few thousand. The gradients of all others are zero, and so are the moments that Adam keeps of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.adamw import adamw

MANY_ROWS = 5000
"""Embeddings with fewer rows, such as those of positions, have gradients as small as a batch's own."""
UNSEEN = -1
ROWS_A_BLOCK = 2048
"""Rows that are moved together: few enough that copies of them need little memory."""


@contextmanager
def gradients_by_row(model: nn.Module) -> Iterator[None]:
    """Let large embeddings on a CPU have sparse gradients, of the rows that were looked up; afterwards as before.

    Parameters
    ----------
    model
        Its embeddings are meant. `AdamW` and `clippable` below take such gradients; torch's AdamW and clipping do not.

    Examples
    --------
    >>> words = nn.Embedding(30000, 2)
    >>> with gradients_by_row(words):
    ...     words(torch.tensor([7, 9])).sum().backward()
    >>> words.weight.grad.coalesce().indices().tolist()
    [[7, 9]]
    """
    large = [
        module
        for module in model.modules()
        if isinstance(module, nn.Embedding) and module.num_embeddings > MANY_ROWS and module.weight.device.type == "cpu"
    ]
    before = [module.sparse for module in large]
    for module in large:
        module.sparse = True
    try:
        yield
    finally:
        for module, sparse in zip(large, before, strict=True):
            module.sparse = sparse


class AdamW(torch.optim.AdamW):
    """torch's fused AdamW that also takes sparse gradients, and keeps moments of the rows only that ever had one.

    Rows that have had a gradient move in every step from then on, as they do in torch's. Before that they stay as they
    are, where torch's would still decay: by a ten-thousandth in a hundred steps at a rate of 1e-4 and the usual decay.

    Parameters
    ----------
    groups
        Parameter groups, each with ``"lr"`` and ``"weight_decay"``.

    References
    ----------
    Loshchilov and Hutter 2019, arXiv:1711.05101.

    Examples
    --------
    >>> words = nn.Embedding(30000, 2)
    >>> optimizer = AdamW([{"params": [words.weight], "lr": 0.1, "weight_decay": 0.0}])
    >>> before = words.weight.detach().clone()
    >>> with gradients_by_row(words):
    ...     words(torch.tensor([7, 9])).sum().backward()
    >>> optimizer.step()
    >>> (words.weight != before).any(dim=1).nonzero().flatten().tolist()
    [7, 9]
    """

    def __init__(self, groups: Iterable[dict[str, Any]]) -> None:
        super().__init__(groups, fused=True)

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Move all weights that have a gradient; losses are computed before, not by a closure."""
        by_row = [
            (group, weight, weight.grad)
            for group in self.param_groups
            for weight in group["params"]
            if weight.grad is not None and weight.grad.is_sparse
        ]
        for _, weight, _ in by_row:
            weight.grad = None  # torch's step refuses it
        super().step()
        for group, weight, gradient in by_row:
            weight.grad = gradient
            self._step_rows(group, weight, gradient.coalesce())

    def _step_rows(self, group: dict[str, Any], weight: Tensor, gradient: Tensor) -> None:
        """Move the rows that have, or once had, a gradient, a block of them at a time."""
        state = self.state[weight] or self._nothing_seen(weight)
        looked_up = gradient.indices()[0]
        new = looked_up[state["places"][looked_up] == UNSEEN]
        state["places"][new] = torch.arange(len(new)) + len(state["rows"])
        state["rows"] = torch.cat([state["rows"], new])
        places = state["places"][looked_up]
        blocks, offsets = places // ROWS_A_BLOCK, places % ROWS_A_BLOCK
        beta1, beta2 = group["betas"]
        for number, rows in enumerate(state["rows"].split(ROWS_A_BLOCK)):
            if number == len(state["moments"]):
                state["moments"].append(weight.new_zeros(2, ROWS_A_BLOCK, weight.shape[1]))
            first, second = state["moments"][number][:, : len(rows)]
            weights, inside = weight[rows], blocks == number
            gradients = torch.zeros_like(weights).index_copy_(0, offsets[inside], gradient.values()[inside])
            adamw(
                [weights],
                [gradients],
                [first],
                [second],
                [],
                [state["step"].clone()],
                fused=True,
                amsgrad=False,
                beta1=beta1,
                beta2=beta2,
                lr=group["lr"],
                weight_decay=group["weight_decay"],
                eps=group["eps"],
                maximize=False,
            )
            weight.index_copy_(0, rows, weights)
        state["step"] += 1

    def _nothing_seen(self, weight: Tensor) -> dict[str, Any]:
        """State of a weight of which no row had a gradient yet.

        ``rows`` are those that had one, in the order in which they first did, ``places`` tells where in it a row is,
        and ``moments`` are both of Adam's, in blocks of rows in that order.
        """
        state = self.state[weight]
        state["step"] = torch.zeros(())
        state["rows"] = torch.empty(0, dtype=torch.long)
        state["places"] = torch.full((len(weight),), UNSEEN)
        state["moments"] = []
        return state


def clippable(weights: Iterable[Tensor]) -> list[Tensor]:
    """Return tensors with the gradients of some weights, all dense, so that torch can measure and shorten these.

    Parameters
    ----------
    weights
        What may have gradients. The values of sparse ones are shared, not copied.

    Examples
    --------
    >>> words = nn.Embedding(30000, 2)
    >>> with gradients_by_row(words):
    ...     words(torch.tensor([7, 9, 9])).sum().backward()
    >>> round(float(nn.utils.clip_grad_norm_(clippable(words.parameters()), 1.0)), 3)
    3.162
    >>> round(float(words.weight.grad.to_dense().norm()), 3)
    1.0
    """
    return [_with_values(weight) if weight.grad is not None and weight.grad.is_sparse else weight for weight in weights]


def _with_values(weight: Tensor) -> Tensor:
    weight.grad = weight.grad.coalesce()  # type: ignore[union-attr]
    values = weight.grad.values()
    stand_in = values.detach()
    stand_in.grad = values
    return stand_in
