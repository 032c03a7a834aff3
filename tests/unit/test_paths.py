from __future__ import annotations

import pickle
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ftkit import errors, paths
from ftkit.errors import FtkitError, UnknownNameError

PACKAGE = Path(paths.__file__).parent


def test_data_folder_of_a_checkout_holds_catalog_and_cards() -> None:
    folder = paths.data_folder()
    assert (folder / "catalog.toml").is_file()
    assert (folder / "cards" / "elpv.md").is_file()


def _install(site: Path, *, with_data: bool) -> Path:
    """Lay the package out as an installed wheel does: the data inside it, no checkout around it."""
    package = site / "ftkit"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    for name in ("errors.py", "paths.py", "catalog.py"):
        shutil.copy(PACKAGE / name, package)
    if with_data:
        shutil.copytree(paths.data_folder(), package / "data")
    return package


def test_data_folder_of_an_installed_wheel_is_inside_the_package(tmp_path: Path) -> None:
    package = _install(tmp_path / "site packages", with_data=True)
    code = "from ftkit import catalog, paths; print(paths.data_folder()); print(len(catalog.load_catalog()))"
    printed = subprocess.run(
        [sys.executable, "-c", code], cwd=package.parent, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert printed == [str((package / "data").resolve()), "13"]


def test_an_installation_without_data_says_so(tmp_path: Path) -> None:
    package = _install(tmp_path / "site", with_data=False)
    done = subprocess.run(
        [sys.executable, "-c", "from ftkit import paths; paths.data_folder()"],
        cwd=package.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "no catalog.toml in" in done.stderr
    assert "Install ftkit again" in done.stderr


def test_cache_folder_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FTKIT_CACHE", str(tmp_path / "a folder with spaces"))
    assert paths.cache_folder() == tmp_path / "a folder with spaces"
    monkeypatch.setenv("FTKIT_CACHE", "~/models")
    assert paths.cache_folder() == Path.home() / "models"


def test_cache_folder_is_absolute_and_not_created_by_asking(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FTKIT_CACHE", "relative")
    assert paths.cache_folder() == tmp_path / "relative"
    assert list(tmp_path.iterdir()) == []


def test_cache_folder_is_the_users_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FTKIT_CACHE", raising=False)
    assert paths.cache_folder().is_absolute()
    assert "ftkit" in paths.cache_folder().parts


def test_runs_folder_is_here_by_default(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FTKIT_RUNS", raising=False)
    assert paths.runs_folder() == tmp_path / "runs"
    monkeypatch.setenv("FTKIT_RUNS", str(tmp_path / "elsewhere"))
    assert paths.runs_folder() == tmp_path / "elsewhere"


def test_write_text_makes_folders_and_keeps_line_ends(tmp_path: Path) -> None:
    target = tmp_path / "new folder" / "note.txt"
    paths.write_text(target, "één\r\ntwo\n")
    assert target.read_bytes() == "één\r\ntwo\n".encode()
    paths.write_text(target, "again")
    assert [path.name for path in target.parent.iterdir()] == ["note.txt"]
    assert target.read_text() == "again"


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "run.json"
    target.write_text("old")
    code = (
        "import sys; from ftkit import paths\n"
        "try:\n    paths.write_bytes(sys.argv[1], bytes(100_000))\n"
        "except OSError as error:\n    print(type(error).__name__)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(target)],
        capture_output=True,
        text=True,
        check=True,
        cwd=PACKAGE.parent,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000)),
    )
    assert done.stdout.strip() == "OSError"
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_unknown_name_offers_the_nearest_and_lists_all() -> None:
    error = UnknownNameError("asset", "minilmm", ["minilm", "elpv"])
    assert str(error) == "Unknown asset 'minilmm'. Did you mean 'minilm'? Known assets: minilm, elpv."
    assert isinstance(error, KeyError)
    assert isinstance(error, FtkitError)


def test_unknown_name_survives_the_way_between_processes() -> None:
    error = UnknownNameError("task", "x", ["movie-reviews"])
    copy = pickle.loads(pickle.dumps(error))
    assert str(copy) == str(error)
    assert copy.known == error.known


@pytest.mark.parametrize("name", ["AssetError", "DataError", "TrainingError", "UnknownNameError"])
def test_every_error_of_ours_can_be_caught_as_one(name: str) -> None:
    assert issubclass(getattr(errors, name), FtkitError)


COUNT = """
import sys, pathlib
from ftkit.paths import locked, write_text
path = pathlib.Path(sys.argv[1])
for _ in range(100):
    with locked(path):
        write_text(path, str(int(path.read_text()) + 1))
"""


def test_two_processes_write_a_locked_file_one_after_the_other(tmp_path: Path) -> None:
    path = tmp_path / "count.txt"
    path.write_text("0")
    processes = [subprocess.Popen([sys.executable, "-c", COUNT, path]) for _ in range(2)]
    assert [process.wait(60) for process in processes] == [0, 0]
    assert path.read_text() == "200"
    assert list(tmp_path.iterdir()) == [path]


def test_where_a_cache_can_only_be_read_locks_lie_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache, own = tmp_path / "cache", tmp_path / "own"
    cache.mkdir()
    own.mkdir()
    (cache / "locks").touch()  # no folder can be made there
    monkeypatch.setenv("FTKIT_CACHE", str(cache))
    monkeypatch.setattr("tempfile.tempdir", str(own))
    with paths.claimed(tmp_path / "work", wait=False) as ours:
        assert ours
        assert len(list(own.glob("ftkit-locks-*/*"))) == 1


def test_work_that_another_process_claims_is_ours_when_that_dies(tmp_path: Path) -> None:
    work = tmp_path / "work"
    code = (
        "import sys; from pathlib import Path; from ftkit.paths import claimed\n"
        "with claimed(Path(sys.argv[1]), wait=True):\n    print('claimed', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(work)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "claimed\n"
        with paths.claimed(work, wait=False) as ours:
            assert not ours
        with paths.claimed(tmp_path / "other work", wait=False) as ours:
            assert ours
        other.kill()
    with paths.claimed(work, wait=True) as ours:
        assert ours
