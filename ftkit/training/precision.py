"""Which number format trains fastest here, by measurement."""

from __future__ import annotations

import statistics
import time
from functools import lru_cache

import torch

MUCH_FASTER = 1.3
"""bf16 must beat float32 by this factor to be chosen: a small gain is not worth its three digits."""


def choose_precision(precision: str) -> str:
    """Resolve ``"auto"`` to the precision to train in; any other value is returned as it is.

    Parameters
    ----------
    precision
        ``"auto"``, ``"float32"``, ``"bf16"`` or ``"fp16"``.

    Examples
    --------
    >>> choose_precision("float32")
    'float32'
    """
    if precision != "auto":
        return precision
    if torch.cuda.is_available():
        return "bf16" if torch.cuda.is_bf16_supported() else "fp16"
    return "bf16" if bf16_speed() >= MUCH_FASTER else "float32"


@lru_cache(maxsize=1)
def bf16_speed() -> float:
    """How many times faster a matrix product of the text model's size is in bf16 than in float32 on this CPU.

    The two are timed in turns, about a tenth of a second in all, and the medians compared; measured once a process.
    """
    times: dict[torch.dtype, list[float]] = {torch.float32: [], torch.bfloat16: []}
    factors = {dtype: (torch.randn(1024, 384).to(dtype), torch.randn(384, 1536).to(dtype)) for dtype in times}
    for _ in range(8):
        for dtype, (left, right) in factors.items():
            started = time.perf_counter()
            torch.mm(left, right)
            times[dtype].append(time.perf_counter() - started)
    return statistics.median(times[torch.float32][2:]) / statistics.median(times[torch.bfloat16][2:])
