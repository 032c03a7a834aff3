"""How this process gives memory back to the system, and when it keeps it."""

from __future__ import annotations

import ctypes
import gc
import sys
from typing import Any

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""What glibc's ``mallopt`` calls them (malloc.h)."""
KEPT_BLOCK = 128 * 2**20
"""Largest block, in bytes, that is kept for reuse once it was freed."""


def release_memory() -> None:
    """Collect garbage, then give freed memory back to the system."""
    gc.collect()
    trim_memory()


def trim_memory() -> None:
    """Give freed memory back to the system where the C library can (Linux)."""
    trim = _of_the_c_library("malloc_trim")
    if trim is not None:
        trim(0)


def reuse_freed_memory() -> None:
    """Keep large blocks that are freed for the next that are wanted, where the C library can (glibc).

    By itself glibc gives every block of more than 32 MiB back as soon as it is freed, and the system clears each of its
    pages anew when the next one is wanted. Every step of a training wants the same blocks as the one before: the
    gradient of the word embeddings, the widest maps of a batch of pictures.
    """
    set_option = _of_the_c_library("mallopt")
    # setting one threshold keeps glibc from adapting the other, so it is both or none
    if set_option is not None and set_option(_MMAP_THRESHOLD, KEPT_BLOCK):
        set_option(_TRIM_THRESHOLD, 2 * KEPT_BLOCK)


def _of_the_c_library(name: str) -> Any:
    return getattr(ctypes.CDLL(None), name, None) if sys.platform == "linux" else None
