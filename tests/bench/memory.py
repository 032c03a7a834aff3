"""Peak memory of whole processes, imports included: the demo and the lessons."""

from __future__ import annotations

import json
import os
import runpy
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from measuring import fresh_activations

NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"


def demo(options: Sequence[str] = ()) -> dict[str, Any]:
    """Run ``ftkit demo`` in this process, its runs and report in a folder that is removed; the harness measures it."""
    with fresh_activations():
        _command(["demo", *options, "--report", "report.html"])
    return {"options": list(options)}


def lessons() -> dict[str, Any]:
    """Seconds and peak memory of every lesson, as its last execution wrote them into it."""
    return {path.stem: _recorded(path) for path in sorted(NOTEBOOKS.rglob("*.ipynb"))}


def _recorded(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))["metadata"].get("ftkit", {})


def _command(arguments: list[str]) -> None:
    before, given = Path.cwd(), sys.argv
    with tempfile.TemporaryDirectory(prefix="ftkit-bench-") as folder:
        os.environ["FTKIT_RUNS"] = str(Path(folder) / "runs")
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
