from __future__ import annotations

import json
import sys
from importlib import metadata
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ftkit import doctor
from ftkit.cli import app
from ftkit.doctor import Check, as_json, diagnose, is_ready


def test_doctor_looks_at_everything_and_trains_for_ten_seconds() -> None:
    result = CliRunner().invoke(app, ["doctor"])
    assert result.exit_code == 0, result.output
    for title in ("Python", "Versions", "Memory", "Cores and threads", "bf16", "Cache folder", "eSpeak NG"):
        assert title in result.output
    assert f"full fine-tuning on {doctor.EXAMPLES} reviews" in " ".join(result.output.split())
    assert "steps/s" in result.output
    assert result.output.rstrip().endswith("Ready for ftkit.")


def test_share_is_json_without_the_user_s_name() -> None:
    result = CliRunner().invoke(app, ["doctor", "--share", "--quick"])
    shared = json.loads(result.output)
    assert shared["ready"] is True
    assert [check["name"] for check in shared["checks"]][:3] == ["python", "versions", "torch"]
    hidden = as_json([Check("cache", "Cache", "ok", f"{Path.home()}/cache, writable")])
    assert json.loads(hidden)["checks"][0]["found"] == "~/cache, writable"


def test_a_home_that_is_the_root_hides_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/")
    shown = as_json([Check("cache", "Cache", "ok", "/srv/cache, 3.1 steps/s")])
    assert json.loads(shown)["checks"][0]["found"] == "/srv/cache, 3.1 steps/s"


def test_libraries_that_do_not_match_are_installed_anew_into_this_python(monkeypatch: pytest.MonkeyPatch) -> None:
    versions = {"torch": "2.9.1+cpu", "torchvision": "0.24.1", "torchaudio": "2.9.1"}
    monkeypatch.setattr(metadata, "version", lambda name: versions.get(name, "1.0"))
    found = doctor._torch()
    assert found.state == "problem"
    assert f"{sys.executable} -m pip install --force-reinstall 'torch==2.9.*' 'torchvision==0.24.*'" in found.remedy


def test_a_missing_library_is_named_with_its_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    version = metadata.version

    def missing(name: str) -> str:
        if name == "torchaudio":
            raise metadata.PackageNotFoundError(name)
        return version(name)

    monkeypatch.setattr(metadata, "version", missing)
    assert "-m pip install 'torchaudio<2.10,>=2.9'" in doctor._versions().remedy


def test_empty_cache_is_told_with_the_size_to_fetch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FTKIT_CACHE", str(tmp_path))
    checks = {check.name: check for check in diagnose()}
    assert checks["assets"].state == "warning"
    assert checks["assets"].remedy == "Run `ftkit fetch` (288 MB)."
    assert checks["training"].remedy.startswith("Run `ftkit fetch minilm rotten-tomatoes`")
    assert is_ready(list(checks.values()))


def test_cache_that_is_a_file_is_a_problem_and_ends_with_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("FTKIT_CACHE", str(tmp_path / "file"))
    result = CliRunner().invoke(app, ["doctor", "--quick"])
    assert result.exit_code == 1
    assert "Name a folder that you can write to in FTKIT_CACHE." in " ".join(result.output.split())
    assert "Not ready: see cache folder" in result.output


def test_wrong_mirror_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FTKIT_MIRROR", str(tmp_path / "nowhere"))
    checks = {check.name: check for check in diagnose(train=False)}
    assert checks["mirror"].state == "problem"
    assert not is_ready(list(checks.values()))


def test_more_threads_than_cores_is_a_warning() -> None:
    import torch

    from ftkit.processor import usable_cores

    before = torch.get_num_threads()
    try:
        torch.set_num_threads(usable_cores() + 1)
        found = {check.name: check for check in diagnose(train=False)}["threads"]
    finally:
        torch.set_num_threads(before)
    assert found.state == "warning"
    assert found.remedy.startswith(f"Set OMP_NUM_THREADS={usable_cores()}")
