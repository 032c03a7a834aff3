from __future__ import annotations

import numpy as np
import pytest

from ftkit.errors import DataError
from ftkit.tasks.base import Task
from ftkit.tasks.sound import as_wave
from ftkit.widgets import uploads
from ftkit.widgets.uploads import as_png, read_upload


def test_uploaded_picture_is_read_as_a_task_holds_it(cells: Task) -> None:
    picture = cells.test.items[0]
    np.testing.assert_array_equal(read_upload("image", "cell.png", as_png(picture), len(picture)), picture)


def test_uploaded_recording_is_read_as_a_task_holds_it() -> None:
    tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(8000) / 16_000, dtype=np.float32)
    np.testing.assert_allclose(read_upload("audio", "tone.wav", as_wave(tone)), tone, atol=1e-4)


@pytest.mark.parametrize("modality", ["image", "audio"])
def test_file_of_another_kind_is_refused_by_its_own_name(modality: str) -> None:
    with pytest.raises(DataError, match=r"notes\.txt") as caught:
        read_upload(modality, "notes.txt", b"no picture and no sound")
    assert "ftkit-upload" not in str(caught.value)


def test_empty_file_is_refused() -> None:
    with pytest.raises(DataError, match=r"cell\.png is empty"):
        read_upload("image", "cell.png", b"")


def test_too_large_file_is_refused_before_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "LARGEST_UPLOAD", 2_000_000)
    with pytest.raises(DataError, match="files up to 2 MB are read"):
        read_upload("image", "cell.png", bytes(3_000_000))


def test_name_with_a_path_writes_nowhere_else(cells: Task, tmp_path) -> None:
    read_upload("image", f"{tmp_path}/../evil.png", as_png(cells.test.items[0]))
    assert not list(tmp_path.parent.glob("evil*"))
