"""Random draws that leave no trace in what the user draws."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

__all__ = ["seeded"]


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Draw from a seed inside the block; after it torch's generators, of the processor and of CUDA, are as they were.

    Parameters
    ----------
    seed
        Of torch's generators on every device.

    Examples
    --------
    >>> _ = torch.manual_seed(1)
    >>> undisturbed = torch.rand(2)
    >>> _ = torch.manual_seed(1)
    >>> with seeded(0):
    ...     inside = torch.rand(2)
    >>> bool((torch.rand(2) == undisturbed).all())
    True
    """
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        yield
