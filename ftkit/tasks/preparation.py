"""Prepared splits on disk: read, cleaned and divided once, then loaded in a moment."""

from __future__ import annotations

import hashlib
import json
import uuid
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ftkit import catalog
from ftkit.paths import cache_folder
from ftkit.tasks.base import Split, grey_to_rgb

__all__ = ["prepare", "read_splits", "write_splits"]


def prepare(
    recipe: str, version: int, assets: Sequence[str], build: Callable[[], Mapping[str, Split]], *, extra: str = ""
) -> dict[str, Split]:
    """Return the splits that `build` makes, from disk when they were made before.

    Parameters
    ----------
    recipe
        Name of what is prepared; the file is named after it.
    version
        Number of the recipe: raise it whenever `build` would give something else.
    assets
        Catalog names of the data that `build` reads. The file is made anew when their contents change.
    build
        Makes the splits; called by one process at a time.
    extra
        What else the result depends on, such as the version of a synthesiser.
    """
    import filelock

    path = cache_folder() / "prepared" / f"{recipe}-{_key(recipe, version, assets, extra)}.npz"
    found = _whole_splits(path)  # without a lock, which a cache that one may only read does not give
    if found is not None:
        return found
    path.parent.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(f"{path}.lock"):
        found = _whole_splits(path)
        if found is None:
            found = dict(build())
            write_splits(path, found)
        return found


def _whole_splits(path: Path) -> dict[str, Split] | None:
    """Read splits; None where there are none, or a damaged file (a full disk, a copied cache), which is made anew."""
    try:
        return read_splits(path)
    except (FileNotFoundError, zipfile.BadZipFile, KeyError, ValueError, EOFError):
        return None


def write_splits(path: Path, splits: Mapping[str, Split]) -> None:
    """Write splits to one ``.npz`` file, whole or not at all; `read_splits` gives them back bit for bit."""
    arrays: dict[str, np.ndarray] = {}
    for name, split in splits.items():
        arrays |= {f"{name}.{part}": array for part, array in _to_arrays(split).items()}
    temporary = path.parent / f".{uuid.uuid4().hex[:16]}.npz"
    try:
        np.savez(temporary, **arrays)  # type: ignore[arg-type]
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def read_splits(path: Path) -> dict[str, Split]:
    """Read the splits that `write_splits` wrote."""
    with np.load(path, allow_pickle=False) as archive:
        arrays = {key: archive[key] for key in archive.files}
    names = dict.fromkeys(key.split(".", 1)[0] for key in arrays)
    return {
        name: _from_arrays({key.split(".", 1)[1]: array for key, array in arrays.items() if key.startswith(f"{name}.")})
        for name in names
    }


def _to_arrays(split: Split) -> dict[str, np.ndarray]:
    arrays = {"labels": split.labels, "identifiers": _pack_texts(split.identifiers.tolist())}
    if split.groups is not None:
        arrays["groups"] = _pack_texts(split.groups.tolist())
    items: Any = split.items
    if isinstance(items, np.ndarray):
        is_grey = items.strides[-1] == 0
        return arrays | ({"grey": items[..., 0]} if is_grey else {"images": items})
    if isinstance(items[0], str):
        return arrays | {"texts": _pack_texts(items)}
    return arrays | {"audio": np.concatenate(items), "audio_lengths": np.array([len(item) for item in items])}


def _from_arrays(arrays: dict[str, np.ndarray]) -> Split:
    items: Any
    if "grey" in arrays:
        items = grey_to_rgb(arrays["grey"])
    elif "images" in arrays:
        items = arrays["images"]
    elif "texts" in arrays:
        items = _unpack_texts(arrays["texts"])
    else:
        items = np.split(arrays["audio"], np.cumsum(arrays["audio_lengths"])[:-1])
    groups = np.array(_unpack_texts(arrays["groups"])) if "groups" in arrays else None
    return Split(items, arrays["labels"], groups, np.array(_unpack_texts(arrays["identifiers"])))


def _pack_texts(texts: Sequence[str]) -> np.ndarray:
    # numpy's own text arrays are as wide as the longest text; JSON is not.
    return np.frombuffer(json.dumps(list(texts), ensure_ascii=False).encode("utf-8"), dtype=np.uint8)


def _unpack_texts(packed: np.ndarray) -> list[str]:
    return json.loads(packed.tobytes().decode("utf-8"))


def _key(recipe: str, version: int, assets: Sequence[str], extra: str) -> str:
    parts: list[Any] = [recipe, version, extra]
    parts += [catalog.asset(name).fingerprint for name in assets]
    return hashlib.sha256(json.dumps(parts).encode("utf-8")).hexdigest()[:16]
