from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ftkit import compare, fine_tune, own_task
from ftkit.progress import progress_bar
from ftkit.tasks import Task
from ftkit.training.cache import ActivationCache


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bars appear without a wait."""
    monkeypatch.setattr("ftkit.progress.MOMENT", 0.0)


def test_work_of_a_moment_shows_no_bar(capsys: pytest.CaptureFixture[str]):
    with progress_bar("Work", total=2) as advance:
        advance(1)
        advance(1)
    assert capsys.readouterr().err == ""


@pytest.mark.usefixtures("at_once")
def test_longer_work_shows_how_much_is_done(capsys: pytest.CaptureFixture[str]):
    with progress_bar("Work", total=4) as advance:
        assert "Work:   0%" in capsys.readouterr().err
        advance(4)
    assert "Work" not in capsys.readouterr().err.rpartition("\r")[2]  # it is gone when all is done
    with progress_bar(None, total=1) as advance:
        advance(1)
    assert capsys.readouterr().err == ""


@pytest.mark.usefixtures("at_once")
def test_a_bar_is_gone_before_an_error_is_told(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(ValueError, match="spoilt"), progress_bar("Work", total=4):
        raise ValueError("spoilt")
    assert capsys.readouterr().err.endswith("\r")


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize("modality", ["text", "image", "audio"])
def test_all_that_a_training_does_beside_its_steps_has_a_bar(
    modality: str, tiny_task: Callable[[str], Task], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    task = tiny_task(modality)

    def shown(progress: bool) -> str:
        fine_tune(task, "linear-probe", epochs=1, progress=progress, cache=ActivationCache(tmp_path / str(progress)))
        return capsys.readouterr().err

    assert shown(progress=False) == ""
    told = shown(progress=True)
    for work in ("frozen blocks", "validation", "answers", *([] if modality == "image" else ["inputs"])):
        assert f"{task.name}, linear-probe, {work}: " in told


@pytest.mark.usefixtures("at_once")
def test_a_comparison_shows_the_bars_of_probes_that_train_together_and_of_the_classical_method(
    tiny_task: Callable[[str], Task],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr("ftkit.experiments.probing.shared_cache", lambda: ActivationCache(tmp_path / "cache"))
    compare(tiny_task("text"), ["linear-probe"], seeds=2, epochs=1, folder=tmp_path)
    told = capsys.readouterr().err
    assert "linear-probe, frozen blocks: " in told
    assert "linear-probe, heads: " in told
    assert "classical method: " in told


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize("as_table", [False, True])
def test_reading_many_pictures_has_a_bar(tmp_path: Path, capsys: pytest.CaptureFixture[str], as_table: bool):
    paths = [f"{label}/{number}.png" for label in ("cat", "dog") for number in range(5)]
    for number, path in enumerate(paths):
        (tmp_path / "pets" / path).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((4, 4, 3), 20 * number, np.uint8)).save(tmp_path / "pets" / path)
    source = tmp_path / "pets"
    if as_table:
        source = source / "pets.csv"
        source.write_text("image,label\n" + "".join(f"{path},{path[:3]}\n" for path in paths))
    own_task(source, progress=False)
    assert capsys.readouterr().err == ""
    own_task(source)
    assert ("Reading pictures: " if as_table else "Reading pets: ") in capsys.readouterr().err
