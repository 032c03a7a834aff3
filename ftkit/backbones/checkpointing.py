"""Activation checkpointing: a block's inner activations are computed again in the backward pass, not kept for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


def checkpointed(run: Callable[..., Tensor], block: nn.Module, *inputs: Any) -> Tensor:
    """Run a block and keep its inputs only; loss, gradients and statistics are those of running it plainly.

    Parameters
    ----------
    run
        Called with the block and the inputs.
    block
        The block.
    *inputs
        What it is given.

    Returns
    -------
    torch.Tensor
        What ``run(block, *inputs)`` returns.

    References
    ----------
    Chen et al. 2016, arXiv:1604.06174, section 4.
    """

    def forward_and_again() -> tuple[AbstractContextManager, AbstractContextManager]:
        return nullcontext(), _statistics_stand_still(block)

    return checkpoint(run, block, *inputs, use_reentrant=False, context_fn=forward_and_again)


@contextmanager
def _statistics_stand_still(block: nn.Module) -> Iterator[None]:
    """Keep batch normalisation from counting a batch that it has counted in the forward pass."""
    norms = [module for module in block.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    kept = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
        norm.num_batches_tracked = None
    try:
        yield
    finally:
        for norm, (momentum, batches) in zip(norms, kept, strict=True):
            norm.momentum, norm.num_batches_tracked = momentum, batches
