"""The kit as an installed wheel, outside the checkout."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("a folder with spaces")
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--wheel-dir", str(folder), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True)
    return next(folder.glob("ftkit-*.whl"))


@pytest.fixture(scope="module")
def installed(wheel: Path) -> Path:
    target = wheel.parent / "installed here"
    command = [sys.executable, "-m", "pip", "install", "--no-deps", "--target", str(target), str(wheel)]
    subprocess.run(command, check=True, capture_output=True)
    return target


def run_installed(installed: Path, *command: str, **environment: str) -> str:
    """Run Python with the installed wheel first on its path, from a folder that is not the checkout."""
    variables = {**os.environ, "PYTHONPATH": str(installed), **environment}
    result = subprocess.run(
        [sys.executable, *command], cwd=installed.parent, env=variables, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_the_wheel_carries_catalog_cards_evidence_and_template(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()

    assert "ftkit/data/catalog.toml" in names
    assert "ftkit/data/cards/fsdd.md" in names
    assert "ftkit/data/evidence/tuning/movie-reviews-400.json" in names
    assert any(name.startswith("ftkit/report/") and name.endswith(".jinja") for name in names)
    assert any(name.endswith("licenses/NOTICE") for name in names)


def test_the_installed_kit_finds_its_own_data(installed: Path) -> None:
    script = "import ftkit, ftkit.paths; print(ftkit.__file__); print(ftkit.paths.data_folder())"
    module, data = run_installed(installed, "-c", script).splitlines()

    assert Path(module).is_relative_to(installed)
    assert Path(data).is_relative_to(installed)


def test_the_installed_command_lists_all_assets(installed: Path) -> None:
    listing = run_installed(installed, "-m", "ftkit", "fetch", "--list", COLUMNS="200")

    assert all(name in listing for name in ("minilm", "elpv", "fsdd", "whisper-tiny-en"))


def test_the_installed_kit_fine_tunes(installed: Path) -> None:
    script = (
        "import ftkit\n"
        "run = ftkit.fine_tune(ftkit.load_task('movie-reviews', limit=24), 'linear-probe', epochs=1, progress=False)\n"
        "print(run.predict(['A fine film.']).labels)"
    )

    assert run_installed(installed, "-c", script).strip() in ("['fresh']", "['rotten']")
