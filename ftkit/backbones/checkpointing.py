"""Activation checkpointing: a block's inner activations are computed again in the backward pass, not kept for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
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
        What it is given; modules among it are part of the block.

    Returns
    -------
    torch.Tensor
        What ``run(block, *inputs)`` returns.

    References
    ----------
    Chen et al. 2016, arXiv:1604.06174, section 4.
    """
    modules = [module for root in (block, *inputs) if isinstance(root, nn.Module) for module in root.modules()]
    modes = [module.training for module in modules]

    def forward_and_again() -> tuple[AbstractContextManager, AbstractContextManager]:
        return nullcontext(), _as_in_the_forward_pass(modules, modes)

    return checkpoint(run, block, *inputs, use_reentrant=False, context_fn=forward_and_again)


@contextmanager
def _as_in_the_forward_pass(modules: Sequence[nn.Module], modes: Sequence[bool]) -> Iterator[None]:
    """Put modules in the modes that they had, and keep batch normalisation from counting a batch twice."""
    norms = [module for module in modules if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    kept = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
    now = [module.training for module in modules]
    for norm in norms:
        norm.momentum = 0.0
        norm.num_batches_tracked = None
    _set_modes(modules, modes)
    try:
        yield
    finally:
        _set_modes(modules, now)
        for norm, (momentum, batches) in zip(norms, kept, strict=True):
            norm.momentum, norm.num_batches_tracked = momentum, batches


def _set_modes(modules: Sequence[nn.Module], modes: Sequence[bool]) -> None:
    for module, mode in zip(modules, modes, strict=True):
        module.training = mode
