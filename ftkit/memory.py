"""How much memory this process has held, how it gives memory back to the system, and when it keeps it."""

from __future__ import annotations

import ctypes
import gc
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from ftkit.control_groups import CONTROL_GROUPS, OWN_GROUPS, first_text, own_groups

if TYPE_CHECKING:
    from torch import Tensor

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""What glibc's ``mallopt`` calls them (malloc.h)."""
_DO_NOT_NEED = 4
"""What Linux's ``madvise`` calls it (mman.h)."""
MODULES_A_TIME = 250
"""So many modules more make it worth sparing them from collections too."""
KEPT_BLOCK = 128 * 2**20
"""Largest block, in bytes, that is kept for reuse once it was freed."""


def peak_memory() -> int:
    """Highest memory that this process has held so far, in bytes.

    Examples
    --------
    >>> peak_memory() > 1_000_000
    True
    """
    if sys.platform == "win32":
        import psutil

        return int(psutil.Process().memory_info().peak_wset)
    # of the program: what getrusage tells on Linux begins with the memory of the process that started it
    return _from_kernel("VmHWM:") or _from_usage()


def _from_kernel(field: str) -> int:
    status = Path("/proc/self/status")
    lines = status.read_text(encoding="ascii", errors="replace").splitlines() if status.exists() else []
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(field)), 0)


def _from_usage() -> int:
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Linux counts in units of 1024 bytes, macOS in bytes.
    return peak if sys.platform == "darwin" else peak * 1024


@dataclass(frozen=True)
class MemoryLimit:
    """What a container or a batch system grants in memory, and what is left of it, in bytes."""

    granted: int
    left: int


def memory_limit(root: Path = CONTROL_GROUPS, own: Path = OWN_GROUPS) -> MemoryLimit | None:
    """Return the limit, of the process's control groups, of which the least is left; None where there is none.

    Parameters
    ----------
    root
        Where the control groups are mounted; version 2 and version 1 are read.
    own
        Names the groups of this process.

    Examples
    --------
    >>> memory_limit(root=Path("nowhere")) is None
    True
    """
    found = [limit for group in own_groups(own) if (limit := _limit_of(root, group)) is not None]
    return min(found, key=lambda limit: limit.left, default=None)


def _limit_of(root: Path, group: PurePosixPath) -> MemoryLimit | None:
    newer, older = root / group, root / "memory" / group
    granted = first_text(newer / "memory.max", older / "memory.limit_in_bytes")
    used = first_text(newer / "memory.current", older / "memory.usage_in_bytes")
    if not (granted.isdigit() and used.isdigit()):
        return None  # "max": no limit
    counts = dict(line.split() for line in first_text(newer / "memory.stat", older / "memory.stat").splitlines())
    files = int(counts.get("total_inactive_file", counts.get("inactive_file", 0)))  # given back when needed
    return MemoryLimit(int(granted), max(0, int(granted) - max(0, int(used) - files)))


def release_memory() -> None:
    """Collect garbage, then give freed memory back to the system."""
    gc.collect()
    trim_memory()


def clean_start() -> None:
    """Release memory before a training, and spare what imports made from all later collections.

    These are hundreds of thousands of objects. Looking at them again would take longer than all else that lies between
    two trainings. Libraries that load with a method or a kind of data are spared when the next training begins, and not
    at once: the model of the one that is under way must be found in the end.
    """
    release_memory()
    _spare_what_is_there(len(sys.modules) // MODULES_A_TIME)


@cache
def _spare_what_is_there(loaded: int) -> None:
    """Once for so many modules: what a later training leaves behind must be found."""
    gc.freeze()


def trim_memory() -> None:
    """Give freed memory back to the system where the C library can (Linux)."""
    trim = _of_the_c_library("malloc_trim")
    if trim is not None:
        trim(0)


def leave_pages(mapped: Tensor) -> None:
    """Take a mapped file's pages out of this process where the system can (Linux); they are read again when wanted.

    Parameters
    ----------
    mapped
        The whole of what ``torch.from_file`` returned, and not anything else: memory without a file would be lost. What
        was written to it must belong to the file (``shared=True``).
    """
    advise = _of_the_c_library("madvise")
    if advise is not None:
        advise(ctypes.c_void_p(mapped.data_ptr()), ctypes.c_size_t(mapped.nbytes), _DO_NOT_NEED)


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
