"""Peak memory of whole processes, imports included: the demo and the lessons; and what it is made of."""

from __future__ import annotations

import json
import os
import runpy
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

from measuring import fresh_activations, load, resident_memory, warm_up

from ftkit.memory import peak_memory
from ftkit.processor import processor_name

DOWNLOADS = "the downloads alone"
NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"


def demo(options: Sequence[str] = ()) -> dict[str, Any]:
    """Run ``ftkit demo`` from this process, its runs and report in a folder that is removed; the harness measures it.

    Nothing that is heavy may be loaded here: this is the process that waits for those that train.

    Returns
    -------
    dict
        ``"options"``; ``"began_with"``, what the cache held; ``"runs"``: task, training examples, method, seconds
        of training and of evaluation, and peak memory of each run.
    """
    with only_downloads(), tempfile.TemporaryDirectory(prefix="ftkit-bench-") as folder:
        _command(["demo", *options, "--report", "report.html"], Path(folder))
        return {
            "options": list(options),
            "began_with": DOWNLOADS,
            "runs": [_cost(path) for path in sorted(Path(folder).rglob("run.json"))],
        }


@contextmanager
def only_downloads() -> Iterator[None]:
    """Let processes that start meanwhile use a cache folder that has our downloads, and nothing that was made of them.

    Splits are prepared, the speech model is converted and the precision is measured there, as for a first user.
    """
    from ftkit.paths import cache_folder

    with tempfile.TemporaryDirectory(prefix="bench-", dir=cache_folder()) as folder:
        (Path(folder) / "assets").symlink_to(cache_folder() / "assets")
        with patch.dict(os.environ, FTKIT_CACHE=folder):
            yield


def _cost(path: Path) -> dict[str, Any]:
    run = json.loads(path.read_text(encoding="utf-8"))
    names = ("seconds", "evaluation_seconds", "peak_memory_bytes")
    return {
        "task": run["spec"]["task"],
        "train_examples": run["spec"]["train_examples"],
        "method": run["spec"]["method"],
        **{name: run["cost"][name] for name in names},
    }


def composition(task: str, method: str = "full", limit: int = 200) -> dict[str, Any]:
    """Resident memory in bytes of one process after each thing that it needs, in the order in which it gets them."""
    reached = {"Python": resident_memory()}
    import torch  # noqa: F401

    reached["torch"] = resident_memory()
    import peft  # noqa: F401
    import timm  # noqa: F401
    from transformers import BertModel  # noqa: F401

    reached["transformers, peft and timm"] = resident_memory()
    import ftkit

    loaded = load(task, limit, 40)
    warm_up(loaded, method)
    reached["ftkit, data and kernels that a probe of the precision needs"] = resident_memory()
    with fresh_activations():
        ftkit.fine_tune(loaded, method, epochs=1, progress=False)
    reached["one epoch of training, at its peak"] = peak_memory()
    return {"reached": reached}


def lessons() -> dict[str, Any]:
    """Seconds and peak memory of every lesson, as its last execution wrote them into it.

    A lesson that was last executed on another processor has none here.
    """
    return {path.stem: _recorded(path) for path in sorted(NOTEBOOKS.rglob("*.ipynb"))}


def _recorded(path: Path) -> dict[str, Any]:
    facts = json.loads(path.read_text(encoding="utf-8"))["metadata"].get("ftkit", {})
    return facts if facts.get("processor") == processor_name() else {}


def _command(arguments: list[str], folder: Path) -> None:
    """Run a command of ftkit in a folder, its runs there too."""
    before, given = Path.cwd(), sys.argv
    os.environ["FTKIT_RUNS"] = str(folder / "runs")
    os.chdir(folder)
    sys.argv = ["ftkit", *arguments]
    try:
        runpy.run_module("ftkit", run_name="__main__")
    except SystemExit as end:
        if end.code:
            raise RuntimeError(f"ftkit {' '.join(arguments)} ended with {end.code}") from end
    finally:
        os.chdir(before)
        sys.argv = given
