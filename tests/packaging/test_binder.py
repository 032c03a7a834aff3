"""The Binder set-up, as far as it can be checked without building the image."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
BINDER = ROOT / "binder"


def test_repo2docker_accepts_the_set_up() -> None:
    command = [sys.executable, "-m", "repo2docker", "--no-build", "--debug", str(ROOT)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)

    assert result.returncode == 0, result.stderr
    assert "3.11" in result.stdout + result.stderr


def test_requirements_are_the_tested_versions() -> None:
    result = subprocess.run([sys.executable, ROOT / "tools" / "binder.py", "--check"], capture_output=True, check=False)
    assert result.returncode == 0, result.stderr

    pins = set((ROOT / "constraints.txt").read_text(encoding="utf-8").lower().replace("_", "-").split())
    lines = (BINDER / "requirements.txt").read_text(encoding="utf-8").splitlines()
    required = [line for line in lines if line and not line.startswith(("#", "--"))]

    assert len(required) > 20
    assert all(line in pins for line in required)


def test_torch_comes_as_a_cpu_wheel() -> None:
    text = (BINDER / "requirements.txt").read_text(encoding="utf-8")

    assert re.search(r"^--extra-index-url \S+/whl/cpu$", text, re.MULTILINE)
    assert {"torch==2.9.1", "torchvision==0.24.1", "torchaudio==2.9.1"} <= set(text.split())


def test_threads_are_pinned_and_assets_fetched_at_build() -> None:
    assert "OMP_NUM_THREADS=1" in (BINDER / "start").read_text(encoding="utf-8")
    assert "ftkit fetch" in (BINDER / "postBuild").read_text(encoding="utf-8")
    assert (BINDER / "runtime.txt").read_text(encoding="utf-8").strip() == "python-3.11"
    assert all((BINDER / name).stat().st_mode & 0o111 for name in ("start", "postBuild"))


def test_the_readme_links_every_lesson_on_binder() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")

    for notebook in sorted((ROOT / "notebooks").glob("*.ipynb")):
        assert f"urlpath=lab/tree/notebooks/{notebook.name}" in readme
