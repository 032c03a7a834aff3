"""The machine that a run was made on, and the memory that it took."""

from __future__ import annotations

import platform
import threading
from dataclasses import dataclass
from importlib import metadata
from types import TracebackType

from ftkit.memory import clean_start
from ftkit.processor import limit_threads, processor_name, usable_cores

LIBRARIES = ("torch", "transformers", "peft", "accelerate", "timm", "numpy", "scikit-learn")


@dataclass(frozen=True)
class Machine:
    """Where a run was made.

    Attributes
    ----------
    processor
        Name of the CPU, or of the accelerator where there is one.
    cores
        CPUs that this process may use.
    threads
        Threads that torch computes with.
    memory_bytes
        Physical memory to a tenth of a gigabyte; what a kernel keeps of it for itself differs from start to start.
    system
        Operating system and architecture.
    python
        Python's version.
    versions
        Versions of ftkit and of the libraries that decide results.
    """

    processor: str
    cores: int
    threads: int
    memory_bytes: int
    system: str
    python: str
    versions: dict[str, str]

    @classmethod
    def this(cls) -> Machine:
        """Describe the machine that runs this."""
        import psutil
        import torch

        return cls(
            processor=torch.cuda.get_device_name() if torch.cuda.is_available() else processor_name(),
            cores=usable_cores(),
            threads=limit_threads(),
            memory_bytes=round(psutil.virtual_memory().total, -8),
            system=f"{platform.system()} {platform.machine()}",
            python=platform.python_version(),
            versions={name: metadata.version(name) for name in ("ftkit", *LIBRARIES)},
        )


class MemoryWatch:
    """Records the highest resident memory of this process while it is open, on a GPU the most that tensors took there.

    Memory that earlier work left with the allocator is handed back to the system first where that is possible
    (Linux). What libraries keep, such as the kernels that they have prepared, stays: a process that has trained
    before begins higher than a fresh one.

    Attributes
    ----------
    peak_bytes
        Highest resident set size seen, in bytes; on a GPU the most memory of the card that tensors held.

    Examples
    --------
    >>> with MemoryWatch() as watch:
    ...     numbers = list(range(1000))
    >>> watch.peak_bytes > 0
    True
    """

    def __init__(self, interval: float = 0.05) -> None:
        self.interval = interval
        self.peak_bytes = 0
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> MemoryWatch:
        clean_start()
        import torch

        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()
        self._sample()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closed.set()
        self._thread.join()
        self._sample()

    def _watch(self) -> None:
        while not self._closed.wait(self.interval):
            self._sample()

    def _sample(self) -> None:
        import psutil
        import torch

        if torch.cuda.is_available():
            self.peak_bytes = torch.cuda.max_memory_allocated()
        else:
            self.peak_bytes = max(self.peak_bytes, psutil.Process().memory_info().rss)
