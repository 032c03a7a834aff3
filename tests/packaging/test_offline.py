"""Once fetched, nothing needs a network."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ftkit.experiments.run import load_run
from ftkit.fetch import fetch

# Refuses every connection to another machine, whatever library asks for it.
NO_NETWORK = """
import socket, sys

def refuse(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo"):
        raise OSError(f"the network is cut off: {event} {arguments}")

sys.addaudithook(refuse)
"""


def run_without_network(folder: Path, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the kit where no connection is possible: in an empty network namespace, or behind an audit hook."""
    hook = folder / "cut off"
    hook.mkdir(exist_ok=True)
    (hook / "sitecustomize.py").write_text(NO_NETWORK, encoding="utf-8")
    path = os.pathsep.join([str(hook), os.environ.get("PYTHONPATH", "")])
    isolate = ["unshare", "--map-root-user", "--net"] if can_unshare() else []
    return subprocess.run(
        [*isolate, sys.executable, "-m", *command],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def can_unshare() -> bool:
    """Whether this machine lets us make a network namespace of our own."""
    if shutil.which("unshare") is None:
        return False
    return (
        subprocess.run(["unshare", "--map-root-user", "--net", "true"], capture_output=True, check=False).returncode
        == 0
    )


@pytest.mark.parametrize("task", ["movie-reviews", "solar-cells", "spoken-digits"])
def test_a_fetched_kit_trains_with_the_network_cut_off(task: str, tmp_path: Path) -> None:
    from ftkit.tasks import TASKS, load_task

    fetch(load_task(task).backbone)
    for asset in TASKS[task].assets:
        fetch(asset)

    result = run_without_network(
        tmp_path,
        "ftkit",
        "train",
        task,
        "--method",
        "linear-probe",
        "--limit",
        "40",
        "--epochs",
        "1",
        "--save",
        "a run",
    )

    assert result.returncode == 0, result.stderr
    assert load_run(tmp_path / "a run").spec.task == task


def test_an_empty_cache_without_network_gets_one_clear_answer(tmp_path: Path) -> None:
    result = run_without_network(
        tmp_path, "ftkit", "fetch", "digits-captcha", FTKIT_CACHE=str(tmp_path / "empty cache"), FTKIT_MIRROR=""
    )

    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    assert all(word in result.stderr for word in ("ftkit fetch digits-captcha", "FTKIT_MIRROR", "FTKIT_CACHE"))
