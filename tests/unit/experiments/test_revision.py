"""Which revision of the kit made something."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from ftkit.experiments.revision import revision


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    (tmp_path / "ftkit").mkdir()
    (tmp_path / "ftkit" / "module.py").write_text("value = 1\n", encoding="utf-8")
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", "--all")
    git(tmp_path, "-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "--quiet", "--message", "first")
    return tmp_path


def git(folder: Path, *words: str) -> str:
    return subprocess.run(["git", "-C", str(folder), *words], check=True, capture_output=True, text=True).stdout


def test_a_checkout_is_named_by_its_commit(checkout: Path):
    head = git(checkout, "rev-parse", "HEAD").strip()
    (checkout / "records.json").write_text("{}", encoding="utf-8")
    assert revision.__wrapped__(checkout) == head[:12]


def test_a_changed_package_is_marked(checkout: Path):
    (checkout / "ftkit" / "module.py").write_text("value = 2\n", encoding="utf-8")
    assert revision.__wrapped__(checkout).endswith("+")


def test_no_checkout_has_no_revision(tmp_path: Path):
    assert revision.__wrapped__(tmp_path) == ""
