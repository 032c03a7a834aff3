"""Where frozen activations are kept: in memory within a budget, else memory-mapped on disk."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import uuid
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import metadata
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from filelock import FileLock, Timeout
from torch import Tensor

from ftkit.paths import cache_folder
from ftkit.processor import processor_name
from ftkit.training.activations import Activations, Allocate

if TYPE_CHECKING:
    from ftkit.backbones.base import Backbone
    from ftkit.classifier import Classifier

MEMORY_BYTES = 128 << 20
LARGEST_IN_MEMORY = 32 << 20
"""A larger set of activations is a file even where memory has room, which methods that train every block need."""
DISK_BYTES = 2 << 30
_RECIPE = 4
"""Raise it whenever blocks, as they are computed here, would give something else."""
_VALUES, _INDEX = "values.bin", "index.npz"
_UNREADABLE = (OSError, ValueError, KeyError, EOFError, RuntimeError, zipfile.BadZipFile)
"""What reading an entry raises where its index or its values are damaged or gone (torch maps files: RuntimeError)."""


@dataclass(frozen=True)
class Entry:
    """One set of activations on disk.

    Attributes
    ----------
    key
        Name of its folder: a hash of everything that decides its contents.
    label
        What it is, in words.
    nbytes
        Size on disk.
    used
        When it was last used, seconds since 1970.
    """

    key: str
    label: str
    nbytes: int
    used: float


@dataclass
class ActivationCache:
    """Activations by content, the least recently used given up first.

    A set of at most 32 MiB that fits the memory budget stays in this process; a larger one becomes a file that is
    mapped into memory as it is read, and that other processes use too. Where no such file can be made, memory takes
    all that its budget has room for.

    Parameters
    ----------
    folder
        Where files lie; by default ``activations`` in the kit's cache folder.
    memory_bytes
        Most bytes kept in memory, default 128 MiB.
    disk_bytes
        Most bytes kept on disk, default 2 GiB.

    Examples
    --------
    ``fine_tune(task, "partial", cache=ActivationCache(memory_bytes=0))`` keeps everything on disk.
    """

    folder: Path = field(default_factory=lambda: cache_folder() / "activations")
    memory_bytes: int = MEMORY_BYTES
    disk_bytes: int = DISK_BYTES
    _kept: OrderedDict[str, tuple[int, Any]] = field(default_factory=OrderedDict, init=False, repr=False)

    def __post_init__(self) -> None:
        self.folder = Path(self.folder).expanduser()

    def activations(self, key: str, label: str, build: Callable[[Allocate], Activations]) -> Activations | None:
        """Return the activations of a key, computing them where they are not kept.

        Parameters
        ----------
        key
            From `activation_key`.
        label
            What they are, in words, for the list on disk.
        build
            Computes them into a tensor that it asks for.

        Returns
        -------
        Activations or None
            None where neither budget has room for them, or the disk is full: train without.
        """
        found = self.find(key)
        if found is not None:
            return found
        # the second of two processes waits here and then finds what the first one made
        with self._lock(key):
            return self._open(key) or self._build(key, label, build)

    def find(self, key: str) -> Activations | None:
        """Activations that are kept under a key, in memory or on disk, or None."""
        return self.remembered(key) or self._open(key)

    def _lock(self, key: str) -> AbstractContextManager[Any]:
        """Lock a key; where nothing can be written no other process can either, and memory is there all the same."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            return FileLock(self.folder / f"{key}.lock").acquire()
        except OSError:
            return contextlib.nullcontext()

    def remembered(self, key: str) -> Any:
        """What is kept in memory under a key, or None."""
        if key not in self._kept:
            return None
        self._kept.move_to_end(key)
        return self._kept[key][1]

    def remember(self, key: str, value: Any, nbytes: int) -> None:
        """Keep something in memory where it fits, in place of what was used least recently."""
        if nbytes > self.memory_bytes:
            return
        self._kept[key] = (nbytes, value)
        while sum(size for size, _ in self._kept.values()) > self.memory_bytes:
            self._kept.popitem(last=False)

    def forget(self) -> None:
        """Give up what is kept in memory; what is on disk stays."""
        self._kept.clear()

    def entries(self) -> list[Entry]:
        """What is on disk, the most recently used first."""
        found = [_entry(path) for path in self.folder.glob(f"[!.]*/{_INDEX}")]  # what begins with a dot is being made
        return sorted((each for each in found if each is not None), key=lambda each: -each.used)

    def clear(self) -> int:
        """Remove everything but what a process is just computing; return the bytes that the disk got back.

        Locks, which are empty files, stay: another process may hold one.
        """
        self.forget()
        folders = [path for path in self.folder.glob("[!.]*") if path.is_dir()] + self._abandoned()
        before = sum(map(_nbytes, folders))
        for path in folders:
            _remove(path)
        return before - sum(map(_nbytes, folders))

    def _build(self, key: str, label: str, build: Callable[[Allocate], Activations]) -> Activations | None:
        for left in self.folder.glob(f".{key}-*.part"):
            _remove(left)  # of a process that was killed; a living one would hold the lock
        part = self.folder / f".{key}-{uuid.uuid4().hex[:8]}.part"
        try:
            made = build(lambda shape, dtype: self._allocate(part, shape, dtype))
            if not part.exists():
                self.remember(key, made, made.nbytes)
                return made
            _write_index(part / _INDEX, made, label)
            _remove(self.folder / key)  # what lies there could not be read
            part.replace(self.folder / key)
        except (_NoRoomError, OSError):  # a full disk, or someone removed the folder meanwhile
            return None
        finally:
            _remove(part)
        self._make_room(0, keep=key)
        return self._open(key)

    def _allocate(self, part: Path, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        nbytes = prod(shape) * dtype.itemsize
        if nbytes <= min(self.memory_bytes, LARGEST_IN_MEMORY):
            return torch.empty(shape, dtype=dtype)
        try:
            self._make_file(part, nbytes)
            return _mapped(part / _VALUES, shape, dtype, writable=True)
        except (_NoRoomError, OSError, RuntimeError) as error:  # the last where the system maps no such file
            _remove(part)
            if nbytes > self.memory_bytes:
                raise _NoRoomError from error
            return torch.empty(shape, dtype=dtype)

    def _make_file(self, part: Path, nbytes: int) -> None:
        with FileLock(self.folder / "room.lock"):  # of two processes, only one finds the last room free
            if nbytes > self.disk_bytes or not self._make_room(nbytes):
                raise _NoRoomError
            part.mkdir()
            _reserve(part / _VALUES, nbytes)

    def _open(self, key: str) -> Activations | None:
        path = self.folder / key / _INDEX
        try:
            found = _read_index(path)
        except _UNREADABLE:
            return None
        with contextlib.suppress(OSError):
            os.utime(path)
        return found

    def _abandoned(self) -> list[Path]:
        """Parts of processes that were killed; a living one holds the lock."""
        found = []
        for part in self.folder.glob(".*.part"):
            key = part.name[1:].rpartition("-")[0]
            with contextlib.suppress(Timeout), FileLock(self.folder / f"{key}.lock", timeout=0):
                found.append(part)
        return found

    def _unreadable(self) -> list[Path]:
        """Entries that no process can open, of a crash for one; what is being made again holds the lock."""
        found = []
        for path in self.folder.glob("[!.]*"):
            if path.is_dir() and _entry(path / _INDEX) is None:
                with contextlib.suppress(Timeout), FileLock(self.folder / f"{path.name}.lock", timeout=0):
                    found.append(path)
        return found

    def _make_room(self, nbytes: int, keep: str = "") -> bool:
        """Give up what was used least recently until so many more bytes fit the limit; return whether they do.

        What other processes are just writing counts, and stays.
        """
        for left in (*self._abandoned(), *self._unreadable()):
            _remove(left)
        needed = nbytes + sum(map(_nbytes, self.folder.glob(".*.part")))
        if needed > self.disk_bytes:
            return False
        entries = self.entries()
        total = needed + sum(each.nbytes for each in entries)
        for each in reversed(entries):
            if total <= self.disk_bytes:
                break
            if each.key != keep:
                _remove(self.folder / each.key)
                total -= each.nbytes
        return total <= self.disk_bytes


class _NoRoomError(Exception):
    """The activations fit no budget, or the disk is full."""


@lru_cache(maxsize=1)
def shared_cache() -> ActivationCache:
    """Return the cache that all trainings of this process share."""
    return ActivationCache()


def weights_digests(classifier: Classifier, depth: int) -> list[str]:
    """SHA-256, in hexadecimal, of the weights that data pass up to every depth from 0, see `compute_activations`."""
    backbone = classifier.backbone
    digest = hashlib.sha256()
    digests = []
    for stage in [backbone.embed, *backbone.blocks, backbone.norm][: depth + 1]:
        for name, tensor in stage.state_dict().items():
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
        digests.append(digest.hexdigest())
    return digests


def activation_key(
    backbone: Backbone, weights: str, depth: int, split_fingerprint: str, *, precision: str, device: str
) -> str:
    """Hash everything that decides a split's activations.

    Parameters
    ----------
    backbone
        Its name and settings decide how data are prepared.
    weights
        From `weights_digests`, of this depth: the weights count, not where they come from.
    depth
        See `compute_activations`.
    split_fingerprint
        Hash of the raw items.
    precision, device
        How the blocks compute; which processor does counts too.

    Returns
    -------
    str
        Hexadecimal, 24 digits.
    """
    versions = [metadata.version(name) for name in ("ftkit", "torch", "transformers", "timm", "tokenizers")]
    # Processors and cards round differently, and may share a cache.
    cards = [torch.cuda.get_device_name(each) for each in range(torch.cuda.device_count())]
    computed = [precision, device, processor_name(), cards, versions]
    facts = [_RECIPE, backbone.name, backbone.settings, weights, depth, split_fingerprint, *computed]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:24]


def _reserve(path: Path, nbytes: int) -> None:
    """Make a file of a size whose blocks are really there: a mapped file on a full disk would kill the process."""
    with path.open("wb") as file:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, nbytes)
        else:
            for start in range(0, nbytes, 1 << 20):
                file.write(bytes(min(1 << 20, nbytes - start)))


def _mapped(path: Path, shape: tuple[int, ...], dtype: torch.dtype, *, writable: bool) -> Tensor:
    return torch.from_file(str(path), shared=writable, size=prod(shape), dtype=dtype).view(shape)


def _write_index(path: Path, made: Activations, label: str) -> None:
    arrays: dict[str, Any] = {"starts": made.starts, "lengths": made.lengths}
    for name, mask in (("attends", made.attends), ("pools", made.pools)):
        if mask is not None:
            arrays[name] = mask.numpy()
    facts = {
        "label": label,
        "shape": list(made.values.shape),
        "dtype": str(made.values.dtype).removeprefix("torch."),
        "depth": made.depth,
        "is_pooled": made.is_pooled,
        "seconds": made.seconds,
    }
    np.savez(path, facts=np.array(json.dumps(facts)), **arrays)


def _read_index(path: Path) -> Activations:
    with np.load(path, allow_pickle=False) as index:
        facts = json.loads(str(index["facts"]))
        masks = {name: torch.from_numpy(index[name]) if name in index else None for name in ("attends", "pools")}
        starts, lengths = index["starts"], index["lengths"]
    shape, dtype = tuple(facts["shape"]), getattr(torch, facts["dtype"])
    values = _mapped(path.parent / _VALUES, shape, dtype, writable=False)
    return Activations(
        values,
        starts,
        masks["attends"],
        masks["pools"],
        lengths,
        facts["depth"],
        facts["is_pooled"],
        is_mapped=True,
        seconds=facts["seconds"],
    )


def _entry(path: Path) -> Entry | None:
    try:
        with np.load(path, allow_pickle=False) as index:
            label = json.loads(str(index["facts"]))["label"]
        return Entry(path.parent.name, label, _nbytes(path.parent), path.stat().st_mtime)
    except _UNREADABLE:
        return None  # another process has just removed it


def _nbytes(folder: Path) -> int:
    """Size of a folder's files; 0 where another process has just removed it."""
    with contextlib.suppress(OSError):
        return sum(file.stat().st_size for file in folder.iterdir())
    return 0


def _remove(path: Path) -> None:
    # a file that another process has open can't be removed everywhere; it goes the next time
    with contextlib.suppress(OSError):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
