"""Seconds from the start of a process: to the command's help, to the package, to the first step of a training."""

from __future__ import annotations

import subprocess
import sys
import time
from typing import Any

EXAMPLES = 200
FIRST_STEP = f"""
import ftkit
from ftkit.training.callbacks import Callback

class First(Callback):
    def on_step(self, training, step):
        raise SystemExit

task = ftkit.load_task("movie-reviews", limit={EXAMPLES})
ftkit.fine_tune(task, "full", epochs=1, callbacks=[First()], progress=False)
"""
PROGRAMS = {
    "help": ["-m", "ftkit", "--help"],
    "import": ["-c", "import ftkit"],
    "first step": ["-c", FIRST_STEP],
}
"""What is started: name to the arguments of Python."""


def seconds(program: str) -> dict[str, Any]:
    """Run a program of `PROGRAMS` to its end in a process of its own."""
    started = time.perf_counter()
    subprocess.run([sys.executable, *PROGRAMS[program]], check=True, capture_output=True)
    return {"start_seconds": time.perf_counter() - started}
