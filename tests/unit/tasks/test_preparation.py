from __future__ import annotations

from pathlib import Path

import filelock
import numpy as np
import pytest

from ftkit.tasks.base import Split
from ftkit.tasks.preparation import prepare


def _build() -> dict[str, Split]:
    return {"train": Split(["fine", "dull"], np.array([1, 0]), None, np.array(["a", "b"]))}


def _never() -> dict[str, Split]:
    raise AssertionError("made again")


def _refused(*_: object) -> None:
    raise PermissionError("somebody else's")


def test_what_others_have_prepared_is_read_where_nothing_can_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("FTKIT_CACHE", str(tmp_path))
    made = prepare("reviews", 1, (), _build)
    monkeypatch.setattr(filelock, "FileLock", _refused)
    found = prepare("reviews", 1, (), _never)
    assert found["train"].items == made["train"].items == ["fine", "dull"]
    with pytest.raises(PermissionError):
        prepare("reviews", 2, (), _build)


def test_a_damaged_file_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("FTKIT_CACHE", str(tmp_path))
    prepare("reviews", 1, (), _build)
    (path,) = (tmp_path / "prepared").glob("*.npz")
    path.write_bytes(b"half a file")
    assert prepare("reviews", 1, (), _build)["train"].items == ["fine", "dull"]
    assert prepare("reviews", 1, (), _never)["train"].items == ["fine", "dull"]
