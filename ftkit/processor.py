"""The processor: what it is called, and how much of it this process may use."""

from __future__ import annotations

import math
import os
import platform
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path, PurePosixPath

from ftkit.control_groups import CONTROL_GROUPS, OWN_GROUPS, first_text, own_groups


def usable_cores() -> int:
    """Count the CPUs that this process may use: those it may run on, or fewer where a container limits its share.

    Examples
    --------
    >>> usable_cores() >= 1
    True
    """
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    limit = container_limit()
    return allowed if limit is None else max(1, min(allowed, math.floor(limit)))


def container_limit(root: Path = CONTROL_GROUPS, own: Path = OWN_GROUPS) -> float | None:
    """CPUs that the control groups of a container or a batch system allow, or None where none sets a limit.

    Parameters
    ----------
    root
        Where the control groups are mounted; version 2 and version 1 are read.
    own
        Names the groups of this process; those above them, up to the root, limit it too.
    """
    limits = [limit for group in own_groups(own) if (limit := _limit(root, group)) is not None]
    return min(limits, default=None)


def _limit(root: Path, group: PurePosixPath) -> float | None:
    older = root / "cpu" / group
    parts = (first_text(older / name) for name in ("cpu.cfs_quota_us", "cpu.cfs_period_us"))
    quota, _, period = (first_text(root / group / "cpu.max") or " ".join(parts)).partition(" ")
    if not (quota.isdigit() and period.isdigit() and int(period)):
        return None  # "max", or -1: no limit
    return int(quota) / int(period)


def limit_threads() -> int:
    """Keep torch from computing with more threads than this process has CPUs; return their number.

    A smaller number that was set before, by ``OMP_NUM_THREADS`` or by ``torch.set_num_threads``, stays.
    """
    import torch

    threads = min(torch.get_num_threads(), usable_cores())
    if threads != torch.get_num_threads():
        torch.set_num_threads(threads)
    return threads


@contextmanager
def libraries_limited() -> Iterator[None]:
    """Keep the libraries of numpy and scikit-learn to the CPUs that this process has, inside the block.

    They know nothing of a container's share. A smaller number that was set before stays.

    Examples
    --------
    >>> from threadpoolctl import threadpool_info
    >>> with libraries_limited():
    ...     all(library["num_threads"] <= usable_cores() for library in threadpool_info())
    True
    """
    from threadpoolctl import threadpool_info, threadpool_limits

    cores = usable_cores()
    # limits go by prefix, which several libraries may share: the smallest, being last, is the one that counts
    counts = sorted(((each["num_threads"], each["prefix"]) for each in threadpool_info()), reverse=True)
    with threadpool_limits({prefix: min(cores, count) for count, prefix in counts}):
        yield


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch compute with one thread inside the block.

    Examples
    --------
    >>> import torch
    >>> with one_thread():
    ...     torch.get_num_threads()
    1
    """
    import torch

    usual = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(usual)


@lru_cache(maxsize=1)
def processor_name() -> str:
    """Name the CPU as its maker does, as far as the system tells."""
    if platform.system() == "Darwin":  # elsewhere it is "arm" for every Mac
        asked = subprocess.run(
            ["/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string"], capture_output=True, text=True, check=False
        )
        return asked.stdout.strip() or platform.machine()
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
